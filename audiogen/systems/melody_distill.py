"""Consistency distillation of MeLoDy's diffusion: few steps and no second network call for guidance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from audiogen.sampling.distillation import (
    consistency_distillation_example,
    euler,
    pick_steps,
    pseudo_huber,
)
from audiogen.sampling.grids import uniform_t
from audiogen.systems.melody import PATH, MeLoDy
from audiogen.training.checkpoint import read_checkpoint, release_of


class MeLoDyDistill(MeLoDy):
    """A student that jumps to where its guided teacher's flow leads (Song et al. 2023, Algorithm 2).

    teacher: checkpoint of a `MeLoDy` run. steps: of the teacher's grid, even in angle; the student at one of
    its times learns from itself at the next (without an average of its own: Song and Dhariwal 2024, section
    3.2). weight: guidance that the student takes over. Windows begin or go on, as in use. What is released is
    a `MeLoDy` with `consistent`.
    """

    def __init__(
        self,
        teacher: str,
        steps: int = 32,
        weight: float = 2.5,
        default_steps: int = 4,
        lr: float = 2e-4,
        lr_final: float = 1e-5,
        warmup_steps: int = 100,
        total_steps: int = 4000,
        weight_decay: float = 0.0,
    ) -> None:
        key, hparams, state = read_checkpoint(teacher)
        if key != "melody" or hparams["consistent"]:
            raise ValueError(f"{teacher} is no MeLoDy that was trained as a diffusion")
        self.released_hparams = {
            **hparams,
            "consistent": True,
            "guidance": 1.0,
            "default_steps": default_steps,
            "patterns": (0.0, 0.5, 0.5),
        }
        super().__init__(**self.released_hparams)
        schedule = {"lr": lr, "lr_final": lr_final, "warmup_steps": warmup_steps, "total_steps": total_steps}
        self.hparams.update({**self.released_hparams, **schedule, "weight_decay": weight_decay})
        self.load_state_dict(state)
        # in a tuple it is no part of this module: it is neither trained nor saved, its checkpoint has it
        self.teacher: tuple[nn.Module, ...] = (MeLoDy(**hparams).requires_grad_(False).eval(),)
        self.teacher[0].load_state_dict(state)
        self.weight, self.times = weight, uniform_t(steps)

    def release(self) -> dict[str, Any]:
        """A student is released as the `MeLoDy` it is."""
        return release_of(self.key, {**self.released_hparams, "words": list(self.words)})

    def on_fit_start(self) -> None:
        """Bring the teacher to where the student is."""
        self.teacher[0].to(self.device)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The student at one time of the grid against itself after the teacher's step to the next."""
        (teacher,) = self.teacher
        assert isinstance(teacher, MeLoDy), "the teacher is made above"
        data, frames = batch["latents"], batch["frames"]
        _, kept = self.draw_times(len(data), data.shape[-1] // self.chunk_frames)
        kept = kept.repeat_interleave(self.chunk_frames, dim=1)
        none = torch.zeros(len(data), dtype=torch.bool, device=self.device)
        student = self.denoiser(self.given(batch, (none, none)), kept)
        masks = batch["token_mask"], frames
        with torch.no_grad():
            guided = teacher.guided(batch["tokens"], batch["captions"], self.weight, kept, masks)
        step = euler(PATH, guided)

        def kept_step(x: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
            return torch.where(kept[:, None], data, step(x, t, t_next))

        def restored(x: Tensor, t: Tensor) -> Tensor:
            return student(torch.where(kept[:, None], data, x), t)

        t, t_next = pick_steps(self.times, torch.rand(len(data), device=self.device))
        noise = torch.randn_like(data)
        example = consistency_distillation_example(PATH, restored, kept_step, data, noise, t, t_next)
        mask = (frames & ~kept)[:, None]
        loss = pseudo_huber(restored(example.x, t), example.target, mask).mean()
        self.log("train/consistency", loss, prog_bar=True)
        return loss
