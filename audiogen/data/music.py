"""Music to train a vocoder on: public-domain scores in new arrangements, rendered with a General MIDI bank.

The sounds are those of the program `fluidsynth` and a sound bank such as FluidR3 GM (Frank Wen, MIT licence).
"""

from __future__ import annotations

import json
import math
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiogen.audio import read_audio, write_audio
from audiogen.data.arrangement import ANY, Taste, arrange
from audiogen.data.captions import captions_of
from audiogen.data.clips import Clip
from audiogen.data.progress import Progress, quiet
from audiogen.data.scores import ATTRIBUTION, Score, list_scores, read_score
from audiogen.data.store import DataError
from audiogen.files import write_text

SAMPLE_RATE = 24000
RENDER_RATE = 48000  # the synthesiser does not filter: what it folds back is cut off on the way to 24 kHz
PIECE_S = 20.0
FADE_S = 0.02
LEVELS_DB = {"p": -17.0, "mp": -13.5, "mf": -10.0, "f": -6.5, "ff": -3.0}  # peaks, where loudness is heard
BANK = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")


def synthesiser(soundfont: Path) -> str:
    """Path of the program `fluidsynth`. Raises DataError when it or the bank is missing."""
    program = shutil.which("fluidsynth")
    if program is None:
        raise DataError(
            "the program `fluidsynth` was not found: install it and its sounds "
            "(Debian and Ubuntu: apt install fluidsynth fluid-soundfont-gm)"
        )
    if not soundfont.is_file():
        raise DataError(
            f"no sound bank at {soundfont}: install FluidR3 GM (Debian and Ubuntu: apt install "
            "fluid-soundfont-gm) or give another General MIDI bank as --soundfont FILE.sf2"
        )
    return program


def terms(soundfont: Path) -> dict[str, str]:
    """licence and attribution of what is rendered with a sound bank."""
    if soundfont.name == BANK.name:
        licence, sounds = "MIT", "FluidR3 GM by Frank Wen and contributors (MIT)"
    else:
        licence, sounds = f"that of {soundfont.name}", soundfont.name
    return {
        "licence": f"scores: public domain; sounds: {licence}",
        "attribution": f"{ATTRIBUTION}. Sounds: {sounds}.",
    }


