"""Music from words: what is asked for, what a system must offer, and music that goes on from a recording."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from audiogen.report import StageTimer

FADE_S = 0.03  # in which a recording goes over into its copy by the autoencoder, before what is new
STAGES = ("lm", "diffusion", "decoder", "io")

Prompts: TypeAlias = Sequence[str] | Callable[[float], Sequence[str]]
"""A caption an item, or a function from the second at which new music begins to them."""


@dataclass(frozen=True)
class MusicOptions:
    """How to make music; None: the model's own.

    num_steps, guidance: of the diffusion; guidance 1 = off. temperature, top_k, top_p: how the language model
    draws, as `nn.lm.Choice` says. lm_guidance: weight of the caption in it; 1 = off and half its work.
    opening: chunks that are made at once at first, advance: later; fewer are heard earlier and cost more.
    Raises ValueError for numbers of chunks below 1; what else is out of range the system refuses.
    """

    num_steps: int | None = None
    guidance: float | None = None
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 0.95
    lm_guidance: float = 4.0
    opening: int | None = None
    advance: int | None = None

    def __post_init__(self) -> None:
        """Refuse what no system could do."""
        for name in ("opening", "advance"):
            chunks = getattr(self, name)
            if chunks is not None and chunks < 1:
                raise ValueError(f"{name} must be 1 chunk or more, got {chunks}")


@dataclass(frozen=True)
class Passes:
    """Forward passes for some music: tokens of the language model, evaluations of the diffusion's network."""

    lm: int
    diffusion: int

    @property
    def total(self) -> int:
        """All together, as MeLoDy's authors count them."""
        return self.lm + self.diffusion


class MusicSystem(Protocol):
    """What a system must offer to make music.

    chunk_seconds: music is made in whole chunks. chunks: of its window, what it hears at a time.
    """

    sample_rate: int

    @property
    def chunk_seconds(self) -> float: ...  # noqa: D102

    @property
    def chunks(self) -> int: ...  # noqa: D102

    def unknown_words(self, caption: str) -> list[str]:
        """Words of a caption that mean nothing to it."""
        ...

    def passes(self, seconds: float, options: MusicOptions) -> Passes:
        """What `stream` of that length costs an item. Raises ValueError for options it cannot follow."""
        ...

    def stream(
        self,
        prompts: str | Prompts,
        seeds: Sequence[int] = (0,),
        options: MusicOptions | None = None,
        *,
        seconds: float | None = None,
        before: Tensor | None = None,
        lead: int = 0,
        timer: StageTimer | None = None,
    ) -> Iterator[Tensor]:
        """Blocks (B, 1, T) of music, without end unless `seconds` ends it.

        before: (B, 1, T) at `sample_rate` that it goes on from; lead: so many samples of a copy of its end
        come first. An item depends on its own prompt, seed and `before` alone.
        """
        ...


class PromptPlan:
    """Captions that change on the way: the one of the last change at or before a second holds.

    first: from the start; changes: pairs (second, caption) in any order. Raises ValueError for a change at
    no positive second, or two at one.
    """

    def __init__(self, first: str, changes: Sequence[tuple[float, str]] = ()) -> None:
        self.changes = sorted([(0.0, first), *changes])
        seconds = [second for second, _ in self.changes]
        if len(set(seconds)) < len(seconds) or seconds[0] < 0 or not all(map(math.isfinite, seconds)):
            raise ValueError(f"changes must be at different seconds above 0, got {seconds[1:]}")

    def at(self, second: float) -> str:
        """The caption that holds."""
        # music in whole chunks begins at sums of rounded numbers
        return next(caption for start, caption in reversed(self.changes) if start <= second + 1e-6)

    @property
    def captions(self) -> list[str]:
        """All of them."""
        return [caption for _, caption in self.changes]


def generate(
    system: MusicSystem,
    prompts: str | Prompts,
    seconds: float,
    seeds: Sequence[int] = (0,),
    options: MusicOptions | None = None,
) -> Tensor:
    """Music (B, 1, T) of `seconds`: the blocks of `stream`, joined."""
    return torch.cat(list(system.stream(prompts, seeds, options, seconds=seconds)), dim=-1)


def continued(
    system: MusicSystem,
    before: Tensor,
    prompts: str | Prompts,
    seed: int,
    options: MusicOptions,
    seconds: float | None,
    timer: StageTimer | None = None,
) -> Iterator[Tensor]:
    """A recording (1, T) at the system's rate, then `seconds` of music that goes on from it; (1, 1, T) each.

    Within the last FADE_S of the recording it goes over into its copy by the autoencoder, so that nothing
    jumps. Raises ValueError for a recording shorter than a chunk.
    """
    fade = min(round(FADE_S * system.sample_rate), before.shape[-1])
    blocks = system.stream(
        prompts, [seed], options, seconds=seconds, before=before[None], lead=fade, timer=timer
    )
    first = next(blocks)
    while first.shape[-1] < fade:
        first = torch.cat((first, next(blocks)), dim=-1)
    end = before[None, :, before.shape[-1] - fade :]
    ramp = (torch.arange(fade, device=first.device) + 0.5) / fade
    yield before[None, :, : before.shape[-1] - fade]
    yield torch.cat((torch.lerp(end.to(first.device), first[..., :fade], ramp), first[..., fade:]), dim=-1)
    yield from blocks
