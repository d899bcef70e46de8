"""Distances between waveforms in spectral domains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor

from audiogen.spectral import MelSpec, log_mel, magnitude

FLOOR = 1e-3  # without one the logarithm makes inaudible bins the loudest part of a loss


def spectral_losses(
    fake: Tensor, real: Tensor, specs: Sequence[MelSpec], floor: float = FLOOR
) -> tuple[Tensor, Tensor]:
    """Multi-resolution distances of waveforms (B, T) -> (STFT loss, mel loss), each a mean over `specs`.

    STFT: `magnitude_loss` with `floor` (Yamamoto et al. 2020, eq. 4-6). Mel: L1 of log-mels
    (Kumar et al. 2023, DAC, section 3.5).
    """
    stft = fake.new_zeros(())
    mel = fake.new_zeros(())
    for spec in specs:
        a, b = magnitude(fake, spec), magnitude(real, spec)
        stft = stft + magnitude_loss(a, b, floor)
        mel = mel + F.l1_loss(log_mel(a, spec), log_mel(b, spec))
    return stft / len(specs), mel / len(specs)


def magnitude_loss(fake: Tensor, real: Tensor, floor: float = FLOOR) -> Tensor:
    """Spectral convergence plus L1 of logarithms, of STFT magnitudes alike in shape, `floor` at least."""
    convergence = (fake - real).square().sum().sqrt() / real.square().sum().sqrt().clamp(min=1e-3)
    return convergence + F.l1_loss(fake.clamp(min=floor).log(), real.clamp(min=floor).log())


def resolutions(
    spec: MelSpec, n_ffts: Sequence[int] = (256, 512, 1024, 2048), floor: float = 1e-4
) -> list[MelSpec]:
    """Front ends of several window lengths for `spectral_losses`; floor: of their mels.

    Few mels for short windows, so that no filter is empty.
    """
    return [
        replace(spec, n_fft=n, win_length=n, hop_length=n // 4, n_mels=min(80, n // 16 + 4), floor=floor)
        for n in n_ffts
    ]
