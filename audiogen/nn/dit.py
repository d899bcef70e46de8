"""Transformer blocks of StableVC: FiLM of time and speaker, a mixer over time, DualAGC, a feed-forward part.

Conditions are plain dictionaries of tensors with the batch first, as `sampling.guidance.batched` stacks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.nn.dual_attention import (
    STYLE_HOP,
    DualAttention,
    HeadNorm,
    Reading,
    join_heads,
    rotate,
    split_heads,
)
from audiogen.nn.level_embedding import LevelEmbedding

Memory = Mapping[str, Tensor]
"""What a stack of L blocks attends to. timbre_keys, timbre_values (B, L, H, M, D); style_keys, style_values
(B, L, H, J, D); timbre_mask (B, M), style_mask (B, J) True = real; timbre_share, style_share (B,); speaker
(B, S). `without` gives one with neither."""


class ConvMixer(nn.Module):
    """Light convolution: depthwise over time, then across channels."""

    def __init__(self, channels: int, heads: int, kernel_size: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, N, C), mask (B, N) True = real -> (B, N, C)."""
        y = self.depthwise((x * mask[..., None]).transpose(1, 2)).transpose(1, 2)
        mixed: Tensor = self.out(F.gelu(y))
        return mixed


class AttentionMixer(nn.Module):
    """Self-attention with rotary positions and normalised queries and keys."""

    def __init__(self, channels: int, heads: int, kernel_size: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.norms = nn.ModuleList(HeadNorm(channels // heads) for _ in range(2))
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """See `ConvMixer`."""
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        places = torch.arange(x.shape[1], device=x.device).expand(len(x), -1)
        q, k = (rotate(norm(part), places) for norm, part in zip(self.norms, (q, k), strict=True))
        mixed: Tensor = self.out(
            join_heads(F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None]))
        )
        return mixed


MIXERS: dict[str, type[ConvMixer] | type[AttentionMixer]] = {"conv": ConvMixer, "attention": AttentionMixer}


class Block(nn.Module):
    """FiLM, then three residual parts: mixer, DualAGC, feed-forward."""

    def __init__(
        self,
        channels: int,
        heads: int,
        hidden: int,
        style: int,
        speaker: int,
        mixer: str,
        kernel_size: int,
        reading: Reading,
    ) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))
        self.mixer = MIXERS[mixer](channels, heads, kernel_size)
        self.attention = DualAttention(channels, heads, style, speaker, reading)
        self.expand = nn.Linear(channels, hidden)
        self.contract = nn.Linear(hidden, channels)

    def forward(
        self, x: Tensor, film: Tensor, memory: Memory, layer: int, mask: Tensor, places: Tensor
    ) -> Tensor:
        """x (B, N, C), film (B, 2 C) scale and shift; mask (B, N); places: see `DualAttention`."""
        scale, shift = film[:, None].chunk(2, dim=-1)
        x = x * (1 + scale) + shift
        x = x + self.mixer(self.norms[0](x), mask)
        timbre = memory["timbre_keys"][:, layer], memory["timbre_values"][:, layer]
        style = memory["style_keys"][:, layer], memory["style_values"][:, layer]
        masks = memory["timbre_mask"], memory["style_mask"]
        shares = memory["timbre_share"], memory["style_share"]
        x = x + self.attention(self.norms[1](x), timbre, style, masks, shares, places)
        out: Tensor = x + self.contract(F.gelu(self.expand(self.norms[2](x))))
        return out


