"""Phones of words, by espeak-ng through phonemizer, for any language that espeak-ng speaks."""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from heapq import heappop, heappush
from itertools import groupby
from math import inf
from typing import TYPE_CHECKING, Final

from audiogen.text.rules import vocabulary
from audiogen.text.symbols import BOUNDARY, MARKS, MODIFIERS, PADDING, SYLLABIC, SYMBOLS, VOWELS, Phone

if TYPE_CHECKING:
    from phonemizer.backend.espeak.wrapper import EspeakWrapper

Phones = tuple[Phone, ...]

# espeak-ng keeps its state in global variables: every call, from any thread, goes through this lock.
_LOCK = threading.RLock()
_LANGUAGE_FLAG = re.compile(r"\([^()\s]*\)_?")
_STRESS: Final = {"ˈ": 2, "ˌ": 1, "'": 2}
_PHONES: Final = frozenset(SYMBOLS) - {PADDING, BOUNDARY, *MARKS}
_STRESS_MARKS: Final = {2: "ˈ", 1: "ˌ", 0: "."}
_LENGTH: Final = "ːˑ:"
_SEPARATORS: Final = "_.-|‿ \u0361\u035c"
_SPELLINGS: Final = str.maketrans(
    {"g": "ɡ", "ε": "ɛ", "Φ": "ɸ", "φ": "ɸ", "ʦ": "ts", "ʣ": "dz", "ʧ": "tʃ", "ʤ": "dʒ", "ɫ": "ɫ", "ˁ": "ˤ"}
    | {
        "S": "ʃ",
        "Z": "ʒ",
        "N": "ŋ",
        "X": "χ",
        "A": "ɑ",
        "I": "ɪ",
        "E": "ɛ",
        "O": "ɔ",
        "U": "ʊ",
        "∅": None,
        "?": "ʔ",
    }
)
_ALIASES: Final = {
    "en": "en-us", "en-uk": "en-gb", "fr": "fr-fr", "zh": "cmn", "zh-cn": "cmn", "zh-hk": "yue", "no": "nb",
    "pt-pt": "pt", "de-de": "de", "es-es": "es", "es-mx": "es-419", "it-it": "it", "ru-ru": "ru",
    "ja-jp": "ja", "ko-kr": "ko", "chr": "chr-US-Qaaa-x-west", "chr-us-qaaa-x-west": "chr-US-Qaaa-x-west",
}  # fmt: skip
# Sounds that espeak-ng does not write in IPA; the third tone, too, comes out as the vowel "ɜ".
_TONAL: Final = vocabulary("cmn yue hak vi th my shn")
_QUIRKS: Final = (("s.", "ʂ"), ("z.", "ʐ"), ("i.", "ɨ"))
_MAX_PHRASE: Final = 30  # words at once
_FORGETFUL_CALLS: Final = 5
_LONG_WORD: Final = 48  # phones


class UnknownLanguage(ValueError):
    """A language code that espeak-ng does not know."""


def resolve_language(code: str) -> str:
    """The espeak-ng code for a language code as people write it: "EN_us" -> "en-us", "fr" -> "fr-fr"."""
    plain = code.strip().lower().replace("_", "-")
    return _ALIASES.get(plain, plain)


def parse_ipa(ipa: str) -> tuple[Phones, tuple[str, ...]]:
    """Turn IPA text into phones and the characters that are not in the token table.

    A stress mark holds to the end of the next vowel nucleus: a run of vowels, both halves of a diphthong.
    "_", "." and "-" end a nucleus and are not phones themselves. Ties vanish: an affricate is two phones.
    """
    phones: list[Phone] = []
    unknown: list[str] = []
    stress, in_nucleus = 0, False
    for char in _decompose(ipa.translate(_SPELLINGS)):
        if char in _STRESS:
            stress, in_nucleus = _STRESS[char], False
        elif char in _LENGTH:
            _lengthen(phones)
        elif char in _SEPARATORS:
            stress = 0 if in_nucleus else stress
        elif char not in _PHONES:
            unknown.append(char)
        elif char in MODIFIERS:
            phones.append(Phone(char, phones[-1].stress if phones else 0))
            in_nucleus = in_nucleus or char == SYLLABIC
        else:
            stress = 0 if in_nucleus and char not in VOWELS else stress
            in_nucleus = char in VOWELS
            phones.append(Phone(char, stress))
    return tuple(phones), tuple(unknown)


