"""Clips: what a recipe hands to the common preparation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from audiogen.audio import read_audio


@dataclass(frozen=True)
class Clip:
    """One recording of a corpus. text is None where there is no transcript."""

    id: str
    path: Path
    text: str | None
    language: str
    speaker: str

    def read(self, sample_rate: int) -> Tensor:
        """(T,) float32, channels averaged."""
        return read_audio(self.path, sample_rate).mean(0)


def read_metadata(path: Path) -> dict[str, str]:
    """id -> text of an LJSpeech-style `id|text|normalised text` file; empty when there is no file."""
    if not path.exists():
        return {}
    rows = (line.split("|") for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    return {row[0]: row[-1] for row in rows}
