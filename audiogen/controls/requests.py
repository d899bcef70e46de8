"""Wishes as people write them down: curves in CSV, melodies in MIDI, spans of seconds."""

from __future__ import annotations

import csv
import io
import os
from importlib.util import find_spec
from pathlib import Path

from audiogen.controls.melody import Note

Curve = list[tuple[float, float | None]]
CURVE_FORM = "lines of second,dB such as 0,-30 and 4.5,-12; an empty dB means that nothing is wished"


def read_curve(path: str | os.PathLike[str]) -> Curve:
    """Points (second, dB) of an intensity curve in a CSV file.

    A line each, at rising seconds; a first line of words is a heading, lines that begin with # are skipped;
    an empty dB: nothing is wished until the next point. Raises ValueError that names the line, and OSError.
    """
    points: Curve = []
    text = Path(path).read_text(encoding="utf-8-sig")
    for number, row in enumerate(csv.reader(io.StringIO(text)), 1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or cells[0].startswith("#"):
            continue
        if not points and number == 1 and not _is_number(cells[0]):
            continue
        if len(cells) != 2 or not _is_number(cells[0]) or not (_is_number(cells[1]) or not cells[1]):
            raise ValueError(f"{path}, line {number}: {','.join(row)!r} is no point; give {CURVE_FORM}")
        points.append((float(cells[0]), float(cells[1]) if cells[1] else None))
    if not points:
        raise ValueError(f"{path} holds no points; give {CURVE_FORM}")
    return points


def read_moments(path: str | os.PathLike[str]) -> list[float]:
    """Seconds of onsets, a line each, the first cell of a CSV file; heading and # as in `read_curve`."""
    moments = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8-sig").splitlines(), 1):
        cell = line.split(",")[0].strip()
        if not cell or cell.startswith("#") or (number == 1 and not _is_number(cell)):
            continue
        if not _is_number(cell):
            raise ValueError(f"{path}, line {number}: {line!r} is no second; give one a line, such as 0.5")
        moments.append(float(cell))
    if not moments:
        raise ValueError(f"{path} holds no moments; give a second a line, such as 0.5")
    return moments


def read_melody(path: str | os.PathLike[str]) -> list[Note]:
    """The notes of a MIDI file, all tracks but the drums' channel, in seconds.

    Raises ValueError without the package mido, for what is no MIDI file, and for one without notes.
    """
    if find_spec("mido") is None:
        raise ValueError("reading MIDI needs the package mido: pip install mido")
    import mido

    try:
        messages = list(mido.MidiFile(os.fspath(path)))
    except FileNotFoundError:
        raise
    except (OSError, EOFError, ValueError, KeyError, IndexError) as error:
        raise ValueError(f"{path} is no MIDI file that can be read: {error}") from error
    notes: list[Note] = []
    sounding: dict[tuple[int, int], float] = {}
    second = 0.0
    for message in messages:
        second += message.time
        if message.type not in ("note_on", "note_off") or message.channel == 9:
            continue
        key = (message.channel, message.note)
        if (start := sounding.pop(key, None)) is not None and second > start:
            notes.append(Note(start, second, message.note))
        if message.type == "note_on" and message.velocity > 0:
            sounding[key] = second
    if not notes:
        raise ValueError(f"{path} holds no notes")
    return sorted(notes)


def parse_span(text: str, what: str = "span") -> tuple[float, float]:
    """START:END in seconds, such as 4s:6s or 4:6.5 -> (4.0, 6.5). Raises ValueError that names `what`."""
    start, colon, end = text.partition(":")
    numbers = [part.strip().removesuffix("s") for part in (start, end)]
    if not colon or not all(map(_is_number, numbers)) or not 0 <= float(numbers[0]) < float(numbers[1]):
        raise ValueError(f"{what} {text!r} is not START:END in seconds, as in 4s:6s")
    return float(numbers[0]), float(numbers[1])


def parse_seconds(text: str, what: str) -> float:
    """A positive number of seconds, such as 10s or 2.5. Raises ValueError that names `what`."""
    number = text.strip().removesuffix("s")
    if not _is_number(number) or not 0 < float(number) < float("inf"):
        raise ValueError(f"{what} {text!r} is no positive number of seconds, as in 10s")
    return float(number)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
