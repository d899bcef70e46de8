"""How many words of the test sentences the training texts hold: are they really new?

    python benchmarks/word_overlap.py --recordings SOURCE/en/metadata.csv --synthetic data/slt/metadata.csv

Counts for both lists, against the recordings' texts and against all texts, go to results/word_overlap.json.
With --choose-from DIR (WordNet's database) it first draws `unseen_sentences.csv`: example sentences that no
voice read in training and of whose words at least a third are in neither corpus, all known to the recogniser.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from audiogen.data.synthetic import example_sentences
from audiogen.files import write_text
from audiogen.metrics.intelligibility import Recogniser, plain_words

HERE = Path(__file__).parent
LISTS = ("everyday_sentences", "unseen_sentences")
# not everyday talk
CRUDE = {
    "vagina",
    "penis",
    "coitus",
    "pornographic",
    "buttocks",
    "slaves",
    "lactation",
    "lovemaking",
    "sexual",
    "sex",
}


def unseen_shares(sentences: Iterable[str], corpus: Iterable[str]) -> tuple[float, float]:
    """Share of the different words, and of all words, of the sentences that occur nowhere in the corpus."""
    seen = words_of(corpus)
    words = [word for text in sentences for word in plain_words(text).split()]
    kinds = set(words)
    return len(kinds - seen) / len(kinds), sum(word not in seen for word in words) / len(words)


def words_of(texts: Iterable[str]) -> set[str]:
    """The different words of texts."""
    return {word for text in texts for word in plain_words(text).split()}


def choose_unseen(
    candidates: Sequence[str],
    corpus: Sequence[str],
    knows: Callable[[str], bool],
    count: int = 75,
    least: float = 1 / 3,
    seed: int = 0,
) -> list[str]:
    """Draw sentences outside the corpus, of 4 to 12 words, at least a share `least` of them unseen."""
    seen, read = words_of(corpus), {plain_words(text) for text in corpus}
    found = []
    for sentence in candidates:
        words = plain_words(sentence).split()
        if not 4 <= len(words) <= 12 or plain_words(sentence) in read or CRUDE & set(words):
            continue
        new = sum(word not in seen for word in words)
        if new >= least * len(words) and all(knows(word) for word in words):
            found.append(sentence)
    random.Random(seed).shuffle(found)
    return found[:count]


def column(path: Path, index: int) -> list[str]:
    """One column of lines of cells between bars; a heading that begins with `id|` is left out."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.split("|")[index] for line in lines if line.strip() and not line.startswith("id|")]


def main() -> None:
    """Draw the list if asked, count, print and save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recordings", type=Path, required=True, help="lines id|text|normalised text")
    parser.add_argument("--synthetic", type=Path, required=True, help="lines id|text|normalised text")
    parser.add_argument("--choose-from", type=Path, metavar="DIR", help="folder of WordNet's database")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "word_overlap.json")
    args = parser.parse_args()
    recorded, synthetic = column(args.recordings, -1), column(args.synthetic, -1)
    if args.choose_from:
        chosen = choose_unseen(
            example_sentences(args.choose_from), [*recorded, *synthetic], Recogniser().knows
        )
        lines = [f"u{number:03}|{sentence}" for number, sentence in enumerate(chosen, 1)]
        write_text(HERE / "unseen_sentences.csv", "\n".join(["id|text", *lines]) + "\n")
    found = {}
    for name in LISTS:
        sentences = column(HERE / f"{name}.csv", 1)
        corpora = {"recordings": recorded, "all": [*recorded, *synthetic]}
        found[name] = {corpus: unseen_shares(sentences, texts) for corpus, texts in corpora.items()}
        for corpus, (kinds, running) in found[name].items():
            print(f"{name}, not in {corpus}: {kinds:.0%} of the different words, {running:.0%} of all words")
    write_text(args.out, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
