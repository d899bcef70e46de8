"""Error rates of known strings, and the recogniser on known signals."""

import random
import sys
from functools import lru_cache

import pytest
import torch

from audiogen.metrics.intelligibility import (
    Recogniser,
    RecogniserMissing,
    character_error_rate,
    character_errors,
    edit_distance,
    plain_words,
)


@pytest.mark.parametrize(
    ("a", "b", "edits"),
    [
        ("", "", 0),
        ("abc", "", 3),
        ("", "abc", 3),
        ("kitten", "sitting", 3),
        ("flaw", "lawn", 2),
        ("same", "same", 0),
    ],
)
def test_edit_distance_of_known_words(a, b, edits):
    assert edit_distance(a, b) == edits


def test_edit_distance_agrees_with_its_recursive_definition():
    def recursive(a, b):
        @lru_cache(None)
        def distance(i, j):
            if i == 0 or j == 0:
                return i + j
            substitution = distance(i - 1, j - 1) + (a[i - 1] != b[j - 1])
            return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, substitution)

        return distance(len(a), len(b))

    rng = random.Random(0)
    for _ in range(100):
        a, b = ("".join(rng.choices("abc", k=rng.randint(0, 8))) for _ in range(2))
        assert edit_distance(a, b) == recursive(a, b)


def test_plain_words_keep_letters_only():
    assert plain_words("It's  Café-time, isn’t it?\n42") == "its cafe time isnt it"


def test_character_errors_ignore_case_and_punctuation_but_count_spaces():
    assert character_errors("Hello, world.", "hello world").edits == 0
    assert character_errors("a long way", "along way").edits == 1
    assert character_errors("Hello", "").rate == 1.0


def test_corpus_rate_is_a_ratio_of_sums():
    assert character_error_rate([("a", "b"), ("aaaaaaaaa", "aaaaaaaaa")]) == pytest.approx(0.1)


@pytest.fixture(scope="module")
def recogniser():
    return Recogniser()


def test_recogniser_is_independent_of_order(recogniser):
    generator = torch.Generator().manual_seed(0)
    loud, soft = torch.randn(4000, generator=generator) * 0.5, torch.randn(4000, generator=generator) * 0.01
    alone = recogniser(soft)
    recogniser(loud)
    assert recogniser(soft) == alone


def test_recogniser_takes_one_mono_signal(recogniser):
    with pytest.raises(ValueError, match="one mono signal"):
        recogniser(torch.zeros(1, 4000))


def test_recogniser_knows_everyday_words_only(recogniser):
    assert recogniser.knows("umbrella")
    assert not recogniser.knows("qzxv")


def test_missing_recogniser_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(RecogniserMissing, match=r"pip install 'audiogen\[eval\]'"):
        Recogniser()
