"""What `audiogen benchmark` has a model do: the same calls as the verbs', without files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from audiogen.audio import Audio
from audiogen.cli.convert_run import read_recording, recordings, voice_of
from audiogen.cli.jobs import UsageError
from audiogen.conversion import ConvertOptions, convert_blocks
from audiogen.enhancement import EnhanceOptions, InMemory, enhance_blocks
from audiogen.music import MusicOptions
from audiogen.report import ItemReport, PlayOut, StageTimer
from audiogen.speech import SpeechItem, SpeechOptions, audio_of, check_steps, speak, stable_seed
from audiogen.speech_stream import speak_in_chunks
from audiogen.text.frontend import TextFrontEnd
from audiogen.weights import UnknownModel

SHORT = (
    "Good morning.",
    "Please hold the line.",
    "The office is closed today.",
    "Thank you for calling.",
    "Press one for the menu.",
    "Your table is ready.",
    "Nobody answered the door.",
    "That is all for now.",
)
MIDDLE = (
    "The number you have dialed is busy, please try again later or hold on for the next agent.",
    "She closed the old wooden gate behind her and walked slowly down to the river.",
    "The train to the coast leaves at half past nine from the platform on your left.",
    "If the red lamp does not go out within a minute, switch the machine off and call for help.",
    "Most of the letters in the box were never opened, and nobody knew who had written them.",
    "Add the flour little by little, and stir until nothing sticks to the bowl any more.",
    "The museum keeps a small collection of clocks that were built by sailors on long journeys.",
    "We can send the parcel today, but it will hardly arrive before the end of the week.",
)
TEXTS = (*SHORT, *MIDDLE, *(" ".join((MIDDLE * 2)[k : k + 3]) for k in range(len(MIDDLE))))
CAPTIONS = (
    "calm piano",
    "fast violin in a minor key",
    "slow flute",
    "happy trumpet",
    "two guitars",
    "strings",
)
LONGEST_S = 14.0  # of the made-up recordings
Content = str | Audio


@dataclass(frozen=True)
class Work:
    """What a model does. items: by name. do: one item, told apart by stages -> seconds of audio that count.

    audio: which audio counts. stream: an item in chunks, each with its seconds, for models that stream.
    """

    items: Sequence[tuple[str, Content]]
    do: Callable[[str, Any, StageTimer], float]
    audio: str
    context: dict[str, Any] = field(default_factory=dict)
    stream: Callable[[str, Any], Iterator[float]] | None = None

    def measure(self, name: str, content: Content, device: Any) -> ItemReport:
        """Do one item with an eye on the clock; what no stage claims is "other"."""
        timer, whole = StageTimer(device), StageTimer(device)
        with torch.inference_mode(), whole.stage("all"):
            seconds = self.do(name, content, timer)
        other = max(0.0, whole.seconds["all"] - sum(timer.seconds.values()))
        return ItemReport(name, seconds, stages={**timer.seconds, "other": other})

    def play(self, name: str, content: Content) -> PlayOut:
        """Stream one item to a listener."""
        assert self.stream is not None, "only asked of models that stream"
        play_out = PlayOut(time.perf_counter)
        with torch.inference_mode():
            for _ in play_out.watch(self.stream(name, content), lambda seconds: seconds):
                pass
        return play_out


def lines_of(path: Path | None, default: Sequence[str]) -> list[tuple[str, Content]]:
    """Items of a text file's lines, or of the default's."""
    lines = default if path is None else path.read_text(encoding="utf-8").splitlines()
    found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not found:
        raise UsageError(f"{path} holds no text; write one a line")
    return [(f"{number:04d}", line) for number, line in enumerate(found, 1)]


def sounds(paths: Sequence[Path], sample_rate: int, count: int = 24) -> list[tuple[str, Content]]:
    """The recordings, or made-up ones: a voice-like tone in noise, at the model's rate."""
    if paths:
        return [(path.stem, read_recording(path)) for path in recordings(paths)]
    made: list[tuple[str, Content]] = []
    for number in range(count):
        samples = round(sample_rate * (1 + (LONGEST_S - 1) * number / (count - 1)))
        time_s = torch.arange(samples) / sample_rate
        tone = sum(torch.sin(2 * torch.pi * 120 * k * time_s) / k for k in range(1, 12))
        swell = 0.5 - 0.5 * torch.cos(2 * torch.pi * 3 * time_s)
        noise = torch.randn(samples, generator=torch.Generator().manual_seed(number))
        made.append((f"made{number:02d}", Audio((0.1 * swell * tone + 0.02 * noise)[None], sample_rate)))
    return made


