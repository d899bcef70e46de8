"""Consistency distillation of StoRM: one step from the predictor's estimate to clean speech."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from audiogen.sampling.distillation import consistency_distillation_example, regression_loss
from audiogen.sampling.distillation.consistency import pick_steps
from audiogen.sampling.distillation.steps import heun
from audiogen.sampling.grids import uniform_lambda
from audiogen.systems.storm import StoRM
from audiogen.training.checkpoint import read_checkpoint


class StoRMDistill(StoRM):
    """A student that jumps to where its teacher's flow leads (Song et al. 2023, Algorithm 2).

    teacher: checkpoint of a `StoRM` run with objective "edm" and a score network. steps: of the teacher's
    grid, uniform in log-SNR from 1 to t_eps, on which the student at one time learns from itself at the next
    (without an average of its own: Song and Dhariwal 2024, section 3.2). Only the score network learns. What
    is released is a `StoRM` with `consistent`. Raises ValueError for a teacher of another kind.
    """

    def __init__(
        self,
        teacher: str,
        steps: int = 16,
        lr: float = 3e-4,
        lr_final: float = 1e-5,
        warmup_steps: int = 100,
        total_steps: int = 2000,
    ) -> None:
        key, hparams, state = read_checkpoint(teacher)
        if key != "storm" or hparams["objective"] != "edm" or hparams["predictor"] == "alone":
            raise ValueError(f"{teacher} is no StoRM with a score network trained on objective 'edm'")
        self.released_hparams = {**hparams, "consistent": True}
        super().__init__(**self.released_hparams)
        self.save_hyperparameters()
        self.load_state_dict(state)
        # in a tuple it is no part of this module: it is neither trained nor saved, its checkpoint has it
        self.teacher: tuple[nn.Module, ...] = (StoRM(**hparams).requires_grad_(False).eval(),)
        self.teacher[0].load_state_dict(state)
        self.times = uniform_lambda(self.path, steps, start=1.0, end=self.t_eps)
        if self.predictor is not None:
            self.predictor.requires_grad_(False)

    def release(self) -> dict[str, Any]:
        """A student is released as the `StoRM` it is."""
        return {"system": "storm", "hparams": self.released_hparams}

    def on_fit_start(self) -> None:
        """Bring the teacher to where the student is."""
        self.teacher[0].to(self.device)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The student at one time of the grid against itself after the teacher's step to the next."""
        (teacher,) = self.teacher
        assert isinstance(teacher, StoRM), "the teacher is made above"
        clean, noisy = (self.stft.analyse(batch[name]) for name in ("clean", "noisy"))
        with torch.no_grad():
            end = self.predict(noisy)
        t, t_next = pick_steps(self.times, torch.rand(len(clean), device=clean.device))
        student = self.denoiser(noisy, end)
        step = heun(self.path, teacher.denoiser(noisy, end), y=end)
        noise = torch.randn_like(clean)
        example = consistency_distillation_example(self.path, student, step, clean, noise, t, t_next, y=end)
        loss = regression_loss(student, example) / self.objective.residual_std**2
        self.log("train/consistency", loss, prog_bar=True)
        return loss
