"""Progressive distillation of ProDiff: each stage halves the steps (Salimans & Ho 2022.

ProDiff, section 3.2).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from audiogen.sampling.distillation import progressive_target
from audiogen.systems.prodiff import ProDiff
from audiogen.training.checkpoint import read_checkpoint, release_of
from audiogen.training.schedules import warmup_cosine


class ProDiffDistill(ProDiff):
    """A trained teacher and its students, one stage after another in one run.

    teacher: checkpoint of a `ProDiff` run. stages: steps of the teacher and of each student, each half the
    one before. steps_per_stage: optimiser steps of each student; trainer.max_steps should be their sum.
    Encoder and variance adaptor stay as they are. What is released is a `ProDiff` with a denoiser for every
    number of steps. Raises ValueError for stages that do not halve or do not begin with the teacher's steps.
    """

    def __init__(
        self,
        teacher: str,
        stages: tuple[int, ...] = (4, 2, 1),
        steps_per_stage: int = 1000,
        default_steps: int = 2,
        lr: float = 5e-4,
        lr_final: float = 1e-5,
        warmup_steps: int = 50,
    ) -> None:
        stages = tuple(stages)
        if len(stages) < 2 or any(a != 2 * b for a, b in zip(stages, stages[1:], strict=False)):
            raise ValueError(f"stages {stages} must halve, as in (4, 2, 1)")
        _, hparams, state = read_checkpoint(teacher)
        if tuple(hparams["step_counts"]) != stages[:1]:
            raise ValueError(
                f"{teacher} has {hparams['step_counts']} steps: stages must begin with that, not {stages}"
            )
        self.released_hparams = {**hparams, "step_counts": stages, "default_steps": default_steps}
        super().__init__(**self.released_hparams)
        self.save_hyperparameters()
        self.stages = stages
        self.load_state_dict(state, strict=False)
        for n in stages[1:]:
            self.denoisers[str(n)].load_state_dict(self.denoisers[str(stages[0])].state_dict())
        self.requires_grad_(False)
        for n in stages[1:]:
            self.denoisers[str(n)].requires_grad_(True)

    def release(self) -> dict[str, Any]:
        """A student is released as the `ProDiff` it is."""
        return release_of("prodiff", {**self.released_hparams, "mel_spec": asdict(self.mel_spec)})

    def on_fit_start(self) -> None:
        """Check that the data fits; the statistics stay the teacher's."""
        self.data_module().check(self.mel_spec, self.symbols, self.speakers)

    @property
    def stage_index(self) -> int:
        """Which student is being trained: 1 is the first."""
        return min(1 + self.global_step // self.hparams["steps_per_stage"], len(self.stages) - 1)

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        """A new stage starts from the student of the last one, which becomes the teacher."""
        if self.global_step > 0 and self.global_step % self.hparams["steps_per_stage"] == 0:
            teacher, student = (str(self.stages[self.stage_index + k]) for k in (-1, 0))
            if self.global_step < self.hparams["steps_per_stage"] * (len(self.stages) - 1):
                self.denoisers[student].load_state_dict(self.denoisers[teacher].state_dict())

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """One student step against two steps of its teacher, both on the student's sampling grid."""
        self.eval()  # the frozen encoder must not drop anything out
        with torch.no_grad():
            hidden, _ = self.encode(batch)
            prosody = batch["durations"], batch["pitch"], batch["energy"], batch["token_mask"]
            condition = self.condition(hidden, *prosody)
            data = self.standardise(batch["mel"]) * condition.mask
        few = self.stages[self.stage_index]
        fine, coarse = self.plan(2 * few), self.plan(few)
        row = torch.randint(few, (len(data),), device=data.device)
        t, t_next = (times.to(data.device)[row] for times in (coarse.labels, coarse.ends))
        t_mid = fine.ends.to(data.device)[2 * row]
        noise = torch.randn_like(data) * self.temperature
        x = self.path.add_noise(data, noise, t) * condition.mask
        target = progressive_target(self.path, self.denoiser(2 * few, condition), x, t, t_mid, t_next)
        estimate = self.denoiser(few, condition)(x, t)
        return self.reconstruction(estimate, target * condition.mask, condition.mask)

    def configure_optimizers(self) -> Any:
        """AdamW on the students; every stage has its own warm-up and decay."""
        students = [p for p in self.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(students, lr=self.hparams["lr"], betas=(0.9, 0.98), weight_decay=0.0)
        per_stage = self.hparams["steps_per_stage"]
        schedule = warmup_cosine(optimizer, {**self.hparams, "total_steps": per_stage}, period=per_stage)
        return {"optimizer": optimizer, "lr_scheduler": schedule}
