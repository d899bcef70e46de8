import random

import pytest

from audiogen.text.sentences import split_sentences

CASES = {
    "One. Two. Three.": ["One. ", "Two. ", "Three."],
    "Dr. Smith came. He left.": ["Dr. Smith came. ", "He left."],
    "James T. Kirk sat. Spock stood.": ["James T. Kirk sat. ", "Spock stood."],
    "At 5 p.m. Then we went.": ["At 5 p.m. ", "Then we went."],
    "at 5 p.m. on Monday. Yes.": ["at 5 p.m. on Monday. ", "Yes."],
    "It costs 3.14 euros. Cheap!": ["It costs 3.14 euros. ", "Cheap!"],
    "Well... maybe. No": ["Well... maybe. ", "No"],
    "Wait... What?": ["Wait... ", "What?"],
    "What?! Really? Yes!": ["What?! ", "Really? ", "Yes!"],
    '"Stop!" he said. "Go." She went.': ['"Stop!" he said. ', '"Go." ', "She went."],
    "(It rained.) We stayed.": ["(It rained.) ", "We stayed."],
    "See No. 5 now. Good.": ["See No. 5 now. ", "Good."],
    "The answer is no. 5 came.": ["The answer is no. 5 came."],
    "I live on Main St. The house is old.": ["I live on Main St. ", "The house is old."],
    "St. John St. is long.": ["St. John St. is long."],
    "The U.S. Army came. They left.": ["The U.S. Army came. ", "They left."],
    "I love the U.S. It is big.": ["I love the U.S. ", "It is big."],
    "1. First. 2. Second.": ["1. First. ", "2. Second."],
    "e.g. This one. I.e. That one.": ["e.g. This one. ", "I.e. That one."],
    "small letters. go on": ["small letters. go on"],
    "Title\n\nText here": ["Title\n\n", "Text here"],
    "a line\nbroken here. Next": ["a line\nbroken here. ", "Next"],
    "你好。世界！好": ["你好。", "世界！", "好"],
    "Das ist z.B. Wasser. Am 3. Mai kam er.": ["Das ist z.B. Wasser. ", "Am 3. Mai kam er."],
    "no end": ["no end"],
    "  lead. Trail  ": ["  lead. ", "Trail  "],
    "": [],
    " \n ": [" \n "],
}


@pytest.mark.parametrize("text", CASES)
def test_splits_where_a_reader_would(text):
    assert split_sentences(text) == CASES[text]


PARTS = [
    "Dr. ", "Mr. X", "a.m. ", "p.m.", "...", "…", ". ", "! ", "?", '"', "”", "'", ") ", "(", "\n", "\n\n",
    " ", "  ", "A", "b", "The", "x", "3", "3.14", "1.", "e.g.", "U.S.", "St. ", "。", "！", "你", "☺", "-",
    "—", "\u00a0", "[", "]", "\t", "\r\n", "¿", "No. 5", "\u200b", "i.e. ", "T. ",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_loses_no_character(seed):
    rng = random.Random(seed)
    for _ in range(200):
        text = "".join(rng.choices(PARTS, k=rng.randint(0, 30)))
        pieces = split_sentences(text)
        assert "".join(pieces) == text
        assert all(piece.strip() for piece in pieces) or not text.strip()


@pytest.mark.parametrize(
    "text", ["!" * 20000 + "a", " " * 20000 + "\n", "a." * 10000, ". " * 10000, "a. B" * 5000]
)
def test_long_runs_take_no_quadratic_time(text):
    assert "".join(split_sentences(text)) == text
