"""Packing waveforms for vocoder training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiogen.data.clips import Clip
from audiogen.data.pitch import fast_pitch
from audiogen.data.progress import Progress, quiet
from audiogen.data.store import save_ragged
from audiogen.spectral import MelSpec

F0_RANGE_HZ = (65.0, 600.0)


def pack_waveforms(
    path: Path,
    clips: Sequence[Clip],
    held_out: set[str],
    sample_rate: int,
    metadata: dict[str, Any],
    progress: Progress = quiet,
    *,
    f0_spec: MelSpec | None = None,
    f0_range: tuple[float, float] = F0_RANGE_HZ,
    workers: int = 1,
) -> None:
    """Write all clips as int16 into one file. held_out: ids that training must not see.

    f0_spec: also write F0 in Hz (0 = unvoiced) on the frames of this front end, which a vocoder with a source
    learns from, searched in f0_range (Hz) by `workers` processes.
    """
    columns: dict[str, list[Tensor]] = {"audio": []}
    for clip in progress(clips, "packing audio", len(clips)):
        columns["audio"].append((clip.read(sample_rate).clamp(-1, 1) * 32767).round().to(torch.int16))
    if f0_spec is not None:
        from joblib import Parallel, delayed

        tracks = Parallel(n_jobs=workers, return_as="generator")(
            delayed(fast_pitch)(wav.numpy() / 32768.0, f0_spec, f0_range) for wav in columns["audio"]
        )
        columns["f0"] = [torch.from_numpy(f0) for f0 in progress(tracks, "pitch", len(clips))]
        metadata = {**metadata, "f0_hop": f0_spec.hop_length}
    ids = [clip.id for clip in clips]
    save_ragged(
        path, columns, {"sample_rate": sample_rate, "ids": ids, "held_out": sorted(held_out), **metadata}
    )
