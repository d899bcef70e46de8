"""The wishes of `audiogen edit` as controls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from audiogen.audio import read_audio
from audiogen.cli.jobs import UsageError
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
from audiogen.controls.requests import parse_seconds, parse_span, read_curve, read_melody, read_moments

LIKENESS: dict[str, Callable[..., Control]] = {
    "timbre": Match,
    "intensity": Intensity.of,
    "dynamics": Dynamics.of,
    "melody": Melody.of,
    "structure": Structure.of,
}


@dataclass(frozen=True)
class Wishes:
    """What `audiogen edit` was asked for, as its help describes it."""

    intensity: Path | None
    dynamics: Path | None
    melody: Path | None
    structure: str | None
    inpaint: Sequence[str]
    continue_from: Path | None
    loop: bool
    overlap: str
    tempo: float | None
    onsets: Path | None
    tilt: float | None
    text: str | None
    match: Path | None
    match_what: str
    ignore: Sequence[str]
    weights: Sequence[str]

    def check(self, source: Path | None) -> None:
        """Raise UsageError for what cannot be wished, before any file is read."""
        if self.inpaint and source is None:
            raise UsageError("--inpaint fills a hole in a recording: give it with --source FILE")
        if self.continue_from is not None and (source is not None or self.loop):
            raise UsageError("--continue goes on from a recording of its own: leave out --source and --loop")
        for name in self.match_what.split(","):
            if name not in LIKENESS:
                raise UsageError(f"--match-what {name!r} is unknown; use {', '.join(LIKENESS)}")
        for text in (*self.inpaint, *self.ignore):
            parse_span(text)
        parse_seconds(self.overlap, "--overlap")
        self.factors()

    def factors(self) -> dict[str, float]:
        """The weights by the names of controls. Raises UsageError."""
        found = {}
        for text in self.weights:
            name, equals, factor = text.partition("=")
            try:
                found[name] = float(factor)
            except ValueError:
                equals = ""
            if not equals:
                raise UsageError(f"--weight {text!r} is not WISH=FACTOR, as in melody=2")
        return found


def controls_of(wishes: Wishes, source: Tensor | None, sample_rate: int) -> list[Control]:
    """The controls, their files read; source: (1, T) at `sample_rate`. Raises ValueError and OSError."""
    factors = wishes.factors()
    ignore = [parse_span(text, "--ignore") for text in wishes.ignore]
    wished = list(_wished(wishes, source, sample_rate))
    if idle := sorted(set(factors) - {name for name, _ in wished}):
        raise UsageError(f"--weight {idle[0]}=... weighs nothing that is wished for")
    found = [
        build(weight=factors.get(name, 1.0), ignore=() if name == "text" else ignore)
        for name, build in wished
    ]
    if not found:
        raise UsageError(
            "nothing is wished for: give --intensity, --melody, --structure, --tilt or another wish"
        )
    return found


def _wished(
    wishes: Wishes, source: Tensor | None, sample_rate: int
) -> Iterator[tuple[str, Callable[..., Control]]]:
    """Every wish: the name by which it is weighed, and what makes its control of weight and ignore."""

    def wish(kind: Callable[..., Control], *args: Any, **more: Any) -> Callable[..., Control]:
        return lambda **options: kind(*args, **more, **options)

    overlap = parse_seconds(wishes.overlap, "--overlap")
    if wishes.intensity is not None:
        yield "intensity", wish(Intensity, read_curve(wishes.intensity))
    if wishes.dynamics is not None:
        yield "dynamics", wish(Dynamics, read_curve(wishes.dynamics))
    if wishes.melody is not None:
        yield "melody", wish(Melody, read_melody(wishes.melody))
    if wishes.structure is not None:
        yield "structure", wish(Structure, wishes.structure)
    if wishes.inpaint:
        assert source is not None, "checked before"
        holes = [parse_span(text, "--inpaint") for text in wishes.inpaint]
        yield "inpaint", wish(Inpaint, source, sample_rate, holes)
    if wishes.continue_from is not None:
        before = read_mono(wishes.continue_from, sample_rate)
        yield "outpaint", wish(Outpaint, before, sample_rate, overlap_s=overlap)
    if wishes.loop:
        yield "loop", wish(Loop, overlap_s=overlap)
    if wishes.tempo is not None:
        yield "tempo", wish(Tempo, wishes.tempo)
    if wishes.onsets is not None:
        yield "onsets", wish(Onsets, read_moments(wishes.onsets))
    if wishes.tilt is not None:
        yield "tilt", wish(Tilt, wishes.tilt)
    if wishes.text is not None:
        yield "text", wish(Text, wishes.text)
    if wishes.match is not None:
        reference = read_mono(wishes.match, sample_rate)
        for name in wishes.match_what.split(","):
            yield "match" if name == "timbre" else name, wish(LIKENESS[name], reference, sample_rate)


def read_mono(path: Path, sample_rate: int) -> Tensor:
    """A recording (1, T), channels averaged. Raises ValueError and OSError."""
    wav = read_audio(path, sample_rate).mean(0, keepdim=True)
    if not wav.shape[-1]:
        raise UsageError(f"{path} holds no samples")
    return wav
