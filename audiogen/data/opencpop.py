"""Opencpop (Wang et al. 2022), Mandarin songs with labels, and every folder in its layout.

`segments/wavs/ID.wav`, `segments/train.txt`, `segments/test.txt` and `segments/transcriptions.txt`, whose
lines are `id|text|phonemes|notes|note durations|phoneme durations|slurs`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiogen.data.clips import Clip
from audiogen.data.pitch import fast_pitch
from audiogen.data.progress import Progress, quiet
from audiogen.data.speech import Piece, extract, write
from audiogen.data.store import DataError
from audiogen.spectral import MelSpec
from audiogen.text import pinyin
from audiogen.text.frontend import START
from audiogen.text.score import BREATH, SILENCE, Note, SungToken, carrier, note_number, tokens_of_notes

F0_RANGE_HZ = (65.0, 1050.0)
PAUSES = {pinyin.SILENCE: SILENCE, pinyin.BREATH: BREATH}
SHARE = 0.2  # of a final's time, for each glide before its vowel and each phone after it
FRONT_ENDS = {  # those of vocos-16k and vocos-24k-music
    16000: MelSpec(),
    24000: MelSpec(sample_rate=24000, n_mels=100, f_max=12000.0),
}
TOLERANCE_S = 0.25  # between labels and recording
COLUMNS = 7


@dataclass(frozen=True)
class Label:
    """A pause, an initial, or a final on a note. note: MIDI, None = rest. seconds: of the phoneme."""

    phoneme: str
    note: int | None
    note_seconds: float
    seconds: float
    slur: bool


@dataclass(frozen=True)
class Segment:
    """A recording with its labels; test: only for evaluation."""

    clip: Clip
    labels: tuple[Label, ...]
    test: bool


def list_segments(source: Path, speaker: str = "opencpop") -> list[Segment]:
    """Every segment of the training and test lists. Raises DataError for what is missing or damaged."""
    folder = source / "segments" if (source / "segments").is_dir() else source
    rows = {line.split("|")[0]: line for line in _lines(folder / "transcriptions.txt")}
    test = [line.split("|")[0] for line in _lines(folder / "test.txt")]
    train = [line.split("|")[0] for line in _lines(folder / "train.txt")]
    segments = []
    for name in dict.fromkeys([*train, *test]):
        path = folder / "wavs" / f"{name}.wav"
        if name not in rows or not path.is_file():
            missing = path if name in rows else f"a line for {name} in transcriptions.txt"
            raise DataError(f"{source} lacks {missing}; check --source")
        try:
            text, labels = read_row(rows[name])
        except ValueError as error:
            raise DataError(f"transcriptions.txt, {name}: {error}") from error
        segments.append(Segment(Clip(name, path, text, pinyin.MANDARIN, speaker), labels, name in test))
    return segments


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise DataError(f"no {path}; --source is a folder with segments/ as Opencpop has it")
    return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]


def read_row(line: str) -> tuple[str, tuple[Label, ...]]:
    """Text and labels of a line of transcriptions.txt. Raises ValueError."""
    columns = line.split("|")
    if len(columns) != COLUMNS:
        raise ValueError(f"{len(columns)} columns instead of {COLUMNS}")
    fields = [column.split() for column in columns[2:]]
    if len({len(values) for values in fields}) != 1:
        raise ValueError(f"columns of {', '.join(str(len(values)) for values in fields)} labels")
    labels = [
        Label(phoneme, _note(note), float(note_seconds), float(seconds), slur == "1")
        for phoneme, note, note_seconds, seconds, slur in zip(*fields, strict=True)
    ]
    known = {*PAUSES, *pinyin.INITIALS, *pinyin.FINALS}
    if unknown := sorted({label.phoneme for label in labels} - known):
        raise ValueError(f"unknown phonemes {', '.join(unknown)}; they are not Opencpop's")
    return columns[1], tuple(labels)


def _note(name: str) -> int | None:
    """MIDI number of "C#4/Db4", None of "rest"."""
    return None if name == "rest" else note_number(name.partition("/")[0])


def label_tokens(labels: Sequence[Label]) -> tuple[list[SungToken], list[float]]:
    """Tokens as a score would give them, and the seconds of each by the labels.

    The phones of an initial share its time evenly; within a final those beside the vowel get SHARE each.
    Raises ValueError for labels that are no syllables.
    """
    notes: list[Note] = []
    times: list[list[float]] = []  # of the tokens of each note
    symbols: dict[int, str] = {}  # of the notes that are rests
    index = 0
    while index < len(labels):
        label = labels[index]
        if label.phoneme in PAUSES:
            symbols[len(notes)] = PAUSES[label.phoneme]
            notes.append(Note(None, label.note_seconds))
            times.append([label.seconds])
            index += 1
            continue
        initial = label if label.phoneme in pinyin.INITIALS else None
        index += initial is not None
        last = index + 1
        while last < len(labels) and labels[last].slur:
            last += 1
        sung, spans = _syllable(initial, labels[index:last])
        notes += sung
        times += spans
        index = last
    tokens = [
        replace(token, symbol=symbols.get(number, token.symbol)) for token, number in tokens_of_notes(notes)
    ]
    return tokens, [seconds for span in times for seconds in span]


def _syllable(initial: Label | None, finals: Sequence[Label]) -> tuple[list[Note], list[list[float]]]:
    """The notes of a syllable and the seconds of their tokens."""
    if not finals or finals[0].phoneme not in pinyin.FINALS:
        raise ValueError(f"the initial {initial.phoneme if initial else ''} has no final after it")
    if wrong := [label.phoneme for label in finals[1:] if label.phoneme != finals[0].phoneme]:
        raise ValueError(f"a slur from {finals[0].phoneme} to {wrong[0]}; slurred notes repeat the final")
    first, second = pinyin.phones_of(initial.phoneme if initial else "", finals[0].phoneme)
    begin, end = carrier(second)
    notes = [Note(finals[0].note, finals[0].note_seconds, first + second)]
    notes += [Note(label.note, label.note_seconds, slur=True) for label in finals[1:]]
    spans = []
    for number, label in enumerate(finals):
        before = begin if number == 0 else 0
        after = len(second) - end if number == len(finals) - 1 else 0
        beside = label.seconds * SHARE
        held = label.seconds - (before + after) * beside
        carried = [held / (end - begin)] * (end - begin)
        spans.append([*[beside] * before, *carried, *[beside] * after])
    if initial is not None:
        spans[0][:0] = [initial.seconds / len(first)] * len(first)
    return notes, spans


def build_songs(
    path: Path,
    segments: Sequence[Segment],
    *,
    spec: MelSpec,
    metadata: Mapping[str, Any],
    workers: int = 1,
    progress: Progress = quiet,
    say: Callable[[str], object] = print,
) -> list[Piece]:
    """Write the columns of `data.speech` and of every token note (MIDI), note_seconds and slur -> the pieces.

    Raises DataError for labels that are no syllables.
    """
    pieces: list[tuple[Piece, Tensor]] = []
    sung: list[list[SungToken]] = []
    for segment in progress(segments, "reading songs", len(segments)):
        clip, wav = segment.clip, segment.clip.read(spec.sample_rate)
        try:
            tokens, seconds = label_tokens(segment.labels)
        except ValueError as error:
            raise DataError(f"transcriptions.txt, {clip.id}: {error}") from error
        length, labelled = len(wav) / spec.sample_rate, sum(seconds)
        if abs(length - labelled) > TOLERANCE_S:
            say(f"left out {clip.id}: its labels last {labelled:.2f} s, the recording {length:.2f} s")
            continue
        starts = torch.tensor([0.0, 0.0, *seconds], dtype=torch.float64).cumsum(0).float()
        pieces.append((Piece(clip.id, clip, 0.0, length, clip.text or "", (START, *tokens), starts), wav))
        sung.append(tokens)
    more = {
        "note": [torch.tensor([0, *(t.note for t in each)], dtype=torch.int16) for each in sung],
        "note_seconds": [torch.tensor([0.0, *(t.seconds for t in each)]) for each in sung],
        "slur": [torch.tensor([0, *(t.slur for t in each)], dtype=torch.int8) for each in sung],
    }
    features = list(extract(pieces, spec, F0_RANGE_HZ, workers, progress, fast_pitch))
    test = {segment.clip.id for segment in segments if segment.test}
    written = [piece for piece, _ in pieces]
    write(path, written, features, spec, pinyin.MANDARIN, test, test, metadata, more)
    return written
