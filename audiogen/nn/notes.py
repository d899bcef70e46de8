"""What a token's note adds to its embedding: pitch, length and slur."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

PITCHES = 128  # of MIDI; 0, which nobody sings, stands for none
SHORTEST_S = 0.02  # lengths below are all alike


class NoteEncoder(nn.Module):
    """Sum of embeddings of the note and of slur, and a linear map of the log-length (as in Liu et al. 2022).

    On the scale of `TextEncoder`'s embeddings, to which it is added.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.note = nn.Embedding(PITCHES, channels)
        self.slur = nn.Embedding(2, channels)
        self.length = nn.Linear(1, channels)
        for table in (self.note, self.slur):
            nn.init.normal_(table.weight, std=channels**-0.5)

    def forward(self, note: Tensor, seconds: Tensor, slur: Tensor) -> Tensor:
        """MIDI numbers, lengths in seconds and slurs (B, S) -> (B, S, C)."""
        length = torch.log(seconds.clamp(min=SHORTEST_S) / SHORTEST_S)[..., None]
        embedded: Tensor = (self.note(note) + self.slur(slur)) * math.sqrt(self.channels)
        return embedded + self.length(length)
