"""DualAGC: attention to a timbre and to a style reference, the second behind a gate (StableVC).

Yao et al. 2025, "StableVC: Style Controllable Zero-Shot Voice Conversion with Conditional Flow Matching".
What is attended to depends neither on the state nor on the time: keys and values are made once a voice.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STYLE_HOP = 4  # frames that one style vector stands for
Reading = Literal["keys", "token"]
"""How the speaker vector joins the timbre keys, which the paper leaves open: "keys", beside every frame's
channels before they are projected (one vector more on all keys: only their normalisation lets it matter);
"token", as one key and value more."""


class HeadNorm(nn.Module):
    """Root-mean-square normalisation of each head's vectors, with a learnt scale (QK-norm)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., width)."""
        return F.rms_norm(x, self.scale.shape, self.scale, 1e-6)


def rotate(x: Tensor, positions: Tensor) -> Tensor:
    """Rotary code of positions (B, N) on x (B, H, N, D), D even (Su et al. 2021, equation 34)."""
    half = x.shape[-1] // 2
    rates = 10000.0 ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angles = positions[:, None, :, None].float() * rates
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, N, C) -> (B, H, N, C / H)."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """(B, H, N, D) -> (B, N, H D)."""
    return x.transpose(1, 2).flatten(-2)


class DualAttention(nn.Module):
    """softmax(q k_timbre) v_timbre + tanh(alpha) softmax(q k_style) v_style, alpha one a head, 0 at first.

    Queries and keys are normalised. Timbre keys have no positions: references are sets of frames. Style keys
    have their place in the clip, and queries the place in theirs stretched to it, so that an intonation runs
    along a sentence. channels divide into `heads` of even width; speaker: size of the speaker vector. Raises
    ValueError where they do not divide.
    """

    def __init__(
        self, channels: int, heads: int, style: int, speaker: int, reading: Reading = "keys"
    ) -> None:
        super().__init__()
        if channels % (2 * heads):
            raise ValueError(f"{channels} channels do not divide into {heads} heads of even width")
        if reading not in ("keys", "token"):
            raise ValueError(f"speaker_reading {reading!r} is unknown; use keys or token")
        self.heads, self.reading = heads, reading
        width = channels // heads
        self.query = nn.Linear(channels, channels, bias=False)
        joined = speaker if reading == "keys" else 0
        self.timbre_key = nn.Linear(channels + joined, channels, bias=False)
        self.timbre_value = nn.Linear(channels, channels, bias=False)
        if reading == "token":
            self.speaker_key = nn.Linear(speaker, channels, bias=False)
            self.speaker_value = nn.Linear(speaker, channels, bias=False)
        self.style_key = nn.Linear(style, channels, bias=False)
        self.style_value = nn.Linear(style, channels, bias=False)
        self.norms = nn.ModuleDict({name: HeadNorm(width) for name in ("query", "timbre", "style")})
        self.alpha = nn.Parameter(torch.zeros(heads))
        self.out = nn.Linear(channels, channels)

    def timbre(self, frames: Tensor, speaker: Tensor) -> tuple[Tensor, Tensor]:
        """Encoded reference frames (B, M, C), speaker vectors (B, S) -> keys and values (B, H, M', D).

        M' is M, and M + 1 with the reading "token".
        """
        values = self.timbre_value(frames)
        if self.reading == "keys":
            beside = speaker[:, None].expand(-1, frames.shape[1], -1)
            keys = self.timbre_key(torch.cat([frames, beside], dim=-1))
        else:
            keys = torch.cat([self.timbre_key(frames), self.speaker_key(speaker)[:, None]], dim=1)
            values = torch.cat([values, self.speaker_value(speaker)[:, None]], dim=1)
        return self.norms["timbre"](split_heads(keys, self.heads)), split_heads(values, self.heads)

    def style(self, style: Tensor) -> tuple[Tensor, Tensor]:
        """Style vectors (B, J, C_style), one every STYLE_HOP frames -> keys and values (B, H, J, D)."""
        keys = self.norms["style"](split_heads(self.style_key(style), self.heads))
        places = STYLE_HOP * (torch.arange(style.shape[1], device=style.device) + 0.5)
        keys = rotate(keys, places.expand(len(style), -1))
        return keys, split_heads(self.style_value(style), self.heads)

    def forward(
        self,
        x: Tensor,
        timbre: tuple[Tensor, Tensor],
        style: tuple[Tensor, Tensor],
        masks: tuple[Tensor, Tensor],
        shares: tuple[Tensor, Tensor],
        places: Tensor,
    ) -> Tensor:
        """x (B, N, C) with keys and values of both references -> (B, N, C).

        masks: True at real frames (B, M) and vectors (B, J). shares: what each item takes of the two, (B,), 0
        to be without a reference. places: of x in the style clip, in frames, (B, N).
        """
        query = self.norms["query"](split_heads(self.query(x), self.heads))
        with_token = F.pad(masks[0], (0, timbre[0].shape[2] - masks[0].shape[1]), value=True)
        heard = F.scaled_dot_product_attention(query, *timbre, attn_mask=with_token[:, None, None])
        placed = rotate(query, places)
        felt = F.scaled_dot_product_attention(placed, *style, attn_mask=masks[1][:, None, None])
        gate = torch.tanh(self.alpha)[None, :, None, None] * shares[1][:, None, None, None]
        out: Tensor = self.out(join_heads(shares[0][:, None, None, None] * heard + gate * felt))
        return out
