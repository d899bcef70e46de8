"""Which characters a language can speak."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Final

# The writing systems of espeak-ng's languages besides the Latin and Greek letters, which all of them know.
_SCRIPTS: Final = {
    "CYRILLIC": "ru uk be bg mk sr bs ba cv kk ky tt nog kaa tk uz",
    "ARABIC": "ar fa ur ug sd ku",
    "HEBREW": "he",
    "DEVANAGARI": "hi mr ne kok",
    "BENGALI": "bn as bpy",
    "GURMUKHI": "pa",
    "GUJARATI": "gu",
    "ORIYA": "or",
    "TAMIL": "ta",
    "TELUGU": "te",
    "KANNADA": "kn",
    "MALAYALAM": "ml",
    "SINHALA": "si",
    "THAI": "th",
    "MYANMAR": "my shn",
    "GEORGIAN": "ka",
    "ARMENIAN": "hy hyw",
    "ETHIOPIC": "am ti",
    "CHEROKEE": "chr",
    "HANGUL": "ko",
    "CJK": "cmn yue hak",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "KATAKANA-HIRAGANA": "ja",
    "SHAVIAN": "en-shaw",
    "KLINGON": "piqd",
}
_SPEAKERS: Final = {script: frozenset(languages.split()) for script, languages in _SCRIPTS.items()}

_PLAIN: Final = str.maketrans(
    {"’": "'", "ʼ": "'", "\u2010": "-", "\u2011": "-", "\u00ad": None, "\ufeff": None}
)


def is_letter(char: str) -> bool:
    """Whether a character is a letter, or an accent or vowel sign on one."""
    return unicodedata.category(char)[0] in "LM"


@lru_cache(maxsize=8192)
def speakable(char: str, language: str) -> bool:
    """Whether `char`, a letter or a mark on one, belongs to a writing system that `language` reads."""
    script = unicodedata.name(unicodedata.normalize("NFKC", char)[0], "").split(" ")[0]
    if script in ("LATIN", "GREEK", "COMBINING", "FEMININE", "MASCULINE", "MICRO", "VARIATION", "MODIFIER"):
        return True
    speakers = _SPEAKERS.get(script, frozenset())
    return language in speakers or language.split("-")[0] in speakers


def spelling(word: str, language: str) -> str:
    """A word as espeak-ng can read it: composed accents, straight apostrophes, plain hyphens.

    Accented letters that only espeak-ng's Vietnamese and Celtic voices know lose their accents in other
    languages, where they would be spelled out as numbers ("Nguyễn" -> "Nguyen").
    """
    word = unicodedata.normalize("NFKC", word.translate(_PLAIN))
    if language.split("-")[0] in ("vi", "cy", "ga", "gd") or not any(
        "\u1e00" <= char <= "\u1eff" for char in word
    ):
        return word
    return "".join(
        unicodedata.normalize("NFD", char)[0] if "\u1e00" <= char <= "\u1eff" else char for char in word
    )
