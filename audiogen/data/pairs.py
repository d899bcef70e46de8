"""Noisy recordings and their clean twins, found by name and packed into one file."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from audiogen.audio import AUDIO_SUFFIXES, read_audio
from audiogen.data.mixing import as_int16
from audiogen.data.progress import Progress, quiet
from audiogen.data.store import DataError, save_ragged

VOICEBANK_VALIDATION = ("p226", "p287")  # the speakers that SGMSE+ (Richter et al. 2023) keeps for it


@dataclass(frozen=True)
class Pair:
    """A noisy recording and its reference. id: their path below the folders, without the suffix."""

    id: str
    clean: Path
    noisy: Path

    def read(self, sample_rate: int) -> tuple[Tensor, Tensor]:
        """clean, noisy: (T,) float32 each, channels averaged. Raises DataError for unequal lengths."""
        clean, noisy = (read_audio(path, sample_rate).mean(0) for path in (self.clean, self.noisy))
        if len(clean) != len(noisy):
            raise DataError(
                f"{self.noisy} has {len(noisy)} samples at {sample_rate} Hz and {self.clean} {len(clean)}; "
                "a pair has to be aligned from end to end"
            )
        return clean, noisy


def recordings(folder: Path) -> dict[str, Path]:
    """Path below `folder`, without its suffix, of every recording -> the file. Raises DataError for twins."""
    found: dict[str, Path] = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise DataError(f"{found[name]} and {path} have one name; keep one of them")
        found[name] = path
    return found


def list_pairs(clean: Path, noisy: Path) -> list[Pair]:
    """Pairs of equal names below two folders. Raises DataError for one without its twin, or none at all."""
    for folder in (clean, noisy):
        if not folder.is_dir():
            raise DataError(f"there is no folder {folder}; pairs lie in a folder each, under equal names")
    references, files = recordings(clean), recordings(noisy)
    if alone := sorted(references.keys() ^ files.keys()):
        side = noisy if alone[0] in references else clean
        raise DataError(f"{len(alone)} recordings have no twin, such as {alone[0]}: it is not in {side}")
    if not files:
        raise DataError(f"{clean} and {noisy} hold no recordings")
    return [Pair(name, references[name], path) for name, path in files.items()]


def voicebank(source: Path) -> tuple[list[Pair], list[str]]:
    """Training pairs of VoiceBank-DEMAND (Valentini-Botinhao et al. 2016) and the split of each.

    Two speakers validate; where those are not there, the first one does.
    """
    found = sorted(source.glob("clean_trainset_*_wav"))
    if len(found) != 1:
        raise DataError(
            f"{source} holds {len(found)} folders clean_trainset_*_wav; get VoiceBank-DEMAND from "
            "https://doi.org/10.7488/ds/2117 and unpack one training set with its noisy twin"
        )
    pairs = list_pairs(found[0], source / found[0].name.replace("clean", "noisy", 1))
    speakers = [pair.id.rpartition("/")[2].partition("_")[0] for pair in pairs]
    kept = set(VOICEBANK_VALIDATION) & set(speakers) or {min(speakers)}
    return pairs, ["validation" if speaker in kept else "train" for speaker in speakers]


def pair_folders(source: Path, share: float, seed: int) -> tuple[list[Pair], list[str]]:
    """Pairs of source/clean and source/noisy, or of such folders in source/train and source/valid.

    Without source/train, `share` of the pairs validate, one at least.
    """
    if (source / "train").is_dir():
        folders = {"train": source / "train", "validation": source / "valid"}
        found = {split: list_pairs(path / "clean", path / "noisy") for split, path in folders.items()}
        return [p for pairs in found.values() for p in pairs], [s for s, ps in found.items() for _ in ps]
    pairs = list_pairs(source / "clean", source / "noisy")
    if len(pairs) < 2:
        raise DataError(f"{source} holds a single pair; training and validation need one each")
    count = min(max(1, round(share * len(pairs))), len(pairs) - 1)
    kept = set(random.Random(f"pairs/{seed}").sample(range(len(pairs)), count))
    return pairs, ["validation" if number in kept else "train" for number in range(len(pairs))]


def pack_pairs(
    path: Path,
    pairs: Sequence[Pair],
    splits: Sequence[str],
    sample_rate: int,
    metadata: dict[str, Any],
    progress: Progress = quiet,
) -> float:
    """Write all pairs as int16 into one file -> their seconds."""
    columns: dict[str, list[Tensor]] = {"clean": [], "noisy": []}
    for pair in progress(pairs, "packing pairs", len(pairs)):
        for name, wav in zip(columns, pair.read(sample_rate), strict=True):
            columns[name].append(as_int16(wav))
    ids = [pair.id for pair in pairs]
    facts = {"kind": "pairs", "sample_rate": sample_rate, "ids": ids, "splits": list(splits), **metadata}
    save_ragged(path, columns, facts)
    return sum(map(len, columns["clean"])) / sample_rate
