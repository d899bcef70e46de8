"""Text encoder of Glow-TTS (Kim et al. 2020, appendix A), also that of Grad-TTS and CoMoSpeech."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.nn.conv import Pointwise
from audiogen.nn.convnext import ChannelNorm


class PreNet(nn.Module):
    """Convolutions with normalisation, ReLU and dropout, added to their input; zero at the start."""

    def __init__(self, channels: int, layers: int = 3, kernel_size: int = 5, dropout: float = 0.5) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel_size, padding=kernel_size // 2) for _ in range(layers)
        )
        self.norms = nn.ModuleList(ChannelNorm(channels) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.out = Pointwise(channels, channels)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, C, S) zero where masked, mask (B, 1, S) True = real -> (B, C, S), likewise zero."""
        y = x
        for conv, norm in zip(self.convs, self.norms, strict=True):
            y = self.dropout(F.relu(norm(conv(y)))) * mask
        return x + self.out(y) * mask


class RelativeAttention(nn.Module):
    """Self-attention that knows distances of up to `window` tokens (Shaw et al. 2018, equations 3 and 4).

    Farther tokens are seen without one. The heads share the vectors of the distances.
    """

    def __init__(self, channels: int, heads: int, window: int, dropout: float) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels do not divide into {heads} heads; use a multiple")
        self.heads, self.window = heads, window
        self.qkv = Pointwise(channels, 3 * channels)
        self.out = Pointwise(channels, channels)
        self.dropout = nn.Dropout(dropout)
        width = channels // heads
        self.distance_keys = nn.Parameter(torch.randn(2 * window + 1, width) * width**-0.5)
        self.distance_values = nn.Parameter(torch.randn(2 * window + 1, width) * width**-0.5)
        nn.init.xavier_uniform_(self.qkv.weight)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, C, S), mask (B, 1, S) True = real -> (B, C, S); masked tokens are not attended to."""
        B, C, S = x.shape
        q, k, v = self.qkv(x).view(B, 3, self.heads, C // self.heads, S).transpose(-1, -2).unbind(1)
        q = q / math.sqrt(C // self.heads)
        scores = q @ k.transpose(-1, -2) + self._spread(q @ self.distance_keys.T)
        scores = scores.masked_fill(~mask[:, None], torch.finfo(scores.dtype).min)
        weights = self.dropout(scores.softmax(-1))
        y = weights @ v + self._band(weights) @ self.distance_values
        return self.out(y.transpose(-1, -2).reshape(B, C, S))

    def _spread(self, by_distance: Tensor) -> Tensor:
        """Numbers by distance (B, H, S, 2 window + 1) -> by position (B, H, S, S), zero beyond the window."""
        B, H, S, _ = by_distance.shape
        token = torch.arange(S, device=by_distance.device)
        distance = (token - token[:, None]).clamp(-self.window - 1, self.window + 1)
        columns = (distance + self.window + 1).expand(B, H, S, S)
        return F.pad(by_distance, (1, 1)).gather(-1, columns)

    def _band(self, by_position: Tensor) -> Tensor:
        """Numbers by position (B, H, S, S) -> by distance (B, H, S, 2 window + 1), zero beyond the ends."""
        B, H, S, _ = by_position.shape
        steps = torch.arange(S, device=by_position.device)[:, None]
        columns = steps + torch.arange(2 * self.window + 1, device=by_position.device)
        padded = F.pad(by_position, (self.window, self.window))
        return padded.gather(-1, columns.expand(B, H, *columns.shape))


class RelativeBlock(nn.Module):
    """Relative attention, then two convolutions; each with residual and post-normalisation."""

    def __init__(
        self, channels: int, hidden: int, kernel_size: int, heads: int, window: int, dropout: float
    ) -> None:
        super().__init__()
        self.attention = RelativeAttention(channels, heads, window, dropout)
        self.attention_norm = ChannelNorm(channels)
        self.expand = nn.Conv1d(channels, hidden, kernel_size, padding=kernel_size // 2)
        self.contract = nn.Conv1d(hidden, channels, kernel_size, padding=kernel_size // 2)
        self.norm = ChannelNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, C, S) zero where masked, mask (B, 1, S) True = real -> (B, C, S), likewise zero."""
        x = self.attention_norm(x + self.dropout(self.attention(x, mask))) * mask
        y = self.contract(self.dropout(F.relu(self.expand(x))) * mask)
        return self.norm(x + self.dropout(y)) * mask


class RelativeTextEncoder(nn.Module):
    """Tokens with stress and length features to hidden states, called as `TextEncoder` is.

    Pre-net, then Transformer blocks whose attention knows near tokens by their distance. The defaults are
    the sizes of Glow-TTS and Grad-TTS, 6.8 M parameters. Raises ValueError when the channels do not divide
    into the heads.
    """

    def __init__(
        self,
        num_symbols: int,
        channels: int = 192,
        blocks: int = 6,
        hidden: int = 768,
        kernel_size: int = 3,
        heads: int = 2,
        window: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.symbol = nn.Embedding(num_symbols, channels)
        self.stress = nn.Embedding(3, channels)
        self.long = nn.Embedding(2, channels)
        for table in (self.symbol, self.stress, self.long):
            nn.init.normal_(table.weight, std=channels**-0.5)
        self.pre_net = PreNet(channels)
        self.blocks = nn.ModuleList(
            RelativeBlock(channels, hidden, kernel_size, heads, window, dropout) for _ in range(blocks)
        )

    def forward(self, tokens: Tensor, stress: Tensor, long: Tensor, mask: Tensor) -> Tensor:
        """Tokens, stress, long: (B, S) int64; mask (B, 1, S) True = real -> (B, C, S), zero where masked."""
        x = (self.symbol(tokens) + self.stress(stress) + self.long(long)) * math.sqrt(self.channels)
        x = self.pre_net(x.transpose(1, 2) * mask, mask)
        for block in self.blocks:
            x = block(x, mask)
        return x
