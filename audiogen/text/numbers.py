"""Numbers as words, in any language that num2words speaks."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

MAX_CARDINAL_DIGITS: Final = 15  # a longer number is read digit by digit
_SPECIAL_CODES: Final = {"nb": "no", "kk": "kz", "pt-br": "pt_BR", "fr-be": "fr_BE", "fr-ch": "fr_CH"}


@lru_cache(maxsize=256)
def num2words_code(language: str) -> str | None:
    """The num2words code of an espeak-ng language, or None if num2words does not speak it."""
    from num2words import CONVERTER_CLASSES

    code = _SPECIAL_CODES.get(language, language.split("-")[0])
    return code if code in CONVERTER_CLASSES else None


@lru_cache(maxsize=4096)
def _spoken(value: int, language: str, form: str) -> tuple[str, ...] | None:
    """Words of a whole number, or None if num2words cannot say it."""
    from num2words import num2words

    code = num2words_code(language)
    if code is None:
        return None
    try:
        text = num2words(value, lang=code, to=form)
    except (NotImplementedError, OverflowError, ValueError, KeyError, IndexError, TypeError):
        return None
    if code == "en":
        text = text.replace("-", " ").replace(",", "")
    return tuple(str(text).replace(",", " ").split()) or None


def digits(text: str, language: str = "en") -> list[str]:
    """Each digit of text by its name; other characters are skipped."""
    return [word for char in text if char.isdecimal() for word in cardinal(str(int(char)), language)]


def cardinal(text: str, language: str = "en") -> list[str]:
    """A whole number, written in decimal digits of any script, as words.

    Read digit by digit if it begins with a needless zero or is longer than `MAX_CARDINAL_DIGITS`. A number
    that num2words cannot say stays written in digits, for espeak-ng to read.
    """
    text = "".join(str(int(char)) for char in text)
    if len(text) > MAX_CARDINAL_DIGITS or (len(text) > 1 and text[0] == "0"):
        return digits(text, language)
    words = _spoken(int(text), language, "cardinal")
    return list(words) if words is not None else [text]


def ordinal(text: str, language: str = "en") -> list[str]:
    """A whole number as an ordinal ("21" -> twenty first), or as a cardinal where there is none."""
    words = _spoken(int(text), language, "ordinal") if len(text) <= MAX_CARDINAL_DIGITS else None
    return list(words) if words is not None else cardinal(text, language)


def year(text: str, language: str = "en") -> list[str]:
    """A year written in digits as it is said ("1905" -> nineteen oh five)."""
    words = _spoken(int(text), language, "year") if 0 < int(text) < 10000 else None
    return list(words) if words is not None else cardinal(text, language)


def decimal(whole: str, fraction: str, point: str, language: str = "en") -> list[str]:
    """A number with the digits `fraction` after its decimal sign, called `point`: two point five.

    whole may be empty. With no fraction this is `cardinal`.
    """
    words = cardinal(whole or "0", language)
    return [*words, point, *digits(fraction, language)] if fraction else words
