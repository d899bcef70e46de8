"""The tab that speaks: streamed, with the words lit as they are heard, and two step counts side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from audiogen.audio import Audio
from audiogen.demo.account import Account
from audiogen.demo.highlight import Transcript
from audiogen.demo.models import SPEAK, Shelf, Tell, label, silent
from audiogen.demo.pictures import distance_db, picture
from audiogen.demo.player import Playback
from audiogen.report import PlayOut
from audiogen.speech import SpeechItem, SpeechOptions, audio_of, check_steps, join, speak
from audiogen.speech_stream import speak_in_chunks
from audiogen.text.frontend import TextFrontEnd

MOST_CHARACTERS = 2000  # two minutes of speech; the command line has no limit
EXAMPLES = (
    "Your call is important to us. Please stay on the line, and the next free person will help you.",
    "It costs $12.50. That is 3% less than last year!",
    "Good morning. The train to the harbour leaves at 9:30 from platform four.",
)


@dataclass(frozen=True)
class Words:
    """What to speak and how. steps: None for the model's own choice."""

    text: str
    model: str
    speaker: str | int = 0
    steps: int | None = None
    seed: int = 0
    speed: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what would keep others waiting."""
        if len(self.text) > MOST_CHARACTERS:
            raise ValueError(
                f"the text has {len(self.text)} characters, and the demo reads {MOST_CHARACTERS}: shorten "
                "it, or use `audiogen tts`, which reads any length"
            )

    @property
    def options(self) -> SpeechOptions:
        """How, as the systems take it."""
        return SpeechOptions(self.steps, self.speed)

    @property
    def item(self) -> SpeechItem:
        """The item of `audiogen tts TEXT`: the same words and seed give the same audio."""
        return SpeechItem("0", self.text, self.seed, self.speaker)


def step_counts(hparams: dict[str, Any]) -> list[int]:
    """The step counts that a speaking model's hyper-parameters name, fewest first."""
    kinds = ("step_counts", "student_steps", "teacher_steps")
    return sorted({int(n) for kind in kinds for n in hparams.get(kind) or ()})


def facts_of(words: Words, steps: int) -> dict[str, object]:
    """What is shown beside the times."""
    return {"model": label(words.model), "speaker": words.speaker, "steps": steps, "seed": words.seed}


def stream(
    shelf: Shelf, words: Words, tell: Tell = silent
) -> Iterator[tuple[Playback, Transcript, Account, bool]]:
    """Speak chunk by chunk -> what is heard, the text with times, the cost, and whether that is all.

    Raises what the system raises for a text or options that it cannot follow.
    """
    system = shelf.get(SPEAK, words.model, tell)
    facts = facts_of(words, check_steps(system, words.steps))
    transcript = Transcript(words.text, TextFrontEnd(system.language).sentences)
    playback = Playback(system.sample_rate, f"speech-seed{words.seed}")
    play_out, compute, starts = PlayOut(), 0.0, {0: 0.0}
    pieces = speak_in_chunks(system, words.item, words.options, front_end=transcript.front_end)
    for piece in play_out.watch(pieces, lambda piece: piece.audio.seconds if piece.audio else 0.0):
        audio = audio_of(piece)
        compute += sum(piece.stages.values())
        start = starts.setdefault(piece.batch, playback.seconds)
        transcript.heard(piece.batch, audio.timings, start)
        playback.add(audio.wav)
        account = Account(playback.seconds, compute, play_out.first_chunk_seconds, facts)
        yield playback, transcript, account, piece.last


def at_once(shelf: Shelf, words: Words, tell: Tell = silent) -> tuple[Audio, Account]:
    """The same as a whole, its sentences in one batch."""
    system = shelf.get(SPEAK, words.model, tell)
    steps = check_steps(system, words.steps)
    front_end = TextFrontEnd(system.language)
    pieces = list(speak(system, [words.item], words.options, front_end=front_end))
    audio = join([audio_of(piece) for piece in pieces])
    compute = sum(sum(piece.stages.values()) for piece in pieces)
    return audio, Account(audio.seconds, compute, None, facts_of(words, steps))


def compare(
    shelf: Shelf, words: Words, steps: Sequence[int], tell: Tell = silent
) -> tuple[list[tuple[Audio, Account]], str]:
    """The words in each number of steps, from the same noise, and a line that says how far they differ."""
    results = [at_once(shelf, replace(words, steps=n), tell) for n in steps]
    (a, _), (b, _) = results
    apart = distance_db(a.wav, b.wav, a.sample_rate)
    if apart is None:
        return results, "The two differ in length, so their spectra cannot be laid over each other."
    return results, f"Same seed, {steps[0]} and {steps[1]} steps: their spectra are {apart:.2f} dB apart."


def shown(audio: Audio, name: str) -> dict[str, Any]:
    """A finished sound for the player, which waits to be started."""
    playback = Playback(audio.sample_rate, name, autoplay=False)
    playback.add(audio.wav)
    return playback.value(done=True)


def frames(shelf: Shelf, words: Words, tell: Tell = silent) -> Iterator[tuple[dict[str, Any], str, Any]]:
    """`stream` as the page takes it: player, figures, and at the end the picture."""
    for playback, transcript, account, last in stream(shelf, words, tell):
        drawn = picture(playback.wav, playback.sample_rate) if last else gr.skip()
        yield playback.value(transcript.marks(), done=last), account.html(), drawn
