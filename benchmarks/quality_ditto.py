"""How well and how fast music is steered: DITTO through 20 steps of a sampler, DITTO-2 through one jump.

    python benchmarks/quality_ditto.py --model models/ditto --teacher models/melody --music data/music

Every control has `--targets` targets, of which DITTO may get the first `--baseline-targets`: taken of
held-out renderings (loudness, -45 dB at least, melody, timbre, regions) or drawn (forms, tempi, tilts), each
for the caption of another one. Both methods begin from the same noise with the same tokens, one at a time, in
turns; what is heard is measured every `--every` steps and in the end, off the clock. The time to the same
error is the time to the larger of the best errors that both reach. Beside them the same seeds without
steering, and the Frechet distance of what is heard, in the autoencoder's latents, from all other held-out
renderings: with few targets it is far too large, so compare a method's with its own without steering. Writes
results/quality_ditto.json.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from quality_music import MUSIC, chosen, cut, points
from torch import Tensor

from audiogen import hub
from audiogen.controls import (
    Control,
    Dynamics,
    Inpaint,
    Intensity,
    Loop,
    Match,
    Melody,
    Onsets,
    Outpaint,
    Structure,
    Tempo,
    Text,
    Tilt,
)
from audiogen.data.coded_music import PreparedMusic
from audiogen.files import write_text
from audiogen.memory import keep_freed
from audiogen.metrics.bootstrap import ratio_interval
from audiogen.metrics.music import frechet_distance
from audiogen.report import machine_context
from audiogen.speech import stable_seed
from audiogen.steering import Progress, SteerOptions
from audiogen.systems.ditto import prepared

HERE = Path(__file__).parent
FORMS = ("ABBA", "AABB", "ABAB", "ABA", "AAB", "ABCA")
QUIETEST_DB = -45.0  # that a target's loudness asks for
SMALLER, LARGER = 0.3, 0.6  # places of a hole, as parts of a piece


@dataclass(frozen=True)
class Given:
    """What a target is made of: a rendering (1, T), another item's caption, random numbers."""

    wav: Tensor
    rate: int
    caption: str
    rng: random.Random

    @property
    def seconds(self) -> float:
        """Of the rendering."""
        return self.wav.shape[-1] / self.rate


def _loudness(given: Given, kind: type[Intensity] = Intensity) -> Control:
    """The curve of the rendering, but for what is next to silent."""
    curve = Intensity.of(given.wav, given.rate).curve
    return kind([(second, max(QUIETEST_DB, level or QUIETEST_DB)) for second, level in curve])


def _beats(given: Given) -> Control:
    every = 60 / given.rng.uniform(70, 160)
    return Onsets([every * n for n in range(int(given.seconds / every) + 1)])


TARGETS: dict[str, Callable[[Given], Control]] = {
    "intensity": _loudness,
    "dynamics": lambda given: _loudness(given, Dynamics),
    "melody": lambda given: Melody.of(given.wav, given.rate),
    "structure": lambda given: Structure(given.rng.choice(FORMS)),
    "inpaint": lambda given: Inpaint(
        given.wav, given.rate, [(SMALLER * given.seconds, LARGER * given.seconds)]
    ),
    "outpaint": lambda given: Outpaint(given.wav, given.rate, overlap_s=given.seconds / 4),
    "loop": lambda given: Loop(overlap_s=given.seconds / 8),
    "tempo": lambda given: Tempo(given.rng.uniform(70, 160)),
    "onsets": _beats,
    "tilt": lambda given: Tilt(given.rng.uniform(-9, -3)),
    "match": lambda given: Match(given.wav, given.rate),
    "text": lambda given: Text(given.caption),
}


@dataclass
class Course:
    """A search as it went: what was heard at which second, and in the end."""

    seconds: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    before: float = 0.0
    after: float = 0.0
    surrogate: float = 0.0
    per_step: float = 0.0
    unsteered: Tensor = field(default_factory=lambda: torch.zeros(0))
    audio: Tensor = field(default_factory=lambda: torch.zeros(0))

    def time_to(self, level: float) -> float | None:
        """Seconds until an error of `level` or less is heard; None where it never is."""
        return next((s for s, e in zip(self.seconds, self.errors, strict=True) if e <= level), None)


