"""Periodic activations at twice the sample rate, which hardly make aliases (Lee et al. 2023, section 3.2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from audiogen.kernels.snake import antialiased_snake

REACH = 5  # an output sees this many inputs before it and after it


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
