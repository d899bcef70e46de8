"""Music steered by wishes: what a generator must offer, how to steer, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from torch import Tensor

from audiogen.controls.sound import Spans
from audiogen.sampling.loop import Denoiser
from audiogen.sampling.paths import Path

Method = Literal["ditto2", "ditto1"]
Memory = Literal["checkpoint", "reversible", "plain"]
Stopped = Literal["steps", "budget", "cancelled", "enough"]


class LatentGenerator(Protocol):
    """Latents out of noise for one prompt and some seeds, and the way to sound and back.

    path: of the noise, without a mean. estimate: x, t (B,) -> the clean latents that a diffusion expects.
    jump: the same for times t (B, 2) of a distilled network that goes from one to the other at once, None
    where there is none. Items do not mix, gradients pass through all three and `decode`.
    """

    sample_rate: int
    path: Path
    estimate: Denoiser
    jump: Denoiser | None

    @property
    def latent_rate(self) -> float: ...  # noqa: D102

    def start(self) -> Tensor:
        """Noise (B, D, L), an item a seed."""
        ...

    def times(self, num_steps: int) -> Tensor:
        """The grid on which its network is sampled, (num_steps + 1,), from noise to data."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, D, L) -> wav (B, T)."""
        ...

    def encode(self, wav: Tensor) -> Tensor:
        """wav (B, T) -> latents (B, D, L)."""
        ...

    def only(self, items: Sequence[int]) -> LatentGenerator:
        """The generator of some of the items."""
        ...


@dataclass(frozen=True)
class Like:
    """A recording (1, T) at the system's rate that a piece is to resemble as far as it lasts.

    skip_s: seconds of it that come before the piece. unknown: spans of the piece that are to be made up.
    """

    wav: Tensor
    skip_s: float = 0.0
    unknown: Spans = ()


class SteerableSystem(Protocol):
    """What a music system must offer to be steered.

    window_seconds: the longest piece that it makes at once.
    """

    sample_rate: int

    @property
    def window_seconds(self) -> float: ...  # noqa: D102

    def generator(
        self,
        prompt: str,
        seeds: Sequence[int],
        seconds: float,
        *,
        guidance: float | None = None,
        like: Like | None = None,
    ) -> LatentGenerator:
        """A generator of pieces that last `seconds` at least, in whole chunks.

        guidance: weight of the prompt, None = the model's. like: a recording whose contents it is told in
        place of what it would make up. Raises ValueError for what it cannot make.
        """
        ...


@dataclass(frozen=True)
class SteerOptions:
    """How to steer.

    seconds: of music, None = all that the system makes at once. method: "ditto2" optimises through
    `surrogate` calls of the network, None = one jump, or where it cannot jump as many as are heard, "ditto1"
    through `baseline_steps` steps of DDIM, with gradients kept as `memory` says. steps: of Adam; lr: its
    rate. decode_steps: calls of the network for what is heard, None = those optimised through, so that what
    is heard is what was steered, or 4 of a network that does not jump; "ditto1" always is. polish: more steps
    of Adam through the decoding itself. restarts: seeds tried at once, the best of which is heard. shell:
    keep the noise at the norm of noise. early_stop: end when every control's error is `enough`.
    inversion_steps: of DDIM, from a recording back to the noise that it could have been made of. budget_s:
    seconds for all of it, of which decoding and one step are spent in any case. Raises ValueError out of
    range.
    """

    seconds: float | None = None
    method: Method = "ditto2"
    steps: int = 70
    lr: float = 0.05
    surrogate: int | None = None
    decode_steps: int | None = None
    polish: int = 0
    baseline_steps: int = 20
    memory: Memory = "checkpoint"
    restarts: int = 1
    seed: int = 0
    guidance: float | None = None
    shell: bool = True
    early_stop: bool = False
    inversion_steps: int = 20
    budget_s: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be done."""
        for name, least in (
            ("steps", 0),
            ("polish", 0),
            ("surrogate", 1),
            ("decode_steps", 1),
            ("baseline_steps", 1),
            ("restarts", 1),
            ("inversion_steps", 1),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be {least} or more, got {value}")
        for name in ("lr", "budget_s", "seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name} must be positive, got {value}")
        if self.method not in ("ditto1", "ditto2"):
            raise ValueError(f"unknown method {self.method!r}; use ditto2 or ditto1")
        if self.memory not in ("checkpoint", "reversible", "plain"):
            raise ValueError(f"unknown memory {self.memory!r}; use checkpoint, reversible or plain")


@dataclass(frozen=True)
class Progress:
    """Where a search stands: `step` of `steps` is done.

    loss: the lowest so far; seconds: since the search began; start: the noise (B, D, L) just tried.
    """

    step: int
    steps: int
    loss: float
    seconds: float
    start: Tensor


@dataclass(frozen=True)
class ControlError:
    """A control's error in its unit, without steering and with it; surrogate: where it was optimised."""

    name: str
    unit: str
    before: float
    after: float
    surrogate: float


@dataclass(frozen=True)
class Steered:
    """What steering gives.

    audio, unsteered: (1, T) each, at sample_rate; the latter of the same seed. latents: (1, D, L) of audio.
    errors: of every control. losses: of all restarts, (steps, restarts). seed: that of what is heard.
    steps: of Adam that were made; stopped: why they ended. seconds: of all work; per_step: of a step.
    network_calls: evaluations of the network's estimate, an item, with what gradients repeat.
    """

    audio: Tensor
    unsteered: Tensor
    latents: Tensor
    sample_rate: int
    errors: list[ControlError]
    losses: Tensor
    seed: int
    steps: int
    stopped: Stopped
    seconds: float
    per_step: float
    network_calls: int
    warnings: list[str] = field(default_factory=list)