def watched(system: Any, prompt: str, control: Control, options: SteerOptions, every: int) -> Course:
    """One search, measured every so many steps without the time that this takes."""
    search, start = prepared(system, prompt, [control], options)
    way, course, paused = search.decoding(), Course(), 0.0
    before = search.heard(start, way)
    began = time.perf_counter()

    def note(now: Progress) -> None:
        nonlocal paused
        if (now.step - 1) % every:
            return
        stopped = time.perf_counter()
        course.seconds.append(stopped - began - paused)
        course.errors.append(float(search.heard(now.start, way).errors[0, 0]))
        paused += time.perf_counter() - stopped

    found, losses = search.optimised(start, None, note, None)
    course.seconds.append(time.perf_counter() - began - paused)
    course.per_step = course.seconds[-1] / max(1, len(losses))
    after = search.heard(found, way)
    course.errors.append(float(after.errors[0, 0]))
    surrogate = search.heard(found, search.searching()._replace(runner=way.runner))
    course.before, course.after, course.surrogate = (
        float(part.errors[0, 0]) for part in (before, after, surrogate)
    )
    course.unsteered, course.audio = before.wav[0].cpu(), after.wav[0].cpu()
    return course


def measured(
    name: str,
    givens: Sequence[Given],
    prompts: Sequence[str],
    systems: dict[str, Any],
    args: argparse.Namespace,
) -> dict[str, list[Course]]:
    """All searches of a control, by method."""
    courses: dict[str, list[Course]] = {method: [] for method in systems}
    for n, (given, prompt) in enumerate(zip(givens, prompts, strict=True)):
        control = TARGETS[name](given)
        for method, system in systems.items():
            if method == "ditto1" and n >= args.baseline_targets:
                continue
            options = SteerOptions(
                seconds=args.seconds,
                method=method,
                steps=args.search_steps if method == "ditto2" else args.baseline_search_steps,
                lr=args.lr if method == "ditto2" else args.baseline_lr,
                decode_steps=args.decode_steps,
                baseline_steps=args.baseline_steps,
                seed=stable_seed(args.seed, n),
                guidance=args.guidance,
                early_stop=args.early_stop,
            )
            courses[method].append(watched(system, prompt, control, options, args.every))
        told = ", ".join(
            f"{method} {c[n].before:.3g} -> {c[n].after:.3g} in {c[n].seconds[-1]:.1f} s"
            for method, c in courses.items()
            if n < len(c)
        )
        print(f"{name} {n + 1}/{len(givens)}: {told}", flush=True)
    return courses


