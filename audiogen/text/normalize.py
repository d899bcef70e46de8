"""Written text to spoken words: numbers, signs, abbreviations and marks, each with its place in the text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from audiogen.text.addresses import ENGLISH_NAMES, address_rules
from audiogen.text.english import number_rules
from audiogen.text.english_words import word_rules
from audiogen.text.locales import RAW_RULES, locale_rules
from audiogen.text.rules import Rule
from audiogen.text.scripts import is_letter, speakable, spelling
from audiogen.text.symbols import MARKS

MAX_WORD: Final = 40  # letters; a longer word is spoken in pieces


@dataclass(frozen=True)
class Span:
    """A stretch text[start:end] of the source and what is said for it.

    words: the spoken words, empty for a mark. mark: one of `symbols.MARKS`, or "". ipa: phones given in the
    text, or "". A span with neither words nor mark nor ipa holds characters that cannot be spoken. Several
    spans share a stretch where marks stand between its words.
    """

    start: int
    end: int
    words: tuple[str, ...] = ()
    mark: str = ""
    ipa: str = ""

    @property
    def dropped(self) -> bool:
        """Whether nothing is said for this span although it holds characters."""
        return not (self.words or self.mark or self.ipa)


_PUNCTUATION: Final = {
    "–": "—", "‒": "—", "―": "—", "‥": "…", "(": ",", ")": ",", "[": ",", "]": ",", "{": ",", "}": ",",
    "•": ",", "·": ",",
    "。": ".", "、": ",", "，": ",", "？": "?", "！": "!", "；": ";", "：": ":", "（": ",",
    "）": ",", "؟": "?", "،": ",", "؛": ";", "۔": ".", "।": ".", "॥": ".", "։": ".", "።": ".", "\u037e": "?",
} | {mark: mark for mark in MARKS}  # fmt: skip
# Characters that stand in good text without a sound: quotes, hyphens, joiners, directions.
_SILENT: Final = frozenset(
    "\"'`´“”„‟‘’‚‛«»‹›「」『』〝〞-\u2010\u2011¿¡\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\ufe0e\ufe0f"
)
_DASH = re.compile(r"-{2,}|(?<=\s)-(?=\s)")
_ELLIPSIS = re.compile(r"\.{2,}|…\.*|\. \. \.")
_LITERAL = re.compile(r"\[\[([^\[\]]+)\]\]")
_CHUNK = re.compile(r"\S{1,60}")
_RUN = re.compile(r"[^\W_]+(?!['’]?\w)")
_INSIDE: Final = "'’-\u2010\u2011\u00ad\u200c\u200d"


def normalize(
    text: str, language: str = "en-us", *, keep: Callable[[str], bool] | None = None, rules: bool = True
) -> list[Span]:
    """What is said for each part of `text`, a sentence, in order; white space belongs to no span.

    language: an espeak-ng code. keep: words it is true for are said as they are written. rules: False leaves
    numbers and signs to espeak-ng, and abbreviations as they are.
    """
    return list(_scan(text, language, keep, rules_of(language) if rules else RAW_RULES))


@lru_cache(maxsize=64)
def rules_of(language: str) -> tuple[Rule, ...]:
    """The rules of a language, in the order in which they are tried."""
    if language.split("-")[0] != "en":
        return locale_rules(language)
    american = language.startswith("en-us")
    return (*address_rules(ENGLISH_NAMES, "en"), *number_rules(american=american), *word_rules())


def _scan(
    text: str, language: str, keep: Callable[[str], bool] | None, rules: Sequence[Rule]
) -> Iterator[Span]:
    """The spans of `text`, left to right."""
    pos = 0
    while pos < len(text):
        if text[pos].isspace():
            pos += 1
            continue
        spans = _kept(text, pos, keep) or _by_rule(text, pos, rules) or _by_character(text, pos, language)
        yield from spans
        pos = spans[-1].end if spans else pos + 1


def _kept(text: str, pos: int, keep: Callable[[str], bool] | None) -> list[Span]:
    """Phones in the text, or a word that `keep` wants as it is: with what is joined to it, or by itself."""
    if literal := _LITERAL.match(text, pos):
        return [Span(pos, literal.end(), ipa=literal[1].strip())]
    if keep is None or (pos and text[pos - 1].isalnum()):
        return []
    for end in _possible_ends(text, pos):
        if end > pos and keep(text[pos:end]):
            return [Span(pos, end, (text[pos:end].replace("’", "'"),))]
    return []


def _possible_ends(text: str, pos: int) -> Iterator[int]:
    """Where a word of a lexicon that begins at `pos` could end, the longest first."""
    chunk = _CHUNK.match(text, pos)
    end = chunk.end() if chunk else pos
    yield end
    while end > pos + 1 and not text[end - 1].isalnum():
        end -= 1
        yield end
    yield _word_end(text, pos)
    run = _RUN.match(text, pos)
    if run is not None:
        yield run.end()


def _by_rule(text: str, pos: int, rules: Sequence[Rule]) -> list[Span]:
    """The spans of the first rule that matches at `pos`, or none."""
    for rule in rules:
        match = rule.pattern.match(text, pos)
        if match is None or match.end() == pos:
            continue
        words = rule.say(match)
        if words:
            return _spans(pos, match.end(), words)
    return []


def _spans(start: int, end: int, words: Sequence[str]) -> list[Span]:
    """Spans of one stretch: its words, cut where a mark stands among them."""
    spans: list[Span] = []
    group: list[str] = []
    for word in words:
        if word in MARKS:
            spans += [Span(start, end, tuple(group))] * bool(group) + [Span(start, end, mark=word)]
            group = []
        else:
            group.extend(word[i : i + MAX_WORD] for i in range(0, len(word), MAX_WORD))
    return spans + [Span(start, end, tuple(group))] * bool(group)


def _by_character(text: str, pos: int, language: str) -> list[Span]:
    """The word, mark or unspeakable character at `pos`; nothing for a silent one."""
    end = _word_end(text, pos)
    if end > pos:
        return list(_word_spans(text, pos, end, language))
    for pattern, mark in ((_ELLIPSIS, "…"), (_DASH, "—")):
        if match := pattern.match(text, pos):
            return [Span(pos, match.end(), mark=mark)]
    char = text[pos]
    if char in _PUNCTUATION:
        return [Span(pos, pos + 1, mark=_PUNCTUATION[char])]
    return [] if char in _SILENT else [Span(pos, pos + 1)]


def _word_end(text: str, pos: int) -> int:
    """Where the word that begins at `pos` ends: letters and accents, with apostrophes and hyphens inside."""
    if not text[pos].isalpha():
        return pos
    end = pos
    while end < len(text):
        if is_letter(text[end]):
            end += 1
        elif text[end] in _INSIDE and text[end + 1 : end + 2].isalpha():
            end += 2
        else:
            break
    return end


def _word_spans(text: str, start: int, end: int, language: str) -> Iterator[Span]:
    """A word as spans of at most MAX_WORD letters, apart from the letters that `language` does not know."""
    pos = start
    while pos < end:
        known = _known(text[pos], language)
        stop = pos + 1
        while stop < end and stop - pos < MAX_WORD and _known(text[stop], language) == known:
            stop += 1
        yield Span(pos, stop, (spelling(text[pos:stop], language),)) if known else Span(pos, stop)
        pos = stop


def _known(char: str, language: str) -> bool:
    return char in _INSIDE or speakable(char, language)
