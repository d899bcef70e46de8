"""The melody with lyrics of a MusicXML file (W3C MusicXML 4.0, score-partwise)."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as Xml
from xml.etree.ElementTree import Element

from audiogen.text.lyrics import Written

CONTAINER: Final = "META-INF/container.xml"
LARGEST_BYTES: Final = 64 * 1024 * 1024  # of a compressed score's text; an opera has ten
QUARTER_TEMPO: Final = 120.0  # of a file that names none
_STEPS: Final = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_LANGUAGE: Final = "{http://www.w3.org/XML/1998/namespace}lang"


@dataclass(frozen=True)
class _Sung:
    """A note of the melody. start, length: in quarter notes from the start of the song; ends: a tie ends."""

    midi: int | None
    start: Fraction
    length: Fraction
    lyric: str
    ends: bool
    where: str


@dataclass
class _Part:
    """What has been read of a part."""

    notes: list[_Sung] = field(default_factory=list)
    tempi: list[tuple[Fraction, float]] = field(default_factory=list)  # (quarter, quarters a minute)
    divisions: int = 1
    transpose: int = 0
    start: Fraction = Fraction(0)  # of the measure


def read_musicxml(path: Path) -> tuple[list[Written], str | None]:
    """The first voice with lyrics of the first part that has some, and the lyrics' language if it is told.

    Ties are joined; a note without a lyric goes on with the syllable before. Of a chord the first note
    counts, of several verses the first; grace and cue notes are left out, and repeats are sung once. Raises
    ValueError naming the measure.
    """
    root = _root(path)
    if root.tag != "score-partwise":
        raise ValueError(f"this is <{root.tag}>, not MusicXML by parts; export it as score-partwise")
    element = next((part for part in root.findall("part") if part.find(".//lyric") is not None), None)
    if element is None:
        raise ValueError("no part has lyrics; add them, or write the song as JSON")
    part = _read_part(element, _tempi_of_others(root, element))
    lyric = element.find(f".//lyric[@{_LANGUAGE}]")
    return list(_timed(part)), None if lyric is None else lyric.get(_LANGUAGE)


def _root(path: Path) -> Element:
    """The root of a file, compressed or not."""
    try:
        if not zipfile.is_zipfile(path):
            return Xml.fromstring(path.read_bytes())
        with zipfile.ZipFile(path) as archive:
            rootfile = Xml.fromstring(_unpacked(archive, CONTAINER)).find(".//{*}rootfile")
            if rootfile is None:
                raise ValueError(f"{CONTAINER} names no score")
            return Xml.fromstring(_unpacked(archive, rootfile.get("full-path", "")))
    except (Xml.ParseError, zipfile.BadZipFile) as error:
        raise ValueError(f"this is no MusicXML ({error})") from error


def _unpacked(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        size = archive.getinfo(name).file_size
    except KeyError:
        raise ValueError(f"there is no {name!r} in this compressed score") from None
    if size > LARGEST_BYTES:
        raise ValueError(f"{name} has {size} bytes; use at most {LARGEST_BYTES}")
    return archive.read(name)


def _tempi_of_others(root: Element, sung: Element) -> list[tuple[Fraction, float]]:
    """Tempo marks of the first part, where the programs write them, if it is not the sung one."""
    first = root.find("part")
    if first is None or first is sung or sung.find(".//sound[@tempo]") is not None:
        return []
    return _read_part(first, []).tempi


def _read_part(element: Element, tempi: Sequence[tuple[Fraction, float]]) -> _Part:
    """All measures of a part; notes of the first voice that has lyrics."""
    sung = next((note for note in element.iter("note") if note.find("lyric") is not None), None)
    voice = _voice(sung) if sung is not None else ""
    part = _Part(tempi=list(tempi))
    for number, measure in enumerate(element.findall("measure"), 1):
        where = f"measure {measure.get('number', number)}"
        try:
            _read_measure(measure, part, voice, where)
        except (ValueError, ZeroDivisionError) as error:
            raise ValueError(f"{where}: {error}") from error
    return part


def _read_measure(measure: Element, part: _Part, voice: str, where: str) -> None:
    """Add a measure to its part. Times in it go back and forth between voices."""
    at = furthest = Fraction(0)
    for item in measure:
        if item.tag == "attributes":
            _read_attributes(item, part)
        elif item.tag in ("sound", "direction"):
            sound = item if item.tag == "sound" else item.find("sound")
            if sound is not None and "tempo" in sound.attrib:
                part.tempi.append((part.start + at, _tempo(sound.attrib["tempo"])))
        elif item.tag in ("backup", "forward"):
            at += _length(item, part) * (1 if item.tag == "forward" else -1)
        elif item.tag == "note" and item.find("grace") is None and item.find("chord") is None:
            length = _length(item, part)
            if _voice(item) == voice and item.find("cue") is None:
                part.notes.append(_sung(item, part, part.start + at, length, where))
            at += length
        furthest = max(furthest, at)
    part.start += furthest


def _read_attributes(item: Element, part: _Part) -> None:
    if divisions := item.findtext("divisions"):
        part.divisions = int(divisions)
    if (transpose := item.find("transpose")) is not None:
        octaves = int(transpose.findtext("octave-change") or 0)
        part.transpose = round(float(transpose.findtext("chromatic") or 0)) + 12 * octaves


def _tempo(text: str) -> float:
    if not (tempo := float(text)) > 0:
        raise ValueError(f"tempo {text} is not above 0")
    return tempo


def _length(item: Element, part: _Part) -> Fraction:
    """Quarter notes that a note, backup or forward takes."""
    return Fraction(item.findtext("duration") or "0") / part.divisions


def _voice(note: Element) -> str:
    return note.findtext("voice") or "1"


def _sung(note: Element, part: _Part, start: Fraction, length: Fraction, where: str) -> _Sung:
    """One note or rest of the melody."""
    tied = any(tie.get("type") == "stop" for tie in note.findall("tie"))
    if note.find("rest") is not None:
        return _Sung(None, start, length, "", False, where)
    pitch = note.find("pitch")
    if pitch is None:
        raise ValueError("a note without a pitch cannot be sung")
    if (step := _STEPS.get((pitch.findtext("step") or "").strip())) is None:
        raise ValueError(f"pitch {pitch.findtext('step')!r} is none of {', '.join(_STEPS)}")
    octave = int(pitch.findtext("octave") or 4)
    midi = 12 * (octave + 1) + step + round(float(pitch.findtext("alter") or 0)) + part.transpose
    return _Sung(midi, start, length, _lyric(note), tied, where)


def _lyric(note: Element) -> str:
    """The syllable of the first verse, "-" at its end where the word goes on; elided ones with spaces."""
    lyrics = note.findall("lyric")
    lyric = next((each for each in lyrics if each.get("number", "1") == "1"), None)
    if lyric is None:
        return ""
    text = " ".join((text.text or "").strip() for text in lyric.findall("text"))
    syllabic = [syllabic.text for syllabic in lyric.findall("syllabic")][-1:]
    return f"{text}-" if text and syllabic in (["begin"], ["middle"]) else text


def _timed(part: _Part) -> Iterator[Written]:
    """Notes in seconds, ties joined, gaps filled with rests. Raises ValueError for notes that overlap."""
    notes: list[_Sung] = []
    end = Fraction(0)
    for note in sorted(part.notes, key=lambda note: note.start):
        if note.start < end:
            raise ValueError(f"{note.where}: two notes of the melody sound at once; use one voice for it")
        if note.start > end:
            notes.append(_Sung(None, end, note.start - end, "", False, note.where))
        end = note.start + note.length
        if note.ends and notes and notes[-1].midi == note.midi:
            notes[-1] = replace(notes[-1], length=notes[-1].length + note.length)
        elif note.length > 0:
            notes.append(note)
    tempi = sorted(part.tempi, key=lambda tempo: tempo[0])
    for note in notes:
        seconds = _clock(note.start + note.length, tempi) - _clock(note.start, tempi)
        yield Written(note.midi, seconds, note.lyric, (), note.where)


def _clock(quarter: Fraction, tempi: Sequence[tuple[Fraction, float]]) -> float:
    """Seconds from the start of the song to a quarter note."""
    seconds, since, tempo = 0.0, Fraction(0), QUARTER_TEMPO
    for start, after in tempi:
        if start >= quarter:
            break
        seconds += float(start - since) * 60 / tempo
        since, tempo = start, after
    return seconds + float(quarter - since) * 60 / tempo
