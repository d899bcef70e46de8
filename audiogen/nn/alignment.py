"""Monotonic alignment search: the best way to lay a sequence of tokens along a sequence of frames."""

from __future__ import annotations

import torch
from torch import Tensor

STAY, STEP, SKIP = 0, 1, 2  # where a path came from: the same token, the one before, the one before that


def monotonic_alignment(
    scores: Tensor, token_lengths: Tensor, frame_lengths: Tensor, optional: Tensor | None = None
) -> Tensor:
    """Durations of the best monotonic path (Glow-TTS, Kim et al.

    2020, Algorithm 1) -> (B, S) int64 frames a token.

    scores: (B, S, N) log-likelihood of frame n under token s. token_lengths, frame_lengths: (B,). optional:
    (B, S) bool, tokens that may take no frame at all (pauses); two neighbours must not both be optional. All
    other tokens take at least one frame. Vectorised over batch and tokens, one short step a frame; no
    gradient. Raises ValueError when an item has fewer frames than tokens that need one.
    """
    B, S, N = scores.shape
    optional = torch.zeros(B, S, dtype=torch.bool) if optional is None else optional
    real = torch.arange(S)[None] < token_lengths[:, None]
    _check(optional & real, (real & ~optional).sum(1), frame_lengths)

    with torch.no_grad():
        scores = scores.detach().float().masked_fill(~real[:, :, None], -torch.inf)
        may_skip = torch.zeros(B, S, dtype=torch.bool)
        may_skip[:, 2:] = optional[:, 1:-1]  # token i may follow i - 2 when i - 1 is optional
        best = torch.full((B, S), -torch.inf)
        best[:, 0] = scores[:, 0, 0]
        if S > 1:
            best[:, 1] = scores[:, 1, 0].masked_fill(~optional[:, 0], -torch.inf)
        came_from = torch.zeros(N, B, S, dtype=torch.uint8)
        final = best.clone()
        never = torch.full((B, 2), -torch.inf)
        for n in range(1, N):
            padded = torch.cat([never, best], dim=1)
            moves = torch.stack([best, padded[:, 1:-1], padded[:, :-2].masked_fill(~may_skip, -torch.inf)])
            value, came_from[n] = moves.max(0)
            best = value + scores[:, :, n]
            final = torch.where((frame_lengths == n + 1)[:, None], best, final)
        return _backtrack(came_from, final, optional, token_lengths, frame_lengths)


def _backtrack(
    came_from: Tensor, final: Tensor, optional: Tensor, token_lengths: Tensor, frame_lengths: Tensor
) -> Tensor:
    """Follow the choices from each item's last frame -> durations (B, S)."""
    N, B, S = came_from.shape
    rows = torch.arange(B)
    last = token_lengths - 1
    before = (last - 1).clamp(min=0)
    ends_early = optional[rows, last] & (last > 0) & (final[rows, before] > final[rows, last])
    token = torch.where(ends_early, before, last)
    durations = torch.zeros(B, S, dtype=torch.int64)
    for n in range(N - 1, -1, -1):
        active = n < frame_lengths
        durations[rows, token] += active
        token = (token - torch.where(active, came_from[n, rows, token].long(), 0)).clamp(min=0)
    return durations


def _check(optional: Tensor, needed: Tensor, frame_lengths: Tensor) -> None:
    """Refuse what has no path."""
    if bool((optional[:, 1:] & optional[:, :-1]).any()):
        raise ValueError("two neighbouring tokens are optional; merge them into one")
    if bool((short := needed > frame_lengths).any()):
        i = int(short.nonzero()[0])
        raise ValueError(
            f"item {i} has {int(frame_lengths[i])} frames for {int(needed[i])} tokens: each needs one; "
            "drop the item or use a shorter hop"
        )
