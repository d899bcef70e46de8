"""Distillation of MeLoDy's diffusion into a consistency (trajectory) model, the guidance weight an input.

What DITTO-2 optimises through (Novack et al. 2024): one call of the student from noise to data. A trajectory
model (Kim et al. 2024) jumps to any earlier time and is decoded in as many jumps as quality asks for; it
stays a diffusion where a jump goes nowhere. A consistency model (Song et al. 2023) jumps to the data alone.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from audiogen.sampling.distillation import (
    balance,
    consistency_distillation_example,
    euler,
    pseudo_huber,
    regression_loss,
    trajectory_loss,
)
from audiogen.sampling.grids import falling_angles
from audiogen.sampling.loop import Denoiser
from audiogen.systems.melody import PATH, MeLoDy
from audiogen.systems.melody_student import MeLoDyStudent

SCALE = 0.03  # of the pseudo-Huber distance, in units of the latents
HEAVIEST = 10.0  # weight of the denoising loss beside the consistency loss


class MeLoDyTrajectory(MeLoDyStudent):
    """A student of one to four steps or so that is told its guidance weight.

    teacher: checkpoint of a `MeLoDy` run. method: "ctm", jumps to any time, or "cm", to the data. levels:
    steps of the grid; most_steps: of the teacher between the times that are compared, drawn from 1 on, 1 with
    "cm". weights: range of the guidance weights. decay: of the running average that the student is compared
    with. student_steps: numbers of steps that validation looks at. What is released is a `MeLoDy` that jumps.
    Raises ValueError for another teacher and options out of range.
    """

    def __init__(
        self,
        teacher: str,
        method: Literal["ctm", "cm"] = "ctm",
        levels: int = 18,
        most_steps: int = 4,
        weights: tuple[float, float] = (1.0, 4.0),
        decay: float = 0.99,
        student_steps: Sequence[int] = (1, 2, 4),
        guidance: float = 2.5,
        default_steps: int = 4,
        lr: float = 2e-4,
        lr_final: float = 1e-5,
        warmup_steps: int = 100,
        total_steps: int = 3000,
        weight_decay: float = 0.0,
    ) -> None:
        if method not in ("ctm", "cm"):
            raise ValueError(f"unknown method {method!r}; use ctm or cm")
        if not 1 <= most_steps <= levels:
            raise ValueError(f"most_steps {most_steps} must lie between 1 and the {levels} levels")
        if not 0 <= weights[0] <= weights[1]:
            raise ValueError(f"weights {tuple(weights)} must be a range from 0 or more")
        schedule = {"lr": lr, "lr_final": lr_final, "warmup_steps": warmup_steps, "total_steps": total_steps}
        changes = {"to_data": method == "cm", "told_guidance": True, "guidance": guidance}
        super().__init__(
            teacher, {**changes, "default_steps": default_steps}, {**schedule, "weight_decay": weight_decay}
        )
        self.captions.requires_grad_(False)
        self.target = MeLoDy(**self.released_hparams)
        self.target.hparams.update(self.released_hparams)
        self.target.net = copy.deepcopy(self.net).requires_grad_(False)
        self.target.captions = self.captions  # which is not trained, but learns the words of the data
        self.method, self.levels, self.most_steps = method, levels, most_steps
        self.weights, self.decay, self.student_steps = tuple(weights), decay, tuple(student_steps)

    def release(self, left_out: tuple[str, ...] = ()) -> dict[str, Any]:
        """A student is released as the `MeLoDy` it is, without what it was compared with."""
        return super().release(("target.", *left_out))

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Move the target towards the student."""
        with torch.no_grad():
            for old, new in zip(self.target.net.parameters(), self.net.parameters(), strict=True):
                old.lerp_(new, 1 - self.decay)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The student's jumps against the target's from where the teacher has gone on; see `losses`."""
        losses = self.losses(batch)
        self.log_dict({f"train/{name}": loss for name, loss in losses.items()}, prog_bar=True)
        if "denoising" not in losses:
            return losses["consistency"]
        weight = balance(losses["consistency"], losses["denoising"], self.net.exit.weight)
        return losses["consistency"] + weight.clamp(max=HEAVIEST) * losses["denoising"]

    def losses(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The terms of the loss, 0-dim each, at random times, weights and patterns of what is kept."""
        teacher = self.teacher
        self.captions.eval()  # it is not trained, and must not drop anything out
        data, frames = batch["latents"], batch["frames"]
        items, like = len(data), {"device": data.device}
        _, kept = self.draw_times(items, data.shape[-1] // self.chunk_frames)
        kept = kept.repeat_interleave(self.chunk_frames, dim=1)
        low, high = self.weights
        weights = low + (high - low) * torch.rand(items, **like)
        told = (batch["tokens"], batch["captions"], weights, kept, (batch["token_mask"], frames))
        hidden, beats = self.draw_hidden(items), batch.get("beats")
        guided, student, target = (
            holding(model.guided(*told, hidden=hidden, beats=beats), data, kept)
            for model in (teacher, self, self.target)
        )
        noise, mask = torch.randn_like(data), (frames & ~kept)[:, None]
        distance, step = partial(pseudo_huber, scale=SCALE), euler(PATH, guided)
        if self.method == "cm":
            t, t_next = self.draw_way(items, 1).unbind(1)[:2]
            example = consistency_distillation_example(
                PATH, partial(to_data, target), step, data, noise, t, t_next
            )
            loss = regression_loss(partial(to_data, student), example, mask=mask, distance=distance)
            return {"consistency": loss}
        steps = int(torch.randint(1, self.most_steps + 1, ()))
        *times, s = self.draw_way(items, steps).unbind(1)
        end = torch.zeros_like(s)
        way = torch.stack(times, dim=1)
        found = trajectory_loss(
            PATH, student, target, step, data, noise, way, s, end, mask=mask, distance=distance
        )
        return found._asdict()

    def draw_way(self, items: int, steps: int) -> Tensor:
        """Times (items, steps + 2), falling: the teacher's way, and one at or below its end, on the grid."""
        grid = falling_angles(self.levels).to(self.device)
        first = torch.randint(self.levels, (items,), device=self.device)
        ends = (first[:, None] + torch.arange(steps + 1, device=self.device)).clamp(max=self.levels)
        below = (torch.rand(items, device=self.device) * (self.levels + 1 - ends[:, -1])).long()
        return grid[torch.cat((ends, ends[:, -1:] + below[:, None]), dim=1)]

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """How far jumps end from where the teacher ends, as a share of its variance, in whole windows."""
        teacher = self.teacher
        tokens, captions, seeds = batch["tokens"], batch["captions"], range(len(batch["tokens"]))
        if not bool(batch["frames"].all()):
            return
        told: dict[str, Any] = {
            "guidance": float(self.hparams["guidance"]),
            "beats": batch.get("beats"),
        }
        aim = teacher.sample(tokens, captions, seeds, num_steps=self.levels, **told)
        for n in self.student_steps:
            made = self.sample(tokens, captions, seeds, num_steps=n, **told)
            self.log(f"val/distance_{n}", (made - aim).square().mean() / aim.var(), batch_size=len(tokens))


def to_data(denoise: Denoiser, x: Tensor, t: Tensor) -> Tensor:
    """A network that jumps as a consistency function: from t (B,) to the data."""
    return denoise(x, torch.stack((t, torch.zeros_like(t)), dim=-1))


def holding(denoise: Denoiser, data: Tensor, kept: Tensor) -> Denoiser:
    """The denoiser of states whose kept frames, (B, L) True, are the data (B, D, L)."""

    def held(x: Tensor, t: Tensor) -> Tensor:
        return denoise(torch.where(kept[:, None], data, x), t)

    return held
