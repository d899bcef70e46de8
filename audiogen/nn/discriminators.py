"""Discriminators of waveforms, and the adversarial losses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

Features = list[Tensor]  # every layer's output; the last one is the score


class PeriodDiscriminator(nn.Module):
    """Sees a waveform as an image of width `period` (Kong et al. 2020, HiFi-GAN, section 2.3)."""

    def __init__(self, period: int, channels: int = 16) -> None:
        super().__init__()
        self.period = period
        widths = [1, channels, 2 * channels, 4 * channels, 4 * channels]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (5, 1), (3, 1), (2, 0)))
            for a, b in zip(widths, widths[1:], strict=False)
        )
        self.score = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, wav: Tensor) -> Features:
        """wav (B, T) -> layer outputs, score last."""
        wav = F.pad(wav, (0, -wav.shape[-1] % self.period))
        x = wav.view(len(wav), 1, -1, self.period)
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            features.append(x)
        return [*features, self.score(x)]


class SpectrumDiscriminator(nn.Module):
    """Sees a complex STFT, real and imaginary parts as channels (Defossez et al.

    2022, EnCodec, section 3.4).
    """

    def __init__(self, n_fft: int, channels: int = 16) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.window: Tensor
        self.layers = nn.ModuleList(
            weight_norm(
                nn.Conv2d(2 if i == 0 else channels, channels, (7, 3), (4 if i == 0 else 2, 1), (3, 1))
            )
            for i in range(4)
        )
        self.score = weight_norm(nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, wav: Tensor) -> Features:
        """wav (B, T) -> layer outputs, score last."""
        stft = torch.stft(
            wav, self.n_fft, self.n_fft // 4, window=self.window, return_complex=True, normalized=True
        )
        x = torch.stack([stft.real, stft.imag], dim=1)
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            features.append(x)
        return [*features, self.score(x)]


class Discriminators(nn.Module):
    """Several periods and several STFT resolutions at once."""

    def __init__(self, periods: Sequence[int], n_ffts: Sequence[int], channels: int = 16) -> None:
        super().__init__()
        self.members = nn.ModuleList(
            [PeriodDiscriminator(period, channels) for period in periods]
            + [SpectrumDiscriminator(n_fft, channels) for n_fft in n_ffts]
        )

    def forward(self, wav: Tensor) -> list[Features]:
        """wav (B, T) -> the features of each member."""
        return [member(wav) for member in self.members]


def discriminator_loss(real: list[Features], fake: list[Features]) -> Tensor:
    """Hinge loss: real scores above 1, fake ones below -1; mean over members."""
    return torch.stack(
        [F.relu(1 - r[-1]).mean() + F.relu(1 + f[-1]).mean() for r, f in zip(real, fake, strict=True)]
    ).mean()


def generator_loss(fake: list[Features]) -> Tensor:
    """The generator's side of the hinge loss; mean over members."""
    return torch.stack([-f[-1].mean() for f in fake]).mean()


def least_squares_discriminator_loss(real: list[Features], fake: list[Features]) -> Tensor:
    """Real scores towards 1, fake ones towards 0 (LSGAN, Mao et al. 2017, eq. 9); mean over members."""
    return torch.stack(
        [(1 - r[-1]).square().mean() + f[-1].square().mean() for r, f in zip(real, fake, strict=True)]
    ).mean()


def least_squares_generator_loss(fake: list[Features]) -> Tensor:
    """The generator's side of the least-squares loss: fake scores towards 1; mean over members."""
    return torch.stack([(1 - f[-1]).square().mean() for f in fake]).mean()


def feature_matching_loss(real: list[Features], fake: list[Features]) -> Tensor:
    """L1 between layer outputs, each relative to the real one's mean size (Kumar et al.

    2023, DAC, section 3.5).
    """
    return torch.stack(
        [
            F.l1_loss(f, r.detach()) / r.detach().abs().mean().clamp(min=1e-5)
            for real_features, fake_features in zip(real, fake, strict=True)
            for r, f in zip(real_features[:-1], fake_features[:-1], strict=True)
        ]
    ).mean()
