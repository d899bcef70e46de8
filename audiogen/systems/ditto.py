"""DITTO-2 (Novack et al. 2024): music that follows wishes, by the noise that it is made of.

The network stays as it is; the starting noise is optimised so that what comes of it has the wished features.
DITTO optimises through twenty steps of a sampler, DITTO-2 through one call of a distilled network, whose
noise is then decoded in a few. The generator is an argument: whatever offers `LatentGenerator` can be
steered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from audiogen.controls import Control, Inpaint, Outpaint, Sound, combined
from audiogen.controls.sound import frame_seconds, within
from audiogen.sampling.grids import uniform_t
from audiogen.sampling.loop import Denoiser, run
from audiogen.sampling.optimize import checkpoint_row, ddim_inversion, optimise_noise, run_reversible
from audiogen.sampling.plans import Plan, bdia, ctm, ddim
from audiogen.sampling.restarts import on_shell
from audiogen.steering import (
    ControlError,
    LatentGenerator,
    Like,
    Progress,
    SteerableSystem,
    Steered,
    SteerOptions,
    Stopped,
)

UNDISTILLED_STEPS = 4  # of a network that does not jump
INVERTED_TO = 0.02  # time at which a recording stands for itself with a little noise


def steer(
    system: SteerableSystem,
    prompt: str,
    controls: Sequence[Control],
    options: SteerOptions | None = None,
    *,
    source: Tensor | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Steered:
    """Music of a prompt that follows the controls; what was found so far when cancelled() is true.

    source: (1, T) at the system's rate, a recording to begin from in place of random noise. progress is
    called after every step of the search. An `Inpaint` begins from its recording but for the holes, an
    `Outpaint` goes on from its own. Raises ValueError for what the system cannot make and for controls that
    do not fit.
    """
    search, start = prepared(system, prompt, controls, options or SteerOptions(), source)
    with torch.inference_mode(False):
        return search.find(start, progress, cancelled)


def prepared(
    system: SteerableSystem,
    prompt: str,
    controls: Sequence[Control],
    options: SteerOptions,
    source: Tensor | None = None,
) -> tuple[Search, Tensor]:
    """The search of `steer`, and the noise (restarts, D, L) that it begins from. Raises ValueError."""
    if not controls:
        raise ValueError("nothing is wished for: give one control at least")
    started = time.monotonic()
    recording, like = contents(system, controls, source)
    seconds = options.seconds
    if seconds is None:
        seconds = system.window_seconds if recording is None else recording.shape[-1] / system.sample_rate
    if seconds > system.window_seconds + 1e-6:
        raise ValueError(
            f"{seconds:.2f} s are more than this model makes at once; ask for "
            f"{system.window_seconds:.2f} s or less, or cut the recording"
        )
    seeds = [options.seed + n for n in range(options.restarts)]
    guidance = 1.0 if options.guidance is None and recording is not None else options.guidance
    with torch.inference_mode(False):
        generator = system.generator(prompt, seeds, seconds, guidance=guidance, like=like)
        search = Search(generator, seconds, controls, options, started)
        return search, generator.start() if recording is None else search.inverted(recording, like)


def contents(
    system: SteerableSystem, controls: Sequence[Control], source: Tensor | None
) -> tuple[Tensor | None, Like | None]:
    """The recording (1, T) to begin from, and what the generator is told of it or of another."""
    holes = next((c for c in controls if isinstance(c, Inpaint)), None)
    before = next((c for c in controls if isinstance(c, Outpaint)), None)
    if holes is not None:
        recording = holes.at(system.sample_rate) if source is None else source
        return recording, Like(recording, unknown=holes.holes)
    if source is not None:
        return source, Like(source)
    if before is not None:
        wav = before.at(system.sample_rate)
        return None, Like(wav, skip_s=wav.shape[-1] / system.sample_rate - before.overlap_s)
    return None, None


class Found(NamedTuple):
    """What some starts (B, D, L) sound like: latents, wav (B, T), losses (B,), errors (controls, B)."""

    start: Tensor
    latents: Tensor
    wav: Tensor
    losses: Tensor
    errors: Tensor


@dataclass
class Counted:
    """A denoiser that counts its calls."""

    denoise: Denoiser
    calls: int = 0

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """The denoiser's answer."""
        self.calls += 1
        return self.denoise(x, t)


class Way(NamedTuple):
    """How latents come out of noise: `run(plan, denoise, x)`."""

    plan: Plan
    denoise: Denoiser
    runner: Callable[..., Tensor] = run


