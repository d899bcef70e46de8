"""Measure speech from several sources against one list of texts and recordings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiogen.audio import read_audio, resample
from audiogen.metrics.cepstral import mel_cepstra, mel_cepstral_distortion, warp
from audiogen.metrics.duration import trim_silence
from audiogen.metrics.intelligibility import SAMPLE_RATE, character_errors
from audiogen.metrics.pitch import f0_contour, pitch_errors
from audiogen.metrics.scores import Evaluation, Score
from audiogen.spectral import mel_spectrogram
from audiogen.speech import SpeechItem, SpeechOptions, check_steps, join, speak

if TYPE_CHECKING:
    from audiogen.speech import FrontEnd, SpeechSystem
    from audiogen.vocoders import MelVocoder


class ManifestError(ValueError):
    """A list of items that cannot be evaluated as it stands."""


@dataclass(frozen=True)
class EvalItem:
    """A text to be heard, and a recording of it where there is one."""

    id: str
    text: str
    audio: Path | None = None


@dataclass(frozen=True)
class Rendered:
    """One item from one source: wav (T,) at 16 kHz; stages: compute seconds by name, empty when not timed."""

    wav: Tensor
    stages: Mapping[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return len(self.wav) / SAMPLE_RATE


@dataclass(frozen=True)
class Condition:
    """A source of speech under a name.

    needs_recording: the condition skips items without one. timed: its first item is rendered twice, so that
    no item pays for what happens only once.
    """

    name: str
    render: Callable[[EvalItem], Rendered]
    needs_recording: bool = False
    timed: bool = False


@dataclass(frozen=True)
class Voice:
    """What is compared of one signal: trimmed length, cepstra (13, N) and F0 (N,) every 10 ms."""

    seconds: float
    cepstra: NDArray[np.float64]
    f0: NDArray[np.float64]


def evaluate(
    items: Sequence[EvalItem],
    conditions: Sequence[Condition],
    recogniser: Callable[[Tensor], str],
    *,
    seed: int = 0,
    on_score: Callable[[str, Score], None] = lambda condition, score: None,
) -> Evaluation:
    """Render and measure every item under every condition; one that fails is reported and the rest go on.

    seed: of the bootstrap. on_score: told of each score as it is ready.
    """
    references: dict[str, Voice] = {}
    scores: dict[str, list[Score]] = {}
    for condition in conditions:
        scores[condition.name] = []
        for number, item in enumerate(wanted(items, condition)):
            try:
                if condition.timed and number == 0:
                    condition.render(item)
                score = measure(item, condition.render(item), recogniser, references)
            except (ValueError, OSError, RuntimeError) as error:
                score = Score(item.id, error=str(error) or type(error).__name__)
            scores[condition.name].append(score)
            on_score(condition.name, score)
    return Evaluation(scores, seed)


def wanted(items: Sequence[EvalItem], condition: Condition) -> list[EvalItem]:
    """The items a condition can render."""
    return [item for item in items if item.audio or not condition.needs_recording]


def measure(
    item: EvalItem, rendered: Rendered, recogniser: Callable[[Tensor], str], references: dict[str, Voice]
) -> Score:
    """All numbers of one rendering; references keeps each recording's Voice by item id for the next ones."""
    heard = recogniser(rendered.wav)
    score = Score(
        id=item.id,
        heard=heard,
        text=character_errors(spoken_text(item.text), heard),
        seconds=len(trim_silence(rendered.wav)) / SAMPLE_RATE,
        audio_seconds=rendered.seconds,
        stages=dict(rendered.stages),
    )
    if item.audio is None:
        return score
    if item.id not in references:
        references[item.id] = describe(read_mono(item.audio, SAMPLE_RATE))
    reference, voice = references[item.id], describe(rendered.wav)
    path = warp(reference.cepstra, voice.cepstra)
    return replace(
        score,
        reference_seconds=reference.seconds,
        distortion=mel_cepstral_distortion(reference.cepstra, voice.cepstra, path),
        pitch=pitch_errors(reference.f0, voice.f0, path),
    )


def describe(wav: Tensor) -> Voice:
    """What is compared of wav (T,) at 16 kHz, without the silence around the speech."""
    speech = trim_silence(wav)
    return Voice(len(speech) / SAMPLE_RATE, mel_cepstra(speech), f0_contour(speech))


def spoken_text(text: str) -> str:
    """What is said for a written text: numbers, abbreviations and signs as words."""
    from audiogen.text.normalize import normalize

    return " ".join(word for span in normalize(text) for word in span.words)


