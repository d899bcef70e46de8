"""Parts of LLaMA-style transformers (Touvron et al. 2023): rotary attention and the SwiGLU feed-forward."""

from __future__ import annotations

from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Rotation: TypeAlias = tuple[Tensor, Tensor]
"""Cosines and sines (..., S, R / 2) of the angles by which places turn the first R of a head's dimensions."""

KeysValues: TypeAlias = tuple[Tensor, Tensor]
"""Keys and values of attention, (B, H, S, D / H) each."""


def rotation(positions: Tensor, dims: int, *, base: float = 10000.0) -> Rotation:
    """The turn of each place (Su et al. 2021, equation 15); dims must be even.

    positions: (..., S) real numbers, so that sequences of different rates can share one clock. dims: of a
    head that are turned; the others know nothing of places. Returns two tensors (..., S, dims / 2).
    """
    rates = base ** (-torch.arange(0, dims, 2, device=positions.device, dtype=torch.float32) / dims)
    angles = positions.float()[..., None] * rates
    return angles.cos(), angles.sin()


def rotate(x: Tensor, turn: Rotation) -> Tensor:
    """x (B, H, S, E) with its first dimensions turned in pairs of (i, i + R / 2)."""
    cos, sin = (part.to(x.dtype) for part in turn)
    half = cos.shape[-1]
    a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat((a * cos - b * sin, a * sin + b * cos, rest), dim=-1)


class Attention(nn.Module):
    """Multi-head attention with rotary places, to the sequence itself or to a context of another width.

    Raises ValueError when the width does not divide into the heads.
    """

    def __init__(self, width: int, heads: int, *, context_width: int | None = None) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width {width} must be a multiple of twice the {heads} heads")
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(context_width or width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def keys_values(self, context: Tensor, turn: Rotation | None = None) -> KeysValues:
        """Context (B, S, C) -> its keys, turned, and values; they may be kept for later queries."""
        k, v = (self._split(part) for part in self.key_value(context).chunk(2, dim=-1))
        return (k if turn is None else rotate(k, turn)), v

    def forward(
        self,
        x: Tensor,
        context: KeysValues,
        turn: Rotation | None = None,
        *,
        mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """Queries of x (B, N, D) against keys and values (B, H, S, E) -> (B, N, D).

        mask: True = attend, broadcasting to (B, H, N, S); every query needs one key. causal: place n of x
        sees keys up to n, for N = S.
        """
        q = self._split(self.query(x))
        q = q if turn is None else rotate(q, turn)
        y = F.scaled_dot_product_attention(q, *context, attn_mask=mask, is_causal=causal)
        return self.out(y.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)


class SwiGLU(nn.Module):
    """Gated feed-forward W_2 (silu(W_1 x) * W_3 x) (Shazeer 2020)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


def hidden_width(width: int) -> int:
    """Two thirds of four times the width, as LLaMA has it, up to a multiple of 16."""
    return -(-8 * width // 48) * 16
