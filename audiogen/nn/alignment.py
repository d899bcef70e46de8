"""Monotonic alignment search: the best way to lay a sequence of tokens along a sequence of frames."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

STAY, STEP, SKIP = 0, 1, 2  # where a path came from: the same token, the one before, the one before that


def monotonic_alignment(
    scores: Tensor, token_lengths: Tensor, frame_lengths: Tensor, optional: Tensor | None = None
) -> Tensor:
    """Durations of the best monotonic path (Glow-TTS, Kim et al.

    2020, Algorithm 1) -> (B, S) int64 frames a token, on the device of the scores.

    scores: (B, S, N) log-likelihood of frame n under token s, summed in float32. token_lengths: (B,), 1 to S.
    frame_lengths: (B,), at most N. optional: (B, S) bool, tokens that may take no frame at all (pauses); two
    neighbours must not both be optional. All other tokens take at least one frame. Of equal paths: the one
    whose last frames lie on the latest tokens. No gradient. On a CPU the search is compiled by numba at the
    first call (kept on disk for later processes); without numba, and on other devices, it is vectorised over
    batch and tokens, one short step a frame, with the same result. Raises ValueError when an item has fewer
    frames than tokens that need one, or a length that the scores do not have.
    """
    device, (B, S, _) = scores.device, scores.shape
    optional = torch.zeros(B, S, dtype=torch.bool) if optional is None else optional
    optional, token_lengths, frame_lengths = (
        optional.to(device, torch.bool),
        token_lengths.to(device, torch.int64),
        frame_lengths.to(device, torch.int64),
    )
    _check(scores, optional, token_lengths, frame_lengths)
    scores = scores.detach().float()
    search = compiled_search() if device.type == "cpu" else None
    if search is None:
        return search_vectorised(scores, optional, token_lengths, frame_lengths)
    lengths = zip(token_lengths.tolist(), frame_lengths.tolist(), strict=True)
    rows, skippable = scores.contiguous().numpy(), optional.contiguous().numpy()
    durations = np.zeros((B, S), np.int64)
    for i, pair in enumerate(lengths):
        durations[i] = search(rows[i], skippable[i], *pair)
    return torch.from_numpy(durations)


@cache
def compiled_search() -> Callable[..., Any] | None:
    """`search_loop` as machine code, made at its first call; None where numba is missing."""
    try:
        from numba import njit
    except ImportError:
        return None
    try:
        return njit(cache=True, nogil=True)(search_loop)
    except RuntimeError:  # numba finds no folder to keep the code in
        return njit(nogil=True)(search_loop)


def search_loop(
    scores: NDArray[np.float32], optional: NDArray[np.bool_], tokens: int, frames: int
) -> NDArray[np.int64]:
    """The search of one item, frame by frame and token by token, for numba.

    scores: (S, N). optional: (S,). tokens, frames: lengths, 1 to S and 1 to N; compiled code does not check
    its indices. Returns durations (S,).
    """
    S, N = scores.shape
    never = np.float32(-np.inf)
    best, new = np.full(S + 2, never), np.full(S + 2, never)  # of token s at s + 2
    toll = np.full(S, never)  # of coming from s - 2; added, since a branch for it would not run as SIMD
    for s in range(2, tokens):
        if optional[s - 1]:
            toll[s] = 0
    best[2] = scores[0, 0]
    if tokens > 1 and optional[0]:
        best[3] = scores[1, 0]
    came_from = np.zeros((frames, S), np.uint8)
    for n in range(1, frames):
        for s in range(tokens):
            stay, step, skip = best[s + 2], best[s + 1], best[s] + toll[s]
            value = step if step > stay else stay
            move = np.uint8(STEP) if step > stay else np.uint8(STAY)
            came_from[n, s] = np.uint8(SKIP) if skip > value else move
            new[s + 2] = (skip if skip > value else value) + scores[s, n]
        best, new = new, best
    s = tokens - 1
    if s > 0 and optional[s] and best[s + 1] > best[s + 2]:
        s -= 1
    durations = np.zeros(S, np.int64)
    for n in range(frames - 1, -1, -1):
        durations[s] += 1
        s -= came_from[n, s]
    return durations


def search_vectorised(
    scores: Tensor, optional: Tensor, token_lengths: Tensor, frame_lengths: Tensor
) -> Tensor:
    """`search_loop` over the whole batch and all tokens at once, on any device."""
    B, S, N = scores.shape
    device = scores.device
    real = torch.arange(S, device=device) < token_lengths[:, None]
    scores = scores.masked_fill(~real[:, :, None], -torch.inf)
    may_skip = torch.zeros(B, S, dtype=torch.bool, device=device)
    may_skip[:, 2:] = optional[:, 1:-1]  # token i may follow i - 2 when i - 1 is optional
    best = torch.full((B, S), -torch.inf, device=device)
    best[:, 0] = scores[:, 0, 0]
    if S > 1:
        best[:, 1] = scores[:, 1, 0].masked_fill(~optional[:, 0], -torch.inf)
    came_from = torch.zeros(N, B, S, dtype=torch.uint8, device=device)
    final = best.clone()
    never = torch.full((B, 2), -torch.inf, device=device)
    for n in range(1, N):
        padded = torch.cat([never, best], dim=1)
        moves = torch.stack([best, padded[:, 1:-1], padded[:, :-2].masked_fill(~may_skip, -torch.inf)])
        value, came_from[n] = moves.max(0)  # the first of equals
        best = value + scores[:, :, n]
        final = torch.where((frame_lengths == n + 1)[:, None], best, final)
    return _backtrack(came_from, final, optional, token_lengths, frame_lengths)


def _backtrack(
    came_from: Tensor, final: Tensor, optional: Tensor, token_lengths: Tensor, frame_lengths: Tensor
) -> Tensor:
    """Follow the choices from each item's last frame -> durations (B, S)."""
    N, B, S = came_from.shape
    rows = torch.arange(B, device=final.device)
    last = token_lengths - 1
    before = (last - 1).clamp(min=0)
    ends_early = optional[rows, last] & (last > 0) & (final[rows, before] > final[rows, last])
    token = torch.where(ends_early, before, last)
    durations = torch.zeros(B, S, dtype=torch.int64, device=final.device)
    for n in range(N - 1, -1, -1):
        active = n < frame_lengths
        durations[rows, token] += active
        token = (token - torch.where(active, came_from[n, rows, token].long(), 0)).clamp(min=0)
    return durations


