"""What can be measured of music: families of instruments, tempo, key, the distance of two collections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.semantic import chroma_filters
from audiogen.spectral import MelSpec, mel_spectrogram
from audiogen.text.keys import best_key

WINDOW_S = 5.0  # of music that one guess at the instruments, or one point of a collection, is about
BANDS = 48
TEMPO_TOLERANCE = 0.08  # as in the MIREX evaluations of tempo estimation
CHROMA_N_FFT = 8192
QUIETEST = -6.0  # log-magnitude of a band relative to the mean of all, below which nothing is heard


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Distance of two collections of points (N, D), (M, D), each taken for a Gaussian; N, M >= 2.

    |m_a - m_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2) (Dowson & Landau 1982; Kilgour et al. 2019, FAD), in
    float64. Raises ValueError for fewer points or unlike widths.
    """
    if min(len(a), len(b)) < 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"points {tuple(a.shape)} and {tuple(b.shape)} are too few or not of one width")
    a, b = a.double(), b.double()
    root = matrix_root(a.T.cov())
    cross = matrix_root(root @ b.T.cov() @ root)
    offset = (a.mean(0) - b.mean(0)).square().sum()
    return float((offset + a.T.cov().trace() + b.T.cov().trace() - 2 * cross.trace()).clamp(min=0))


def matrix_root(matrix: Tensor) -> Tensor:
    """The symmetric square root of a symmetric matrix (D, D) without negative eigenvalues, up to rounding."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def moments(frames: Tensor, per_window: int) -> Tensor:
    """Features (D, L) over time -> mean and deviation of every window (L // per_window, 2 D), or of all."""
    if frames.shape[1] < per_window:
        windows = frames[:, None]
    else:
        windows = frames[:, : frames.shape[1] // per_window * per_window].reshape(len(frames), -1, per_window)
    return torch.cat((windows.mean(2), windows.std(2, correction=0))).T


def timbre(wav: Tensor, sample_rate: int) -> Tensor:
    """wav (T,) -> points (windows, 3 BANDS) of WINDOW_S each: shape of the spectrum, how it varies and moves.

    Alike for one sound at any loudness.
    """
    hop = 256
    spec = MelSpec(sample_rate, hop_length=hop, n_mels=BANDS, f_max=sample_rate / 2, floor=1e-6)
    levels = mel_spectrogram(wav[None], spec)[0]
    levels = (levels - levels.exp().mean().log()).clamp(min=QUIETEST)
    moves = F.pad((levels[:, 1:] - levels[:, :-1]).abs(), (1, 0))
    per_window = round(WINDOW_S * sample_rate / hop)
    return torch.cat((moments(levels, per_window), moments(moves, per_window)[:, :BANDS]), dim=1)


class FamilyClassifier:
    """Softmax regression from `timbre` to names of families, fitted to recordings that are known.

    names: in the order of the scores.
    """

    def __init__(self, names: Sequence[str], mean: Tensor, scale: Tensor, weight: Tensor) -> None:
        self.names = tuple(names)
        self.mean, self.scale, self.weight = mean, scale, weight

    @classmethod
    def fit(
        cls,
        wavs: Sequence[Tensor],
        families: Sequence[str],
        sample_rate: int,
        *,
        decay: float = 1e-2,
        rounds: int = 100,
    ) -> FamilyClassifier:
        """Recordings (T,) and the family of each; decay: of squared weights. Raises ValueError for one."""
        names = sorted(set(families))
        if len(names) < 2:
            raise ValueError(f"recordings of {names} alone teach no difference; give two families at least")
        points = [timbre(wav, sample_rate) for wav in wavs]
        counts = torch.tensor([len(rows) for rows in points])
        labels = torch.tensor([names.index(family) for family in families]).repeat_interleave(counts)
        found = torch.cat(points)
        mean, scale = found.mean(0), 1 / found.std(0, correction=0).clamp(min=1e-3)
        inputs = _with_one((found - mean) * scale)
        weight = torch.zeros(len(names), inputs.shape[1], requires_grad=True)
        optimizer = torch.optim.LBFGS([weight], max_iter=rounds, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            value = F.cross_entropy(inputs @ weight.T, labels) + decay * weight[:, :-1].square().sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimizer.step(loss)  # type: ignore[no-untyped-call]
        return cls(names, mean, scale, weight.detach())

    def scores(self, wav: Tensor, sample_rate: int) -> dict[str, float]:
        """wav (T,) -> probability of every family, mean over windows."""
        points = _with_one((timbre(wav, sample_rate) - self.mean) * self.scale)
        chances = (points @ self.weight.T).softmax(1).mean(0)
        return dict(zip(self.names, chances.tolist(), strict=True))

    def classify(self, wav: Tensor, sample_rate: int) -> str:
        """The likeliest family of wav (T,)."""
        scores = self.scores(wav, sample_rate)
        return max(scores, key=lambda name: scores[name])


def _with_one(points: Tensor) -> Tensor:
    """Points (N, D) -> (N, D + 1), the last value 1, for a bias."""
    return F.pad(points, (0, 1), value=1.0)


def estimate_tempo(wav: Tensor, sample_rate: int) -> float:
    """wav (T,) -> beats a minute by librosa's tempogram, 0 where there is no onset."""
    import librosa

    strength = librosa.onset.onset_strength(y=wav.float().numpy(), sr=sample_rate)
    if not strength.any():
        return 0.0
    return float(librosa.feature.tempo(onset_envelope=strength, sr=sample_rate)[0])


def tempo_agrees(found: float, wanted: float, *, octaves: bool = False) -> bool:
    """Whether two tempi are within 8 %; octaves: or twice, thrice, a half or a third (MIREX accuracy 2)."""
    factors = (1.0, 2.0, 3.0, 0.5, 1 / 3) if octaves else (1.0,)
    return any(abs(found - wanted * k) <= TEMPO_TOLERANCE * wanted * k for k in factors)


def estimate_key(wav: Tensor, sample_rate: int) -> tuple[int, str]:
    """wav (T,) -> tonic (0 is C) and mode, from the pitch classes it holds (`text.keys.best_key`)."""
    wav = F.pad(wav.float(), (0, max(0, CHROMA_N_FFT - len(wav))))
    frames = wav.unfold(0, CHROMA_N_FFT, CHROMA_N_FFT // 4) * torch.hann_window(CHROMA_N_FFT)
    spectrum = torch.fft.rfft(frames).abs()
    classes = (spectrum @ chroma_filters(sample_rate, CHROMA_N_FFT).T).view(len(spectrum), -1, 12).sum(1)
    # every moment counts as much as its loudness' root, lest one chord decide
    weights = (classes / classes.sum(1, keepdim=True).clamp(min=1e-6).sqrt()).sum(0)
    return best_key(weights.tolist())


def adherence(
    wav: Tensor, sample_rate: int, facts: Mapping[str, Any], classifier: FamilyClassifier
) -> dict[str, bool]:
    """How wav (T,) fits the facts of its caption (`family`, `bpm`, `tonic`, `mode`), each fact by name.

    tempo_octaves allows for counting half or twice as many beats.
    """
    tonic, mode = estimate_key(wav, sample_rate)
    bpm = estimate_tempo(wav, sample_rate)
    return {
        "family": classifier.classify(wav, sample_rate) == facts["family"],
        "tempo": tempo_agrees(bpm, facts["bpm"]),
        "tempo_octaves": tempo_agrees(bpm, facts["bpm"], octaves=True),
        "key": (tonic, mode) == (facts["tonic"], facts["mode"]),
        "tonic": tonic == facts["tonic"],
        "mode": mode == facts["mode"],
    }