def format_ipa(phones: Sequence[Phone]) -> str:
    """Write phones as IPA text that `parse_ipa` reads back, and a lexicon takes."""
    text = ""
    stress, in_nucleus = 0, False
    for index, phone in enumerate(phones):
        following = phones[index + 1] if index + 1 < len(phones) else None
        is_modifier = phone.symbol in MODIFIERS
        if not is_modifier:
            is_vowel = phone.symbol in VOWELS
            stress = 0 if in_nucleus and not is_vowel else stress
            if phone.stress != stress:
                text += _STRESS_MARKS[phone.stress]
                stress = phone.stress
            in_nucleus = is_vowel
        in_nucleus = in_nucleus or phone.symbol == SYLLABIC
        text += phone.symbol
        joined = following is not None and following.symbol in MODIFIERS and following.long
        text += "ː" * (phone.long and not joined)
    return text


def _decompose(ipa: str) -> str:
    """IPA with accents as characters of their own, except the cedilla of "ç", which is a letter."""
    return unicodedata.normalize("NFD", ipa).replace("c\u0327", "ç")


def _lengthen(phones: list[Phone]) -> None:
    """Mark the last phone, with the modifiers that follow it, as long."""
    for index in range(len(phones) - 1, -1, -1):
        phones[index] = phones[index]._replace(long=1)
        if phones[index].symbol not in MODIFIERS:
            return


@cache
def _espeak(language: str) -> EspeakWrapper:
    """The espeak-ng instance that speaks `language`; call under the lock."""
    import espeakng_loader
    from phonemizer.backend.espeak.wrapper import EspeakWrapper

    EspeakWrapper.set_library(espeakng_loader.get_library_path())
    EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
    espeak = EspeakWrapper()
    try:
        espeak.set_voice(language)
        speaks = bool(espeak.text_to_phonemes("a"))  # a voice may come without its dictionary
    except RuntimeError:
        speaks = False
    if not speaks:
        voices = espeak.available_voices()
        known = sorted({voice.language for voice in voices if not voice.identifier.startswith("mb")})
        raise UnknownLanguage(f"espeak-ng cannot speak {language!r}; use one of: {', '.join(known)}")
    return espeak


def check_language(language: str) -> None:
    """Raise `UnknownLanguage`, naming the known codes, unless espeak-ng speaks `language`."""
    with _LOCK:
        _espeak(language)


@lru_cache(maxsize=16384)
def _transcribe(text: str, language: str) -> tuple[str, ...]:
    """The IPA of each word that espeak-ng finds in `text`, with "_" between the phones."""
    with _LOCK:
        espeak = _espeak(language)
        line = espeak.text_to_phonemes(text)
        if _LANGUAGE_FLAG.search(line):
            # The voice for foreign words remembers the words before ("to house", "the house") across calls.
            # Said again, it remembers nothing but this text, so that the phones depend on nothing else.
            for _ in range(_FORGETFUL_CALLS):
                line = espeak.text_to_phonemes(text)
    line = _LANGUAGE_FLAG.sub("", line)
    if language.split("-")[0] in _TONAL:
        for quirk, ipa in _QUIRKS:
            line = line.replace(quirk, ipa)
        line = re.sub(r"(?<=[^\W_])ɜ(?=[_\s]|$)", "3", line)
    return tuple(line.split())


def phonemize(words: Sequence[str], language: str) -> list[Phones]:
    """Phones of each word, spoken as one phrase, so that function words are reduced as in running speech.

    Returns one entry per word, empty for a word espeak-ng cannot speak. Thread-safe. Raises
    `UnknownLanguage`.
    """
    parts = (tuple(words[i : i + _MAX_PHRASE]) for i in range(0, len(words), _MAX_PHRASE))
    return [phones for part in parts for phones in _phonemize(part, language)]


@lru_cache(maxsize=4096)
def _phonemize(words: tuple[str, ...], language: str) -> tuple[Phones, ...]:
    """The cached body of `phonemize`."""
    alone = [" ".join(_transcribe(word, language)) for word in words]
    spoken = align_words(alone, _transcribe(_phrase(words), language))
    for index, word in enumerate(words):
        if word == "A" and language.startswith("en"):  # in a phrase espeak-ng takes it for the article
            spoken[index] = alone[index]
    return tuple(parse_ipa(ipa)[0] for ipa in spoken)


