"""How many words of a list of sentences a corpus holds: are the everyday sentences really new?

python benchmarks/word_overlap.py --corpus SOURCE/en/metadata.csv
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from audiogen.metrics.intelligibility import plain_words


def unseen_shares(sentences: Iterable[str], corpus: Iterable[str]) -> tuple[float, float]:
    """Share of the different words, and of all words, of the sentences that occur nowhere in the corpus."""
    seen = {word for text in corpus for word in plain_words(text).split()}
    words = [word for text in sentences for word in plain_words(text).split()]
    kinds = set(words)
    return len(kinds - seen) / len(kinds), sum(word not in seen for word in words) / len(words)


def column(path: Path, index: int) -> list[str]:
    """One column of lines of cells between bars; a heading that begins with `id|` is left out."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.split("|")[index] for line in lines if line.strip() and not line.startswith("id|")]


def main() -> None:
    """Print both shares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sentences", type=Path, default=Path(__file__).with_name("everyday_sentences.csv"))
    parser.add_argument("--corpus", type=Path, required=True, help="lines id|text|normalised text")
    args = parser.parse_args()
    kinds, running = unseen_shares(column(args.sentences, 1), column(args.corpus, -1))
    print(f"not in the corpus: {kinds:.0%} of the different words, {running:.0%} of all words")


if __name__ == "__main__":
    main()
