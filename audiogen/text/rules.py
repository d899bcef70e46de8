"""How the rules of a language are written down: a pattern and what is said for a match of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

Say = Callable[[re.Match[str]], list[str] | None]


class Rule(NamedTuple):
    """Where `pattern` matches, `say` returns the spoken words, with marks among them, or None to decline.

    A word that is one of `symbols.MARKS` is a mark.
    """

    pattern: re.Pattern[str]
    say: Say


def rule(pattern: str, say: Say, flags: re.RegexFlag = re.NOFLAG) -> Rule:
    """A rule from the text of its pattern."""
    return Rule(re.compile(pattern, flags), say)


def vocabulary(words: str) -> frozenset[str]:
    """The words of a text as a set."""
    return frozenset(words.split())


def word_before(match: re.Match[str]) -> str:
    """The word just before a match, or ""; at most 40 characters are looked at."""
    found = re.search(r"([^\W_][\w'’]*)[.,]?\s*$", match.string[max(0, match.start() - 40) : match.start()])
    return found[1] if found else ""


def word_after(match: re.Match[str]) -> str:
    """The word just after a match, or ""; at most 40 characters are looked at."""
    found = re.match(r"[\s,]*([^\W_][\w'’]*)", match.string[match.end() : match.end() + 40])
    return found[1] if found else ""
