"""Text to sentences of tokens: the one entrance to this package."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Final

from audiogen.text.lexicon import Lexicon, read_lexicon
from audiogen.text.normalize import MAX_WORD, Span, normalize
from audiogen.text.phonemes import Phones, check_language, format_ipa, parse_ipa, phonemize, resolve_language
from audiogen.text.sentences import split_sentences
from audiogen.text.symbols import BOUNDARY, IDS, Phone

MAX_SPOKEN: Final = 300  # letters or phones of a sentence before it is cut
_STRONGEST: Final = "?!.…;:—,"
MAX_PAUSE_S: Final = 600.0
_PAUSE = re.compile(r"\[\s*pause\b([^\]\n]*)\]", re.IGNORECASE)
_SECONDS = re.compile(r"\s*:\s*(\d{1,9}(?:\.\d*)?|\.\d+)\s*(ms|s|)\s*", re.IGNORECASE)
_LITERAL = re.compile(r"\[\[[^\[\]]+\]\]")


class NothingToSay(ValueError):
    """A text without anything that can be spoken."""


@dataclass(frozen=True)
class Token:
    """One input of an acoustic model.

    symbol: one of `symbols.SYMBOLS`. stress: 0 none, 1 secondary, 2 primary. long: 0 or 1. word: index of its
    word in the sentence, -1 for a boundary or a mark.
    """

    symbol: str
    stress: int
    long: int
    word: int


# an acoustic model's input begins with a boundary, which takes up the silence before the first phone
START: Final = Token(BOUNDARY, 0, 0, -1)


@dataclass(frozen=True)
class Word:
    """One spoken word: text as spoken, source as written, start and end its place in the original text."""

    text: str
    source: str
    start: int
    end: int


@dataclass(frozen=True)
class Sentence:
    """A sentence ready to be spoken; its tokens always end with a mark.

    pause_s: seconds of silence asked for after it. dropped: characters of the text that cannot be spoken.
    A pause before any word is a sentence without words whose only token is ".". gap_s: silence before the
    next sentence when none was asked for; None: what is natural.
    """

    gap_s: ClassVar[float | None] = None

    text: str
    words: tuple[Word, ...]
    tokens: tuple[Token, ...]
    pause_s: float = 0.0
    dropped: tuple[str, ...] = ()

    def ids(self) -> list[int]:
        """Index of each token in `symbols.SYMBOLS`."""
        return [IDS[token.symbol] for token in self.tokens]

    def stresses(self) -> list[int]:
        """Stress of each token: 0 none, 1 secondary, 2 primary."""
        return [token.stress for token in self.tokens]

    def longs(self) -> list[int]:
        """Length of each token: 1 for a long phone."""
        return [token.long for token in self.tokens]

    def word_phones(self) -> list[str]:
        """Phones of each word as IPA text, in the form that a lexicon and [[...]] take."""
        phones: list[list[Phone]] = [[] for _ in self.words]
        for token in self.tokens:
            if token.word >= 0:
                phones[token.word].append(Phone(token.symbol, token.stress, token.long))
        return [format_ipa(word) for word in phones]


@dataclass
class _Item:
    """A word or a mark on its way to tokens, with its place in the text; a mark has no word."""

    start: int
    end: int
    word: str = ""
    mark: str = ""
    phones: Phones = ()


class TextFrontEnd:
    """Text in, sentences of tokens out; thread-safe.

    language: an espeak-ng code such as "en-us", "de" or "fr-fr". lexicon: a file for `read_lexicon`.
    normalize: False leaves numbers and signs to espeak-ng. Raises UnknownLanguage, and ValueError for a bad
    lexicon.
    """

    def __init__(self, language: str = "en-us", lexicon: Path | None = None, normalize: bool = True) -> None:
        self.language = resolve_language(language)
        check_language(self.language)
        self.normalize = normalize
        self._lexicon = read_lexicon(Path(lexicon)) if lexicon is not None else Lexicon({})

    def __call__(self, text: str) -> list[Sentence]:
        """Sentences of `text`, in order.

        Raises NothingToSay, naming the text, if nothing in it can be spoken, and ValueError for a bad pause.
        """
        return list(self.sentences(text))

    def sentences(self, text: str) -> Iterator[Sentence]:
        """The same one at a time: the first is there before the rest of a long text has been read.

        Errors come before any sentence.
        """
        waiting: list[Sentence] = []  # for what may follow them, a pause or what cannot be spoken
        dropped: list[str] = []
        for start, end, pause_s in list(_pieces(text)):
            for sentence in self._sentences(text, start, end, dropped):
                if any(sentence.words for sentence in waiting):
                    yield from waiting
                    waiting.clear()
                waiting.append(replace(sentence, dropped=tuple(dropped)))
                dropped.clear()
            if pause_s and waiting:
                waiting[-1] = replace(waiting[-1], pause_s=waiting[-1].pause_s + pause_s)
            elif pause_s:
                waiting.append(Sentence("", (), (Token(".", 0, 0, -1),), pause_s))
        if not any(sentence.words for sentence in waiting):
            shown = text if len(text) <= 60 else text[:57] + "..."
            raise NothingToSay(
                f"nothing to say in {shown!r}: give a text with letters or digits of {self.language!r}"
            )
        waiting[-1] = replace(waiting[-1], dropped=waiting[-1].dropped + tuple(dropped))
        yield from waiting

    def _sentences(self, text: str, start: int, end: int, dropped: list[str]) -> Iterator[Sentence]:
        """Sentences of text[start:end], between two pauses; what cannot be spoken goes into `dropped`."""
        masked = _LITERAL.sub(lambda literal: "X" * len(literal[0]), text[start:end])
        for piece in split_sentences(masked):
            source = text[start : start + len(piece)]
            groups = list(_groups(self._items(text, self._spans(source), start, dropped)))
            for group in groups:
                shown = source.strip() if len(groups) == 1 else text[group[0].start : group[-1].end]
                yield _sentence(text, shown, group)
            start += len(piece)

    def _spans(self, source: str) -> list[Span]:
        keep = self._knows if len(self._lexicon) else None
        return normalize(source, self.language, keep=keep, rules=self.normalize)

    def _knows(self, word: str) -> bool:
        return self._lexicon.get(word.replace("’", "'")) is not None

    def _items(self, text: str, spans: Sequence[Span], offset: int, dropped: list[str]) -> Iterator[_Item]:
        """Marks and words with their phones; words between two marks are spoken as one phrase."""
        phrase: list[_Item] = []
        for span in spans:
            start, end = span.start + offset, span.end + offset
            if span.words:
                phrase.extend(_Item(start, end, word) for word in span.words)
                continue
            if span.mark or span.ipa:
                yield from self._spoken(text, phrase, dropped)
                phrase = []
            if span.mark:
                yield _Item(start, end, mark=span.mark)
            elif span.ipa:
                yield from _literal(span.ipa, start, end, dropped)
            else:
                dropped.extend(char for char in text[start:end] if not char.isspace())
        yield from self._spoken(text, phrase, dropped)

    def _spoken(self, text: str, phrase: Sequence[_Item], dropped: list[str]) -> Iterator[_Item]:
        """The words of a phrase with their phones, those of the lexicon first."""
        all_phones = phonemize([item.word for item in phrase], self.language) if phrase else []
        for item, phones in zip(phrase, all_phones, strict=True):
            phones = self._lexicon.get(item.word) or phones
            if phones:
                yield replace(item, phones=phones)
            else:
                dropped.extend(text[item.start : item.end])


def _literal(ipa: str, start: int, end: int, dropped: list[str]) -> Iterator[_Item]:
    """The words of phones written in the text; what is not IPA goes into `dropped`."""
    for word in ipa.split():
        phones, unknown = parse_ipa(word)
        dropped.extend(unknown if phones or unknown else word)
        for first in range(0, len(phones), MAX_WORD):
            yield _Item(start, end, word, phones=phones[first : first + MAX_WORD])


def _pieces(text: str) -> Iterator[tuple[int, int, float]]:
    """(start, end, seconds of pause after it) of the stretches of text between pause marks."""
    start = 0
    for match in _PAUSE.finditer(text):
        length = _SECONDS.fullmatch(match[1])
        seconds = float(length[1]) / (1000 if length[2].lower() == "ms" else 1) if length else -1.0
        if not 0 <= seconds <= MAX_PAUSE_S:
            raise ValueError(
                f"{match[0]!r} is no pause; write [pause:0.5s] or [pause:500ms], {MAX_PAUSE_S:.0f} s at most"
            )
        yield start, match.start(), seconds
        start = match.end()
    yield start, len(text), 0.0


def _groups(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    """Cut the items of a sentence into groups of bounded size, after a mark where there is one.

    Neighbouring marks become the strongest of them; marks before any word are left out.
    """
    group: list[_Item] = []
    size = 0
    for item in items:
        if item.mark:
            if group and group[-1].mark:
                mark = min(group[-1].mark, item.mark, key=_STRONGEST.index)
                group[-1] = replace(group[-1], mark=mark, end=item.end)
            elif group:
                group.append(item)
            continue
        if group and size + _size(item) > MAX_SPOKEN:
            cut = next((i for i in range(len(group), len(group) // 3, -1) if group[i - 1].mark), len(group))
            yield group[:cut]
            group = group[cut:]
            size = sum(map(_size, group))
        group.append(item)
        size += _size(item)
    if group:
        yield group


def _size(item: _Item) -> int:
    """How much an item adds to the length of a sentence: letters or phones, whichever are more."""
    return max(len(item.word), len(item.phones)) + 1


def _sentence(text: str, shown: str, items: Sequence[_Item]) -> Sentence:
    """Tokens of a sentence: a mark or else a boundary between words, and a mark at the end."""
    words: list[Word] = []
    tokens: list[Token] = []
    mark = ""
    for item in items:
        if item.mark:
            mark = item.mark
            continue
        if words:
            tokens.append(Token(mark or BOUNDARY, 0, 0, -1))
        mark = ""
        tokens.extend(Token(phone.symbol, phone.stress, phone.long, len(words)) for phone in item.phones)
        words.append(Word(item.word, text[item.start : item.end], item.start, item.end))
    tokens.append(Token(mark or ".", 0, 0, -1))
    return Sentence(shown, tuple(words), tuple(tokens))
