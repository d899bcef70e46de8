"""`audiogen normalize`: the words and phones that a text is spoken as."""

from __future__ import annotations

import json as json_format
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from audiogen.text.frontend import Sentence


def normalize(
    text: Annotated[str, typer.Argument(help="Text to read; - reads standard input.")],
    language: Annotated[str, typer.Option(help="espeak-ng language, such as en-gb, de or fr-fr.")] = "en-us",
    lexicon: Annotated[Path | None, typer.Option(help="Own pronunciations: word, tab, phones.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Show the words and phones that a text is spoken as, a sentence at a time.

    Phones can be pasted into a lexicon or between [[ and ]]. What cannot be spoken goes to standard error.
    """
    from audiogen.text.frontend import TextFrontEnd

    front_end = TextFrontEnd(language, lexicon)
    sentences = front_end(sys.stdin.read() if text == "-" else text)
    if json:
        described = {
            "language": front_end.language,
            "sentences": [describe(sentence) for sentence in sentences],
        }
        echo(json_format.dumps(described, ensure_ascii=False, indent=2))
    else:
        echo("\n\n".join(show(sentence) for sentence in sentences))
    dropped = [char for sentence in sentences for char in sentence.dropped]
    if dropped:
        echo(f"warning: cannot speak {' '.join(dict.fromkeys(dropped))} in {front_end.language}", err=True)


def echo(text: str, err: bool = False) -> None:
    """Print text; a broken character shows as its escape."""
    typer.echo(text.encode("utf-8", "backslashreplace").decode(), err=err)


def show(sentence: Sentence) -> str:
    """The text of a sentence, then a line for each word: as spoken, its phones, and what is written."""
    width = max((len(word.text) for word in sentence.words), default=0)
    lines = [sentence.text] if sentence.text else []
    for word, ipa in zip(sentence.words, sentence.word_phones(), strict=True):
        written = "" if word.source == word.text else f"   ({' '.join(word.source.split())})"
        lines.append(f"  {word.text:{width}}  {ipa}{written}")
    if sentence.pause_s:
        lines.append(f"  [pause:{sentence.pause_s:g}s]")
    return "\n".join(lines)


def describe(sentence: Sentence) -> dict[str, Any]:
    """A sentence as plain values."""
    return {
        "text": sentence.text,
        "words": [
            {"text": word.text, "source": word.source, "start": word.start, "end": word.end, "phones": ipa}
            for word, ipa in zip(sentence.words, sentence.word_phones(), strict=True)
        ],
        "tokens": [token.symbol for token in sentence.tokens],
        "pause_s": sentence.pause_s,
        "dropped": list(sentence.dropped),
    }
