"""Text encoder of FastSpeech 2 (Ren et al. 2021): embedded tokens through feed-forward Transformer blocks."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.nn.conv import Pointwise
from audiogen.nn.convnext import ChannelNorm


class FFTBlock(nn.Module):
    """Self-attention, then a two-layer convolution.

    Each with residual and post-normalisation (Ren et al. 2019, Fig. 1b).

    heads = 0 leaves the attention out: a short corpus teaches convolutions more than it teaches attention.
    """

    def __init__(self, channels: int, hidden: int, kernel_size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, heads, dropout, batch_first=True) if heads else None
        self.attention_norm = ChannelNorm(channels) if heads else None
        self.conv = nn.Conv1d(channels, hidden, kernel_size, padding=kernel_size // 2)
        self.pointwise = Pointwise(hidden, channels)
        self.norm = ChannelNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, C, S), mask (B, 1, S) True = real -> (B, C, S), zero where masked."""
        if self.attention is not None and self.attention_norm is not None:
            q = x.transpose(1, 2)
            y, _ = self.attention(q, q, q, key_padding_mask=~mask[:, 0], need_weights=False)
            x = self.attention_norm(x + self.dropout(y.transpose(1, 2))) * mask
        y = self.pointwise(F.relu(self.conv(x)))
        return self.norm(x + self.dropout(y)) * mask


class TextEncoder(nn.Module):
    """Tokens with stress and length features to hidden states.

    positions: add sinusoidal positions; only attention needs them.
    """

    def __init__(
        self,
        num_symbols: int,
        channels: int = 192,
        blocks: int = 4,
        hidden: int = 384,
        kernel_size: int = 5,
        heads: int = 0,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.positions = heads > 0
        self.symbol = nn.Embedding(num_symbols, channels)
        self.stress = nn.Embedding(3, channels)
        self.long = nn.Embedding(2, channels)
        for table in (self.symbol, self.stress, self.long):
            nn.init.normal_(table.weight, std=channels**-0.5)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            FFTBlock(channels, hidden, kernel_size, heads, dropout) for _ in range(blocks)
        )

    def forward(
        self, tokens: Tensor, stress: Tensor, long: Tensor, mask: Tensor, more: Tensor | None = None
    ) -> Tensor:
        """Tokens, stress, long: (B, S) int64; mask (B, 1, S) True = real -> (B, C, S), zero where masked.

        more: (B, S, C), added to the embeddings.
        """
        x = (self.symbol(tokens) + self.stress(stress) + self.long(long)) * math.sqrt(self.channels)
        if more is not None:
            x = x + more
        if self.positions:
            x = x + sinusoids(torch.arange(x.shape[1], device=x.device).float(), self.channels)
        x = self.dropout(x).transpose(1, 2) * mask
        for block in self.blocks:
            x = block(x, mask)
        return x


def sinusoids(values: Tensor, channels: int, longest: float = 10000.0) -> Tensor:
    """Sinusoidal features (Vaswani et al. 2017, section 3.5) of values (...) -> (..., channels)."""
    exponents = torch.arange(channels // 2, device=values.device) / max(1, channels // 2 - 1)
    angles = values[..., None] * torch.exp(-math.log(longest) * exponents)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
