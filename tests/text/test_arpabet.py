"""Classes of English phones: all phones of a pronouncing dictionary have theirs, and share their frames."""

from itertools import groupby
from pathlib import Path

import pocketsphinx
import pytest

from audiogen.text.arpabet import ARPABET, CLASSES, NUMBERS, classes_of
from audiogen.text.frontend import TextFrontEnd
from audiogen.text.symbols import IDS, MARKS, SYMBOLS


def spelled(numbers):
    return "".join(CLASSES[number] for number in numbers)


def pronunciations():
    """Words and their phones, as the recogniser has them."""
    path = Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"))
    lines = (line.split() for line in path.read_text().splitlines())
    return {word: phones for word, *phones in lines}


def test_all_phones_of_the_dictionary_and_no_others_are_known():
    assert {phone for phones in pronunciations().values() for phone in phones} == set(ARPABET)
    assert {symbol for symbols in ARPABET.values() for symbol in symbols} == set(CLASSES[1:])


def test_symbols_of_the_token_table_are_their_own_class_or_the_nearest():
    assert len(NUMBERS) == len(SYMBOLS)
    assert all(CLASSES[NUMBERS[IDS[symbol]]] == symbol for symbol in CLASSES)
    assert spelled(NUMBERS[IDS[symbol]] for symbol in "ʌɐɜɾɒr") == "əəɚdɑɹ"
    assert all(NUMBERS[IDS[mark]] == 0 for mark in MARKS)


def test_the_classes_of_a_phone_share_its_frames():
    phones = [("SIL", 3), ("CH", 5), ("OW", 4), ("Z", 1), ("NSN", 2)]
    assert spelled(classes_of(phones)) == "   ttʃʃʃooʊʊz  "
    assert classes_of([]) == []


@pytest.mark.parametrize("word", ["press", "judge", "house", "boy", "thing", "measure", "yellow"])
def test_the_front_end_and_the_dictionary_agree(word):
    tokens = TextFrontEnd("en-us")(word)[0].tokens
    ours = [number for token in tokens if (number := NUMBERS[IDS[token.symbol]])]
    theirs = classes_of([(phone, len(ARPABET[phone])) for phone in pronunciations()[word]])
    assert [n for n, _ in groupby(ours)] == [n for n, _ in groupby(theirs)]