class DiT(nn.Module):
    """A stack of blocks, of which each knows a voice and a style, and the time if it is told.

    hidden: of the feed-forward parts. style, speaker: sizes of style and speaker vectors. mixer: "conv", of
    kernel_size, or "attention". reading: see `Reading`. Raises ValueError for another mixer or no blocks.
    """

    def __init__(
        self,
        channels: int = 192,
        blocks: int = 4,
        heads: int = 4,
        hidden: int = 576,
        style: int = 64,
        speaker: int = 256,
        mixer: str = "conv",
        kernel_size: int = 11,
        reading: Reading = "keys",
    ) -> None:
        super().__init__()
        if mixer not in MIXERS:
            raise ValueError(f"unknown mixer {mixer!r}; use one of {', '.join(MIXERS)}")
        if blocks < 1:
            raise ValueError(f"a stack needs at least one block, got {blocks}")
        self.blocks = nn.ModuleList(
            Block(channels, heads, hidden, style, speaker, mixer, kernel_size, reading) for _ in range(blocks)
        )
        self.speaker = nn.Linear(speaker, channels)
        self.film = nn.Linear(channels, 2 * channels * blocks)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)
        self.norm = nn.LayerNorm(channels)

    def timbre(self, frames: Tensor, speaker: Tensor) -> dict[str, Tensor]:
        """Encoded reference frames (B, M, C), speaker (B, S) -> the keys and values of all blocks."""
        return _stacked("timbre", [block.attention.timbre(frames, speaker) for block in self._blocks()])

    def style(self, style: Tensor) -> dict[str, Tensor]:
        """Style vectors (B, J, C_style) -> the keys and values of all blocks."""
        return _stacked("style", [block.attention.style(style) for block in self._blocks()])

    def forward(self, x: Tensor, memory: Memory, mask: Tensor, level: Tensor | None = None) -> Tensor:
        """x (B, N, C), mask (B, N) True = real, level (B, C) of the noise -> (B, N, C), normalised."""
        told = self.speaker(memory["speaker"]) * memory["timbre_share"][:, None]
        films = self.film(F.silu(told if level is None else told + level)).chunk(len(self.blocks), dim=-1)
        places = style_places(mask, memory["style_mask"])
        for layer, (block, film) in enumerate(zip(self.blocks, films, strict=True)):
            x = block(x, film, memory, layer, mask, places)
        out: Tensor = self.norm(x)
        return out

    def gates(self) -> Tensor:
        """How far each block's heads are open to the style, tanh(alpha), (L, H)."""
        return torch.stack([torch.tanh(block.attention.alpha) for block in self._blocks()])

    def _blocks(self) -> list[Any]:
        return list(self.blocks)


def _stacked(name: str, pairs: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    keys, values = (torch.stack(list(part), dim=1) for part in zip(*pairs, strict=True))
    return {f"{name}_keys": keys, f"{name}_values": values}


def style_places(mask: Tensor, style_mask: Tensor) -> Tensor:
    """Where in the style clip each frame of mask (B, N) lies, stretched to its length, in frames (B, N)."""
    count = mask.sum(1, keepdim=True).clamp(min=1)
    share = (torch.arange(mask.shape[1], device=mask.device) + 0.5) / count
    return share * (STYLE_HOP * style_mask.sum(1, keepdim=True))


def without(memory: Memory, *names: str) -> dict[str, Tensor]:
    """The memory with nothing of "timbre" or "style" heard."""
    return {**memory, **{f"{name}_share": torch.zeros_like(memory[f"{name}_share"]) for name in names}}


class FlowNetwork(nn.Module):
    """Velocity of noisy mel frames, given content frames and a voice. stack: arguments of `DiT`."""

    def __init__(self, n_mels: int, content: int, channels: int = 192, **stack: Any) -> None:
        super().__init__()
        self.stem = nn.Linear(n_mels, channels)
        self.content = nn.Linear(content, channels)
        self.level = LevelEmbedding(channels)
        self.stack = DiT(channels, **stack)
        self.head = nn.Linear(channels, n_mels)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def project(self, frames: Tensor) -> Tensor:
        """Content frames (B, N, C) -> what every step needs of them."""
        projected: Tensor = self.content(frames)
        return projected

    def forward(self, x: Tensor, log_snr: Tensor, projected: Tensor, memory: Memory, mask: Tensor) -> Tensor:
        """x (B, n_mels, N), log_snr (B,), mask (B, N) True = real -> (B, n_mels, N), zero where masked."""
        y = self.stem(x.transpose(1, 2)) + projected
        y = self.stack(y, memory, mask, self.level(log_snr))
        return (self.head(y) * mask[..., None]).transpose(1, 2)
