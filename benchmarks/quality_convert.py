"""How much converted speech sounds like its target, how well it is understood, and whose intonation it has.

    python benchmarks/quality_convert.py --model runs/stablevc.safetensors

The recordings are the test clips of `audiogen prepare voices`; sources and targets are speakers that training
did not hear. Of each ordered pair of speakers some clips of the one are said in the voice of the other, told
by a few of its clips; likeness is the cosine of speaker embeddings, to clips that were not among these.
Character error rates are of English sources. The style is the source's own, or told by a clip of the target,
or by one of a third speaker: then the conversion's F0 is compared with its and with the source's, the shorter
stretched to the longer. A converter may have been trained by that speaker encoder, so there is a second
witness of voices: the mean mel cepstrum of loud frames, by its distance to the target's and the source's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from audiogen import hub
from audiogen.audio import Audio, read_audio, resample
from audiogen.conversion import ConvertOptions, convert_blocks
from audiogen.files import write_text
from audiogen.metrics.bootstrap import Interval, bootstrap, ratio_interval
from audiogen.metrics.cepstral import frame_distortion, mel_cepstra
from audiogen.metrics.intelligibility import Recogniser, character_errors
from audiogen.metrics.pitch import f0_contour, pitch_errors
from audiogen.metrics.speaker import speaker_embedding
from audiogen.report import StageTimer, machine_context, rtf
from audiogen.voice import Voice, reference_style

HERE = Path(__file__).parent
TEST = HERE.parent / "data" / "voices" / "test"
STEPS = "1,2,5,10,20"
REFERENCES = 3  # clips that tell a target's voice
Style = Literal["source", "target", "another"]  # whose intonation a conversion has


@dataclass(frozen=True)
class Clip:
    """A test clip, as the manifest has it."""

    id: str
    speaker: str
    language: str
    text: str
    path: Path


@dataclass(frozen=True)
class Pair:
    """What is converted to whom; others: clips of the target by which likeness is judged."""

    source: Clip
    references: tuple[Clip, ...]
    others: tuple[Clip, ...]
    own: tuple[Clip, ...]
    style: Clip

    @property
    def id(self) -> str:
        """Source, target."""
        return f"{self.source.id} -> {self.references[0].speaker}"


def read_clips(folder: Path, seen: bool) -> list[Clip]:
    """Clips of speakers that training has not heard, or has. Raises FileNotFoundError."""
    manifest = folder / "manifest.jsonl"
    if not manifest.is_file():
        raise FileNotFoundError(f"no test clips in {folder}; make them with `audiogen prepare voices`")
    rows = map(json.loads, manifest.read_text(encoding="utf-8").splitlines())
    return [
        Clip(r["id"], r["speaker"], r["language"], r["text"], folder.parent / r["file"])
        for r in rows
        if r["seen"] == seen
    ]


def make_pairs(clips: Sequence[Clip], each: int) -> list[Pair]:
    """Up to `each` clips of every speaker to every other one; no reference says what the source says."""
    by_speaker: dict[str, list[Clip]] = {}
    for clip in clips:
        by_speaker.setdefault(clip.speaker, []).append(clip)
    names = sorted(by_speaker)
    found = []
    for number, (one, other) in enumerate((a, b) for a in names for b in names if a != b):
        third = [name for name in names if name not in (one, other)] or [other]
        for k, source in enumerate(by_speaker[one][:each]):
            fitting = [clip for clip in by_speaker[other] if clip.text != source.text]
            references, others = fitting[:REFERENCES], fitting[REFERENCES:] or fitting
            own = [clip for clip in by_speaker[one] if clip != source] or [source]
            styles = by_speaker[third[number % len(third)]]
            found.append(
                Pair(source, tuple(references), tuple(others), tuple(own), styles[(k + 1) % len(styles)])
            )
    return found


def stretched(reference: np.ndarray, other: np.ndarray) -> float:
    """Correlation of two F0 contours in cents, in proportion to their lengths; nan where one is level."""
    longest = max(len(reference), len(other))
    places = (np.arange(longest) + 0.5) / longest
    path = np.stack([(places * len(c)).astype(np.int64) for c in (reference, other)], axis=-1)
    return pitch_errors(reference, other, path).correlation


def mean_cepstrum(wav: Tensor, rate: int) -> np.ndarray:
    """Cepstrum of wav (T,), without its level, a mean over frames that are louder than the average (12,)."""
    cepstra = mel_cepstra(resample(wav, rate, 16000))
    return np.asarray(cepstra[1:, cepstra[0] > cepstra[0].mean()].mean(axis=1))


class Judge:
    """Scores of conversions; what is known of a recording is computed once."""

    def __init__(
        self, system: Any, embed: Callable[[Tensor, int], Tensor], hear: Callable[[Tensor], str]
    ) -> None:
        self.system, self.embed, self.hear = system, embed, hear
        self._voices: dict[tuple[str, ...], Voice] = {}
        self._vectors: dict[str, Tensor] = {}
        self._heard: dict[str, str] = {}
        self._f0: dict[str, np.ndarray] = {}
        self._colours: dict[str, np.ndarray] = {}

    def wav(self, clip: Clip) -> Tensor:
        """The clip at the system's rate, (T,)."""
        return read_audio(clip.path, self.system.sample_rate)[0]

    def voice(self, pair: Pair) -> Voice:
        """The target's."""
        key = tuple(clip.id + clip.speaker for clip in pair.references)
        if key not in self._voices:
            rate = self.system.sample_rate
            self._voices[key] = self.system.voice([Audio(self.wav(c)[None], rate) for c in pair.references])
        return self._voices[key]

    def likeness(self, vector: Tensor, clips: Sequence[Clip]) -> float:
        """Mean cosine of an embedding and those of clips."""
        for clip in clips:
            if (key := str(clip.path)) not in self._vectors:
                self._vectors[key] = self.embed(self.wav(clip), self.system.sample_rate)
        return float(torch.stack([vector @ self._vectors[str(clip.path)] for clip in clips]).mean())

    def distance(self, cepstrum: np.ndarray, clips: Sequence[Clip]) -> float:
        """Distortion in dB between a mean cepstrum and that of all the clips."""
        for clip in clips:
            if (key := str(clip.path)) not in self._colours:
                self._colours[key] = mean_cepstrum(self.wav(clip), self.system.sample_rate)
        theirs = np.mean([self._colours[str(clip.path)] for clip in clips], axis=0)
        return float(frame_distortion(cepstrum[:, None], theirs[:, None])[0])

    def f0(self, clip: Clip) -> np.ndarray:
        """F0 of a recording."""
        if (key := str(clip.path)) not in self._f0:
            self._f0[key] = f0_contour(self.wav(clip))
        return self._f0[key]

    def understood(self, clip: Clip) -> str:
        """What is heard of a recording."""
        if (key := str(clip.path)) not in self._heard:
            self._heard[key] = self.hear(self.wav(clip))
        return self._heard[key]

    def score(self, pair: Pair, options: ConvertOptions, seed: int, style_of: Style) -> dict[str, Any]:
        """One conversion's numbers."""
        rate, timer = self.system.sample_rate, StageTimer(getattr(self.system, "device", "cpu"))
        voice = self.voice(pair)
        clip = {"source": None, "target": pair.references[0], "another": pair.style}[style_of]
        style = None if clip is None else reference_style(self.system, Audio(self.wav(clip)[None], rate))
        source = Audio(self.wav(pair.source)[None], rate)
        blocks = convert_blocks(
            self.system, source, voice, style=style, options=options, seed=seed, timer=timer
        )
        wav = torch.cat(list(blocks), dim=-1)[0]
        vector, cepstrum = self.embed(wav, rate), mean_cepstrum(wav, rate)
        row: dict[str, Any] = {
            "id": pair.id,
            "audio_seconds": len(wav) / rate,
            "compute_seconds": sum(timer.seconds.values()),
            "stages": dict(timer.seconds),
            "to_target": self.likeness(vector, pair.others),
            "to_source": self.likeness(vector, pair.own),
            "distance_to_target": self.distance(cepstrum, pair.others),
            "distance_to_source": self.distance(cepstrum, pair.own),
        }
        if pair.source.language.startswith("en") and style_of != "another":
            errors = character_errors(pair.source.text, self.hear(wav))
            before = character_errors(pair.source.text, self.understood(pair.source))
            row |= {"characters": errors.characters, "edits": errors.edits, "source_edits": before.edits}
        if style_of == "another":
            f0 = f0_contour(wav)
            row["f0_style"] = finite(stretched(self.f0(pair.style), f0))
            row["f0_source"] = finite(stretched(self.f0(pair.source), f0))
        return row


