"""Vocos: a ConvNeXt stack that predicts an STFT, and the inverse STFT (Siuzdak 2023)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audiogen.nn.convnext import ConvNeXtBlock
from audiogen.spectral import MelSpec


class Vocos(nn.Module):
    """Log-mel frames to a waveform in one pass at frame rate.

    The head predicts log-magnitude and phase of every STFT bin; the inverse STFT does the upsampling (Siuzdak
    2023, section 3). n_fft: window of that STFT, which need not be the mels' own. channels, hidden and blocks
    size the stack, whose receptive field is 6 blocks + 7 frames.
    """

    def __init__(
        self, mel_spec: MelSpec, channels: int = 256, hidden: int = 768, blocks: int = 8, n_fft: int = 1024
    ) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.mel_spec = mel_spec
        self.stem = nn.Conv1d(mel_spec.n_mels, channels, 7, padding=3)
        self.stem_norm = nn.LayerNorm(channels, eps=1e-6)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(channels, hidden, layer_scale=1 / blocks) for _ in range(blocks)
        )
        self.head_norm = nn.LayerNorm(channels, eps=1e-6)
        self.head = nn.Linear(channels, n_fft + 2)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.window: Tensor

    def spectrum(self, mel: Tensor) -> Tensor:
        """mel (B, n_mels, N) -> complex STFT (B, n_fft // 2 + 1, N)."""
        x = self.stem_norm(self.stem(mel).transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        log_magnitude, phase = self.head(self.head_norm(x.transpose(1, 2))).transpose(1, 2).chunk(2, dim=1)
        magnitude = log_magnitude.float().clamp(max=5.0).exp()  # e^5: no single bin can explode
        return torch.polar(magnitude, phase.float())

    def decode(self, mel: Tensor) -> Tensor:
        """mel (B, n_mels, N), N >= 2 -> waveform (B, 1, (N - 1) hop_length)."""
        spectrum = self.spectrum(mel)
        return torch.istft(spectrum, self.n_fft, self.mel_spec.hop_length, window=self.window)[:, None]

    forward = decode
