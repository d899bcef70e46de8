"""Tempi in words: how music is called that has so many beats a minute, and what captions say of it."""

from __future__ import annotations

import re

TEMPI = ((66, "very slow"), (84, "slow"), (108, "mid-tempo"), (138, "fast"), (1000, "very fast"))  # below bpm
TEMPOS = {  # other words for those of TEMPI
    "very slow": ("very slow", "very slow tempo", "extremely slow"),
    "slow": ("slow", "slow tempo", "slowly played"),
    "mid-tempo": ("mid-tempo", "medium tempo", "at a moderate tempo"),
    "fast": ("fast", "fast tempo", "quick", "up-tempo"),
    "very fast": ("very fast", "very fast tempo", "very quick"),
}
TYPICAL = {"very slow": 60.0, "slow": 74.0, "mid-tempo": 94.0, "fast": 120.0, "very fast": 150.0}  # bpm
SLOWEST, FASTEST = 20.0, 400.0  # bpm that are believed
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*bpm\b", re.IGNORECASE)
_WORDS = {words: name for name, wordings in TEMPOS.items() for words in wordings}
_TOLD = re.compile(  # the longest first: `slow` is part of `very slow`
    r"\b(" + "|".join(map(re.escape, sorted(_WORDS, key=len, reverse=True))) + r")\b", re.IGNORECASE
)


def told_bpm(caption: str) -> float | None:
    """Beats a minute that a caption asks for: as a number, else what is typical of its words; None = neither.

    Numbers beyond SLOWEST to FASTEST are not believed.
    """
    if found := _NUMBER.search(caption):
        bpm = float(found[1])
        return bpm if SLOWEST <= bpm <= FASTEST else None
    words = _TOLD.search(caption)
    return TYPICAL[_WORDS[words[1].lower()]] if words else None
