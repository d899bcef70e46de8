"""Mel-cepstral distortion along a dynamic-time-warping path."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from audiogen.spectral import MelSpec, mel_spectrogram

CEPSTRAL_SPEC = MelSpec(
    sample_rate=16000, n_fft=1024, win_length=400, hop_length=160, n_mels=80, f_max=8000.0
)
NUM_COEFFICIENTS = 13
RANGE_DB = 60.0
DB_PER_NEPER = 20 / math.log(10)


@dataclass(frozen=True)
class Distortion:
    """Sum of frame distortions (dB) over the cells of a warping path, and how many cells there are."""

    total_db: float
    cells: int

    @property
    def mean_db(self) -> float:
        """Mel-cepstral distortion in dB."""
        return self.total_db / self.cells


def cepstra(log_mel: NDArray[np.float64], num_coefficients: int = NUM_COEFFICIENTS) -> NDArray[np.float64]:
    """Cosine transform of natural-log mel magnitudes (n_mels, N) -> c1 ... cK (K, N), without c0, the level.

    c_m = 2 / n_mels * sum_k log_mel_k cos(pi m (k + 1/2) / n_mels), so that
    log_mel_k = c0 / 2 + sum_m c_m cos(pi m (k + 1/2) / n_mels): with this scaling the distortion is the RMS
    difference of the smoothed spectra in dB.
    """
    n_mels = len(log_mel)
    m, k = np.arange(1, num_coefficients + 1)[:, None], np.arange(n_mels)
    return np.asarray(2 / n_mels * np.cos(math.pi * m * (k + 0.5) / n_mels) @ log_mel)


def mel_cepstra(wav: Tensor) -> NDArray[np.float64]:
    """Cepstra of wav (T,) at 16 kHz -> (13, T // 160 + 1), one frame every 10 ms.

    25 ms windows, 80 Slaney mel bands up to 8 kHz; what lies more than 60 dB below the loudest band of the
    signal is raised to that level, so that inaudible noise floors are not compared.
    """
    log_mel = mel_spectrogram(wav[None], CEPSTRAL_SPEC)[0].double().numpy()
    return cepstra(np.maximum(log_mel, log_mel.max() - RANGE_DB / DB_PER_NEPER))


def frame_distortion(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distortion of aligned cepstra (K, N), 10 / ln 10 sqrt(2 sum_m d_m^2) (Kubichek 1993) -> (N,) in dB."""
    return np.asarray(10 / math.log(10) * np.sqrt(2 * np.square(a - b).sum(axis=0)))


def warp(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.int64]:
    """Cheapest monotonic path between two sequences (K, N) and (K, M) -> (cells, 2) index pairs.

    Euclidean cost; steps (1, 1), (1, 0), (0, 1) of equal weight.
    """
    from librosa.sequence import dtw

    _, path = dtw(X=a, Y=b, metric="euclidean")
    return np.ascontiguousarray(path[::-1], dtype=np.int64)


def mel_cepstral_distortion(
    a: NDArray[np.float64], b: NDArray[np.float64], path: NDArray[np.int64] | None = None
) -> Distortion:
    """Distortion of cepstra (K, N) and (K, M) along path (cells, 2); by default their warping path."""
    i, j = (warp(a, b) if path is None else path).T
    frames = frame_distortion(a[:, i], b[:, j])
    return Distortion(float(frames.sum()), len(frames))
