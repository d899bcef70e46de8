"""Whether sound follows an intonation, without deciding what its pitch is."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOWEST_HZ, HIGHEST_HZ = 70.0, 350.0  # mean pitch of a voice
PER_OCTAVE = 24  # means tried
HARMONICS = 6
SHARPNESS = 20.0  # of the choice of a mean


def harmonic_contrast(spectrum: Tensor, f0: Tensor, bin_hz: float) -> Tensor:
    """How far harmonics stand out of the valleys between them, at supposed pitches (Sun 2002's ratio).

    spectrum: log-magnitudes (B, F, N) of bins bin_hz apart, in nepers. f0: Hz (B, M, N). Returns (B, M, N) in
    [-1, 1]: the mean over the first harmonics of tanh of half the step from the valley below.
    """
    steps = torch.arange(1, HARMONICS + 1, device=f0.device, dtype=f0.dtype)
    places = torch.stack([steps, steps - 0.5], dim=-1)  # harmonic, valley
    bins = f0[..., None, None] * (places / bin_hz)  # (B, M, N, H, 2)
    wide = bins.movedim(2, -1).flatten(1, 3).clamp(0, spectrum.shape[1] - 1.001)
    below = wide.floor()
    low, high = (spectrum.gather(1, below.long() + k) for k in (0, 1))
    levels = torch.lerp(low, high, wide - below).reshape(*f0.shape[:2], HARMONICS, 2, f0.shape[2])
    return torch.tanh((levels[:, :, :, 0] - levels[:, :, :, 1]) / 2).mean(2)


def intonation_evidence(
    wav: Tensor, curves: Tensor, weight: Tensor, sample_rate: int, n_fft: int, hop_length: int
) -> Tensor:
    """How much wav (B, T) sounds as if it followed each of some intonations (B, K): the contrast along it.

    curves: octaves from the mean (B, K, N), a value a frame of centred spectra. weight: of frames (B, N), 0
    where there is no voice. The mean pitch is free: the best of those that voices have counts.
    """
    window = torch.hann_window(n_fft, device=wav.device)
    spectrum = torch.stft(wav, n_fft, hop_length, window=window, return_complex=True)
    level = 0.5 * (spectrum.real.square() + spectrum.imag.square() + 1e-8).log()
    count = int(math.log2(HIGHEST_HZ / LOWEST_HZ) * PER_OCTAVE) + 1
    means = LOWEST_HZ * 2 ** (torch.arange(count, device=wav.device) / PER_OCTAVE)
    f0 = means[:, None] * torch.exp2(curves[:, :, None])  # (B, K, means, N)
    level = level[..., : curves.shape[2]]
    contrast = harmonic_contrast(level, f0.flatten(1, 2), sample_rate / n_fft)
    share = weight / weight.sum(1, keepdim=True).clamp(min=1)
    along = (contrast * share[:, None]).sum(2).reshape(f0.shape[:3])
    return (torch.logsumexp(SHARPNESS * along, dim=2) - math.log(count)) / SHARPNESS
