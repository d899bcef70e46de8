"""Consistency distillation of StableVC: from noise to a mel in one step or two."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor

from audiogen.sampling.distillation import (
    consistency_distillation_example,
    doubling_steps,
    euler,
    pick_steps,
    pseudo_huber,
    regression_loss,
)
from audiogen.sampling.grids import uniform_t
from audiogen.systems.stablevc import StableVC
from audiogen.training.checkpoint import read_checkpoint, release_of

LEVELS = (8, 64)  # steps of the teacher's grid at first and at last, doubled in between


class TaughtStableVC(StableVC):
    """What two ways to train from a teacher have in common.

    released_hparams: of the `StableVC` that is released.
    """

    released_hparams: dict[str, Any]

    def release(self) -> dict[str, Any]:
        """What is taught is released as the `StableVC` it is."""
        return release_of(self.key, {**self.released_hparams, "mel_spec": asdict(self.mel_spec)})

    def on_fit_start(self) -> None:
        """Check that the data fits; the statistics stay the teacher's."""
        if (data := getattr(self.trainer, "datamodule", None)) is not None:
            data.check(self.mel_spec, self.released_hparams["vocabulary"], self.style_bins)


class StableVCDistill(TaughtStableVC):
    """A trained teacher and its student, which answers at a time as at the next lower one.

    Song et al. 2023, Algorithm 2, with the student as its own target (Song and Dhariwal 2024). On a straight
    line x - t v is x itself at t = 0, so the student is a network of velocity like its teacher, from whose
    weights it begins. teacher: checkpoint of a `StableVC` run; its guidance, if it has any, is taught too.
    What is released is a `StableVC` with both flows. Raises ValueError for a teacher of another kind, and
    without step counts.
    """

    def __init__(
        self,
        teacher: str,
        student_steps: tuple[int, ...] = (1, 2),
        default_steps: int = 2,
        lr: float = 5e-4,
        lr_final: float = 1e-5,
        warmup_steps: int = 100,
        total_steps: int = 4000,
    ) -> None:
        if not student_steps:
            raise ValueError("student_steps must name the step counts of the student, such as [1, 2]")
        key, hparams, state = read_checkpoint(teacher)
        if key != self.key:
            raise ValueError(f"{teacher} holds a {key}; the teacher must be a {self.key}")
        self.released_hparams = {
            **hparams,
            "student_steps": tuple(student_steps),
            "default_steps": default_steps,
        }
        super().__init__(**self.released_hparams)
        self.guidance = {kind: scale for kind, scale in self.own_scales.items() if scale != 1}
        self.save_hyperparameters()
        self.load_state_dict(state, strict=False)
        student = self.net.flow("student")
        student.load_state_dict(self.net.flow("teacher").state_dict())
        self.requires_grad_(False)
        student.requires_grad_(True)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The student at one time of the grid against itself after the teacher's step to the next."""
        self.eval()  # nothing is dropped
        mel = self.standardise(batch["mel"])
        heard, _ = self.references(batch)
        given = batch["tokens"], batch["durations"], heard
        told = self.told(*given, "student")
        with torch.no_grad():
            _, teach = self.guided("teacher", *given, self.guidance)
        levels = doubling_steps(
            self.global_step, self.hparams["total_steps"], first=LEVELS[0], last=LEVELS[1]
        )
        times = uniform_t(levels)
        t, t_next = pick_steps(times, torch.rand(len(mel), device=mel.device))
        student = partial(self.estimate, "student", condition=told)
        data = self.noised(mel, told)
        example = consistency_distillation_example(
            self.path, student, euler(self.path, teach), data, torch.randn_like(data), t, t_next
        )
        example = example._replace(weight=1 / (t - t_next))
        mask = told["mask"][:, None]
        loss = regression_loss(student, example, mask=mask, distance=pseudo_huber)
        return self.noted("consistency", loss)
