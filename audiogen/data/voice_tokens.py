"""Content tokens for a prepared file of voices, and the mels that a codebook is fitted to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiogen.content import RECOGNISER
from audiogen.data.progress import Progress, quiet
from audiogen.data.store import DataError, Ragged, save_ragged
from audiogen.spectral import MelSpec
from audiogen.text.arpabet import CLASSES, NUMBERS

COLUMNS = ("mel", "f0", "energy", "phones", "speaker", "embedding")


def open_voices(path: Path, spec: MelSpec | None = None) -> Ragged:
    """A file of `audiogen prepare voices` with mels of that front end. Raises DataError for another file."""
    store = Ragged(path)
    if "mel" not in store or "held_out" not in store.metadata:
        raise DataError(f"{path} holds no voices; make it with `audiogen prepare voices`")
    if spec is not None and (differences := spec.differences(MelSpec(**store.metadata["mel_spec"]))):
        raise DataError(f"{path} was made with another mel front end ({differences}; encoder != data)")
    return store


def training_mels(store: Ragged) -> list[Tensor]:
    """The mels (n_mels, F), float32, of all clips that may be trained on."""
    held_out = set(store.metadata["held_out"])
    return [store["mel"][i].float() for i, name in enumerate(store.metadata["ids"]) if name not in held_out]


def add_tokens(
    store: Ragged,
    out: Path,
    encode: Callable[[Tensor], Tensor],
    codebook: Tensor,
    metadata: dict[str, Any],
    progress: Progress = quiet,
) -> None:
    """Write the store's columns and the tokens of each clip to OUT, atomically; old tokens are replaced.

    encode: mel (n_mels, F), float32 -> tokens (F,). Columns: tokens (F,) int16, and codebook, one item (D, V)
    of what they stand for. metadata joins the store's. Raises DataError where the tokens do not fit a mel.
    """
    columns = {name: list(store[name]) for name in COLUMNS if name in store}
    columns["tokens"] = []
    for mel in progress(store["mel"], "tokens", len(store["mel"])):
        tokens = encode(mel.float())
        if tokens.shape != mel.shape[1:] or not 0 <= int(tokens.min()) <= int(tokens.max()) < len(codebook):
            raise DataError(f"{tokens.shape} tokens of a mel of {mel.shape[1]} frames do not fit it")
        columns["tokens"].append(tokens.to(torch.int16))
    columns["codebook"] = [codebook.float().T]
    save_ragged(out, columns, {**store.metadata, **metadata})


def add_phones(
    store: Ragged,
    out: Path,
    guess: Callable[[Tensor], Tensor] | None = None,
    progress: Progress = quiet,
) -> int:
    """Write the clips whose phones are known to OUT, atomically, their tokens being these -> how many.

    Tokens are numbers in `arpabet.CLASSES`, an unknown frame among known ones is a pause. guess: mel (n_mels,
    F), float32 -> phones (F,), numbers in the token table, for the clips of speakers of whom nothing is
    known. Columns as of `add_tokens`. Raises DataError where nothing is known or guessed.
    """
    facts, classes = store.metadata, torch.tensor(NUMBERS)
    known = [bool((phones >= 0).any()) for phones in store["phones"]]
    speakers = [int(number[0]) for number in store["speaker"]]
    told = {speaker for speaker, some in zip(speakers, known, strict=True) if some}
    kept, tokens = [], []
    for i in progress(range(len(known)), "phones", len(known)):
        if known[i]:
            phones = store["phones"][i].long()
        elif guess is not None and speakers[i] not in told:
            phones = guess(store["mel"][i].float())
        else:
            continue
        kept.append(i)
        tokens.append((classes[phones.clamp(min=0)] * (phones >= 0)).to(torch.int16))
    if not kept:
        raise DataError("no phone of these voices is known; tell them with --guess ENCODER")
    columns = {name: [store[name][i] for i in kept] for name in COLUMNS if name in store}
    columns |= {"tokens": tokens, "codebook": [torch.eye(len(CLASSES))]}
    more: dict[str, Any] = {"content": RECOGNISER, "vocabulary": len(CLASSES)}
    for name in ("ids", "texts", "languages"):
        more[name] = [facts[name][i] for i in kept]
    save_ragged(out, columns, {**facts, **more})
    return len(kept)
