import hashlib

from audiogen.text.symbols import BOUNDARY, IDS, MARKS, MODIFIERS, PADDING, SYMBOLS, VOWELS


def test_every_symbol_is_one_character_and_has_one_place():
    assert all(len(symbol) == 1 for symbol in SYMBOLS)
    assert len(set(SYMBOLS)) == len(SYMBOLS)
    assert [IDS[symbol] for symbol in SYMBOLS] == list(range(len(SYMBOLS)))


def test_the_first_places_never_move():
    assert SYMBOLS[:10] == ("_", " ", ",", ".", "?", "!", ";", ":", "…", "—")
    assert (IDS[PADDING], IDS[BOUNDARY], MARKS) == (0, 1, SYMBOLS[2:10])


def test_the_table_of_released_models_never_changes():
    known = "".join(SYMBOLS[:179])
    assert hashlib.sha256(known.encode()).hexdigest()[:16] == "ace770b39f26f5b8"


def test_stress_and_length_are_no_symbols():
    assert not {"ˈ", "ˌ", "ː"} & set(SYMBOLS)
    assert not VOWELS & MODIFIERS
