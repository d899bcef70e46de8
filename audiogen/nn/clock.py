"""Phases that run on from frame to frame: a tone stays a tone."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TURN = 2 * math.pi


class PhaseClock(nn.Module):
    """Phases of an STFT summed up from how far each bin turns between frames.

    A network over frames that repeats itself cannot let the phase of a steady tone go round; here it says the
    tone's frequency, and the phase is its sum over time (the phase vocoder, Flanagan & Golden 1966). Bins
    within `reach` of a stronger one then follow that one, in the pattern of one partial (identity phase
    locking, Laroche & Dolson 1999). The state of a stream is the phase (B, n_fft // 2 + 1), float64, of the
    next frame; the first frame's is that of an impulse in its middle.
    """

    def __init__(self, n_fft: int, hop_length: int, reach: int = 3) -> None:
        super().__init__()
        self.reach = reach
        bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64)
        self.register_buffer("centre", TURN * torch.remainder(bins * hop_length / n_fft, 1), persistent=False)
        self.register_buffer("pattern", math.pi * torch.remainder(bins, 2), persistent=False)
        self.centre: Tensor
        self.pattern: Tensor

    def init_state(self, batch: int) -> Tensor:
        """The phases of the first frame."""
        return self.pattern.expand(batch, -1)

    def stream(self, state: Tensor, deviation: Tensor, magnitude: Tensor) -> tuple[Tensor, Tensor]:
        """The next frames (B, n, n_fft // 2 + 1) -> state, their phases in radians, of the same shape.

        deviation: radians by which a bin turns further than its centre frequency until the next frame.
        """
        turns = deviation.double() + self.centre
        after = state[:, None] + turns.cumsum(dim=1)  # in float64: a long stream is that of one pass
        phases = torch.remainder(after - turns, TURN).float()
        state = torch.remainder(after[:, -1], TURN) if after.shape[1] else state
        return state, self.locked(phases, magnitude)

    def locked(self, phases: Tensor, magnitude: Tensor) -> Tensor:
        """Phases (B, n, bins) that follow the strongest bin near each."""
        if not magnitude.shape[1]:
            return phases
        size = 2 * self.reach + 1
        rows = magnitude.detach().flatten(0, 1)[:, None]
        leader = F.max_pool1d(rows, size, 1, self.reach, return_indices=True)[1].view_as(phases)
        pattern = self.pattern.float()
        return phases.gather(2, leader) - pattern[leader] + pattern


def turned(spectrum: Tensor, hop_length: int) -> Tensor:
    """What a clock should be told of a complex STFT (B, N, bins) -> (B, N - 1, bins) in [-pi, pi)."""
    bins = spectrum.shape[-1]
    centre = TURN * torch.arange(bins, device=spectrum.device) * hop_length / (2 * (bins - 1))
    phases = spectrum.angle()
    return torch.remainder(phases[:, 1:] - phases[:, :-1] - centre + math.pi, TURN) - math.pi
