"""Which words are lit when: by the times of the audio, over the text as it was written."""

from itertools import pairwise

import pytest

from audiogen.audio import Timing
from audiogen.demo.highlight import Mark, Transcript, sentence_at
from audiogen.text.frontend import TextFrontEnd

TEXT = "It costs $12.50.  Dr. Smith said: [pause:0.5s] wait... Now!"


def times(sentence, start=0.0):
    """A tenth of a second for every word of a sentence."""
    return [
        Timing(word.text, start + k / 10, start + (k + 1) / 10, "word")
        for k, word in enumerate(sentence.words)
    ]


@pytest.fixture(scope="module")
def transcript():
    made = Transcript(TEXT, TextFrontEnd("en-us").sentences)
    for number, sentence in enumerate(made.front_end(TEXT)):
        made.heard(number, times(sentence), 10.0 * number)
    return made


def test_the_marks_are_the_text(transcript):
    assert "".join(mark.text for mark in transcript.marks()) == TEXT
    assert all(mark.text for mark in transcript.marks())


def test_a_number_is_lit_as_long_as_it_is_spoken(transcript):
    """ "twelve dollars and fifty cents" are five words of a tenth of a second after two of "It costs"."""
    (mark,) = [mark for mark in transcript.marks() if "12" in mark.text]
    assert mark == Mark("$12.50", 0, 0.2, pytest.approx(0.7))


def test_times_rise_and_sentences_follow_each_other(transcript):
    timed = [mark for mark in transcript.marks() if mark.start_s is not None]
    assert all(a.end_s <= b.start_s + 1e-9 for a, b in pairwise(timed))
    numbers = [mark.sentence for mark in transcript.marks()]
    assert numbers == sorted(numbers)
    starts = {mark.sentence: mark.start_s for mark in reversed(timed)}
    assert starts == {number: 10.0 * number for number in starts}
    for number, start in starts.items():
        assert sentence_at(transcript.marks(), start + 0.05) == number
    assert sentence_at(transcript.marks(), -1.0) is None


def test_what_is_not_made_yet_has_no_time():
    """A front end that has been read to its first sentence: the others follow, unlit."""
    made = Transcript(TEXT, TextFrontEnd("en-us").sentences)
    reading = made.front_end(TEXT)
    made.heard(0, times(next(reading)), 0.0)
    marks = made.marks()
    assert "".join(mark.text for mark in marks) == TEXT
    assert [mark.text for mark in marks if mark.start_s is not None] == ["It", "costs", "$12.50"]
    assert (marks[-2].text, marks[-2].sentence) == (".", 0)
    assert marks[-1].sentence == 1


def test_phones_light_nothing():
    made = Transcript("Hello.", TextFrontEnd("en-us").sentences)
    list(made.front_end("Hello."))
    made.heard(0, [Timing("h", 0.0, 0.1, "phone")], 0.0)
    assert all(mark.start_s is None for mark in made.marks())
