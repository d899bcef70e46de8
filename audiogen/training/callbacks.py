"""Callbacks that make a run repeatable and its failures readable."""

from __future__ import annotations

import hashlib
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor


class StepSeed(L.Callback):
    """Seed torch at every batch with (seed, global step), and under DDP with the rank.

    A resumed run draws what the unbroken one would have drawn.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Called by Lightning before each training step."""
        rank = f"/{trainer.global_rank}" if trainer.global_rank else ""  # ranks must not draw the same noise
        digest = hashlib.sha256(f"{self.seed}/{trainer.global_step}{rank}".encode()).digest()
        torch.manual_seed(int.from_bytes(digest[:8], "big") >> 1)


class NanGuard(L.Callback):
    """Stop at the first loss or gradient that is not finite, and name the items of the batch."""

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember what the step sees."""
        self._ids = list(batch.get("ids", ())) if isinstance(batch, dict) else []

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        """Check the loss."""
        if not torch.isfinite(loss):
            self._stop(f"the loss is {loss.item()}", trainer)

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Check the gradients, before they reach the weights."""
        bad = [
            name
            for name, p in pl_module.named_parameters()
            if p.grad is not None and not p.grad.isfinite().all()
        ]
        if bad:
            self._stop(f"the gradient of {bad[0]} (and {len(bad) - 1} more) is not finite", trainer)

    def _stop(self, what: str, trainer: L.Trainer) -> None:
        raise FloatingPointError(
            f"{what} at step {trainer.global_step}, items {self._ids}; look at them, or lower model.lr. "
            "The last checkpoint is from before this step"
        )
