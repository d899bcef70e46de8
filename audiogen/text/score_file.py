"""Reading songs: a small JSON of our own, and MusicXML."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from audiogen.text.lyrics import Written, sung_notes
from audiogen.text.musicxml import read_musicxml
from audiogen.text.phonemes import Phones, parse_ipa
from audiogen.text.score import Score, note_number

DEFAULT_TEMPO: Final = 120.0  # quarter notes a minute
_SCORE_KEYS: Final = {"language", "tempo", "notes"}
_NOTE_KEYS: Final = {"midi", "seconds", "beats", "lyric", "phones", "slur"}


def read_score(path: str | os.PathLike[str], language: str = "en-us") -> Score:
    """A song from .json, .musicxml, .xml or .mxl.

    language: of the lyrics, unless the file says. Raises ValueError naming the file and the note or measure
    at fault, FileNotFoundError for a missing file.
    """
    path = Path(path)
    readers: dict[str, Callable[[Path], tuple[list[Written], str | None]]] = {
        ".json": _read_json,
        ".musicxml": read_musicxml,
        ".xml": read_musicxml,
        ".mxl": read_musicxml,
    }
    if path.suffix.lower() not in readers:
        raise ValueError(f"{path} is no score; use one of {', '.join(readers)}")
    if not path.is_file():
        raise FileNotFoundError(f"no score at {path}")
    try:
        written, own_language = readers[path.suffix.lower()](path)
        language = own_language or language
        return Score(sung_notes(written, language), path.stem, language)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read_json(path: Path) -> tuple[list[Written], str | None]:
    """Notes and language of {"language", "tempo", "notes"}."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"this is no JSON ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get("notes"), list):
        raise ValueError('a score is an object with "notes", a list')
    _refuse_unknown(content, _SCORE_KEYS, "a score")
    tempo, language = content.get("tempo", DEFAULT_TEMPO), content.get("language")
    if not _is_number(tempo) or tempo <= 0:
        raise ValueError(f'"tempo" {tempo!r} is not a number of beats a minute above 0')
    if not isinstance(language, (str, type(None))):
        raise ValueError(f'"language" {language!r} is not a code such as "en-us"')
    notes = content["notes"]
    return [_note(note, f"note {k}", float(tempo)) for k, note in enumerate(notes, 1)], language


def _note(entry: Any, where: str, tempo: float) -> Written:
    """One entry of "notes"."""
    if not isinstance(entry, dict) or "midi" not in entry:
        raise ValueError(f'{where} has no "midi"; give a number, a pitch such as "C4", or null for a rest')
    _refuse_unknown(entry, _NOTE_KEYS, where)
    lyric, slur = entry.get("lyric", ""), entry.get("slur", False)
    if not isinstance(lyric, str) or not isinstance(slur, bool):
        raise ValueError(f'{where}: "lyric" is a text, "slur" true or false')
    if slur and (lyric or "phones" in entry):
        raise ValueError(f"{where}: a slurred note sings on the syllable before it; leave its lyric out")
    midi, seconds = _midi(entry["midi"], where), _seconds(entry, where, tempo)
    phones = _phones(entry["phones"], where) if "phones" in entry else ()
    if midi is not None and not (lyric or phones or slur):
        raise ValueError(f'{where} has nothing to sing; give "lyric", "phones", or "slur": true')
    if midi is None and (lyric or phones or slur):
        raise ValueError(f"{where} is a rest, which sings nothing; give it a pitch")
    return Written(midi, seconds, lyric, phones, where)


def _midi(value: Any, where: str) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    try:
        return note_number(str(value))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _seconds(entry: Mapping[str, Any], where: str, tempo: float) -> float:
    """The length of a note, in one of its two units."""
    given = [name for name in ("seconds", "beats") if name in entry]
    if len(given) != 1 or not _is_number(entry[given[0]]):
        raise ValueError(f'{where} needs either "seconds" or "beats", a number')
    value = float(entry[given[0]])
    return value if given[0] == "seconds" else value * 60 / tempo


def _phones(text: Any, where: str) -> Phones:
    """IPA, with or without spaces between the phones."""
    phones, unknown = parse_ipa("".join(text.split())) if isinstance(text, str) else ((), (repr(text),))
    if unknown or not phones:
        raise ValueError(f'{where}: "phones" {text!r} is not IPA: {" ".join(unknown) or "nothing there"}')
    return phones


def _refuse_unknown(entry: Mapping[str, Any], known: set[str], where: str) -> None:
    if unknown := sorted(set(entry) - known):
        raise ValueError(f"{where} has no {unknown[0]!r}; it has {', '.join(sorted(known))}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
