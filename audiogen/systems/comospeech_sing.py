"""CoMoSpeech that sings: a score in, a song out, in one step (Ye et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiogen.acoustic_model import LONGEST_LOG_FRAMES, Condition, pad_tokens
from audiogen.audio import Audio
from audiogen.data.store import DataError
from audiogen.nn.notes import NoteEncoder
from audiogen.speech import SpeechItem, SpeechOptions, audio_of, check_steps, join, speak
from audiogen.systems.comospeech import CoMoSpeech
from audiogen.text.frontend import Sentence
from audiogen.text.score import Score, SungPhrase, phrases
from audiogen.text.score_file import read_score

SHARE_OF_CONSONANTS = 0.5  # of the time between two vowels, at most


class CoMoSpeechSing(CoMoSpeech):
    """`CoMoSpeech` on the notes of a score, for data of `audiogen prepare opencpop` (alignment="given").

    Every token also knows the pitch, the length and the slur of its note. A vowel begins when its note does;
    the consonants before it are sung in the time of the note before, as singers do. Consonants last as long
    as the duration predictor says, but no more than half of the time from vowel to vowel, and the vowel fills
    the rest, so that every note begins on time and the song lasts as long as its score.
    """

    key = "comospeech_sing"

    def add_inputs(self, channels: int) -> None:
        """See `AcousticModel`."""
        self.notes = NoteEncoder(channels)

    def further_inputs(self, batch: Mapping[str, Any]) -> Tensor:
        """See `AcousticModel`. Raises DataError for a batch of speech."""
        if "note" not in batch:
            raise DataError(
                "this data has no notes, which a singing model needs; use `audiogen prepare opencpop`"
            )
        sung: Tensor = self.notes(batch["note"].long(), batch["note_seconds"], batch["slur"].long())
        return sung

    def token_batch(self, sentence: Sentence, speaker: int) -> dict[str, Tensor]:
        """See `AcousticModel`. Raises ValueError for a sentence to speak."""
        if not isinstance(sentence, SungPhrase):
            raise ValueError("this model sings and does not speak; give a score to `audiogen sing`")
        batch = super().token_batch(sentence, speaker)
        columns = {  # the boundary at the beginning has no note
            "note": [0, *(token.note for token in sentence.tokens)],
            "note_seconds": [0.0, *(token.seconds for token in sentence.tokens)],
            "slur": [0, *(token.slur for token in sentence.tokens)],
        }
        return batch | {name: torch.tensor([values], device=self.device) for name, values in columns.items()}

    def lay_out(
        self, sentences: Sequence[Sentence], speakers: Sequence[int], options: SpeechOptions
    ) -> tuple[Condition, Tensor]:
        """See `AcousticModel`. Raises ValueError for changes of pitch and speed: the score tells both."""
        if options.pitch or options.speed != 1:
            raise ValueError("pitch and speed are the score's; use `transpose` and `speed` of `sing`")
        rows = []
        for sentence, speaker in zip(sentences, speakers, strict=True):
            batch = self.token_batch(sentence, speaker)
            hidden = self.hidden(batch)
            log_frames = self.duration(hidden, batch["token_mask"]).float()
            exact = torch.expm1(log_frames.clamp(max=LONGEST_LOG_FRAMES))[0, 1:]
            assert isinstance(sentence, SungPhrase), "`token_batch` refuses others"
            frames = [0, *fill_score(exact.tolist(), sentence)]  # the boundary at the beginning takes no time
            frames[-1] += self.mel_spec.center  # N + 1 centred frames are N hops of sound
            rows.append((hidden[0].T, torch.tensor(frames, device=hidden.device)))
        hidden, durations = pad_tokens(rows)
        return self.condition(hidden.transpose(1, 2), durations), durations

    def sing(
        self,
        score: Score | str | Path,
        *,
        num_steps: int | None = None,
        seed: int = 0,
        speaker: str | int = 0,
        transpose: int = 0,
        speed: float = 1.0,
    ) -> Audio:
        """Sing a score of any length, or the file of one; as long as the score to within a frame.

        num_steps: one of `step_counts`. transpose: semitones. speed: 2 is twice as fast. The same audio as
        `audiogen sing` with the same seed. Raises ValueError for scores and options that cannot be sung.
        """
        check_steps(self, num_steps)
        if not isinstance(score, Score):
            score = read_score(score, self.language)
        sung = phrases(score.transposed(transpose).at_speed(speed), self.mel_spec.frame_rate)
        item = SpeechItem(score.title, score.title, seed, speaker)
        pieces = speak(self, [item], SpeechOptions(num_steps), front_end=lambda _: sung)
        return join([audio_of(piece) for piece in pieces])


def fill_score(exact: Sequence[float], phrase: SungPhrase) -> list[int]:
    """Predicted lengths in frames of a phrase's tokens -> whole frames that fill the phrase's bounds.

    From each leading token to the next the leading one takes what the others leave (see `CoMoSpeechSing`).
    What stands before the first shares its time.
    """
    leaders = [index for index, token in enumerate(phrase.tokens) if token.leads]
    edges = [0, *leaders[1:], len(phrase.tokens)]
    frames = [0] * len(phrase.tokens)
    for leader, (first, last), (start, end) in zip(
        leaders, pairwise(edges), pairwise(phrase.bounds), strict=True
    ):
        others = [index for index in range(first, last) if index != leader]
        wanted = [max(1.0, exact[index]) for index in others]
        room = (end - start) * SHARE_OF_CONSONANTS
        scale = min(1.0, room / sum(wanted)) if others else 0.0
        total, done = 0.0, 0
        for index, length in zip(others, wanted, strict=True):
            total += length * scale
            frames[index], done = round(total) - done, round(total)
        frames[leader] = end - start - done
    return frames
