"""Consistency distillation of CoMoSpeech (Ye et al. 2023, section 3.4), as published and improved."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from audiogen.acoustic_model import Condition, pad_tokens
from audiogen.sampling.distillation import (
    Distance,
    Example,
    consistency_distillation_example,
    doubling_steps,
    euler,
    mean_square,
    pick_steps,
    pseudo_huber,
    regression_loss,
)
from audiogen.sampling.grids import karras
from audiogen.systems.comospeech import PATH, SIGMA_MAX, SIGMA_MIN, CoMoSpeech, draw_levels
from audiogen.training.checkpoint import read_checkpoint, release_of
from audiogen.training.schedules import warmup_cosine


@dataclass(frozen=True)
class Recipe:
    """How a student is taught.

    levels: steps of the grid at first and at last, doubled in between. lognormal: draw levels by a lognormal
    law and weigh them by 1 / step, else uniformly with weight 1. target_decay: of the running average that
    the student is compared with, a step; 0 is the student itself.
    """

    levels: tuple[int, int]
    lognormal: bool
    target_decay: float
    distance: Distance


RECIPES = {
    # Ye et al. 2023, section 4.1, and Algorithm 2
    "paper": Recipe((49, 49), lognormal=False, target_decay=0.95, distance=mean_square),
    # Song and Dhariwal 2024, section 3, with a teacher's step
    "improved": Recipe((10, 80), lognormal=True, target_decay=0.0, distance=pseudo_huber),
}


class CoMoSpeechDistill(CoMoSpeech):
    """A trained teacher and its student.

    teacher: checkpoint of a `CoMoSpeech` run. preset: one of RECIPES. What the encoder makes of a piece and
    how it is aligned is computed once and kept. What is released is a `CoMoSpeech` with both networks.
    """

    def __init__(
        self,
        teacher: str,
        student_steps: tuple[int, ...] = (1, 2, 4),
        teacher_steps: tuple[int, ...] = (50, 25, 10),
        default_steps: int = 1,
        preset: Literal["paper", "improved"] = "improved",
        lr: float = 5e-4,
        lr_final: float = 1e-5,
        warmup_steps: int = 50,
        total_steps: int = 3000,
    ) -> None:
        if not student_steps or set(student_steps) & set(teacher_steps):
            raise ValueError(
                f"student_steps {student_steps} must be some, and none of teacher_steps {teacher_steps}"
            )
        key, hparams, state = read_checkpoint(teacher)
        if key != self.key:
            raise ValueError(f"{teacher} holds a {key}; the teacher must be a {self.key}")
        self.released_hparams = {
            **hparams,
            "student_steps": tuple(student_steps),
            "teacher_steps": tuple(teacher_steps),
            "default_steps": default_steps,
        }
        super().__init__(**self.released_hparams)
        self.save_hyperparameters()
        self.recipe = RECIPES[preset]
        self.load_state_dict(state, strict=False)
        self.denoisers["student"].load_state_dict(self.denoisers["teacher"].state_dict())
        self.requires_grad_(False)
        self.denoisers["student"].requires_grad_(True)
        self.target = copy.deepcopy(self.denoisers["student"]).requires_grad_(False)
        self.known: dict[str, tuple[Tensor, Tensor]] = {}

    def release(self) -> dict[str, Any]:
        """A student is released as the `CoMoSpeech` it is."""
        hparams = {**self.released_hparams, "mel_spec": asdict(self.mel_spec)}
        return release_of(self.key, hparams, training_only=("target.",))

    def on_fit_start(self) -> None:
        """Check that the data fits; the statistics stay the teacher's."""
        self.data_module().check(self.mel_spec, self.symbols, self.speakers)

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Move the target towards the student."""
        student = self.denoisers["student"].parameters()
        with torch.no_grad():
            for old, new in zip(self.target.parameters(), student, strict=True):
                old.lerp_(new, 1 - self.recipe.target_decay)

    @torch.no_grad()
    def known_condition(self, batch: dict[str, Any]) -> Condition:
        """The condition of a batch, from what is kept of its pieces."""
        if any(name not in self.known for name in batch["ids"]):
            hidden = self.hidden(batch)
            durations = self.durations(hidden, self.standardise(batch["mel"]), batch)
            lengths = batch["token_mask"][:, 0].sum(1).tolist()
            for i, (name, length) in enumerate(zip(batch["ids"], lengths, strict=True)):
                self.known[name] = hidden[i, :, :length].T.clone(), durations[i, :length].clone()
        hidden, durations = pad_tokens([self.known[name] for name in batch["ids"]])
        return self.condition(hidden.transpose(1, 2), durations)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """One student step from the level above to the target's answer a teacher's step below."""
        self.eval()  # the frozen encoder must not drop anything out
        condition = self.known_condition(batch)
        data, noise = self.noised(self.standardise(batch["mel"]), condition)
        example = self.example(data, noise, condition)
        student = self.denoiser(self.denoisers["student"], condition)
        loss = regression_loss(student, example, mask=condition.mask, distance=self.recipe.distance)
        return self.noted("consistency", loss)

    def example(self, data: Tensor, noise: Tensor, condition: Condition) -> Example:
        """What the student should answer where, (B, n_mels, N)."""
        first, last = self.recipe.levels
        levels = doubling_steps(self.global_step, self.hparams["total_steps"], first=first, last=last)
        if self.recipe.lognormal:
            t, t_next = draw_levels(len(data), levels, data.device)
        else:
            times = karras(PATH, levels, start=SIGMA_MAX, end=SIGMA_MIN)
            t, t_next = pick_steps(times, torch.rand(len(data), device=data.device))
        step = euler(PATH, self.denoiser(self.denoisers["teacher"], condition))
        target = self.denoiser(self.target, condition)
        example = consistency_distillation_example(PATH, target, step, data, noise, t, t_next)
        return example._replace(weight=1 / (t - t_next)) if self.recipe.lognormal else example

    def configure_optimizers(self) -> Any:
        """AdamW on the student."""
        students = self.denoisers["student"].parameters()
        optimizer = torch.optim.AdamW(students, lr=self.hparams["lr"], betas=(0.9, 0.98), weight_decay=0.0)
        return {"optimizer": optimizer, "lr_scheduler": warmup_cosine(optimizer, self.hparams)}
