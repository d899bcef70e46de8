"""Front ends as frozen data, and their transforms."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True)
class MelSpec:
    """Every number of a log-mel front end; saved with the weights, compared before two models meet.

    The magnitude spectrogram is centred with reflected edges: T samples give T // hop_length + 1 frames.
    Filters are Slaney's; the logarithm is natural, of magnitudes floored at `floor`.
    """

    sample_rate: int = 16000
    n_fft: int = 1024
    win_length: int = 1024
    hop_length: int = 256
    n_mels: int = 80
    f_min: float = 0.0
    f_max: float = 8000.0
    floor: float = 1e-5

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
    """Slaney-normalised triangular filters (n_mels, n_fft // 2 + 1)."""
    from torchaudio.functional import melscale_fbanks

    filters: Tensor = melscale_fbanks(
        spec.n_fft // 2 + 1,
        spec.f_min,
        spec.f_max,
        spec.n_mels,
        spec.sample_rate,
        norm="slaney",
        mel_scale="slaney",
    )
    return filters.T.contiguous()


def magnitude(wav: Tensor, spec: MelSpec) -> Tensor:
    """wav (B, T) -> STFT magnitudes (B, n_fft // 2 + 1, N), N = T // hop_length + 1.

    Shorter signals than half a window are padded with zeros, since they cannot be reflected.
    """
    short = spec.n_fft // 2 + 1 - wav.shape[-1]
    if short > 0:
        wav = torch.nn.functional.pad(wav, (0, short))
    window = torch.hann_window(spec.win_length, device=wav.device, dtype=wav.dtype)
    stft = torch.stft(wav, spec.n_fft, spec.hop_length, spec.win_length, window, return_complex=True)
    return torch.view_as_real(stft).square().sum(-1).add(1e-12).sqrt()  # finite gradient at silence


def log_mel(magnitudes: Tensor, spec: MelSpec) -> Tensor:
    """STFT magnitudes (B, n_freqs, N) -> natural-log mel (B, n_mels, N)."""
    with torch.autocast(magnitudes.device.type, enabled=False):  # half precision would blur the quiet bins
        return (mel_filters(spec).to(magnitudes) @ magnitudes).clamp(min=spec.floor).log()


def mel_spectrogram(wav: Tensor, spec: MelSpec) -> Tensor:
    """wav (B, T) in [-1, 1] -> log-mel (B, n_mels, N), N = T // hop_length + 1."""
    return log_mel(magnitude(wav, spec), spec)
