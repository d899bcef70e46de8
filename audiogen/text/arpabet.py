"""The phones of English in few classes, and ARPAbet, in which pronouncing dictionaries write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from audiogen.text.symbols import BOUNDARY, SYMBOLS

CLASSES: Final = (BOUNDARY, *"pbtdkɡfvθðszʃʒhmnŋlɹjwɑæəɔɛɚɪieoʊua")
"""The first is a pause; affricates and diphthongs are two classes in a row. Append, never insert."""

# symbols of the token table that are none of these, and the class that is nearest
_NEAREST: Final = {
    **dict.fromkeys("ɐʌɘɵ\u0329", "ə"), **dict.fromkeys("ɜøɝɞ", "ɚ"), **dict.fromkeys("ɾɖ", "d"),
    **dict.fromkeys("ʔʈ", "t"), **dict.fromkeys("ᵻɨʏ", "ɪ"), **dict.fromkeys("rʁɻɽ", "ɹ"),
    **dict.fromkeys("ʍɥʋ", "w"), **dict.fromkeys("xçχɦ", "h"), "ɒ": "ɑ", "ʉ": "u", "ɯ": "u", "y": "i",
    "œ": "ɛ", "ɤ": "ə", "ɫ": "l", "ʎ": "l", "ɲ": "n", "β": "b", "ɣ": "ɡ", "ɟ": "ɡ", "c": "k",
}  # fmt: skip
NUMBERS: Final = tuple(
    CLASSES.index(nearest) if (nearest := _NEAREST.get(symbol, symbol)) in CLASSES else 0
    for symbol in SYMBOLS
)
"""The class of each symbol of the token table; marks and what English has nothing like are pauses."""

ARPABET: Final = {
    "AA": "ɑ", "AE": "æ", "AH": "ə", "AO": "ɔ", "AW": "aʊ", "AY": "aɪ", "B": "b", "CH": "tʃ", "D": "d",
    "DH": "ð", "EH": "ɛ", "ER": "ɚ", "EY": "eɪ", "F": "f", "G": "ɡ", "HH": "h", "IH": "ɪ", "IY": "i",
    "JH": "dʒ", "K": "k", "L": "l", "M": "m", "N": "n", "NG": "ŋ", "OW": "oʊ", "OY": "ɔɪ", "P": "p",
    "R": "ɹ", "S": "s", "SH": "ʃ", "T": "t", "TH": "θ", "UH": "ʊ", "UW": "u", "V": "v", "W": "w", "Y": "j",
    "Z": "z", "ZH": "ʒ",
}  # fmt: skip
"""The classes of each phone, one or two."""


def classes_of(phones: Sequence[tuple[str, int]]) -> list[int]:
    """Numbers in CLASSES, one a frame, of phones in ARPAbet and the frames they last.

    Two classes of a phone share its frames, the second has the odd one. What is no phone, such as SIL, is a
    pause.
    """
    found = []
    for name, frames in phones:
        symbols = ARPABET.get(name, BOUNDARY)
        first = frames // len(symbols)
        found += [CLASSES.index(symbols[0])] * first + [CLASSES.index(symbols[-1])] * (frames - first)
    return found
