"""Cut a text into sentences without losing a character."""

from __future__ import annotations

import re

from audiogen.text.rules import vocabulary

_TITLES = vocabulary(
    "dr mr mrs ms mx prof rev fr hon capt cpt cmdr col gen lt sgt maj adm gov sen rep pres mme mlle mgr "
    "messrs hr sig dott sra srta ste e.g i.e eg ie cf vs viz approx al z.b d.h u.a bzw ca"
)
_BEFORE_NUMBERS = vocabulary("no nos nr num fig figs eq sec ch chap vol p pp pg art para ext tel dept op bd")
_OFTEN_INSIDE = vocabulary(
    "st mt ft ave blvd rd jr sr inc ltd co corp bros dept jan feb mar apr jun jul aug sep sept oct nov dec"
)
_STARTERS = vocabulary(
    "the a an he she it they we i you then this that these those but and or so in on at if when while "
    "there here what who where why how his her its their our my your after before as for from with to no "
    "yes not is are was do does did please however meanwhile later now"
)
_GERMAN_MONTHS = vocabulary(
    "januar februar märz april mai juni juli august september oktober november dezember jahrhundert"
)
_END = re.compile(
    r"(?<![.!?…])(?P<mark>[.!?…]+)(?P<close>[\"'”’»)\]]*)(?P<gap>\s+)"
    r"|[。！？]+[」』”’）]*\s*"
    r"|(?<!\s)\s*\n[^\S\n]*\n\s*"
)
_LAST_TOKEN = re.compile(r"[^\s\"'“‘«(\[—–-]+$")
_NEXT_WORD = re.compile(r"[\"'“‘«(\[¿¡—–-]*\s*(\w[\w'’]*)")
_DOTTED = re.compile(r"(?:\w\.)+\w")
MAX_TOKEN = 40  # how far back the word before a full stop is looked for


def split_sentences(text: str) -> list[str]:
    """Cut text into sentences; every piece keeps the white space that follows it.

    `"".join(split_sentences(text)) == text` for every text. A full stop does not end a sentence after a title
    or an initial ("Dr. Smith", "James T. Kirk"), inside a number, or before a small letter. A blank line
    always ends one.
    """
    pieces = []
    start = 0
    last = len(text.rstrip())
    for match in _END.finditer(text):
        if match.end() >= last or not text[start : match.start() + 1].strip():
            continue
        if match["mark"] is not None and not _ends_sentence(text, start, match):
            continue
        pieces.append(text[start : match.end()])
        start = match.end()
    if start < len(text):
        pieces.append(text[start:])
    return pieces


def _ends_sentence(text: str, start: int, match: re.Match[str]) -> bool:
    """Whether the mark found in text[start:] ends the sentence that begins at `start`."""
    following = _NEXT_WORD.match(text, match.end())
    if following is None or match["gap"].count("\n") > 1:
        return True
    if following[1][0].islower():
        return match["mark"][-1] in "!?" and not match["close"]
    if match["mark"] != "." or match["close"]:
        return True
    return _full_stop_ends(text[start : match.start()], following[1])


def _full_stop_ends(sentence: str, following: str) -> bool:
    """Whether a single full stop after `sentence` ends it, when the next word is `following`."""
    found = _LAST_TOKEN.search(sentence, max(0, len(sentence) - MAX_TOKEN))
    if found is None:
        return True
    token, next_word = found[0].lower(), following.lower()
    if token in _TITLES or (token in _BEFORE_NUMBERS and following[0].isdigit()):
        return False
    if token.isdigit():
        return bool(sentence[: found.start()].strip()) and next_word not in _GERMAN_MONTHS
    initial = len(token) == 1 and token.isalpha()
    dotted = _DOTTED.fullmatch(token) is not None and token not in ("a.m", "p.m")
    if initial or dotted or token in _OFTEN_INSIDE:
        return next_word in _STARTERS
    return True
