"""Web and e-mail addresses as they are read aloud."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from audiogen.text.numbers import cardinal, digits
from audiogen.text.rules import Rule, rule, vocabulary

_TOP_LEVEL: Final = (
    "com|org|net|edu|gov|mil|int|info|biz|io|ai|app|dev|co|me|tv|uk|us|eu|de|fr|es|it|nl|be|ch|at|pl|pt|se|no|dk|fi|ie|"
    "ca|au|nz|jp|cn|in|br|ru|za"
)
_TAIL: Final = r"[^\s<>\"“”«»\[\]{}|\\^`]*[\w/=#&%~+-]"
_URL: Final = rf"(?:https?|ftp)://{_TAIL}|www\.[\w-]+\.{_TAIL}"
_DOMAIN: Final = rf"(?<![\w@.])(?:[A-Za-z0-9-]+\.)+(?:{_TOP_LEVEL})(?:/(?:{_TAIL})?)?(?![\w@]|\.\w)"
_EMAIL: Final = r"(?<![\w.])(?:mailto:)?[\w.+%-]+@(?:[\w-]+\.)+[A-Za-z]{2,}(?!\w)"
_PARTS = re.compile(r"[^\W\d_]+|\d+|[\W_]")
_SAID_AS_WORDS: Final = vocabulary("com org net info biz gov edu mil app dev co me int mail shop blog")

ENGLISH_NAMES: Final = {
    ".": "dot", "/": "slash", ":": "colon", "-": "dash", "_": "underscore", "?": "question mark",
    "=": "equals", "&": "and", "#": "hash", "%": "percent", "+": "plus", "~": "tilde", "@": "at",
    ",": "comma", ";": "semicolon", "!": "exclamation mark", "*": "star", "$": "dollar", "'": "apostrophe",
    "(": "open paren", ")": "close paren",
}  # fmt: skip


def address_rules(names: Mapping[str, str], language: str) -> tuple[Rule, ...]:
    """Rules that read addresses with the given names of their signs.

    Addresses with a sign that has no name are declined, so that nothing is lost.
    """

    def say(text: str) -> list[str] | None:
        words: list[str] = []
        for part in _PARTS.findall(text):
            if part.isdecimal():
                words += digits(part, language) if len(part) > 4 else cardinal(part, language)
            elif part.isalpha():
                words += _label(part)
            elif part in names:
                words += names[part].split()
            else:
                return None
        return words

    return tuple(rule(pattern, lambda match: say(match[0])) for pattern in (_EMAIL, _URL, _DOMAIN))


def _label(part: str) -> list[str]:
    """Letters of an address: a word, or its letters one by one where it is no word."""
    lower = part.lower()
    spelled = (
        len(part) == 1
        or not re.search(r"[aeiouyà-ÿ]", lower)
        or (len(part) == 2 and lower not in _SAID_AS_WORDS)
    )
    if spelled and len(part) <= 6 and part.isascii():
        return list(part.upper())
    return [part]
