"""A fixed test set of noisy speech: files to enhance, their references and what is in them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from itertools import cycle, product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiogen.audio import write_audio
from audiogen.data.clips import Clip
from audiogen.data.mixing import Recording, as_int16, mix, reverberate
from audiogen.data.noises import Noise
from audiogen.data.progress import Progress, quiet
from audiogen.data.rooms import SimulatedRoom
from audiogen.data.store import DataError
from audiogen.files import write_text

SNRS_DB = (-5.0, 0.0, 5.0, 10.0, 15.0)
LEAST_S = 4.0  # of speech in an item
GAP_S = 0.15  # between the prompts of an item
ROOM_EVERY = 3  # of the items
PEAKS_DB = (-12.0, -1.0)


def write_test_set(
    folder: Path,
    clips: Sequence[Clip],
    noises: Sequence[Noise],
    rooms: Sequence[SimulatedRoom],
    *,
    sample_rate: int,
    repeats: int = 1,
    seed: int = 0,
    progress: Progress = quiet,
) -> list[dict[str, Any]]:
    """Write folder/clean/ID.flac, folder/noisy/ID.flac and folder/manifest.jsonl -> the manifest's entries.

    Every class of noise comes `repeats` times at each of SNRS_DB, and every third item is in a room, whose
    direct path is the reference. The ratio is that of the speech as it arrives to the noise. Raises
    DataError for a silent recording.
    """
    for name in ("clean", "noisy"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    kinds = sorted({noise.kind for noise in noises})
    plans = list(product(range(repeats), kinds, SNRS_DB))
    speech = spoken(clips, sample_rate, seed)
    entries = []
    for number, (_, kind, snr_db) in enumerate(progress(plans, "test set", len(plans))):
        rng = random.Random(f"test/{seed}/{number}")
        noise = rng.choice([noise for noise in noises if noise.kind == kind])
        room = rooms[number // ROOM_EVERY % len(rooms)] if rooms and number % ROOM_EVERY == 0 else None
        ids, clean = next(speech)
        recording = Recording(as_int16(noise.read(sample_rate)))
        _, sound = recording.passage(rng, len(clean), around=True)
        noisy = in_room(clean, sound, snr_db, room)
        peak_db = rng.uniform(*PEAKS_DB)
        name = f"{number:03d}_{kind}_{snr_db:+03.0f}dB"
        write_item(folder, name, clean, noisy, peak_db, sample_rate)
        facts = {"id": name, "seconds": round(len(clean) / sample_rate, 3), "snr_db": snr_db}
        facts |= {"peak_db": round(peak_db, 2), "speech": ids, "noise": noise.id, "noise_class": kind}
        entries.append({**facts, "fold": noise.fold, "room": None if room is None else room.facts()})
    write_text(folder / "manifest.jsonl", "".join(json.dumps(entry) + "\n" for entry in entries))
    return entries


def write_item(
    folder: Path, name: str, clean: Tensor, noisy: Tensor, peak_db: float, sample_rate: int
) -> None:
    """Write both signals (T,) with one gain, that the larger peak is `peak_db`, dB of full scale."""
    gain = 10 ** (peak_db / 20) / max(float(noisy.abs().max()), float(clean.abs().max()))
    for part, wav in (("clean", clean), ("noisy", noisy)):
        write_audio(folder / part / f"{name}.flac", gain * wav[None], sample_rate)


def in_room(clean: Tensor, noise: Tensor, snr_db: float, room: SimulatedRoom | None) -> Tensor:
    """The mixture (T,) of dry signals (T,) each, in a room if there is one."""
    if room is not None:
        clean, noise = reverberate(clean, room.talker), reverberate(noise, room.noise_source)
    return mix(clean, noise, snr_db)


def spoken(clips: Sequence[Clip], sample_rate: int, seed: int) -> Iterator[tuple[list[str], Tensor]]:
    """Ids and speech (T,) of at least LEAST_S seconds, over and over, each time of the next prompts.

    Their order is drawn by `seed`.
    """
    order = list(clips)
    random.Random(f"speech/{seed}").shuffle(order)
    gap = torch.zeros(round(GAP_S * sample_rate))
    ids: list[str] = []
    parts: list[Tensor] = []
    for clip in cycle(order):
        wav = clip.read(sample_rate)
        if not bool(wav.any()):
            raise DataError(f"{clip.path} is silent; take it out of the folder")
        ids, parts = [*ids, clip.id], [*parts, *([gap] if parts else []), wav]
        if sum(map(len, parts)) >= LEAST_S * sample_rate:
            yield ids, torch.cat(parts)
            ids, parts = [], []
