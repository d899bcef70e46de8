"""One run of `audiogen sing`: the run of `audiogen tts`, with scores for texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audiogen.cli.jobs import Job, UsageError
from audiogen.cli.run import Request, carry_out, load_voice, plan
from audiogen.speech import FrontEnd, SpeechItem, SpeechSystem
from audiogen.text.score import SungPhrase, phrases
from audiogen.text.score_file import read_score
from audiogen.weights import UnknownModel


@dataclass(frozen=True)
class Song:
    """How a score is changed before it is sung. transpose: semitones. speed: 2 is twice as fast."""

    transpose: int = 0
    speed: float = 1.0


def run(request: Request, scores: Sequence[Path], song: Song, started: float) -> int:
    """Do what was asked -> exit code.

    started: time.perf_counter() when the command began. Raises ValueError for what cannot be done at all.
    """
    if not request.model:
        raise UsageError(
            "audiogen ships no singing weights; train with configs/comospeech_sing.yaml, export, and give "
            "--model FILE"
        )
    jobs = [Job(SpeechItem(path.stem, str(path), request.seed, request.speaker)) for path in scores]

    def load(request: Request) -> tuple[SpeechSystem, FrontEnd]:
        return load_singer(request, song)

    return carry_out(request, plan(request, jobs), load, started)


def load_singer(request: Request, song: Song) -> tuple[SpeechSystem, FrontEnd]:
    """The system, and what makes phrases of the path of a score. Raises ValueError."""
    system, _ = load_voice(request)
    if not hasattr(system, "sing"):
        raise UnknownModel(f"model {request.model!r} does not sing; train with configs/comospeech_sing.yaml")

    def front_end(path: str) -> list[SungPhrase]:
        score = read_score(path, system.language).transposed(song.transpose).at_speed(song.speed)
        return list(phrases(score, system.mel_spec.frame_rate))

    return system, front_end
