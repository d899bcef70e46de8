"""The dual-path network of MeLoDy (Lam et al. 2023, section 4.2): across segments, then inside them.

A sequence is cut into segments of K frames, half overlapping. A coarse path runs across segments, for columns
of frames that are merged more in the middle of the stack than at its ends, and looks at the semantic tokens
and the caption; a fine path, here gated convolutions where the paper has a recurrent unit, runs inside each.
Beyond the paper, every frame is told the token it lies in and, where they are known, the beats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.nn.beats import BeatEmbedding, beats_in_frames
from audiogen.nn.caption_encoder import Words
from audiogen.nn.transformer import Attention, KeysValues, Rotation, SwiGLU, hidden_width, rotation


def num_segments(frames: int, size: int) -> int:
    """Segments of `size` frames, half overlapping, that hold each of `frames` frames twice."""
    return math.ceil(2 * frames / size) + 1


def segment(x: Tensor, size: int) -> Tensor:
    """x (B, L, C) -> segments (B, S, size, C); before its start and after its end there are zeros.

    size: even. Every frame is in two segments, at places that differ by size / 2.
    """
    half = size // 2
    end = (num_segments(x.shape[1], size) + 1) * half - half - x.shape[1]
    return F.pad(x, (0, 0, half, end)).unfold(1, size, half).transpose(2, 3)


def overlap_add(segments: Tensor, frames: int) -> Tensor:
    """Segments (B, S, K, C) -> the mean of what two segments say of each frame (B, frames, C).

    Undoes `segment`.
    """
    half = segments.shape[2] // 2
    both = segments[:, :-1, half:] + segments[:, 1:, :half]
    return both.flatten(1, 2)[:, :frames] / 2


def merge(x: Tensor, columns: int) -> Tensor:
    """Columns of segments (B, S, K, C) averaged to `columns`, of K / columns neighbours each."""
    B, S, K, C = x.shape
    return x.reshape(B, S, columns, K // columns, C).mean(3)


def merged_columns(size: int, blocks: int) -> list[int]:
    """Columns that each block's coarse path works on: all at both ends, fewer towards the middle.

    max(1, K >> min(i - 1, N - i)) for block i of N (the paper names the shape, not the rule).
    """
    return [max(1, size >> min(i, blocks - 1 - i)) for i in range(blocks)]


class AngleEmbedding(nn.Module):
    """Angles of noise in [0, pi / 2] as a way from one learned vector to another: cos e_start + sin e_end."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.ends = nn.Parameter(torch.randn(2, channels))
        self.mlp = nn.Sequential(
            nn.RMSNorm(channels, 1e-6),
            nn.Linear(channels, width),
            nn.GELU(),
            nn.Linear(width, width),
        )

    def forward(self, angles: Tensor) -> Tensor:
        """(B, L) -> (B, L, D)."""
        start, end = self.ends
        angles = angles[..., None]
        return self.mlp(angles.cos() * start + angles.sin() * end)