def read_mono(path: Path, sample_rate: int) -> Tensor:
    """Any audio file -> (T,) at `sample_rate`, channels averaged."""
    return read_audio(path, sample_rate).mean(0)


def recording() -> Condition:
    """The recordings themselves: how well the recogniser does on real speech, and distances of zero."""
    return Condition(
        "recording", lambda item: Rendered(read_mono(_recording(item), SAMPLE_RATE)), needs_recording=True
    )


def copy_synthesis(vocoder: MelVocoder, name: str = "copy-synthesis") -> Condition:
    """Each recording's mel spectrogram through a vocoder: the best its acoustic model could reach."""

    def render(item: EvalItem) -> Rendered:
        spec = vocoder.mel_spec
        wav = read_mono(_recording(item), spec.sample_rate)
        with torch.inference_mode():
            copy = vocoder.decode(mel_spectrogram(wav[None], spec))[0, 0]
        return Rendered(resample(copy.clone(), spec.sample_rate, SAMPLE_RATE))

    return Condition(name, render, needs_recording=True)


def speech(
    system: SpeechSystem,
    front_end: FrontEnd,
    *,
    num_steps: int | None = None,
    seed: int = 0,
    name: str | None = None,
) -> Condition:
    """A system at batch size 1: each item as `audiogen tts --manifest` speaks it with the same seed.

    Raises ValueError for a number of steps the system was not trained for.
    """
    steps = check_steps(system, num_steps)
    options = SpeechOptions(num_steps=steps)

    def render(item: EvalItem) -> Rendered:
        pieces, stages = [], dict.fromkeys(("text", "acoustic", "vocoder"), 0.0)
        spoken = SpeechItem(item.id, item.text, seed)
        for piece in speak(system, [spoken], options, front_end=front_end, batch_size=1):
            if piece.audio is None:
                raise piece.error or AssertionError("a piece holds audio or an error")
            pieces.append(piece.audio)
            stages = {stage: seconds + piece.stages.get(stage, 0.0) for stage, seconds in stages.items()}
        audio = join(pieces)
        return Rendered(resample(audio.wav.mean(0), audio.sample_rate, SAMPLE_RATE), stages)

    return Condition(name or f"{steps} step{'s' * (steps > 1)}", render, timed=True)


def _recording(item: EvalItem) -> Path:
    if item.audio is None:
        raise ValueError(f"item {item.id} has no recording")
    return item.audio


def read_manifest(path: Path) -> list[EvalItem]:
    """Items of JSONL (id, text, audio) or of lines `id|text|audio`, audio being optional.

    A first line that begins with `id|` is a heading. A relative recording is looked for from the manifest's
    folder, then from the working folder. Raises ManifestError for a file that cannot be read, a bad line, an
    id used twice, a recording that is not there, or an empty list.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"cannot read manifest {path}: {error}") from error
    parse = (
        _json_item if path.suffix in (".jsonl", ".json") or content.lstrip().startswith("{") else _bar_item
    )
    items: dict[str, EvalItem] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip() or (number == 1 and line.lower().startswith("id|")):
            continue
        try:
            item = parse(line.strip(), path.parent)
        except ValueError as error:
            raise ManifestError(f"{path}, line {number}: {error}") from error
        if item.id in items:
            raise ManifestError(
                f"{path}, line {number}: id {item.id!r} occurs twice; every item needs its own"
            )
        items[item.id] = item
    if not items:
        raise ManifestError(
            f"manifest {path} holds no items; write one line id|text or id|text|audio for each"
        )
    return list(items.values())


def _json_item(line: str, folder: Path) -> EvalItem:
    entry = json.loads(line)
    if not isinstance(entry, dict) or not {"id", "text"} <= entry.keys():
        raise ValueError(f'{line[:60]!r} has no id and text; write {{"id": ..., "text": ...}}')
    return _item(str(entry["id"]), str(entry["text"]), str(entry.get("audio") or ""), folder)


def _bar_item(line: str, folder: Path) -> EvalItem:
    name, *rest = (cell.strip() for cell in line.split("|"))
    if len(rest) not in (1, 2):
        raise ValueError(f"{line[:60]!r} is not of the form id|text or id|text|audio")
    return _item(name, rest[0], rest[1] if len(rest) == 2 else "", folder)


def _item(name: str, text: str, audio: str, folder: Path) -> EvalItem:
    if not name or not text:
        raise ValueError("the id or the text is empty")
    if not audio:
        return EvalItem(name, text)
    for candidate in (folder / audio, Path(audio)):
        if candidate.is_file():
            return EvalItem(name, text, candidate)
    raise ValueError(f"no recording {audio} (looked from {folder} and from the working folder)")
