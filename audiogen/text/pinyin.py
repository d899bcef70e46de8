"""Mandarin syllables in pinyin to phones: Opencpop is labelled with them, Mandarin lyrics are read so."""

from __future__ import annotations

import unicodedata
from typing import Final

from audiogen.text.phonemes import Phones, parse_ipa

MANDARIN: Final = "cmn"
SILENCE, BREATH = "SP", "AP"  # Opencpop's labels

INITIALS: Final = {
    "b": "p", "p": "pʰ", "m": "m", "f": "f", "d": "t", "t": "tʰ", "n": "n", "l": "l", "g": "k", "k": "kʰ",
    "h": "x", "j": "tɕ", "q": "tɕʰ", "x": "ɕ", "zh": "ʈʂ", "ch": "ʈʂʰ", "sh": "ʂ", "r": "ʐ", "z": "ts",
    "c": "tsʰ", "s": "s", "y": "j", "w": "w",
}  # fmt: skip
FINALS: Final = {
    "a": "a", "o": "o", "e": "ɤ", "i": "i", "u": "u", "v": "y", "er": "ɚ",
    "ai": "aɪ", "ei": "eɪ", "ao": "aʊ", "ou": "oʊ",
    "an": "an", "en": "ən", "ang": "ɑŋ", "eng": "əŋ", "ong": "ʊŋ",
    "ia": "ja", "ie": "jɛ", "iao": "jaʊ", "iu": "joʊ", "iou": "joʊ", "io": "jo",
    "ian": "jɛn", "in": "in", "iang": "jɑŋ", "ing": "iŋ", "iong": "jʊŋ",
    "ua": "wa", "uo": "wo", "uai": "waɪ", "ui": "weɪ", "uei": "weɪ",
    "uan": "wan", "un": "wən", "uen": "wən", "uang": "wɑŋ", "ueng": "wəŋ",
    "ve": "ɥɛ", "ue": "ɥɛ", "van": "ɥɛn", "vn": "yn",
}  # fmt: skip
# "zi" and "zhi" have a vowel of their own, and "y" is a glide itself
_AFTER: Final = {
    **dict.fromkeys([(initial, "i") for initial in ("zh", "ch", "sh", "r", "z", "c", "s")], "ɨ"),
    ("y", "e"): "ɛ", ("y", "an"): "ɛn", ("y", "ve"): "ɛ", ("y", "van"): "ɛn",
}  # fmt: skip
_ROUNDED: Final = ("v", "ve", "van", "vn")  # after these, "y" is ɥ
_TONES: Final = dict.fromkeys(map(ord, "\u0300\u0301\u0304\u030c"))
_UMLAUTS: Final = ("j", "q", "x", "y")  # after these, "u" is written for "v"


def phones_of(initial: str, final: str) -> tuple[Phones, Phones]:
    """Phones of a syllable's initial ("" for none) and of its final. Raises KeyError for an unknown one."""
    first = "ɥ" if initial == "y" and final in _ROUNDED else INITIALS[initial] if initial else ""
    second = _AFTER.get((initial, final)) or FINALS[final]
    return parse_ipa(first)[0], parse_ipa(second)[0]


def syllable(text: str, where: str = "score") -> Phones:
    """Phones of a syllable in pinyin, such as "zhong", "lü" or "nv3"; its tone is the melody's to give.

    Raises ValueError for anything else, Chinese characters too.
    """
    plain = unicodedata.normalize("NFD", text.lower()).translate(_TONES).rstrip("12345")
    plain = plain.replace("u\u0308", "v").replace("u:", "v")
    initial = next((plain[:n] for n in (2, 1) if plain[:n] in INITIALS and len(plain) > n), "")
    final = plain[len(initial) :]
    if initial in _UMLAUTS and final in ("u", "ue", "uan", "un"):
        final = final.replace("u", "v", 1)
    try:
        first, second = phones_of(initial, final)
    except KeyError:
        raise ValueError(
            f"{where}: {text!r} is no syllable in pinyin; write Mandarin lyrics as ni, hao, one a note"
        ) from None
    return first + second
