"""Learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch


def warmup_cosine(
    optimizer: torch.optim.Optimizer, hparams: Mapping[str, Any], period: int | None = None
) -> dict[str, Any]:
    """Linear warm-up over `warmup_steps`, then a cosine from `lr` to `lr_final` at `total_steps`.

    Lightning's form.
    """
    warmup, total = hparams["warmup_steps"], hparams["total_steps"]
    end = hparams["lr_final"] / hparams["lr"]

    def factor(step: int) -> float:
        step = step if period is None else step % period
        if step < warmup:
            return (step + 1) / warmup
        progress = min(1.0, (step - warmup) / max(1, total - warmup))
        return end + (1 - end) * (1 + math.cos(math.pi * progress)) / 2

    return {"scheduler": torch.optim.lr_scheduler.LambdaLR(optimizer, factor), "interval": "step"}