def render(program: str, soundfont: Path, midi: bytes, reverb: bool, chorus: bool) -> Tensor:
    """Play a MIDI file -> (T,) float32 at SAMPLE_RATE, channels averaged. Raises DataError."""
    with tempfile.TemporaryDirectory() as folder:
        score, wav = Path(folder) / "score.mid", Path(folder) / "score.wav"
        score.write_bytes(midi)
        command = [program, "-ni", "-q", "-F", str(wav), "-T", "wav", "-O", "float", "-r", str(RENDER_RATE)]
        command += ["-R", str(int(reverb)), "-C", str(int(chorus)), str(soundfont), str(score)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not wav.exists():
            raise DataError(f"fluidsynth failed: {done.stderr.strip()[-200:]}")
        return read_audio(wav, SAMPLE_RATE).mean(0)


def finish(wav: Tensor, level_db: float) -> Tensor:
    """(T,) -> at most PIECE_S seconds with a peak of `level_db` dBFS, faded out. Silence is a DataError."""
    wav = wav[: int(PIECE_S * SAMPLE_RATE)]
    peak = float(wav.abs().max()) if len(wav) else 0.0
    if peak < 1e-5:
        raise DataError("fluidsynth rendered silence; does the sound bank hold General MIDI instruments?")
    fade = min(len(wav), int(FADE_S * SAMPLE_RATE))
    gain = torch.ones(len(wav))
    gain[len(wav) - fade :] = torch.linspace(1, 0, fade)
    return wav * gain * (10 ** (level_db / 20) / peak)


def items_of(minutes: float, seed: int) -> dict[str, list[int]]:
    """Score -> the numbers of its items; item n is of the same score whatever `minutes`."""
    order = list_scores(seed)
    items: dict[str, list[int]] = {}
    for number in range(math.ceil(minutes * 60 / PIECE_S)):
        items.setdefault(order[number % len(order)], []).append(number)
    return items


def render_score(
    name: str, numbers: Sequence[int], folder: Path, soundfont: Path, seed: int, taste: Taste = ANY
) -> list[dict[str, Any]]:
    """Render a score's items that `folder` lacks -> facts of all of them. Raises DataError naming the score.

    An item is ID.flac and, written after it, ID.json.
    """
    score = None
    found = []
    for number in numbers:
        item = f"{seed}-{number:05d}"
        facts = known_facts(folder / f"{item}.json", name, soundfont, taste)
        if facts is None:
            score = score or read_score(name)
            try:
                rng = random.Random(f"{seed}/{number}")
                facts = render_item(score, item, folder, soundfont, seed, rng, taste)
            except DataError as error:
                raise DataError(f"{name} (item {item}): {error}") from error
        found.append(facts)
    return found


def known_facts(path: Path, name: str, soundfont: Path, taste: Taste) -> dict[str, Any] | None:
    """What an earlier call noted, if it rendered the same score with the same bank and taste."""
    if not path.exists():
        return None
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    same = (facts["score"], facts["soundfont"], facts.get("taste")) == (name, soundfont.name, asdict(taste))
    return facts if same else None


def render_item(
    score: Score, item: str, folder: Path, soundfont: Path, seed: int, rng: random.Random, taste: Taste = ANY
) -> dict[str, Any]:
    """Arrange, render and write one item -> its facts, with captions."""
    midi, arranged = arrange(score, rng, PIECE_S, taste)
    reverb, chorus, level_db = rng.random() < 0.7, rng.random() < 0.3, round(rng.uniform(-12, -1), 2)
    if taste.loudness_is_heard:
        level_db = round(LEVELS_DB[arranged["dynamics"]] + rng.uniform(-1, 1), 2)
    wav = finish(render(synthesiser(soundfont), soundfont, midi, reverb, chorus), level_db)
    write_audio(folder / f"{item}.flac", wav[None], SAMPLE_RATE)
    facts = {
        "id": item,
        **arranged,
        "reverb": reverb,
        "chorus": chorus,
        "level_db": level_db,
        "seconds": round(len(wav) / SAMPLE_RATE, 3),
        "seed": seed,
        "soundfont": soundfont.name,
        "opening": list(score.opening),
        "taste": asdict(taste),
        "captions": captions_of(arranged["about"], random.Random(f"captions/{item}")),
    }
    write_text(folder / f"{item}.json", json.dumps(facts) + "\n")
    return facts


def render_all(
    out: Path,
    minutes: float,
    seed: int,
    soundfont: Path,
    workers: int,
    progress: Progress = quiet,
    taste: Taste = ANY,
) -> list[dict[str, Any]]:
    """Render about `minutes` of music into out/renderings -> facts of every item, in order.

    A score is read once, by one of `workers` processes. Scores shorter than a piece give less.
    """
    from joblib import Parallel, delayed

    synthesiser(soundfont)  # before anything is read
    folder = out / "renderings"
    folder.mkdir(parents=True, exist_ok=True)
    items = items_of(minutes, seed)
    tasks = (
        delayed(render_score)(name, numbers, folder, soundfont, seed, taste)
        for name, numbers in items.items()
    )
    done = Parallel(n_jobs=workers, return_as="generator")(tasks)
    facts = [item for found in progress(done, "rendering scores", len(items)) for item in found]
    return sorted(facts, key=lambda item: item["id"])


def held_out_scores(
    facts: Sequence[dict[str, Any]], fraction: float, seed: int, earlier: Sequence[dict[str, Any]] = ()
) -> set[str]:
    """Scores to test on: `fraction` of them, one at least unless it is 0, with other settings of their tunes.

    Two scores set one tune when their top parts open with the same intervals. earlier: the lines of a
    manifest of which this is more: what was trained on or held out then stays so, and the fraction is that of
    the other scores.
    """
    openings = {item["score"]: tuple(item["opening"]) for item in facts}
    heard = {tuple(line["opening"]) for line in earlier if line["split"] == "train"}
    tunes = {tuple(line["opening"]) for line in earlier if line["split"] != "train"} - heard
    names = sorted(name for name, tune in openings.items() if tune not in heard | tunes)
    random.Random(f"held out/{seed}").shuffle(names)
    count = min(max(1, round(fraction * len(names))), len(names) - 1) if fraction and names else 0
    tunes |= {openings[name] for name in names[:count]}
    return {name for name, tune in openings.items() if tune in tunes}


def clips_of(out: Path, facts: Iterable[dict[str, Any]]) -> list[Clip]:
    """The renderings as clips."""
    return [Clip(f["id"], out / "renderings" / f"{f['id']}.flac", None, "", "") for f in facts]


def known_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a manifest that an earlier call wrote of scores; none where there is none."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [line for line in map(json.loads, lines) if "opening" in line]


def write_manifest(path: Path, facts: Iterable[dict[str, Any]], held_out: set[str]) -> None:
    """One JSON line an item: its score, instruments, transposition, key, tempo and so on, and its split."""
    write_lines(path, [{**item, "split": "test" if item["score"] in held_out else "train"} for item in facts])


def write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """One JSON line an item."""
    write_text(path, "".join(f"{json.dumps(line)}\n" for line in lines))
