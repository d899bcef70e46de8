"""The token table of the text front end: one token is one phone, one modifier of a phone, or one mark.

Stress and length are features of a token and have no symbols of their own. The order of `SYMBOLS` is part of
every trained model: append, never insert.
"""

from __future__ import annotations

from typing import Final, NamedTuple

PADDING: Final = "_"
BOUNDARY: Final = " "
MARKS: Final = (",", ".", "?", "!", ";", ":", "…", "—")
_VOWELS = "aɑɐɒæeɘəɚɛɜɝɞiɨɪᵻyʏoɔøɵœɶuʉʊɯɤʌ"
_CONSONANTS = "pbtdʈɖcɟkɡqɢʔʡmɱnɳɲŋɴʙrʀⱱɾɽɸβfvθðszʃʒʂʐçʝxɣχʁħʕʜʢhɦɬɮɕʑɧʋɹɻjɰlɫɭʎʟɺwʍɥɓɗʄɠʛʘǀǃǂǁ"
_LETTER_MODIFIERS = "ʰʲʷˠˤʱʼ˞ᵐᵑⁿˡᵝˀ"
_COMBINING_MODIFIERS = (
    "\u0303\u0329\u032f\u0325\u030a\u032a\u033a\u033b\u031d\u031e\u031f\u0320\u0308\u033d"
    "\u0330\u0324\u032c\u0339\u031c\u0318\u0319\u0334\u031a\u0306\u032d\u033c"
)
_TONES = "123456789˥˦˧˨˩↗↘ꜛꜜ"

SYMBOLS: Final[tuple[str, ...]] = (
    PADDING,
    BOUNDARY,
    *MARKS,
    *_VOWELS,
    *_CONSONANTS,
    *_LETTER_MODIFIERS,
    *_COMBINING_MODIFIERS,
    *_TONES,
)
IDS: Final[dict[str, int]] = {symbol: index for index, symbol in enumerate(SYMBOLS)}

VOWELS: Final = frozenset(_VOWELS)
MODIFIERS: Final = frozenset(_LETTER_MODIFIERS + _COMBINING_MODIFIERS + _TONES)
SYLLABIC: Final = "\u0329"


class Phone(NamedTuple):
    """One phone token: its symbol, its stress (0 none, 1 secondary, 2 primary), and 1 if it is long."""

    symbol: str
    stress: int = 0
    long: int = 0
