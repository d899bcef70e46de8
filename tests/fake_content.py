"""A content encoder without a network: tokens are steps of the loudness of 20 ms frames."""

from __future__ import annotations

import torch
from torch import nn

from audiogen.content import Content
from audiogen.systems import SYSTEMS

HOP = 320


class FakeContent(nn.Module):
    """`count` tokens; `calls` keeps the shapes of what it was given."""

    sample_rate = 16000
    frame_rate = 50.0

    def __init__(self, count: int = 12) -> None:
        super().__init__()
        self.hparams = {"count": count}
        self.vocabulary = count
        self.codebook = torch.arange(count)[:, None].float()
        self.calls = []
        self.register_buffer("steps", torch.linspace(-7, -1, count - 1))

    @torch.no_grad()
    def encode(self, wav, lengths):
        self.calls.append(tuple(wav.shape))
        frames = nn.functional.pad(wav, (0, -wav.shape[-1] % HOP)).unflatten(-1, (-1, HOP))
        loudness = frames.square().mean(-1).add(1e-9).log() / 2
        return Content(torch.bucketize(loudness, self.steps), -(-lengths // HOP))


def register(monkeypatch):
    """Make hub know the fake for the length of a test."""
    monkeypatch.setitem(SYSTEMS, "fakecontent", f"{FakeContent.__module__}:{FakeContent.__qualname__}")