def finite(value: float) -> float | None:
    """The number, None for nan."""
    return value if np.isfinite(value) else None


def interval(found: Interval) -> dict[str, float | int | None]:
    """As it stands in the JSON."""
    return {
        "value": finite(found.value),
        "low": finite(found.low),
        "high": finite(found.high),
        "items": found.items,
    }


def mean(values: Sequence[float]) -> dict[str, float | int | None]:
    """Mean with its percentile interval."""
    table = np.stack([np.asarray(values, dtype=np.float64), np.ones(len(values))], axis=-1)
    return interval(bootstrap(table, lambda totals: totals[..., 0] / totals[..., 1]))


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over conversions; `nearer` is the share that is more like its target than its source."""
    found: dict[str, Any] = {
        "to_target": mean([row["to_target"] for row in rows]),
        "to_source": mean([row["to_source"] for row in rows]),
        "gain": mean([row["to_target"] - row["to_source"] for row in rows]),
        "nearer": mean([float(row["to_target"] > row["to_source"]) for row in rows]),
        "cepstrum_nearer": mean(
            [float(row["distance_to_target"] < row["distance_to_source"]) for row in rows]
        ),
        "rtf": rtf(sum(row["compute_seconds"] for row in rows), sum(row["audio_seconds"] for row in rows)),
    }
    if spoken := [row for row in rows if "edits" in row]:
        lengths = [row["characters"] for row in spoken]
        found["cer"] = interval(ratio_interval([row["edits"] for row in spoken], lengths))
        found["source_cer"] = interval(ratio_interval([row["source_edits"] for row in spoken], lengths))
    voiced = [row for row in rows if row.get("f0_style") is not None and row["f0_source"] is not None]
    if voiced:
        found["f0_style"] = mean([row["f0_style"] for row in voiced])
        found["f0_source"] = mean([row["f0_source"] for row in voiced])
    return found


def conditions(system: Any, steps: Sequence[int], solvers: Sequence[str]) -> dict[str, ConvertOptions]:
    """Every number of steps by each solver; those that the student takes, once."""
    students = [n for n in steps if n in system.student_steps]
    found = {f"student, {n}": ConvertOptions(n) for n in students}
    for solver in solvers:
        found |= {f"{solver}, {n}": ConvertOptions(n, solver) for n in steps if n not in students}
    return found


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="stablevc")
    parser.add_argument("--vocoder", help="another one than the model's")
    parser.add_argument("--steps", default=STEPS, help="numbers of steps, commas between them")
    parser.add_argument("--solvers", default="euler,ab2")
    parser.add_argument("--test", type=Path, default=TEST, help="folder with manifest.jsonl")
    parser.add_argument("--each", type=int, default=4, help="clips of every pair of speakers")
    parser.add_argument("--seen", action="store_true", help="speakers that training heard, for comparison")
    parser.add_argument("--keep-duration", action="store_true", help="keep the sources' timing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "quality_convert.json")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print and save."""
    args = parse(words)
    torch.set_num_threads(args.threads)
    system = hub.load(args.model, args.device, args.vocoder)
    pairs = make_pairs(read_clips(args.test, args.seen), args.each)
    judge = Judge(system, speaker_embedding, Recogniser())
    wanted = conditions(system, [int(n) for n in args.steps.split(",")], args.solvers.split(","))
    entries = []
    default = ConvertOptions(keep_duration=args.keep_duration)
    kinds: list[tuple[str, ConvertOptions, Style]] = [(name, o, "source") for name, o in wanted.items()]
    kinds += [("style of the target", default, "target"), ("style of another", default, "another")]
    for name, options, style_of in kinds:
        asked = ConvertOptions(options.num_steps, options.solver, keep_duration=args.keep_duration)
        rows = [judge.score(pair, asked, args.seed, style_of) for pair in pairs]
        entries.append({"condition": name, "nfe": system.nfe(asked), "summary": summary(rows), "items": rows})
        show(entries[-1])
    origin = {k: Path(v).name for k, v in hub.provenance(args.model, args.vocoder).items()}
    context = {
        **machine_context(args.device),
        **origin,
        "seed": args.seed,
        "pairs": len(pairs),
        "default": f"{system.solver}, {system.default_steps}",  # of the conditions
        "keep_duration": args.keep_duration,
        "seen": args.seen,
    }
    args.out.parent.mkdir(exist_ok=True)
    content = {"context": context, "conditions": entries}
    write_text(args.out, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def show(entry: dict[str, Any]) -> None:
    """One line a condition."""
    found = entry["summary"]
    numbers = [
        f"{key} {value['value'] if isinstance(value, dict) else value:.3f}"
        for key, value in found.items()
        if (value["value"] if isinstance(value, dict) else value) is not None
    ]
    print(f"{entry['condition']}: {', '.join(numbers)}", flush=True)


if __name__ == "__main__":
    main()
