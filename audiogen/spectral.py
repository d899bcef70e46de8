"""Front ends as frozen data, and their transforms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

import torch
from torch import Tensor

MEL_SCALES = ("slaney", "htk")


@dataclass(frozen=True)
class MelSpec:
    """Every number of a log-mel front end; saved with the weights, compared before two models meet.

    center: frame n lies around sample n hop_length, and T samples give T // hop_length + 1 frames; otherwise
    around the middle of its hop, and T samples give T // hop_length frames (as HiFi-GAN's and BigVGAN's front
    ends). Both reflect the edges. mel_scale: "slaney" or "htk"; mel_norm: "slaney" for filters of equal area,
    None for triangles of height one. epsilon joins the power below the square root; the logarithm is natural,
    of filtered magnitudes of at least `floor`. Raises ValueError for a value that makes no front end.
    """

    sample_rate: int = 16000
    n_fft: int = 1024
    win_length: int = 1024
    hop_length: int = 256
    n_mels: int = 80
    f_min: float = 0.0
    f_max: float = 8000.0
    floor: float = 1e-5
    mel_scale: str = "slaney"
    mel_norm: str | None = "slaney"
    center: bool = True
    epsilon: float = 1e-12

    def __post_init__(self) -> None:
        if self.mel_scale not in MEL_SCALES:
            raise ValueError(f"mel_scale {self.mel_scale!r} is unknown; use {' or '.join(MEL_SCALES)}")
        if self.mel_norm not in (None, "slaney"):
            raise ValueError(f"mel_norm {self.mel_norm!r} is unknown; use slaney or None")
        if not self.center and (self.n_fft - self.hop_length) % 2:
            raise ValueError(
                f"center=False pads (n_fft - hop_length) / 2, and {self.n_fft} - {self.hop_length} is "
                "odd; choose both even"
            )

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.hop_length

    def differences(self, other: MelSpec) -> str:
        """The fields in which two front ends differ, as `name: mine != theirs`; empty when they agree."""
        mine, theirs = asdict(self), asdict(other)
        return ", ".join(
            f"{name}: {mine[name]} != {theirs[name]}" for name in mine if mine[name] != theirs[name]
        )


@lru_cache(maxsize=8)
def mel_filters(spec: MelSpec) -> Tensor:
    """Triangular filters (n_mels, n_fft // 2 + 1), float32."""
    from torchaudio.functional import melscale_fbanks

    with torch.inference_mode(False):  # the cached filters must also serve training
        filters: Tensor = melscale_fbanks(
            spec.n_fft // 2 + 1,
            spec.f_min,
            spec.f_max,
            spec.n_mels,
            spec.sample_rate,
            norm=spec.mel_norm,
            mel_scale=spec.mel_scale,
        )
        return filters.T.contiguous()


def magnitude(wav: Tensor, spec: MelSpec) -> Tensor:
    """wav (B, T) -> STFT magnitudes (B, n_fft // 2 + 1, N), N = T // hop_length + 1, or without 1 uncentred.

    Signals too short to be reflected, of half a window at most, are padded with zeros.
    """
    return _magnitude(_with_edges(wav, spec), spec)


def _with_edges(wav: Tensor, spec: MelSpec) -> Tensor:
    """wav (B, T) with what the first and the last frames see beyond its edges."""
    edge = spec.n_fft // 2 if spec.center else (spec.n_fft - spec.hop_length) // 2
    short = (edge + 1 if spec.center else max(edge + 1, spec.hop_length)) - wav.shape[-1]
    if short > 0:
        wav = torch.nn.functional.pad(wav, (0, short))
    return torch.nn.functional.pad(wav, (edge, edge), mode="reflect")


def _magnitude(wav: Tensor, spec: MelSpec) -> Tensor:
    """STFT magnitudes of the frames that lie in wav (B, T) as a whole."""
    window = torch.hann_window(spec.win_length, device=wav.device, dtype=wav.dtype)
    sizes = (spec.n_fft, spec.hop_length, spec.win_length)
    stft = torch.stft(wav, *sizes, window, center=False, return_complex=True)
    return torch.view_as_real(stft).square().sum(-1).add(spec.epsilon).sqrt()  # finite gradient at silence


def log_mel(magnitudes: Tensor, spec: MelSpec) -> Tensor:
    """STFT magnitudes (B, n_freqs, N) -> natural-log mel (B, n_mels, N)."""
    with torch.autocast(magnitudes.device.type, enabled=False):  # half precision would blur the quiet bins
        return (mel_filters(spec).to(magnitudes) @ magnitudes).clamp(min=spec.floor).log()


def mel_spectrogram(wav: Tensor, spec: MelSpec) -> Tensor:
    """wav (B, T) in [-1, 1] -> log-mel (B, n_mels, N), N as `magnitude` says."""
    return log_mel(magnitude(wav, spec), spec)


def mel_chunks(wav: Tensor, spec: MelSpec, frames: int) -> Iterator[Tensor]:
    """`mel_spectrogram` of wav (B, T) in pieces (B, n_mels, <= frames), for recordings of any length."""
    wav = _with_edges(wav, spec)
    total = (wav.shape[-1] - spec.n_fft) // spec.hop_length + 1
    for first in range(0, total, frames):
        count = min(frames, total - first)
        start = first * spec.hop_length
        piece = wav[:, start : start + (count - 1) * spec.hop_length + spec.n_fft]
        yield log_mel(_magnitude(piece, spec), spec)


@dataclass(frozen=True)
class StftSpec:
    """A complex front end with compressed amplitudes, c -> scale |c|^exponent e^{j angle c}, and its inverse.

    Periodic Hann window of n_fft samples; frame n lies around sample n hop_length and the edges are
    reflected. n_fft 510 gives 256 frequencies (Richter et al. 2023, section IV-A; StoRM). Raises ValueError
    for values that make no invertible front end.
    """

    n_fft: int = 510
    hop_length: int = 128
    exponent: float = 0.5
    scale: float = 0.15

    def __post_init__(self) -> None:
        if not 0 < 2 * self.hop_length <= self.n_fft:
            raise ValueError(
                f"hop_length {self.hop_length} must be positive and at most half of n_fft {self.n_fft}: "
                "frames that overlap less cannot be inverted"
            )
        if not (0 < self.exponent <= 1 and self.scale > 0):
            raise ValueError(
                f"exponent must lie in (0, 1] and scale be positive, got {self.exponent} and {self.scale}"
            )

    @property
    def n_freqs(self) -> int:
        """Frequencies of a spectrum."""
        return self.n_fft // 2 + 1

    def frames(self, length: int) -> int:
        """Frames of a waveform of `length` samples; one too short to be reflected is padded with zeros."""
        return max(length, self.n_fft // 2 + 1) // self.hop_length + 1

    def analyse(self, wav: Tensor) -> Tensor:
        """wav (B, T), T >= 1 -> complex spectrum (B, n_freqs, frames(T)), compressed."""
        if (short := self.n_fft // 2 + 1 - wav.shape[-1]) > 0:
            wav = torch.nn.functional.pad(wav, (0, short))
        window = torch.hann_window(self.n_fft, device=wav.device, dtype=wav.dtype)
        spec = torch.stft(wav, self.n_fft, self.hop_length, window=window, return_complex=True)
        # the floor keeps the gradient finite at silence; what lies below it is far below rounding errors
        return spec * (self.scale * spec.abs().clamp(min=1e-8) ** (self.exponent - 1))

    def synthesise(self, spec: Tensor, length: int) -> Tensor:
        """Complex spectrum (B, n_freqs, frames(length)) -> wav (B, length), the inverse of `analyse`."""
        if spec.shape[-1] != self.frames(length):
            raise ValueError(
                f"{length} samples have {self.frames(length)} frames, but the spectrum has {spec.shape[-1]}"
            )
        spec = spec / self.scale
        spec = spec * spec.abs().clamp(min=1e-12) ** (1 / self.exponent - 1)
        window = torch.hann_window(self.n_fft, device=spec.device, dtype=spec.real.dtype)
        return torch.istft(spec, self.n_fft, self.hop_length, window=window, length=length)


def as_channels(planes: Sequence[Tensor]) -> Tensor:
    """Complex planes (B, F, N) -> their real and imaginary parts (B, 2 planes, F, N), float32.

    In memory it is (B, N, F, 2 planes), near to how transforms leave spectra.
    """
    stacked = torch.stack([plane.mT for plane in planes], dim=-1)
    return torch.view_as_real(stacked).flatten(-2).permute(0, 3, 2, 1)


def as_complex(channels: Tensor) -> Tensor:
    """Real and imaginary parts (B, 2, F, N) -> complex plane (B, F, N)."""
    real, imag = channels.float().unbind(1)
    return torch.complex(real, imag)
