"""Audio and mel pictures in TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    import lightning.pytorch as L


def tensorboard(module: L.LightningModule) -> Any:
    """The run's TensorBoard writer, or None when it logs elsewhere."""
    writer = getattr(module.logger, "experiment", None)
    return writer if hasattr(writer, "add_audio") else None


def log_audio(module: L.LightningModule, name: str, wav: Tensor, sample_rate: int) -> None:
    """wav (C, T) or (B, T), the first row is kept."""
    if (writer := tensorboard(module)) is not None:
        writer.add_audio(name, wav[:1].float().cpu().clamp(-1, 1), module.global_step, sample_rate)


def log_mels(module: L.LightningModule, name: str, mels: Sequence[Tensor]) -> None:
    """Log-mels (n_mels, N) below one another, low frequencies at the bottom, on one grey scale."""
    if (writer := tensorboard(module)) is None:
        return
    width = max(mel.shape[-1] for mel in mels)
    low, high = float(mels[0].min()), float(mels[0].max())
    rows = []
    for mel in mels:
        picture = torch.zeros(mel.shape[0] + 2, width)
        picture[: mel.shape[0], : mel.shape[1]] = ((mel.float().cpu() - low) / max(high - low, 1e-3)).clamp(
            0, 1
        )
        rows.append(picture.flip(0))
    writer.add_image(name, torch.cat(rows)[None], module.global_step)
