"""The noise level as a vector, for denoisers."""

from __future__ import annotations

from torch import Tensor, nn

from audiogen.nn.text_encoder import sinusoids


class LevelEmbedding(nn.Module):
    """Log-SNR (natural, of amplitudes) to a vector.

    Clipped to [-8, 8], so that pure noise has a finite label.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(channels, channels), nn.Mish(), nn.Linear(channels, channels))
        self.channels = channels

    def forward(self, log_snr: Tensor) -> Tensor:
        """(B,) -> (B, C)."""
        return self.mlp(sinusoids(10 * log_snr.clamp(-8, 8), self.channels))
