"""What controls look at: latents under way, and what they sound like, worked out when first asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from audiogen.spectral import MelSpec, magnitude

FRAME_RATE = 50  # frames of every feature a second
POWER_FLOOR = 1e-8  # of a spectrum's bin, where a full-scale sine in 2048 samples has about 2.6e5

Spans = Sequence[tuple[float, float]]
"""Pairs (start, end) of seconds."""


class Coder(Protocol):
    """What makes latents of sound and sound of latents; gradients pass through `decode`."""

    sample_rate: int

    @property
    def latent_rate(self) -> float: ...  # noqa: D102

    def encode(self, wav: Tensor) -> Tensor:
        """wav (B, T) -> latents (B, D, L)."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, D, L) -> wav (B, T)."""
        ...


class Sound:
    """Latents (B, D, L) and their waveform (B, T), decoded once, when a control first asks for it."""

    def __init__(
        self, latents: Tensor, sample_rate: int, latent_rate: float, decode: Callable[[Tensor], Tensor]
    ) -> None:
        self.latents, self.sample_rate, self.latent_rate = latents, sample_rate, latent_rate
        self._decode = decode
        self._wav: Tensor | None = None
        self._powers: dict[int, Tensor] = {}

    @classmethod
    def of(cls, wav: Tensor, sample_rate: int) -> Sound:
        """A recording (B, T); its latents are the samples themselves, (B, 1, T)."""
        return cls(wav[:, None], sample_rate, float(sample_rate), lambda latents: latents[:, 0])

    @property
    def wav(self) -> Tensor:
        """The waveform (B, T)."""
        if self._wav is None:
            self._wav = self._decode(self.latents)
        return self._wav

    @property
    def hop_length(self) -> int:
        """Samples from frame to frame."""
        return self.sample_rate // FRAME_RATE

    def power(self, n_fft: int) -> Tensor:
        """Power spectrum (B, n_fft // 2 + 1, N) of frames around samples n hop_length; edges reflected."""
        if n_fft not in self._powers:
            self._powers[n_fft] = magnitude(self.wav, self.front_end(n_fft)).square() + POWER_FLOOR
        return self._powers[n_fft]

    def front_end(self, n_fft: int, n_mels: int = 80) -> MelSpec:
        """The front end of `power`, for filters that fit it."""
        return MelSpec(
            self.sample_rate,
            n_fft=n_fft,
            win_length=n_fft,
            hop_length=self.hop_length,
            n_mels=n_mels,
            f_max=self.sample_rate / 2,
        )


def frame_seconds(frames: int, rate: float, device: torch.device | None = None) -> Tensor:
    """Seconds (frames,) of frames around the samples n / rate."""
    return torch.arange(frames, device=device) / rate


def within(seconds: Tensor, spans: Spans) -> Tensor:
    """Which moments (N,) lie in one of the spans, True or False."""
    inside = torch.zeros_like(seconds, dtype=torch.bool)
    for start, end in spans:
        inside |= (seconds >= start) & (seconds < end)
    return inside


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values (B, N) over the frames of a mask (N,), True = counts -> (B,); 0 where none counts."""
    return (values * mask).sum(-1) / mask.sum().clamp(min=1)
