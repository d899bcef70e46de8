"""The networks of StableVC in one: content to frames to the velocity of a mel, in a voice and a style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from audiogen.nn.dit import DiT, FlowNetwork
from audiogen.nn.style import CURVES, StyleEncoder, TimbreEncoder
from audiogen.nn.variance import VariancePredictor, regulate_length

LONGEST_LOG_FRAMES = 5.0  # ln(frames + 1): no run lasts longer than 2.4 s

Stacked = Mapping[str, Mapping[str, Tensor]]
"""Tensors of each stack of blocks, by the stack's name."""


@dataclass(frozen=True)
class Timbre:
    """All that the blocks need of timbre references: keys and values, real frames (B, M), vectors (B, E)."""

    stacks: Stacked
    mask: Tensor
    speaker: Tensor


@dataclass(frozen=True)
class Style:
    """All that the blocks need of style references: keys and values, real vectors (B, J), the neck's mean."""

    stacks: Stacked
    mask: Tensor
    mean: Tensor


class VoiceNetwork(nn.Module):
    """Stacks over runs and over frames, flows by role, and the encoders of both references.

    vocabulary: content tokens. embedding: size of the speaker vector. stack: arguments of `DiT` for all
    stacks; *_blocks: their depths. style: arguments of `StyleEncoder` but its inputs, 3 + style_bins. roles:
    names of the flows. guessing: whether frames are guessed before the flow.
    """

    def __init__(
        self,
        n_mels: int,
        vocabulary: int,
        embedding: int,
        channels: int,
        token_blocks: int,
        frame_blocks: int,
        flow_blocks: int,
        style_bins: int,
        stack: Mapping[str, Any],
        style: Mapping[str, Any],
        roles: Sequence[str],
        guessing: bool,
    ) -> None:
        super().__init__()
        self.n_mels = n_mels
        self.token = nn.Embedding(vocabulary, channels)
        self.timbre_encoder = TimbreEncoder(n_mels, channels)
        self.style_encoder = StyleEncoder(CURVES + style_bins, **style)
        shape = {"speaker": embedding, "style": self.style_encoder.channels, **stack}
        self.tokens = DiT(channels, token_blocks, **shape)
        self.duration = VariancePredictor(channels, channels, 3, 0.2)
        self.expansion = nn.Linear(channels + 2, channels)
        self.frames = DiT(channels, frame_blocks, **shape)
        self.guess = nn.Linear(channels, n_mels) if guessing else None
        self.flows = nn.ModuleDict(
            {role: FlowNetwork(n_mels, channels, channels, blocks=flow_blocks, **shape) for role in roles}
        )

    def stacks(self) -> dict[str, DiT]:
        """All stacks of blocks by name."""
        flows: dict[str, Any] = {role: self.flow(role).stack for role in self.flows}
        return {"tokens": self.tokens, "frames": self.frames, **flows}

    def flow(self, role: str) -> FlowNetwork:
        """The flow of a role."""
        flow = self.flows[role]
        assert isinstance(flow, FlowNetwork), "made above"
        return flow

    def timbre(self, mel: Tensor, mask: Tensor, speaker: Tensor) -> Timbre:
        """Standardised reference mels (B, n_mels, M), mask (B, M), speaker vectors (B, E)."""
        frames = self.timbre_encoder(mel)
        return Timbre({k: stack.timbre(frames, speaker) for k, stack in self.stacks().items()}, mask, speaker)

    def style(self, prosody: Tensor, mask: Tensor) -> Style:
        """Prosody (B, 3 + style_bins, N), as `nn.style.prosody` gives it, mask (B, N)."""
        vectors, kept, mean = self.style_encoder(prosody, mask)
        return Style({name: stack.style(vectors) for name, stack in self.stacks().items()}, kept, mean)

    def hidden(self, tokens: Tensor, mask: Tensor, memories: Stacked) -> Tensor:
        """Runs' tokens (B, S), mask (B, S) -> hidden states (B, S, C)."""
        hidden: Tensor = self.tokens(self.token(tokens), memories["tokens"], mask)
        return hidden

    def log_durations(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Hidden states (B, S, C), mask (B, S) -> ln(frames + 1) of every run (B, S)."""
        predicted: Tensor = self.duration(hidden.mT, mask[:, None])
        return predicted

    def predict_durations(self, tokens: Tensor, mask: Tensor, memories: Stacked) -> Tensor:
        """Runs' tokens (B, S), mask (B, S) -> their lengths in frames (B, S), not rounded."""
        log_frames = self.log_durations(self.hidden(tokens, mask, memories), mask)
        return torch.expm1(log_frames.float().clamp(min=0, max=LONGEST_LOG_FRAMES))

    def condition(self, hidden: Tensor, durations: Tensor, memories: Stacked, role: str) -> dict[str, Tensor]:
        """Hidden states (B, S, C) with durations (B, S) -> what the flow of a role is told at every step.

        Its memory, the projected frames, mask (B, N), and guess (B, n_mels, N) of the standardised mel.
        """
        frames, mask = regulate_length(hidden.mT, durations)
        frames = self.frames(self.expansion(frames.mT), memories["frames"], mask[:, 0])
        guess = frames.new_zeros(len(frames), frames.shape[1], self.n_mels)
        if self.guess is not None:
            guess = self.guess(frames)
        return {
            **memories[role],
            "projected": self.flow(role).project(frames),
            "mask": mask[:, 0],
            "guess": guess.mT * mask,
        }

    def velocity(self, role: str, condition: Mapping[str, Tensor], x: Tensor, log_snr: Tensor) -> Tensor:
        """dx/dt by the flow of a role, x (B, n_mels, N), log_snr (B,)."""
        v: Tensor = self.flow(role)(x, log_snr, condition["projected"], condition, condition["mask"])
        return v


def memories(timbre: Timbre, style: Style) -> dict[str, dict[str, Tensor]]:
    """What each stack attends to: both references together, each heard in full."""
    full = torch.ones_like(timbre.speaker[:, 0])
    shared = {
        "timbre_mask": timbre.mask,
        "style_mask": style.mask,
        "speaker": timbre.speaker,
        "timbre_share": full,
        "style_share": full,
    }
    return {name: {**timbre.stacks[name], **style.stacks[name], **shared} for name in timbre.stacks}
