"""Pairs of a model's mels and the recordings they stand for.

To fine-tune a vocoder on what it will be fed.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiogen.data.mels import MelData
from audiogen.data.store import Ragged, save_ragged
from audiogen.spectral import MelSpec


@torch.inference_mode()
def build_pairs(
    folder: Path, system: Any, num_steps: int, progress: Callable[[Iterable[int]], Iterable[int]] = iter
) -> int:
    """Write `pairs.safetensors` into a folder of `audiogen prepare` -> number of pairs.

    Each training piece is sampled with its true durations, pitch and energy, so that the mel and the
    recording keep step. Columns: mel (n_mels, N) and audio, int16, (N - 1) hop_length samples.
    """
    data = MelData(str(folder / "speech.safetensors"))
    data.setup("fit")
    waves = Ragged(folder / "audio.safetensors")
    clip_of = {name: i for i, name in enumerate(waves.metadata["ids"])}
    with gzip.open(folder / "cuts.jsonl.gz", "rt", encoding="utf-8") as file:
        cuts = [json.loads(line) for line in file]
    columns: dict[str, list[Tensor]] = {"mel": [], "audio": []}
    hop, rate = system.mel_spec.hop_length, system.sample_rate
    for item in progress(data.training_items):
        mel = system.resynthesize(data.batch([item]), [item], num_steps)[0]
        start = round(cuts[item]["start"] * rate)
        clip = waves["audio"][clip_of[data.ids[item].partition("#")[0]]]
        audio = clip[start : start + (mel.shape[-1] - 1) * hop]
        mel = mel[:, : audio.shape[-1] // hop + 1]
        columns["mel"].append(mel.half())
        columns["audio"].append(audio[: (mel.shape[-1] - 1) * hop])
    facts = {"mel_spec": asdict(system.mel_spec), "ids": [data.ids[i] for i in data.training_items]}
    save_ragged(folder / "pairs.safetensors", columns, facts)
    return len(columns["mel"])


class Pairs:
    """Segments of pairs: `segment` samples and the frames a model made for them."""

    def __init__(self, path: str, segment: int) -> None:
        store = Ragged(path)
        self.mel_spec = MelSpec(**store.metadata["mel_spec"])
        self.ids: list[str] = store.metadata["ids"]
        self.mel, self.audio = store["mel"], store["audio"]
        self.frames = segment // self.mel_spec.hop_length
        self.usable = [i for i in range(len(self.ids)) if self.mel.length(i) > self.frames]

    def cut(self, number: int, offset: int, gain: float) -> tuple[Tensor, Tensor, str]:
        """Two large numbers choose the pair and the place.

        Returns audio (T,), mel (n_mels, N) and the id, both at `gain`.
        """
        item = self.usable[number % len(self.usable)]
        frame = offset % (self.mel.length(item) - self.frames)
        hop = self.mel_spec.hop_length
        audio = self.audio[item][frame * hop : (frame + self.frames) * hop].float() / 32768
        mel = self.mel[item][:, frame : frame + self.frames + 1].float() + math.log(gain)
        return audio * gain, mel.clamp(min=math.log(self.mel_spec.floor)), self.ids[item]
