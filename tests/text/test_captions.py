"""Captions as words of a closed vocabulary."""

import random

import pytest

from audiogen.data.phrases import rephrased, vocabulary_of
from audiogen.text.captions import CaptionVocabulary, pitch_name, words_of

FACTS = {
    "instruments": ["acoustic grand piano", "violin"],
    "families": ["piano", "strings"],
    "family": "mixed",
    "key": "A minor",
    "mode": "minor",
    "bpm": 71.3,
    "tempo": "slow",
    "loudness": "soft",
    "articulation": "legato",
    "moods": ["sad"],
    "density": "sparse",
}


def test_keys_tempos_and_articles():
    assert words_of("A slow, solo Piano in A minor") == ["slow", "solo", "piano", "in", "key:a", "minor"]
    assert words_of("in the key of C sharp major at 123 bpm") == [
        "in",
        "key",
        "of",
        "key:db",
        "major",
        "at",
        "bpm:120",
    ]
    assert words_of("Bb minor, 97.4 BPM") == ["key:bb", "minor", "bpm:100"]
    assert words_of("in a minor key") == ["in", "minor", "key"]
    assert words_of("f# major, 60 beats per minute") == ["key:f#", "major", "bpm:60"]


@pytest.mark.parametrize(
    ("spelling", "name"), [("C#", "db"), ("G♭", "f#"), ("A-flat", "ab"), ("e sharp", "f"), ("B", "b")]
)
def test_pitches(spelling, name):
    assert pitch_name(spelling) == name


def test_what_is_no_pitch():
    with pytest.raises(ValueError, match="'H' is no pitch"):
        pitch_name("H")


def test_vocabulary_numbers_and_unknown_words():
    vocabulary = CaptionVocabulary.of(["slow piano", "fast flute"], 10)
    assert vocabulary.words == ("fast", "flute", "piano", "slow")
    assert vocabulary.numbers("slow theremin piano") == [5, 1, 4]
    assert vocabulary.unknown("slow theremin theremin piano") == ["theremin"]
    assert vocabulary.numbers("") == [1]


def test_extension_keeps_the_numbers_of_old_words():
    old = CaptionVocabulary.of(["slow piano"], 10)
    new = CaptionVocabulary.of(["a banjo"], 10, old.words)
    assert new.numbers("slow piano") == old.numbers("slow piano")
    assert new.words == (*old.words, "banjo")
    with pytest.raises(ValueError, match="max_words"):
        CaptionVocabulary.of(["a b2 c3 d4"], 4)


def test_rephrasings_say_the_facts_and_stay_in_the_vocabulary():
    vocabulary = CaptionVocabulary.of(vocabulary_of([], [FACTS]), 200)
    made = {rephrased(FACTS, random.Random(n)) for n in range(200)}
    assert len(made) > 150
    assert all(caption and not vocabulary.unknown(caption) for caption in made)
    everything = [set(words_of(rephrased(FACTS, random.Random(n), drop=0.0))) for n in range(50)]
    assert all({"minor"} <= words and {"piano", "violin"} & words for words in everything)
    assert all({"slow", "slowly", "bpm:70"} & words for words in everything)
    assert not any({"major", "fast", "loud"} & words for words in everything)


def test_rephrasing_of_little():
    assert rephrased({}, random.Random(0)) == ""
    assert "C major" in rephrased({"key": "C major"}, random.Random(0), drop=1.0)
    fast = {"very fast", "very fast tempo", "very quick", "150 bpm", "at 150 bpm"}
    assert {rephrased({"bpm": 150}, random.Random(n)) for n in range(60)} == fast
