"""Periodic activations at twice the sample rate, which hardly make aliases (Lee et al. 2023, section 3.2)."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TAPS = 12
REACH = 5  # an output sees this many inputs before it and after it


@lru_cache(maxsize=1)
def half_band_taps() -> tuple[float, ...]:
    """The low-pass filter of 12 taps of both changes of the sample rate: a sinc in a Kaiser window, sum 1.

    Cut off at a quarter of the higher rate; the width of the transition, 0.6 of it, decides the window's
    shape by Kaiser's formulas (1974).
    """
    attenuation_db = 2.285 * (TAPS / 2 - 1) * math.pi * 2 * 0.6 + 7.95
    shape = 0.1102 * (attenuation_db - 8.7)  # the formula for more than 50 dB; it is 51
    time = torch.arange(TAPS, dtype=torch.float64) - (TAPS - 1) / 2
    window = torch.kaiser_window(TAPS, periodic=False, beta=shape, dtype=torch.float64)
    taps = window * torch.sinc(time / 2)
    return tuple((taps / taps.sum()).tolist())


def antialiased_snake(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """u + sin(alpha u)^2 / beta of the signal u at twice the rate, filtered down again.

    x (B, C, T), T >= 1; alpha, beta (C,), positive -> (B, C, T). Before either filter a signal continues
    by its first and last value.
    """
    batch, channels, count = x.shape
    taps = torch.tensor(half_band_taps(), dtype=x.dtype, device=x.device)
    # the even and the odd values of the doubled rate are two filterings of x, each by every other tap
    even, odd = 2 * taps[0::2], 2 * taps[1::2]
    phases = torch.stack((F.pad(even, (0, 1)), F.pad(odd, (1, 0))))[:, None]
    rows = F.pad(x, (3, 3), mode="replicate").reshape(batch * channels, 1, count + 6)
    u = F.conv1d(rows, phases).transpose(1, 2).reshape(batch, channels, 2 * count)
    u = u + torch.sin(alpha[:, None] * u).square() / (beta[:, None] + 1e-9)
    rows = F.pad(u, (5, 6), mode="replicate").reshape(batch * channels, 1, 2 * count + 11)
    return F.conv1d(rows, taps[None, None], stride=2).reshape(batch, channels, count)


class SnakeState(NamedTuple):
    """Inputs (B, C, m) that later outputs need, and how many of them have had their own output."""

    inputs: Tensor
    done: int


class AntialiasedSnake(nn.Module):
    """`antialiased_snake` with a frequency and, if `own_height`, a height for every channel.

    Without, the height is one over the frequency: Snake (Ziyin et al. 2020), otherwise SnakeBeta. log_scale:
    the parameters are logarithms.
    """

    lookahead = REACH

    def __init__(self, channels: int, *, own_height: bool = True, log_scale: bool = True) -> None:
        super().__init__()
        start = torch.zeros(channels) if log_scale else torch.ones(channels)
        self.alpha = nn.Parameter(start)
        self.beta = nn.Parameter(start.clone()) if own_height else None
        self.log_scale = log_scale

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, N), N >= 1 -> (B, C, N)."""
        alpha = self.alpha.exp() if self.log_scale else self.alpha
        if self.beta is None:
            return antialiased_snake(x, alpha, alpha)
        return antialiased_snake(x, alpha, self.beta.exp() if self.log_scale else self.beta)

    def init_state(self, batch: int) -> SnakeState:
        """No input yet."""
        return SnakeState(self.alpha.new_zeros(batch, len(self.alpha), 0), 0)

    def stream(self, state: SnakeState, x: Tensor, last: bool = False) -> tuple[SnakeState, Tensor]:
        """The next inputs (B, C, n), n >= 0 -> state, the outputs (B, C, m) that are complete.

        An output is that of the whole signal where the chunk holds all it sees, or the signal's own edge.
        """
        seen = torch.cat((state.inputs, x), dim=-1)
        done = max(state.done, seen.shape[-1] - (0 if last else REACH))
        out = self(seen)[..., state.done : done] if done > state.done else seen[..., :0]
        kept = max(0, done - REACH)
        return SnakeState(seen[..., kept:], done - kept), out
