"""Which words of a text are heard when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from audiogen.audio import Timing

if TYPE_CHECKING:
    from audiogen.speech import FrontEnd
    from audiogen.text.frontend import Sentence

ENDS = ".,;:!?…)\"'”’"  # what may follow the last word of a sentence


@dataclass(frozen=True)
class Mark:
    """A stretch of a text. start_s, end_s: when it is heard; None between words and of what is not made yet.

    sentence: number of the sentence it belongs to, -1 before any.
    """

    text: str
    sentence: int
    start_s: float | None = None
    end_s: float | None = None


class Transcript:
    """A text with the times of its words, as they come.

    front_end: makes sentences of texts; `self.front_end` is the same and remembers them. A number that is
    spoken as several words is one mark, heard during all of them.
    """

    def __init__(self, text: str, front_end: FrontEnd) -> None:
        self.text = text
        self.sentences: list[Sentence] = []
        self._front_end = front_end
        self._times: dict[int, list[Timing]] = {}

    def front_end(self, text: str) -> Iterator[Sentence]:
        """The sentences of a text, remembered as they are read."""
        for sentence in self._front_end(text):
            self.sentences.append(sentence)
            yield sentence

    def heard(self, sentence: int, timings: Iterable[Timing], start_s: float) -> None:
        """Note the timings of a sentence that begins at `start_s` of the audio."""
        words = [timing.shifted(start_s) for timing in timings if timing.kind == "word"]
        if words:
            self._times[sentence] = words

    def marks(self) -> list[Mark]:
        """The whole text in stretches."""
        found: list[Mark] = []
        place = 0
        for number, sentence in enumerate(self.sentences):
            times = self._times.get(number, [])
            for k, word in enumerate(sentence.words):
                time = times[k] if k < len(times) else None
                if word.start < place and found:  # another word of the same number
                    end = found[-1].end_s if time is None else time.end_s
                    found[-1] = replace(found[-1], end_s=end)
                    continue
                if word.start > place:
                    found.append(Mark(self.text[place : word.start], number if k else number - 1))
                said = (None, None) if time is None else (time.start_s, time.end_s)
                found.append(Mark(self.text[word.start : word.end], number, *said))
                place = word.end
        tail = self.text[place:]
        after = len(tail) - len(tail.lstrip(ENDS))
        found.append(Mark(tail[:after], len(self.sentences) - 1))
        found.append(Mark(tail[after:], len(self.sentences)))  # of sentences that have not been read yet
        return [mark for mark in found if mark.text]


def sentence_at(marks: Sequence[Mark], second: float) -> int | None:
    """The sentence that is heard at a second: the last that has begun, None before the first."""
    begun = [mark.sentence for mark in marks if mark.start_s is not None and mark.start_s <= second]
    return max(begun, default=None)
