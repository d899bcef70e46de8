"""Fundamental frequency: contour by probabilistic YIN, and its errors along a warping path."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

SAMPLE_RATE = 16000
HOP_LENGTH = 160
FRAME_LENGTH = 1024
F0_MIN_HZ = 65.0
F0_MAX_HZ = 600.0


def f0_contour(wav: Tensor) -> NDArray[np.float64]:
    """F0 of wav (T,) at 16 kHz in Hz, every 10 ms -> (T // 160 + 1,), nan where unvoiced; 65 to 600 Hz.

    The frames are those of `mel_cepstra`. By librosa.pyin (Mauch & Dixon 2014) in steps of 10 cents.
    """
    from librosa import pyin

    f0, voiced, _ = pyin(
        wav.numpy(),
        fmin=F0_MIN_HZ,
        fmax=F0_MAX_HZ,
        sr=SAMPLE_RATE,
        frame_length=FRAME_LENGTH,
        hop_length=HOP_LENGTH,
    )
    return np.where(voiced, f0, np.nan)


def periodicity(wav: Tensor) -> NDArray[np.float64]:
    """Probability of voicing of wav (T,) at 16 kHz, every 10 ms -> (T // 160 + 1,), by probabilistic YIN."""
    from librosa import pyin

    _, _, probability = pyin(
        wav.numpy(),
        fmin=F0_MIN_HZ,
        fmax=F0_MAX_HZ,
        sr=SAMPLE_RATE,
        frame_length=FRAME_LENGTH,
        hop_length=HOP_LENGTH,
        resolution=0.25,  # the probability sums over all pitches: their grid hardly matters
    )
    return np.asarray(probability, dtype=np.float64)


def periodicity_errors(reference: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[float, float]:
    """RMSE of two courses of voicing (N,), and the F1 score of `other` for voiced frames, above one half.

    After Morrison et al. 2022 (CARGAN), section 4. Without voiced frames in either F1 is 1.
    """
    frames = min(len(reference), len(other))
    a, b = reference[:frames], other[:frames]
    hits = float(((a > 0.5) & (b > 0.5)).sum())
    misses = float(((a > 0.5) != (b > 0.5)).sum())
    f1 = 2 * hits / (2 * hits + misses) if hits + misses else 1.0
    return float(np.sqrt(np.square(a - b).mean())), f1


@dataclass(frozen=True)
class PitchErrors:
    """Sums over the cells of a path, from which the errors of an item or of a whole corpus follow.

    cells: all; voiced: voiced in both; unequal: voiced in one only; the rest sum over the voiced cells:
    squared error in cents and in Hz, then, for the correlation, F0 of the reference (x) and of the other (y)
    in cents.
    """

    cells: int
    voiced: int
    unequal: int
    cents2: float
    hz2: float
    x: float
    y: float
    xx: float
    yy: float
    xy: float

    @property
    def rmse_cents(self) -> float:
        """Root mean square error in cents (100 = one semitone); nan without voiced cells."""
        return float(np.sqrt(self.cents2 / self.voiced)) if self.voiced else float("nan")

    @property
    def rmse_hz(self) -> float:
        """Root mean square error in Hz; nan without voiced cells."""
        return float(np.sqrt(self.hz2 / self.voiced)) if self.voiced else float("nan")

    @property
    def voicing_error(self) -> float:
        """Share of cells that are voiced in one signal only."""
        return self.unequal / self.cells if self.cells else float("nan")

    @property
    def correlation(self) -> float:
        """Pearson correlation of the two contours in cents; nan when either is constant."""
        totals = np.array([self.voiced, self.x, self.y, self.xx, self.yy, self.xy], dtype=np.float64)
        return float(correlation(totals))


def correlation(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 6) totals n, sum x, sum y, sum x^2, sum y^2, sum xy -> Pearson correlation (...)."""
    n, x, y, xx, yy, xy = np.moveaxis(totals, -1, 0)
    covariance = n * xy - x * y
    variances = (n * xx - x * x) * (n * yy - y * y)
    return np.asarray(np.where(variances > 1e-9, covariance / np.sqrt(np.maximum(variances, 1e-9)), np.nan))


def pitch_errors(
    reference: NDArray[np.float64], other: NDArray[np.float64], path: NDArray[np.int64]
) -> PitchErrors:
    """Compare two contours in Hz (nan = unvoiced) cell by cell along path (cells, 2)."""
    a, b = reference[path[:, 0]], other[path[:, 1]]
    voiced = ~np.isnan(a) & ~np.isnan(b)
    unequal = int((np.isnan(a) != np.isnan(b)).sum())
    hz_a, hz_b = a[voiced], b[voiced]
    x, y = 1200 * np.log2(hz_a / 100), 1200 * np.log2(hz_b / 100)  # about 100 Hz, to keep the sums small
    return PitchErrors(
        cells=len(path),
        voiced=int(voiced.sum()),
        unequal=unequal,
        cents2=float(np.square(x - y).sum()),
        hz2=float(np.square(hz_a - hz_b).sum()),
        x=float(x.sum()),
        y=float(y.sum()),
        xx=float(x @ x),
        yy=float(y @ y),
        xy=float(x @ y),
    )
