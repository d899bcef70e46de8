"""What can be known of a model without loading it: the header of its weights, and its card beside them."""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiogen.weights import CorruptWeights, locate, read_metadata

CARD = "README.md"
VERBS = {  # system -> the verb that uses it
    "comospeech": "tts",
    "comospeech_sing": "sing",
    "melody": "music",
    "prodiff": "tts",
    "stablevc": "convert",
    "storm": "enhance",
    "vocoder": "vocode",
}
STEPS = ("step_counts", "default_steps")
LONGEST_HEADER = 100 * 2**20  # the format allows no more


@dataclass(frozen=True)
class Shelved:
    """A model as it lies there.

    hparams: what rebuilds it. notes: further metadata, such as the licence. dtypes: parameters by type. card:
    the rows of its card's table, {} without a card. card_sha256: what the card says, None if it is silent.
    """

    name: str
    path: Path
    system: str
    hparams: dict[str, Any]
    notes: dict[str, str]
    dtypes: dict[str, int]
    tensors: int
    bytes: int
    card: dict[str, str]
    card_sha256: str | None

    @property
    def parameters(self) -> int:
        """Numbers in the file."""
        return sum(self.dtypes.values())

    @property
    def sample_rate(self) -> int | None:
        """In Hz, where the hyper-parameters tell."""
        spec = self.hparams.get("mel_spec") or {}
        rate: int | None = spec.get("sample_rate") or self.hparams.get("sample_rate")
        return rate

    @property
    def verb(self) -> str | None:
        """The verb that uses it; None where other models do."""
        return VERBS.get(self.system)

    @property
    def licence(self) -> str | None:
        """Of the file, or of its card."""
        return self.notes.get("licence") or self.card.get("licence")

    def to_dict(self) -> dict[str, Any]:
        """Plain values; hashes the file."""
        return {
            "name": self.name,
            "path": str(self.path),
            "system": self.system,
            "verb": self.verb,
            "parameters": self.parameters,
            "dtypes": self.dtypes,
            "tensors": self.tensors,
            "bytes": self.bytes,
            "sample_rate": self.sample_rate,
            "speakers": self.hparams.get("speakers"),
            "language": self.hparams.get("language"),
            **{name: self.hparams[name] for name in STEPS if name in self.hparams},
            "vocoder": self.hparams.get("vocoder"),
            "content": self.hparams.get("content"),
            "licence": self.licence,
            "training_data": self.notes.get("data") or self.card.get("training data"),
            "sha256": digest(self.path),
            "card_sha256": self.card_sha256,
            "notes": self.notes,
            "hparams": self.hparams,
        }


def read_model(name: str) -> Shelved:
    """A model by name or path. Raises UnknownModel and CorruptWeights."""
    path = locate(name)
    system, hparams = read_metadata(path)
    header = read_header(path)
    notes = header.pop("__metadata__", {})
    dtypes: Counter[str] = Counter()
    for tensor in header.values():
        dtypes[tensor["dtype"]] += math.prod(tensor["shape"])
    card = path.parent / CARD
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    return Shelved(
        name=str(name),
        path=path,
        system=system,
        hparams=hparams,
        notes={key: note for key, note in notes.items() if key not in ("system", "hparams")},
        dtypes=dict(dtypes),
        tensors=len(header),
        bytes=path.stat().st_size,
        card=card_rows(text),
        card_sha256=card_digest(text),
    )


def read_header(path: Path) -> dict[str, Any]:
    """The JSON at the front of a safetensors file: dtype and shape by tensor, and "__metadata__".

    Raises CorruptWeights.
    """
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > LONGEST_HEADER:
                raise ValueError(f"a header of {length} bytes")
            header: dict[str, Any] = json.loads(file.read(length))
    except (struct.error, ValueError) as error:
        raise CorruptWeights(f"{path} is corrupt or no safetensors file ({error}); fetch it again") from error
    return header


def card_rows(text: str) -> dict[str, str]:
    """The card's table of two columns: "training data" -> what stands beside it."""
    rows = re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", text, re.MULTILINE)
    return {key: value for key, value in reversed(rows) if not set(key) <= set("- ")}  # the first of a name


def card_digest(text: str) -> str | None:
    """The SHA-256 that a card states."""
    found = re.search(r"SHA-256 `([0-9a-f]{64})`", text)
    return found[1] if found else None


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
