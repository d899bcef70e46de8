"""Files of one run of the demo, which are gone when it ends."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from uuid import uuid4

from audiogen.audio import Audio


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="audiogen-demo-")


def folder() -> Path:
    """Where what is made once is kept: the recordings of the examples."""
    return Path(_temporary().name)


def saved(audio: Audio, name: str) -> str:
    """A new WAV file of a sound; the page copies it to where it serves from."""
    path = folder() / uuid4().hex / f"{name}.wav"
    path.parent.mkdir()
    audio.save(path)
    return str(path)
