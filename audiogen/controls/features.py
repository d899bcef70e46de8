"""Features of sound with gradients: loudness, pitch classes, timbre, onsets, spectral tilt.

Waveforms are (B, T), spectra (B, bins, N), features (B, N) or (B, N, width). Their frames lie around every
n / 50 s, as `Sound` says.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.controls.sound import FRAME_RATE, Sound
from audiogen.semantic import chroma_filters
from audiogen.spectral import mel_filters

RMS_WINDOW = 2048
RMS_FLOOR = 1e-4  # -80 dB
TIMBRE_N_FFT, TIMBRE_MELS, TIMBRE_COEFFICIENTS = 2048, 80, 20
CHROMA_N_FFT = 4096
CHROMA_FLOOR = 1e-2  # of a frame's power above middle C: below, no pitch class stands out
ONSET_N_FFT, ONSET_MELS = 1024, 40
ONSET_FLOOR = 1e-3  # power of a band, some 60 dB below that of a full-scale sine
TILT_HZ = (100.0, 10000.0)
TILT_N_FFT, TILT_BANDS_AN_OCTAVE = 4096, 3
DB = 10 / math.log(10)  # decibels of a natural logarithm of power


def savgol_weights(window: int, order: int = 2) -> Tensor:
    """Weights (window,), odd, that give a fitted polynomial in its middle (Savitzky & Golay 1964)."""
    places = torch.arange(window, dtype=torch.float64) - window // 2
    powers = places[:, None] ** torch.arange(order + 1)
    return torch.linalg.pinv(powers)[0].float()


def smooth(curves: Tensor, seconds: float) -> Tensor:
    """Curves (B, N) smoothed by a parabola fitted to `seconds` around each frame; ends are held."""
    window = max(3, round(seconds * FRAME_RATE) // 2 * 2 + 1)
    weights = savgol_weights(window).to(curves)
    padded = F.pad(curves[:, None], (window // 2, window // 2), mode="replicate")
    return F.conv1d(padded, weights[None, None])[:, 0]


def rms_db(sound: Sound) -> Tensor:
    """Loudness 20 log10 RMS (B, N) in dB of full scale, of 2048 samples around a frame; -80 dB at least."""
    wav = F.pad(sound.wav, (RMS_WINDOW // 2, RMS_WINDOW // 2))
    power = wav.square()[:, None]
    mean = F.avg_pool1d(power, RMS_WINDOW, sound.hop_length)[:, 0]
    return DB * (mean + RMS_FLOOR**2).log()


def chroma(sound: Sound, smoothing: float = 0.1) -> Tensor:
    """Shares of the twelve pitch classes, C first, in the power above middle C, (B, N, 12); they sum to 1.

    smoothing: seconds over which power is averaged. Frames without power have even shares.
    """
    power = sound.power(CHROMA_N_FFT)
    filters = _above_middle_c(sound.sample_rate).to(power)
    classes = (filters @ power).mT
    frames = max(1, round(smoothing * FRAME_RATE))
    classes = F.avg_pool1d(
        F.pad(classes.mT, (frames // 2, (frames - 1) // 2), mode="replicate"), frames, stride=1
    ).mT
    total = classes.sum(-1, keepdim=True)
    floor = (CHROMA_FLOOR * total + 1e-3) / 12
    return (classes + floor) / (total + 12 * floor)


@lru_cache(maxsize=4)
def _above_middle_c(sample_rate: int) -> Tensor:
    with torch.inference_mode(False):
        return chroma_filters(sample_rate, CHROMA_N_FFT)[12:].clone()


def mel_db(sound: Sound, n_fft: int, n_mels: int) -> Tensor:
    """Power of mel bands in dB (B, n_mels, N), 1e-10 at least."""
    power = sound.power(n_fft)
    filters = mel_filters(sound.front_end(n_fft, n_mels)).to(power)
    return DB * (filters @ power).clamp(min=1e-10).log()


@lru_cache(maxsize=4)
def cosine_rows(bands: int, count: int) -> Tensor:
    """Rows 0 to count - 1 of the orthonormal cosine transform (count, bands)."""
    with torch.inference_mode(False):
        angles = math.pi / bands * torch.outer(torch.arange(count), torch.arange(bands) + 0.5)
        rows = angles.cos() * math.sqrt(2 / bands)
        rows[0] *= math.sqrt(0.5)
        return rows


def mfcc(sound: Sound) -> Tensor:
    """Mel-frequency cepstral coefficients 1 to 19 (B, N, 19), the loudness left out."""
    levels = mel_db(sound, TIMBRE_N_FFT, TIMBRE_MELS)
    rows = cosine_rows(TIMBRE_MELS, TIMBRE_COEFFICIENTS)[1:].to(levels)
    return (rows @ levels).mT


def self_similarity(features: Tensor, cares: Tensor | None = None) -> Tensor:
    """Cosines between pairs of frames (B, N, N) of features (B, N, width), their mean over time removed.

    cares: (N,), frames that count in the mean, None = all.
    """
    weights = features.new_ones(features.shape[1]) if cares is None else cares.to(features)
    mean = (features * weights[:, None]).sum(1, keepdim=True) / weights.sum().clamp(min=1)
    centred = features - mean
    directions = centred / centred.norm(dim=2, keepdim=True).clamp(min=1e-6)
    return directions @ directions.mT


def pooled(features: Tensor, seconds: float) -> Tensor:
    """Features (B, N, width) averaged over every `seconds`, (B, N', width); what is left over is dropped."""
    frames = max(1, round(seconds * FRAME_RATE))
    return F.avg_pool1d(features.mT, frames).mT


def onset_strength(sound: Sound) -> Tensor:
    """How much louder the mel bands became since the last frame, in dB, mean over bands (B, N); first 0."""
    filters = mel_filters(sound.front_end(ONSET_N_FFT, ONSET_MELS)).to(sound.wav)
    # far below what is loud, nothing begins
    levels = DB * (filters @ sound.power(ONSET_N_FFT) + ONSET_FLOOR).log()
    return F.pad(F.relu(levels[..., 1:] - levels[..., :-1]).mean(1), (1, 0))


def spectral_tilt(sound: Sound, cares: Tensor) -> Tensor:
    """Slope of the mean power spectrum in dB an octave (B,), from 100 Hz to 10 kHz, fitted in third octaves.

    cares: (N,), frames that count.
    """
    power = sound.power(TILT_N_FFT)
    mean = (power * cares).sum(-1) / cares.sum().clamp(min=1)
    bands, octaves = _octave_bands(sound.sample_rate)
    levels = DB * (mean @ bands.to(mean).T).log()
    centred = (octaves - octaves.mean()).to(mean)
    return (levels * centred).sum(-1) / centred.square().sum()


@lru_cache(maxsize=4)
def _octave_bands(sample_rate: int) -> tuple[Tensor, Tensor]:
    """Averages of bins (bands, bins) over third octaves, and their middles in octaves (bands,)."""
    with torch.inference_mode(False):
        hz = torch.arange(TILT_N_FFT // 2 + 1) * sample_rate / TILT_N_FFT
        top = min(TILT_HZ[1], 0.9 * sample_rate / 2)
        count = int(TILT_BANDS_AN_OCTAVE * math.log2(top / TILT_HZ[0]))
        edges = TILT_HZ[0] * 2 ** (torch.arange(count + 1) / TILT_BANDS_AN_OCTAVE)
        inside = ((hz >= edges[:-1, None]) & (hz < edges[1:, None])).float()
        weights = inside / inside.sum(1, keepdim=True)
        # where the mean of bins lies, not where the band does: few bins are unevenly spread
        return weights, (weights[:, 1:] @ hz[1:].log2())


def correlation(curves: Tensor, wanted: Tensor, cares: Tensor) -> Tensor:
    """Correlations of curves (B, N) with templates (K, N) over the frames of a mask (N,) -> (B, K)."""

    def centred(x: Tensor) -> Tensor:
        mean = (x * cares).sum(-1, keepdim=True) / cares.sum().clamp(min=1)
        centre = (x - mean) * cares
        return centre / centre.norm(dim=-1, keepdim=True).clamp(min=1e-6)

    return centred(curves) @ centred(wanted.to(curves)).T