def _check(scores: Tensor, optional: Tensor, token_lengths: Tensor, frame_lengths: Tensor) -> None:
    """Refuse what has no path, and lengths outside the scores."""
    B, S, N = scores.shape
    shapes = [tuple(value.shape) for value in (optional, token_lengths, frame_lengths)]
    if shapes != [(B, S), (B,), (B,)]:
        raise ValueError(
            f"optional, token_lengths, frame_lengths are {shapes}; scores {(B, S, N)} need (B, S), (B,), (B,)"
        )
    real = torch.arange(S, device=scores.device) < token_lengths[:, None]
    if bool((optional[:, 1:] & optional[:, :-1] & real[:, 1:]).any()):
        raise ValueError("two neighbouring tokens are optional; merge them into one")
    needed = (real & ~optional).sum(1)
    if bool((short := needed > frame_lengths).any()):
        i = int(short.nonzero()[0])
        raise ValueError(
            f"item {i} has {int(frame_lengths[i])} frames for {int(needed[i])} tokens: each needs one; "
            "drop the item or use a shorter hop"
        )
    for lengths, most, what in ((token_lengths, S, "tokens"), (frame_lengths, N, "frames")):
        if bool((wrong := (lengths < 1) | (lengths > most)).any()):
            i = int(wrong.nonzero()[0])
            raise ValueError(f"item {i} has {int(lengths[i])} {what} in scores of {most}; give 1 to {most}")
