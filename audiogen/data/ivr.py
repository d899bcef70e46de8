"""The Asterisk telephone prompts ("ivr"): one English, Spanish, French and Italian voice set, CC-BY-SA 3.0.

Source layout: `en/metadata.csv` (`id|text|normalised text`), `en/flac/ID.flac`, and `LANG/ogg/ID.ogg` for the
languages without transcripts. Without a source folder the English prompts are fetched from the public origin.
"""

from __future__ import annotations

import tarfile
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from audiogen.audio import write_audio
from audiogen.data.clips import Clip, read_metadata
from audiogen.data.store import DataError

ORIGIN = "https://downloads.asterisk.org/pub/telephony/sounds/releases/asterisk-core-sounds-{language}-sln16-1.6.1.tar.gz"
LANGUAGES = ("en", "es", "fr", "it")
ATTRIBUTION = (
    "Asterisk core sounds 1.6.1, CC-BY-SA 3.0: English and Spanish by Allison Smith, French by June Wallack, "
    "Italian by Carlo Flora; copyright Digium, Inc."
)


SPEAKERS = {"en": "allison", "es": "allison", "fr": "june", "it": "carlo"}


def list_clips(source: Path) -> list[Clip]:
    """Every recording below `source`, in a stable order. Raises DataError when it holds none."""
    clips = []
    for language in LANGUAGES:
        texts = read_metadata(source / language / "metadata.csv")
        files = [
            f for suffix in ("flac", "ogg", "wav") for f in (source / language / suffix).glob(f"*.{suffix}")
        ]
        for path in sorted(files):
            text = texts.get(path.stem)
            clips.append(Clip(f"{language}/{path.stem}", path, text, language, SPEAKERS[language]))
    if not clips:
        raise DataError(
            f"{source} holds no ivr recordings (looked for en/metadata.csv, en/flac and LANG/ogg); "
            "leave --source out to fetch them from the public origin"
        )
    return clips


def fetch(
    folder: Path,
    languages: Iterable[str] = LANGUAGES,
    origin: str = ORIGIN,
    say: Callable[[str], object] = print,
) -> Path:
    """Download and unpack the public archives into the source layout below `folder` -> `folder`.

    An archive that is already there is not fetched again. Raises DataError when the origin cannot be reached.
    """
    for language in languages:
        if (folder / language / "wav").exists():
            continue
        archive = folder / f"{language}.tar.gz"
        url = origin.format(language=language)
        say(f"fetching {url}")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            urllib.request.urlretrieve(url, archive)
        except OSError as error:
            raise DataError(
                f"cannot fetch {url} ({error}); download it yourself and pass --source DIR"
            ) from error
        unpack(archive, folder / language, language)
        archive.unlink()
    return folder


def unpack(archive: Path, folder: Path, language: str) -> None:
    """Put an archive's recordings and its transcript list where `list_clips` looks.

    The recordings are raw 16 kHz signed 16-bit samples; they become WAV files, folders in their names joined
    by `__`.
    """
    rows: list[str] = []
    part = folder / "wav.part"
    part.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content is None:
                continue
            name = member.name.removeprefix("./")
            if name.endswith(".sln16"):
                samples = torch.frombuffer(bytearray(content.read()), dtype=torch.int16).float() / 32768
                write_audio(part / name.replace("/", "__").replace(".sln16", ".wav"), samples[None], 16000)
            elif name == f"core-sounds-{language}.txt" and language == "en":
                rows = transcript_rows(content.read().decode("utf-8"))
    if rows:
        (folder / "metadata.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    part.rename(folder / "wav")


def transcript_rows(listing: str) -> list[str]:
    """Rows `id|text|text` from the origin's list of `file: text` lines.

    Entries in brackets are sounds, not speech.
    """
    rows = []
    for line in listing.splitlines():
        name, colon, text = line.partition(":")
        text = text.strip()
        if colon and text and not line.startswith(";") and text[0] not in "[(<":
            rows.append(f"{name.strip().replace('/', '__')}|{text}|{text}")
    return rows
