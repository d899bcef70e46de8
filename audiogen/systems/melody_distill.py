"""Distillation of MeLoDy's diffusion: long jumps along its guided flow, without a second call for guidance.

In angles a jump is z_{d - w} = cos(w) z_d - sin(w) v, whatever w: the velocity that leads from one state of
a trajectory to another is v = (cos(w) z_d - z_{d - w}) / sin(w). A teacher draws the trajectories in small
guided steps; the student, told d and w, learns the velocity of each long step (as a consistency trajectory
model, Kim et al. 2024, does, but from whole trajectories, so that nothing has to be bootstrapped).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from audiogen.nn.dual_path import Context
from audiogen.sampling.distillation import ddim_step
from audiogen.sampling.grids import falling_angles
from audiogen.sampling.loop import Denoiser
from audiogen.systems.melody import PATH, RIGHT_ANGLE
from audiogen.systems.melody_student import MeLoDyStudent


class MeLoDyDistill(MeLoDyStudent):
    """A student of 1 to 4 steps or so.

    teacher: checkpoint of a `MeLoDy` run. student_steps: the numbers of steps that it learns, one at random a
    batch, on the grid on which it is sampled; steps: the teacher's on a whole trajectory, shared by the
    student's. weight: guidance that the student takes over. Windows begin or go on, as in use. What is
    released is a `MeLoDy` that jumps. Raises ValueError for another teacher, and steps that do not divide.
    """

    def __init__(
        self,
        teacher: str,
        student_steps: Sequence[int] = (1, 2, 4),
        steps: int = 16,
        weight: float = 2.5,
        default_steps: int = 4,
        lr: float = 3e-4,
        lr_final: float = 1e-5,
        warmup_steps: int = 100,
        total_steps: int = 3000,
        weight_decay: float = 0.0,
    ) -> None:
        if not student_steps or any(n < 1 or steps % n for n in student_steps):
            raise ValueError(f"student_steps {tuple(student_steps)} must divide the teacher's {steps}")
        schedule = {"lr": lr, "lr_final": lr_final, "warmup_steps": warmup_steps, "total_steps": total_steps}
        changes = {"guidance": 1.0, "default_steps": default_steps}
        super().__init__(teacher, changes, {**schedule, "weight_decay": weight_decay})
        self.weight, self.steps, self.student_steps = weight, steps, tuple(student_steps)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The student's velocity against that of the teacher's way, over every long step of a trajectory."""
        teacher = self.teacher
        data, frames = batch["latents"], batch["frames"]
        _, kept = self.draw_times(len(data), data.shape[-1] // self.chunk_frames)
        kept = kept.repeat_interleave(self.chunk_frames, dim=1)
        masks, beats = (batch["token_mask"], frames), batch.get("beats")
        number = self.student_steps[int(torch.randint(len(self.student_steps), ()))]
        with torch.no_grad():
            guided = teacher.guided(batch["tokens"], batch["captions"], self.weight, kept, masks, beats=beats)
            states = self.trajectory(guided, torch.randn_like(data), data, kept, number)
        none = torch.zeros(len(data), dtype=torch.bool, device=self.device)
        given = self.given(batch, (none, none))
        times = falling_angles(number).tolist()
        loss = torch.stack(
            [
                self.jump_error(states[n], states[n + 1], (times[n], times[n + 1]), kept, frames, given)
                for n in range(number)
            ]
        ).mean()
        self.log("train/jump", loss, prog_bar=True)
        return loss

    def trajectory(
        self, denoise: Denoiser, x: Tensor, data: Tensor, kept: Tensor, number: int
    ) -> list[Tensor]:
        """States at the ends of `number` long steps (B, D, L), of a way in `steps` short ones; kept: data."""
        x = torch.where(kept[:, None], data, x)
        states = [x]
        for start, end in pairwise(falling_angles(number).tolist()):
            short = torch.linspace(start, end, self.steps // number + 1, dtype=torch.float64).tolist()
            for t, t_next in pairwise(short):
                now, later = (torch.full((len(x),), time, device=x.device) for time in (t, t_next))
                x = torch.where(kept[:, None], data, ddim_step(PATH, x, denoise(x, now), now, later))
            states.append(x)
        return states

    def jump_error(
        self, x: Tensor, end: Tensor, times: tuple[float, float], kept: Tensor, frames: Tensor, given: Context
    ) -> Tensor:
        """Mean square error of the velocity from x to end (B, D, L), over what is real and not kept."""
        angle, step = times[0] * RIGHT_ANGLE, (times[0] - times[1]) * RIGHT_ANGLE
        angles, steps = ((~kept).to(x.dtype) * a for a in (angle, step))
        v = self.net(x, angles, given, steps).float()
        error = (v - (math.cos(step) * x - end) / math.sin(step)).square().mean(1)
        mask = frames & ~kept
        return (error * mask).sum() / mask.sum().clamp(min=1)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """How far jumps end from where the teacher ends, as a share of its variance, in whole windows."""
        teacher = self.teacher
        tokens, captions, seeds = batch["tokens"], batch["captions"], range(len(batch["tokens"]))
        if not bool(batch["frames"].all()):
            return
        beats = batch.get("beats")
        aim = teacher.sample(tokens, captions, seeds, num_steps=self.steps, guidance=self.weight, beats=beats)
        for n in self.student_steps:
            made = self.sample(tokens, captions, seeds, num_steps=n, beats=beats)
            self.log(f"val/distance_{n}", (made - aim).square().mean() / aim.var(), batch_size=len(tokens))