def _phrase(words: Sequence[str]) -> str:
    """The text of a phrase for espeak-ng, with letters in a row dotted: it reads "F.B.I." as one name."""
    parts: list[str] = []
    for is_letter, group in groupby(words, key=lambda word: len(word) == 1 and word.isupper()):
        run = list(group)
        if is_letter and len(run) > 1:
            parts.extend("".join(f"{letter}." for letter in run[i : i + 5]) for i in range(0, len(run), 5))
        else:
            parts.extend(run)
    return " ".join(parts)


def align_words(alone: Sequence[str], chunks: Sequence[str]) -> list[str]:
    """Share the chunks of a phrase out among its words.

    espeak-ng writes some word pairs as one chunk ("in the" -> "ɪnðə") and some words as several ("iPhone").
    `alone` holds the IPA of each word by itself, `chunks` those of the phrase. Returns one IPA text per word,
    in order.
    """
    if len(alone) == len(chunks) and all(ipa and " " not in ipa for ipa in alone):
        return list(chunks)
    first = 0
    while first < min(len(alone), len(chunks)) and _bare(alone[first]) == _bare(chunks[first]):
        first += 1
    return [*chunks[:first], *_cheapest_grouping(alone[first:], chunks[first:])]


# (words, chunks) that may belong together: one each, glued words, a word in several chunks, a silent word.
_STEPS: Final = ((1, 1), *((n, 1) for n in range(2, 6)), *((1, n) for n in (2, 3, 4, 5, 6, 8, 12)), (1, 0))


def _cheapest_grouping(alone: Sequence[str], chunks: Sequence[str]) -> list[str]:
    """The grouping of chunks with words of the smallest total edit distance (Dijkstra's shortest path)."""
    queue: list[tuple[float, int, int, list[str]]] = [(0.0, 0, 0, [])]
    done: set[tuple[int, int]] = set()
    while queue:
        cost, word, chunk, parts = heappop(queue)
        if (word, chunk) == (len(alone), len(chunks)):
            return parts
        if (word, chunk) in done:
            continue
        done.add((word, chunk))
        for words, taken in _STEPS:
            if word + words <= len(alone) and chunk + taken <= len(chunks):
                extra, shared = _match(alone[word : word + words], chunks[chunk : chunk + taken])
                if extra < inf:
                    heappush(queue, (cost + extra, word + words, chunk + taken, parts + shared))
    return list(alone)


def _match(alone: Sequence[str], chunks: Sequence[str]) -> tuple[float, list[str]]:
    """Cost of giving these chunks to these words, and the IPA of each word then."""
    if not chunks:
        return len(_bare(alone[0])) + 1.0, [alone[0]]
    if len(alone) == 1:
        joined = " ".join(chunks)
        return _distance(_bare(alone[0]), _bare(joined)) + 0.1 * (len(chunks) - 1), [joined]
    return _split_chunk(alone, [unit for unit in chunks[0].split("_") if unit])


def _split_chunk(alone: Sequence[str], units: Sequence[str]) -> tuple[float, list[str]]:
    """Cut one chunk's phones into a part for each word, as near to it as can be: (cost, IPA of the parts)."""
    if len(units) > _LONG_WORD:
        return inf, list(alone)
    best: list[tuple[float, list[str]]] = [(0.0 if end == 0 else inf, []) for end in range(len(units) + 1)]
    for word in alone:
        options = [
            [
                (best[start][0] + _distance(_bare(word), _bare("".join(units[start:end]))), start)
                for start in range(end)
            ]
            for end in range(len(units) + 1)
        ]
        best = [
            (cost, [*best[start][1], "_".join(units[start:end])])
            for end, (cost, start) in enumerate(min(choices, default=(inf, 0)) for choices in options)
        ]
    return best[-1][0] + 0.1, best[-1][1]


@lru_cache(maxsize=65536)
def _bare(ipa: str) -> str:
    """IPA without stress, length and separators, for comparison."""
    return re.sub(r"[ˈˌː_\s-]", "", ipa)


@lru_cache(maxsize=65536)
def _distance(a: str, b: str) -> int:
    """Levenshtein distance; for very long words only the difference of their lengths."""
    if max(len(a), len(b)) > _LONG_WORD:
        return abs(len(a) - len(b))
    row = list(range(len(b) + 1))
    for i, char in enumerate(a, start=1):
        previous, row[0] = row[0], i
        for j, other in enumerate(b, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (char != other))
    return row[-1]