def compared(courses: dict[str, list[Course]], coder: Any, reference: Tensor, unit: str) -> dict[str, Any]:
    """Errors, times to the same error, distances of the collections."""

    def mean(values: Sequence[float]) -> dict[str, Any]:
        return asdict(ratio_interval(list(values), [1.0] * len(values)))

    row: dict[str, Any] = {"unit": unit, "targets": len(next(iter(courses.values()))), "methods": {}}
    for method, found in courses.items():
        row["methods"][method] = {
            "unsteered": mean([c.before for c in found]),
            "error": mean([c.after for c in found]),
            "surrogate": mean([c.surrogate for c in found]),
            "seconds_per_step": mean([c.per_step for c in found]),
            "seconds": mean([c.seconds[-1] for c in found]),
            "frechet_unsteered": frechet_distance(points(coder, [c.unsteered for c in found]), reference),
            "frechet": frechet_distance(points(coder, [c.audio for c in found]), reference),
        }
    if len(courses) == 2:
        slow, fast = courses["ditto1"], courses["ditto2"]
        times = []
        for a, b in zip(slow, fast[: len(slow)], strict=True):
            level = max(min(a.errors), min(b.errors))
            times.append((a.time_to(level), b.time_to(level)))
        pairs = [(a, b) for a, b in times if a is not None and b is not None]
        row["same_error"] = {
            "ditto1_seconds": mean([a for a, _ in pairs]),
            "ditto2_seconds": mean([b for _, b in pairs]),
            "times_as_fast": asdict(ratio_interval([a for a, _ in pairs], [b for _, b in pairs])),
        }
    return row


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="ditto", help="student of configs/ditto_distill.yaml, as a whole")
    parser.add_argument("--teacher", help="its diffusion, for DITTO; default: DITTO-2 alone")
    parser.add_argument("--music", type=Path, default=MUSIC, help="folder of `audiogen prepare music`")
    parser.add_argument("--targets", type=int, default=20, help="of every control")
    parser.add_argument("--controls", default=",".join(TARGETS), help="comma-separated")
    parser.add_argument("--seconds", type=float, default=5.12)
    parser.add_argument("--search-steps", type=int, default=70)
    parser.add_argument("--baseline-search-steps", type=int, default=70)
    parser.add_argument("--baseline-targets", type=int, help="for DITTO, the first ones; default: all")
    parser.add_argument("--baseline-steps", type=int, default=20, help="of the sampler")
    parser.add_argument("--decode-steps", type=int, default=1)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--baseline-lr", type=float, default=0.05)
    parser.add_argument("--every", type=int, default=5, help="steps between two measurements")
    parser.add_argument("--early-stop", action="store_true", help="end where an error is small enough")
    parser.add_argument("--guidance", type=float, help="default: the model's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "quality_ditto.json")
    parser.add_argument("--add", action="store_true", help="keep the other controls that OUT has")
    args = parser.parse_args(words)
    args.controls = args.controls.split(",")
    args.baseline_targets = args.baseline_targets or args.targets
    if unknown := sorted(set(args.controls) - set(TARGETS)):
        parser.error(f"unknown control {unknown[0]!r}; use {', '.join(TARGETS)}")
    return args


def givens_of(music: PreparedMusic, args: argparse.Namespace) -> tuple[list[Given], list[str], list[Tensor]]:
    """What targets are made of, prompts, and the renderings of the reference (T,)."""
    wanted, others = chosen(music, args.targets, args.seed)
    rate = music.sample_rate
    captions = [music.lines[n]["captions"][0] for n in wanted]
    turned = [*captions[1:], captions[0]]
    givens = [
        Given(cut(music.wav(n), rate, args.seconds)[None], rate, caption, random.Random(f"{args.seed}/{n}"))
        for n, caption in zip(wanted, captions, strict=True)
    ]
    return givens, turned, [cut(music.wav(n), rate, args.seconds) for n in others]


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print and save."""
    args = parse(words)
    keep_freed()
    torch.set_num_threads(args.threads)
    names = {"ditto2": args.model} | ({"ditto1": args.teacher} if args.teacher else {})
    systems = {method: hub.load(name, args.device) for method, name in names.items()}
    coder = systems["ditto2"].coder
    givens, prompts, wavs = givens_of(PreparedMusic(args.music), args)
    reference = points(coder, wavs)
    rows = {}
    for name in args.controls:
        courses = measured(name, givens, prompts, systems, args)
        rows[name] = compared(courses, coder, reference, TARGETS[name](givens[0]).unit)
        for method, row in rows[name]["methods"].items():
            print(
                f"{name}, {method}: {row['unsteered']['value']:.3g} -> {row['error']['value']:.3g} "
                f"{rows[name]['unit']}, Frechet distance "
                f"{row['frechet_unsteered']:.3g} -> {row['frechet']:.3g}"
            )
        if "same_error" in rows[name]:
            print(f"{name}: to the same error {rows[name]['same_error']['times_as_fast']['value']:.1f} times")
        rows[name]["search_steps"] = args.search_steps
        if args.teacher:
            rows[name]["baseline_search_steps"] = args.baseline_search_steps
            rows[name]["baseline_targets"] = args.baseline_targets
        save(rows, names, len(wavs), args)


def save(rows: dict[str, Any], names: dict[str, str], references: int, args: argparse.Namespace) -> None:
    """Write what is measured by now."""
    settings = ("seconds", "baseline_steps", "decode_steps", "lr")
    settings += ("baseline_lr", "guidance", "seed", "every", "early_stop")
    context = {
        **machine_context(args.device),
        **{f"{m}_model_sha256": hub.provenance(name)["model_sha256"] for m, name in names.items()},
        **{name: getattr(args, name) for name in settings},
    }
    if args.add and args.out.is_file():
        rows = {**json.loads(args.out.read_text(encoding="utf-8"))["controls"], **rows}
    found = {"context": context, "reference_items": references, "controls": rows}
    args.out.parent.mkdir(exist_ok=True)
    write_text(args.out, json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
