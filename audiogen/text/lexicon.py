"""A user's own pronunciations: a text file of words and their phones."""

from __future__ import annotations

import re
from pathlib import Path

from audiogen.text.phonemes import Phones, parse_ipa

_FIELDS = re.compile(r"\t+| {2,}")


class Lexicon:
    """Words and their phones; a word is looked up as written first, then whatever its case."""

    def __init__(self, entries: dict[str, Phones]) -> None:
        self._exact = dict(entries)
        self._folded = {word.casefold(): phones for word, phones in entries.items()}

    def get(self, word: str) -> Phones | None:
        """Phones of `word`, or None if the lexicon does not hold it."""
        return self._exact.get(word) or self._folded.get(word.casefold())

    def __len__(self) -> int:
        return len(self._exact)


def read_lexicon(path: Path) -> Lexicon:
    """Read a UTF-8 file of lines `word<TAB>phones` (or two spaces or more between them).

    Phones are IPA with stress marks, as in `audiogen normalize`'s output; "#" starts a comment line.
    Raises ValueError naming the file and the line for a line that is not of this form.
    """
    entries: dict[str, Phones] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the lexicon {path}: {error}; give a UTF-8 text file") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        fields = _FIELDS.split(line.strip(), maxsplit=1)
        if len(fields) != 2 or " " in fields[0]:
            raise ValueError(
                f"{path}, line {number}: {line!r} is not 'word<TAB>phones', with one word without spaces"
            )
        phones, unknown = parse_ipa(fields[1])
        if unknown or not phones:
            named = " ".join(unknown) or "nothing"
            raise ValueError(
                f"{path}, line {number}: {fields[1]!r} is not IPA ({named}); see `audiogen normalize`"
            )
        entries[fields[0].replace("’", "'")] = phones
    return Lexicon(entries)