class Search:
    """The search for the noise of a piece of `seconds` that grants what the controls wish."""

    def __init__(
        self,
        generator: LatentGenerator,
        seconds: float,
        controls: Sequence[Control],
        options: SteerOptions,
        started: float,
    ) -> None:
        self.generator, self.options, self.started = generator, options, started
        self.frames = round(seconds * generator.latent_rate)
        self.samples = round(seconds * generator.sample_rate)
        self.controls = [control.bound(generator) for control in controls]
        self.estimate = Counted(generator.estimate)
        self.jump = None if generator.jump is None else Counted(generator.jump)
        self.granted = False

    def calls(self) -> int:
        """Evaluations of the network so far."""
        return self.estimate.calls + (self.jump.calls if self.jump is not None else 0)

    def fewest(self, num_steps: int) -> Way:
        """Deterministic jumps, or DDIM where the network cannot jump."""
        times = self.generator.times(num_steps)
        if self.jump is None:
            return Way(ddim(self.generator.path, times), self.estimate)
        return Way(ctm(self.generator.path, times), self.jump)

    def searching(self) -> Way:
        """What is optimised through."""
        options = self.options
        if options.method == "ditto2":
            return self.fewest(self.calls_searched())
        times = self.generator.times(options.baseline_steps)
        if options.memory == "reversible":
            return Way(bdia(self.generator.path, times), self.estimate, run_reversible)
        runner = run if options.memory == "plain" else partial(run, remat=checkpoint_row)
        return Way(ddim(self.generator.path, times), self.estimate, runner)

    def decoding(self) -> Way:
        """What is heard."""
        if self.options.method == "ditto1":
            return self.searching()._replace(runner=run)
        return self.fewest(self.calls_heard())

    def calls_heard(self) -> int:
        """Of the network, for what is heard of DITTO-2."""
        usual = UNDISTILLED_STEPS if self.jump is None else self.options.surrogate or 1
        return self.options.decode_steps or usual

    def calls_searched(self) -> int:
        """Of the network, in every step of DITTO-2."""
        return self.options.surrogate or (1 if self.jump is not None else self.calls_heard())

    def hears_what_it_searches(self) -> bool:
        """Whether there is no gap between the two."""
        return self.options.method == "ditto1" or self.calls_searched() == self.calls_heard()

    def phases(self) -> list[tuple[Way, int]]:
        """What is optimised through, for how many steps: the surrogate, then what is heard."""
        found = [(self.searching(), self.options.steps)]
        if self.options.polish and self.options.method == "ditto2":
            heard = self.decoding()._replace(runner=partial(run, remat=checkpoint_row))
            found.append((heard, self.options.polish))
        return found

    def sound(self, latents: Tensor) -> Sound:
        """What latents sound like as long as asked for."""
        generator, samples = self.generator, self.samples
        return Sound(
            latents[..., : self.frames],
            generator.sample_rate,
            generator.latent_rate,
            lambda latents: generator.decode(latents)[..., :samples],
        )

    def loss(self, latents: Tensor) -> Tensor:
        """Of all controls (B,); notes whether all of them are granted by one item."""
        sound = self.sound(latents)
        losses = combined(self.controls, sound)
        if self.options.early_stop:
            enough = torch.tensor([[control.enough] for control in self.controls], device=latents.device)
            with torch.no_grad():  # after the losses: the sound keeps what it has worked out
                self.granted = bool((self.errors(sound) <= enough).all(0).any())
        return losses

    def errors(self, sound: Sound) -> Tensor:
        """Of every control (controls, B)."""
        return torch.stack([control.errors(sound) for control in self.controls])

    @torch.no_grad()
    def heard(self, start: Tensor, way: Way) -> Found:
        """What comes of some starts."""
        latents = run(way.plan, way.denoise, start)
        sound = self.sound(latents)
        return Found(start, latents, sound.wav, combined(self.controls, sound), self.errors(sound))

    @torch.no_grad()
    def inverted(self, recording: Tensor, like: Like | None) -> Tensor:
        """Noise (B, D, L) that a recording (1, T) could have been made of; other noise in its holes."""
        fresh = self.generator.start()
        known = self.generator.encode(recording)[..., : fresh.shape[-1]]
        latents = torch.zeros_like(fresh)
        latents[..., : known.shape[-1]] = known
        plan = ddim_inversion(self.generator.path, uniform_t(self.options.inversion_steps, end=INVERTED_TO))
        noise = run(plan, self.estimate, latents)
        seconds = frame_seconds(fresh.shape[-1], self.generator.latent_rate, fresh.device)
        unknown = within(seconds, () if like is None else like.unknown)
        unknown |= torch.arange(fresh.shape[-1], device=fresh.device) >= known.shape[-1]
        return torch.where(unknown, fresh, noise)

    def find(
        self,
        start: Tensor,
        progress: Callable[[Progress], None] | None,
        cancelled: Callable[[], bool] | None,
    ) -> Steered:
        """The best of all restarts, as heard."""
        began, way = time.monotonic(), self.decoding()
        before = self.heard(start, way)
        spent = time.monotonic() - began  # decoding in the end takes as long
        left = None
        if self.options.budget_s is not None:
            left = max(self.options.budget_s - (time.monotonic() - self.started) - spent, 0.0)
        began = time.monotonic()
        found, losses = self.optimised(start, left, progress, cancelled)
        searched = time.monotonic() - began
        after = self.heard(found, way)
        better = after.losses < before.losses
        chosen = int(torch.where(better, after.losses, before.losses).argmin())
        kept = after if bool(better[chosen]) else before
        return self.report(before, kept, chosen, losses, searched, cancelled is not None and cancelled())

    def optimised(
        self,
        start: Tensor,
        seconds: float | None,
        progress: Callable[[Progress], None] | None,
        cancelled: Callable[[], bool] | None,
    ) -> tuple[Tensor, Tensor]:
        """The best starts (B, D, L), by the surrogate, then the decoding; and all losses (steps, B)."""
        options, began = self.options, time.monotonic()
        phases, history = self.phases(), list[Tensor]()
        total = sum(steps for _, steps in phases)

        def note(step: int, steps: int, losses: Tensor, start: Tensor) -> None:
            history.append(losses)
            if progress is not None:
                lowest = float(torch.stack(history).min())
                progress(Progress(len(history), total, lowest, time.monotonic() - began, start))

        def over() -> bool:
            return (options.early_stop and self.granted) or (cancelled is not None and cancelled())

        project = partial(on_shell, like=start) if options.shell else None
        for way, steps in phases:
            left = None if seconds is None else seconds - (time.monotonic() - began)
            if over() or not steps or (left is not None and left <= 0 and history):
                break
            found = optimise_noise(
                way.plan,
                way.denoise,
                start,
                self.loss,
                steps=steps,
                lr=options.lr,
                runner=way.runner,
                project=project,
                restarts=options.restarts,
                seconds=left,
                on_step=note,
                stop=over,
            )
            start = found.start
        return start, torch.stack(history) if history else start.new_empty(0, len(start))

    def report(
        self, before: Found, kept: Found, chosen: int, losses: Tensor, searched: float, cancelled: bool
    ) -> Steered:
        """The account of one of the restarts."""
        options, one = self.options, slice(chosen, chosen + 1)
        parts = [(before, chosen), (kept, chosen), (kept, chosen)]
        alone = self.alone(chosen)
        if not self.hears_what_it_searches():
            parts[2] = alone.heard(kept.start[one], alone.searching()._replace(runner=run)), 0
        audio, unsteered = kept.wav[one][0:1], before.wav[one][0:1]
        for control in self.controls:
            audio, unsteered = (control.finish(wav, self.generator.sample_rate) for wav in (audio, unsteered))
        stopped: Stopped = "steps"
        total = sum(steps for _, steps in self.phases())
        if options.early_stop and self.granted:
            stopped = "enough"
        elif len(losses) < total:
            stopped = "cancelled" if cancelled else "budget"
        return Steered(
            audio=audio,
            unsteered=unsteered,
            latents=kept.latents[one],
            sample_rate=self.generator.sample_rate,
            errors=[
                ControlError(control.name, control.unit, *(float(part.errors[n, i]) for part, i in parts))
                for n, control in enumerate(self.controls)
            ],
            losses=losses,
            seed=options.seed + chosen,
            steps=len(losses),
            stopped=stopped,
            seconds=time.monotonic() - self.started,
            per_step=searched / max(1, len(losses)),
            network_calls=self.calls() + alone.calls(),
            warnings=self.warnings(kept is before and len(losses) > 0),
        )

    def alone(self, item: int) -> Search:
        """The same search for one of the restarts."""
        seconds = self.samples / self.generator.sample_rate
        return Search(
            self.generator.only([item]),
            seconds,
            self.controls,
            replace(self.options, early_stop=False),
            self.started,
        )

    def warnings(self, nothing_gained: bool) -> list[str]:
        """What somebody who steers should know."""
        told = []
        if nothing_gained:
            told.append("steering has found nothing better than the seed itself; try more steps or restarts")
        if self.options.method == "ditto2" and self.jump is None:
            told.append(
                f"this model was not distilled to jump: every step of the search takes "
                f"{self.calls_searched()} of its sampler; a student of configs/ditto_distill.yaml needs one"
            )
        return told
