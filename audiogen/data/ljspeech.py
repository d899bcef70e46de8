"""LJSpeech and every folder in its layout.

`metadata.csv` (`id|text|normalised text`) beside `wavs/ID.wav`.
"""

from __future__ import annotations

from pathlib import Path

from audiogen.data.clips import Clip, read_metadata
from audiogen.data.store import DataError

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")


def list_clips(source: Path, speaker: str = "linda", language: str = "en") -> list[Clip]:
    """Every clip that `metadata.csv` names, in its order.

    Raises DataError for a missing list or recording.
    """
    texts = read_metadata(source / "metadata.csv")
    if not texts:
        raise DataError(f"{source} has no metadata.csv with lines `id|text|normalised text`; check --source")
    files = {
        path.stem: path for path in sorted((source / "wavs").glob("*")) if path.suffix.lower() in SUFFIXES
    }
    if missing := [name for name in texts if name not in files]:
        raise DataError(
            f"{len(missing)} recordings of metadata.csv are not in {source / 'wavs'}; "
            f"the first is {missing[0]}.wav"
        )
    return [Clip(name, files[name], text, language, speaker) for name, text in texts.items()]
