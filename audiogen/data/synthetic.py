"""A second voice that reads everyday sentences: WordNet's examples spoken by flite.

A small corpus of recordings does not hold every sound in every context; a synthetic reader of many sentences
fills the gaps for a model of both voices. WordNet 3.0 may be used and distributed freely (Princeton
University), as may flite's voices (Carnegie Mellon University). Both are fetched or installed by the user:
the `flite` program is a package of most distributions.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import tarfile
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from audiogen.data.store import DataError
from audiogen.files import replacing, write_text

ORIGIN = "https://wordnetcode.princeton.edu/3.0/WNdb-3.0.tar.gz"
PARTS = ("noun", "verb", "adj", "adv")
PLAIN = re.compile(r"[A-Za-z][A-Za-z', ]+[a-z!?]")


def fetch(folder: Path, origin: str = ORIGIN, say: Callable[[str], object] = print) -> Path:
    """Download WordNet's database into `folder`, unless it is there -> `folder`. Raises DataError."""
    if all((folder / f"data.{part}").exists() for part in PARTS):
        return folder
    say(f"fetching {origin}")
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / "wordnet.tar.gz"
    try:
        urllib.request.urlretrieve(origin, archive)
    except OSError as error:
        raise DataError(
            f"cannot fetch {origin} ({error}); give a folder with WordNet's data.noun, ... as --wordnet DIR, "
            "or sentences of your own as --sentences FILE"
        ) from error
    with tarfile.open(archive) as tar:
        for member in tar:
            name = Path(member.name).name
            if name in {f"data.{part}" for part in PARTS} and (content := tar.extractfile(member)):
                with replacing(folder / name) as temporary:
                    temporary.write_bytes(content.read())
    archive.unlink()
    return folder


def example_sentences(wordnet: Path, least: int = 4, most: int = 14) -> list[str]:
    """The quoted examples of WordNet's glosses with `least` to `most` plain words, without names; sorted.

    Raises DataError where the folder holds no WordNet.
    """
    found = set()
    for part in PARTS:
        path = wordnet / f"data.{part}"
        if not path.exists():
            raise DataError(f"{path} is missing: --wordnet wants the folder of WordNet 3.0's database files")
        for line in path.read_text(encoding="utf-8").splitlines():
            for quoted in re.findall(r'"([^"]+)"', line.partition("|")[2]):
                sentence = re.sub(r"\s+", " ", quoted.strip().rstrip(".;,"))
                words = sentence.split()
                names = any(word[0].isupper() and word != "I" for word in words[1:])
                if PLAIN.fullmatch(sentence) and least <= len(words) <= most and not names:
                    ending = "" if sentence[-1] in "!?" else "."
                    found.add(sentence[0].upper() + sentence[1:] + ending)
    return sorted(found)


def choose(sentences: Sequence[str], count: int, seed: int = 0) -> list[str]:
    """`count` of the sentences, in an order drawn by `seed`."""
    shuffled = list(sentences)
    random.Random(seed).shuffle(shuffled)
    return shuffled[:count]


def read_aloud(
    sentences: Sequence[str],
    out: Path,
    voice: str = "slt",
    progress: Callable[[Sequence[str]], Iterable[str]] = iter,
) -> None:
    """Speak every sentence with flite into LJSpeech's layout: out/metadata.csv and out/wavs/.

    Recordings that are there from an unfinished call are kept; metadata.csv comes last. Raises DataError
    without flite, or where it fails.
    """
    program = shutil.which("flite")
    if program is None:
        raise DataError(
            "the program `flite` was not found: install it (Debian and Ubuntu: apt install flite)"
        )
    (out / "wavs").mkdir(parents=True, exist_ok=True)
    rows = []
    for number, sentence in enumerate(progress(sentences)):
        name = f"{voice}{number:05d}"
        path = out / "wavs" / f"{name}.wav"
        if not path.exists():
            with replacing(path) as temporary:
                command = [program, "-voice", voice, "-t", sentence, "-o", str(temporary)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode or not temporary.stat().st_size:
                    raise DataError(f"flite could not speak {sentence!r}: {done.stderr.strip()[-200:]}")
        rows.append(f"{name}|{sentence}|{sentence}")
    write_text(out / "metadata.csv", "\n".join(rows) + "\n")
