"""Packing waveforms for vocoder training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiogen.data.clips import Clip
from audiogen.data.store import save_ragged


def pack_waveforms(
    path: Path,
    clips: Sequence[Clip],
    held_out: set[str],
    sample_rate: int,
    metadata: dict[str, Any],
    progress: Callable[[Iterable[Clip]], Iterable[Clip]] = iter,
) -> None:
    """Write all clips as int16 into one file. held_out: ids that training must not see."""
    waves: list[Tensor] = []
    for clip in progress(clips):
        waves.append((clip.read(sample_rate).clamp(-1, 1) * 32767).round().to(torch.int16))
    ids = [clip.id for clip in clips]
    save_ragged(
        path,
        {"audio": waves},
        {"sample_rate": sample_rate, "ids": ids, "held_out": sorted(held_out), **metadata},
    )