class GatedConv(nn.Module):
    """Depthwise convolution along a segment, then a gated linear unit; zeros beyond the ends."""

    def __init__(self, width: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.taps = nn.Parameter(torch.randn(kernel_size, width) * kernel_size**-0.5)
        self.gate_up = nn.Linear(width, 2 * width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, K, C) -> (N, K, C)."""
        size, reach = x.shape[1], self.dilation * (len(self.taps) - 1)
        padded = F.pad(x, (0, 0, reach // 2, reach - reach // 2))
        # channels last throughout: torch's convolution of many short rows is slow on a CPU
        y = padded[:, :size] * self.taps[0]
        for k, tap in enumerate(self.taps[1:], 1):
            y = torch.addcmul(y, padded[:, k * self.dilation :][:, :size], tap)
        return F.glu(self.gate_up(y))


class FinePath(nn.Module):
    """Two gated convolutions inside each segment, then scale and shift by what holds for the segment."""

    def __init__(self, width: int, kernel_size: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(GatedConv(width, kernel_size, dilation) for dilation in dilations)
        self.out = nn.Linear(width, width)
        self.film = nn.Linear(width, 2 * width)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, condition: Tensor, mask: Tensor) -> Tensor:
        """x (B, S, K, C), condition (B, S, C), mask (B, S, K, 1) -> (B, S, K, C)."""
        B, S = x.shape[:2]
        y, real = x.flatten(0, 1), mask.flatten(0, 1)
        for conv in self.convs:
            y = conv(y) * real
        scale, shift = self.film(condition)[:, :, None].chunk(2, dim=-1)
        return self.out(y).unflatten(0, (B, S)) * (1 + scale) + shift


class CoarsePath(nn.Module):
    """Across segments, for each merged column: self-attention, attention to the conditions, feed-forward."""

    def __init__(self, width: int, heads: int, columns: int) -> None:
        super().__init__()
        self.columns = columns
        self.norms = nn.ModuleList(nn.RMSNorm(width, 1e-6) for _ in range(3))
        self.attention, self.cross = Attention(width, heads), Attention(width, heads)
        self.feed = SwiGLU(width, hidden_width(width))

    def forward(
        self, x: Tensor, given: Context, kept: KeysValues, turns: tuple[Rotation, Rotation]
    ) -> Tensor:
        """x (B, S, K, C) -> what to add to it, the same for all frames of a merged column."""
        B, S, K, _ = x.shape
        y = merge(x, self.columns)
        start = y
        rows = self.norms[0](y).transpose(1, 2).flatten(0, 1)  # (B columns, S, C)
        across, along = turns
        mask = (
            None
            if given.segments is None
            else given.segments.repeat_interleave(self.columns, 0)[:, None, None]
        )
        rows = self.attention(rows, self.attention.keys_values(rows, across), across, mask=mask)
        y = y + rows.unflatten(0, (B, -1)).transpose(1, 2)
        asked = self.norms[1](y).flatten(1, 2)  # (B, S columns, C): in the order of time, nearly
        y = y + self.cross(asked, kept, along, mask=given.mask).unflatten(1, (S, -1))
        y = y + self.feed(self.norms[2](y)) - start
        return y.repeat_interleave(K // self.columns, dim=2)


class DualPathBlock(nn.Module):
    """Coarse path, add and norm; fine path, add and norm."""

    def __init__(
        self, width: int, heads: int, columns: int, kernel_size: int, dilations: Sequence[int]
    ) -> None:
        super().__init__()
        self.coarse = CoarsePath(width, heads, columns)
        self.fine = FinePath(width, kernel_size, dilations)
        self.coarse_norm, self.fine_norm = nn.RMSNorm(width, 1e-6), nn.RMSNorm(width, 1e-6)

    def forward(
        self,
        x: Tensor,
        given: Context,
        kept: KeysValues,
        turns: tuple[Rotation, Rotation],
        condition: Tensor,
        mask: Tensor,
    ) -> Tensor:
        """x (B, S, K, C) -> (B, S, K, C), zero where the mask is."""
        x = self.coarse_norm(x + self.coarse(x, given, kept, turns)) * mask
        return self.fine_norm(x + self.fine(x, condition, mask)) * mask


@dataclass(frozen=True)
class Context:
    """What the network is told, prepared once for all steps of a sampler.

    kept: keys and values of tokens and words, a pair a block. tokens: (B, T, C) embedded. mean: (B, C), of
    tokens and of words. mask: (B, 1, 1, tokens + words), True = there. segments: (B, S), True = holds a
    frame; frames: (B, L), True = a frame; None where all are. guidance: (B, 1, C), the embedded weight of a
    network that is told it. beats: (B, L, C), the embedded beats of a network that is told them.
    """

    kept: list[KeysValues]
    tokens: Tensor
    mean: Tensor
    mask: Tensor | None
    segments: Tensor | None = None
    frames: Tensor | None = None
    guidance: Tensor | None = None
    beats: Tensor | None = None


class DualPath(nn.Module):
    """Velocity of latents from noisy latents, an angle a frame, semantic tokens and a caption.

    frames_per_token: frames of a latent sequence a semantic token lasts, not always whole. size: K, even and
    a multiple of the columns. jumps: it is told how far a step goes, too; told_guidance: and the weight of
    guidance that its answer is to have; beats: and where frames lie in their beats. Raises ValueError for
    sizes that do not fit.
    """

    def __init__(
        self,
        latent_dim: int,
        vocabulary: int,
        frames_per_token: float,
        width: int = 224,
        blocks: int = 6,
        heads: int = 4,
        size: int = 32,
        kernel_size: int = 5,
        dilations: Sequence[int] = (1, 4),
        angle_channels: int = 256,
        *,
        jumps: bool = False,
        told_guidance: bool = False,
        beats: bool = False,
    ) -> None:
        super().__init__()
        if size % 2 or any(size % columns for columns in merged_columns(size, blocks)):
            raise ValueError(
                f"segments of {size} frames cannot be halved {blocks // 2} times; use a power of 2"
            )
        self.size, self.frames_per_token, self.head_width = size, frames_per_token, width // heads
        self.enter, self.angle = nn.Linear(latent_dim, width), AngleEmbedding(angle_channels, width)
        self.jump = AngleEmbedding(angle_channels, width) if jumps else None
        self.guidance = AngleEmbedding(angle_channels, width) if told_guidance else None
        for extra in (self.jump, self.guidance):
            for parameter in () if extra is None else extra.mlp[-1].parameters():
                nn.init.zeros_(parameter)  # at first it makes no difference
        self.beats = BeatEmbedding(width) if beats else None
        self.enter_norm, self.exit_norm = nn.RMSNorm(width, 1e-6), nn.RMSNorm(width, 1e-6)
        self.table = nn.Embedding(vocabulary, width)
        self.token_mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.no_tokens = nn.Parameter(torch.randn(width) * 0.02)
        self.blocks = nn.ModuleList(
            DualPathBlock(width, heads, columns, kernel_size, dilations)
            for columns in merged_columns(size, blocks)
        )
        self.exit = nn.Linear(width, latent_dim)
        nn.init.zeros_(self.exit.weight)
        nn.init.zeros_(self.exit.bias)

    def embed_tokens(self, tokens: Tensor, drop: Tensor | None = None) -> Tensor:
        """Tokens (B, T) -> (B, T, C); items for which drop (B,) is True get the vector of no token."""
        vectors = self.token_mlp(self.table(tokens))
        return vectors if drop is None else torch.where(drop[:, None, None], self.no_tokens, vectors)

    def prepare(
        self,
        tokens: Tensor,
        words: Words,
        token_mask: Tensor | None = None,
        frames: Tensor | None = None,
        guidance: Tensor | None = None,
        beats: Tensor | None = None,
    ) -> Context:
        """Embedded tokens (B, T, C) and words -> what `forward` is given.

        token_mask: (B, T), frames: (B, L), True = real; None where all are. guidance: (B,), weights >= 0 for
        a network that is told them. beats: (B, T, 2) as `nn.beats` has them; None = unknown.
        """
        B, T = tokens.shape[:2]
        real = tokens.new_ones(B, T, dtype=torch.bool) if token_mask is None else token_mask
        tokens = tokens * real[..., None]
        mask = torch.cat((real, words.mask), dim=1)
        read = torch.cat((tokens, words.vectors), dim=1)
        # words have no place in time; half of a head is not turned and reads them
        places = torch.arange(T, device=tokens.device) + 0.5
        turn = rotation(F.pad(places, (0, words.mask.shape[1])), self.head_width // 4 * 2)
        kept = [block.coarse.cross.keys_values(read, turn) for block in self._blocks()]
        mean = tokens.sum(1) / real.sum(1, keepdim=True) + words.vectors.sum(1) / words.mask.sum(
            1, keepdim=True
        )
        segments = None
        if frames is not None:
            segments = segment(frames[..., None].to(tokens.dtype), self.size)[..., 0].amax(-1) > 0
        told = None
        if self.guidance is not None:
            assert guidance is not None, "a network that is told its guidance needs it"
            told = self.guidance(guidance.to(tokens.dtype).atan()[:, None])
        felt = None
        if self.beats is not None and beats is not None:
            felt = self.beats(beats_in_frames(beats, self.frames_per_token)).to(tokens.dtype)
        attended = None if bool(mask.all()) else mask[:, None, None]
        return Context(kept, tokens, mean, attended, segments, frames, told, felt)

    def forward(self, x: Tensor, angles: Tensor, given: Context, steps: Tensor | None = None) -> Tensor:
        """Noisy latents (B, latent_dim, L), angles (B, L) in [0, pi / 2] -> velocity (B, latent_dim, L).

        steps: (B, L), angles by which a network that `jumps` is to go at once, with one velocity.
        """
        frames = x.shape[-1]
        angle = self.angle(angles.to(x.dtype))
        if self.jump is not None:
            assert steps is not None, "a network that jumps is told how far"
            angle = angle + self.jump(steps.to(x.dtype))
        if given.guidance is not None:
            angle = angle + given.guidance
        real = (
            angle.new_ones(len(x), frames, 1) if given.frames is None else given.frames[..., None].to(x.dtype)
        )
        y = self.enter(x.transpose(1, 2)) + angle + self._aligned(given.tokens, frames)
        if given.beats is not None:
            y = y + given.beats
        y = self.enter_norm(y) * real
        mask = segment(real, self.size)
        count = mask.sum(2).clamp(min=1)
        condition = segment(angle * real, self.size).sum(2) / count + given.mean[:, None]
        y = segment(y, self.size)
        across = rotation(torch.arange(y.shape[1], device=x.device), self.head_width)
        for block, kept in zip(self._blocks(), given.kept, strict=True):
            along = rotation(
                self._places(y.shape[1], block.coarse.columns, x.device), self.head_width // 4 * 2
            )
            y = block(y, given, kept, (across, along), condition, mask)
        return self.exit(self.exit_norm(overlap_add(y, frames))).transpose(1, 2)

    def _aligned(self, tokens: Tensor, frames: int) -> Tensor:
        """The token (B, L, C) that each frame lies in: attention would have to learn what is known."""
        frame = torch.arange(frames, device=tokens.device) + 0.5
        return tokens[:, (frame / self.frames_per_token).long().clamp(max=tokens.shape[1] - 1)]

    def _places(self, segments: int, columns: int, device: torch.device) -> Tensor:
        """Times of the middles of all merged columns (S columns,), in tokens."""
        first = (torch.arange(segments, device=device) - 1) * (self.size // 2)
        column = (torch.arange(columns, device=device) + 0.5) * (self.size // columns)
        return (first[:, None] + column).flatten() / self.frames_per_token

    def _blocks(self) -> list[DualPathBlock]:
        return list(self.blocks)  # type: ignore[arg-type]
