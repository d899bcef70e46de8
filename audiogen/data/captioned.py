"""A folder of one's own recordings with captions, as pieces for MeLoDy."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiogen.audio import AUDIO_SUFFIXES, read_audio
from audiogen.data.music import PIECE_S, SAMPLE_RATE
from audiogen.data.progress import Progress, quiet
from audiogen.data.store import DataError, save_ragged

TABLE = "captions.csv"
SHORTEST_S = 3.0  # of what is left at the end of a recording


@dataclass(frozen=True)
class Recording:
    """A file of music and its captions, the most telling one first."""

    path: Path
    captions: tuple[str, ...]


def list_recordings(source: Path) -> list[Recording]:
    """Recordings with captions in a folder, in order of their names.

    Either captions.csv, with lines `file,caption` and as many lines a file as it has captions; or beside each
    recording NAME.txt, a caption a line. Raises DataError for a folder without captions, and naming the file
    that a table lists and that is not there.
    """
    table = source / TABLE
    captions = _of_table(table) if table.is_file() else _of_texts(source)
    if not captions:
        raise DataError(
            f"{source} holds no captions: write {TABLE} with lines `file,caption`, or NAME.txt beside "
            "NAME.wav, a caption a line"
        )
    return [Recording(path, tuple(found)) for path, found in sorted(captions.items())]


def _of_table(table: Path) -> dict[Path, list[str]]:
    captions: dict[Path, list[str]] = {}
    with open(table, encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    for number, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in row]
        if number == 1 and cells == ["file", "caption"]:
            continue
        if len(cells) != 2 or not all(cells):
            raise DataError(f"line {number} of {table} is not `file,caption`; put quotes around commas")
        path = table.parent / cells[0]
        if not path.is_file():
            raise DataError(f"{table} lists {cells[0]}, which is not there")
        captions.setdefault(path, []).append(cells[1])
    return captions


def _of_texts(source: Path) -> dict[Path, list[str]]:
    captions = {}
    for path in source.rglob("*"):
        text = path.with_suffix(".txt")
        if path.suffix.lower() in AUDIO_SUFFIXES and text.is_file():
            lines = [line.strip() for line in text.read_text(encoding="utf-8").splitlines()]
            if found := [line for line in lines if line]:
                captions[path] = found
    return captions


def pieces_of(recording: Recording, source: Path) -> Iterator[tuple[str, Tensor]]:
    """(id, int16 samples (T,)) of at most PIECE_S seconds each; a short rest is left out."""
    wav = read_audio(recording.path, SAMPLE_RATE).mean(0).clamp(-1, 1)
    name = str(recording.path.relative_to(source).with_suffix(""))
    for number, piece in enumerate(torch.split(wav, int(PIECE_S * SAMPLE_RATE))):
        if number == 0 or len(piece) >= SHORTEST_S * SAMPLE_RATE:
            yield f"{name}-{number:03d}", (piece * 32767).round().to(torch.int16)


def pack_recordings(
    path: Path,
    recordings: list[Recording],
    source: Path,
    held_out: float,
    seed: int,
    progress: Progress = quiet,
) -> list[dict[str, Any]]:
    """Write all pieces as int16 into one file -> lines of the manifest: id, recording, captions, split.

    held_out: share of recordings, with all their pieces, kept for testing; one at least unless it is 0.
    """
    order = list(recordings)
    random.Random(f"held out/{seed}").shuffle(order)
    count = min(max(1, round(held_out * len(order))), len(order) - 1) if held_out else 0
    tested = set(order[:count])
    audio, lines = [], []
    for recording in progress(recordings, "reading recordings", len(recordings)):
        for name, piece in pieces_of(recording, source):
            audio.append(piece)
            lines.append(
                {
                    "id": name,
                    "recording": str(recording.path.relative_to(source)),
                    "seconds": round(len(piece) / SAMPLE_RATE, 3),
                    "captions": list(recording.captions),
                    "split": "test" if recording in tested else "train",
                }
            )
    ids = [line["id"] for line in lines]
    kept = [line["id"] for line in lines if line["split"] == "test"]
    save_ragged(path, {"audio": audio}, {"sample_rate": SAMPLE_RATE, "ids": ids, "held_out": sorted(kept)})
    return lines