def speech(system: Any, texts: Path | None, steps: int | None, seed: int) -> Work:
    """Speak a text."""
    front_end, options = TextFrontEnd(system.language), SpeechOptions(steps)

    def do(name: str, text: str, timer: StageTimer) -> float:
        seconds = 0.0
        for piece in speak(system, [SpeechItem(name, text, seed)], options, front_end=front_end):
            seconds += audio_of(piece).seconds
            for stage, spent in piece.stages.items():
                timer.seconds[stage] = timer.seconds.get(stage, 0.0) + spent
        return seconds

    def stream(name: str, text: str) -> Iterator[float]:
        for piece in speak_in_chunks(system, SpeechItem(name, text, seed), options, front_end=front_end):
            yield audio_of(piece).seconds

    context = {"task": "speech", "steps": check_steps(system, steps)}
    audio = "generated, with the pauses between sentences"
    return Work(lines_of(texts, TEXTS), do, audio, context, stream)


def enhancement(system: Any, paths: Sequence[Path], quality: str, steps: int | None, seed: int) -> Work:
    """Enhance a recording."""
    options = EnhanceOptions(quality, steps)

    def do(name: str, audio: Audio, timer: StageTimer) -> float:
        for _ in enhance_blocks(system, InMemory(audio), options, seed=seed, timer=timer):
            pass
        return audio.seconds

    context = {"task": "enhancement", "quality": quality, "steps": steps, "nfe": system.nfe(options)}
    return Work(sounds(paths, system.sample_rate), do, "of the recordings", context)


def conversion(
    system: Any, paths: Sequence[Path], timbre: Sequence[Path], steps: int | None, seed: int
) -> Work:
    """Convert a recording to a voice that has been listened to before. Raises UsageError without one."""
    if not timbre:
        raise UsageError("whose voice is the converter to take? give --timbre REF")
    voice, options = voice_of(system, timbre), ConvertOptions(steps)

    def do(name: str, audio: Audio, timer: StageTimer) -> float:
        for _ in convert_blocks(system, audio, voice, options=options, seed=seed, timer=timer):
            pass
        return audio.seconds

    context = {"task": "conversion", "steps": steps, "nfe": system.nfe(options)}
    return Work(sounds(paths, system.sample_rate), do, "of the recordings", context)


def music(system: Any, texts: Path | None, seconds: float, steps: int | None, seed: int) -> Work:
    """Make music of a caption."""
    options = MusicOptions(steps)

    def blocks(name: str, caption: str, timer: StageTimer | None) -> Iterator[float]:
        seeds = [stable_seed(seed, name)]
        for wav in system.stream(caption, seeds, options, seconds=seconds, timer=timer):
            yield wav.shape[-1] / system.sample_rate

    def do(name: str, caption: str, timer: StageTimer) -> float:
        return sum(blocks(name, caption, timer))

    def stream(name: str, caption: str) -> Iterator[float]:
        return blocks(name, caption, None)

    passes = system.passes(seconds, options)
    context = {"task": "music", "steps": steps, "lm_passes": passes.lm, "diffusion_passes": passes.diffusion}
    return Work(lines_of(texts, CAPTIONS), do, "generated", context, stream)


def work_of(system: Any, request: Any) -> Work:
    """What the model of a BenchmarkRequest does. Raises UnknownModel for one that does nothing to measure."""
    if hasattr(system, "synthesize_sentences") and not hasattr(system, "sing"):
        return speech(system, request.texts, request.steps, request.seed)
    if hasattr(system, "enhance"):
        return enhancement(system, request.recordings, request.quality, request.steps, request.seed)
    if hasattr(system, "convert"):
        return conversion(system, request.recordings, request.timbre, request.steps, request.seed)
    if hasattr(system, "passes"):
        return music(system, request.texts, request.seconds, request.steps, request.seed)
    raise UnknownModel(
        f"model {request.model!r} neither speaks, enhances, converts nor makes music; `audiogen list` shows "
        "what models are for"
    )
