"""Where a moment of music lies in its beat, as something networks are told.

Beats are (..., 2): how much of a beat is over when a token begins, and how many beats a token lasts. A rate
of 0 says that nothing is known of them.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HARMONICS = (1, 2, 4)  # of a beat: itself, its halves, its quarters


def steady_beats(first: Tensor, rate: Tensor, tokens: int) -> Tensor:
    """Beats (B, tokens, 2) of one tempo, first (B,) at the first token; rate (B,) in beats a token."""
    place = first[:, None] + rate[:, None] * torch.arange(tokens, device=rate.device)
    known = rate[:, None] > 0
    return torch.stack((place.remainder(1) * known, rate[:, None].expand_as(place)), dim=-1)


def hidden_beats(beats: Tensor | None, hidden: Tensor | None) -> Tensor | None:
    """Beats (B, T, 2) as they are told: those of items for which hidden (B,) is True are unknown."""
    return beats if beats is None or hidden is None else beats * ~hidden[:, None, None]


def next_beat(beats: Tensor) -> Tensor:
    """Beats (B, T, 2) -> (B,), where the token after the last begins; 0 where there is none or none known."""
    if not beats.shape[1]:
        return beats.new_zeros(len(beats))
    return beats[:, -1].sum(-1).remainder(1)


def beats_in_frames(beats: Tensor, frames_per_token: float) -> Tensor:
    """Beats (B, T, 2) of tokens -> (B, L, 2), those of every frame's middle; the rate is still a token's."""
    frames = round(beats.shape[1] * frames_per_token)
    place = (torch.arange(frames, device=beats.device) + 0.5) / frames_per_token
    token = place.long().clamp(max=beats.shape[1] - 1)
    count, rate = beats[:, token].unbind(-1)
    return torch.stack((count + rate * (place - token), rate), dim=-1)


class BeatEmbedding(nn.Module):
    """Beats as vectors, zero where nothing is known; at first they make no difference."""

    def __init__(self, width: int, hidden: int = 64) -> None:
        super().__init__()
        self.enter = nn.Linear(2 * len(HARMONICS) + 1, hidden)
        self.leave = nn.Linear(hidden, width)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)
        self.register_buffer("harmonics", torch.tensor(HARMONICS), persistent=False)
        self.harmonics: Tensor

    def forward(self, beats: Tensor) -> Tensor:
        """(..., 2) -> (..., width)."""
        count, rate = beats.unbind(-1)
        known = rate > 0
        turns = 2 * math.pi * count[..., None] * self.harmonics
        octave = torch.where(known, rate, 1).log2()[..., None]
        features = torch.cat((octave, turns.cos(), turns.sin()), dim=-1)
        out: Tensor = self.leave(F.gelu(self.enter(features))) * known[..., None]
        return out
