"""Recordings of noise in the layout of ESC-50 (Piczak 2015) and its part ESC-10."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from audiogen.audio import read_audio
from audiogen.data.store import DataError

ORIGIN = "https://github.com/karolpiczak/ESC-50"
SUFFIXES = (".wav", ".flac", ".ogg")
SILENCE = 2e-4  # of the peak: what short sounds are filled up with
PEAK = 0.9


@dataclass(frozen=True)
class Noise:
    """A recording named FOLD-CLIP-TAKE, whose takes are cut from one CLIP. kind: its class."""

    id: str
    path: Path
    kind: str
    fold: int
    clip: str

    def read(self, sample_rate: int) -> Tensor:
        """(T,) float32 with a peak of PEAK, channels averaged, without the silence at both ends."""
        wav = read_audio(self.path, sample_rate).mean(0)
        peak = float(wav.abs().max()) if len(wav) else 0.0
        if peak == 0:
            raise DataError(f"{self.path} is silent; take it out of the folder")
        loud = (wav.abs() > SILENCE * peak).nonzero()
        return wav[int(loud[0]) : int(loud[-1]) + 1] * (PEAK / peak)


def list_noises(folder: Path) -> list[Noise]:
    """Every recording below `folder`: KIND/FOLD-CLIP-TAKE.ogg, or flat as in ESC-50's audio/.

    The class of a flat file is the number that ends its name. Raises DataError when there are none or a name
    is of another form.
    """
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES):
        parts = path.stem.split("-")
        if not 3 <= len(parts) <= 4 or not parts[0].isdigit():
            raise DataError(f"{path} is not named FOLD-CLIP-TAKE as the recordings of ESC-50 are; rename it")
        kind = parts[3] if len(parts) == 4 else path.parent.name
        found.append(Noise(f"{kind}/{path.stem}", path, kind, int(parts[0]), parts[1]))
    if not found:
        raise DataError(f"{folder} holds no noise; get ESC-50 from {ORIGIN} and give its folder audio/")
    return found


def split_noises(noises: Sequence[Noise], seed: int) -> list[str]:
    """Train or validation for each noise: one clip of every class, with all of its takes, is kept out."""
    kept = set()
    for kind in sorted({noise.kind for noise in noises}):
        names = sorted({noise.clip for noise in noises if noise.kind == kind})
        if len(names) > 1:
            kept.add((kind, random.Random(f"noise/{seed}/{kind}").choice(names)))
    return ["validation" if (noise.kind, noise.clip) in kept else "train" for noise in noises]
