"""Content tokens for a prepared file of voices, and the mels that a codebook is fitted to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiogen.data.progress import Progress, quiet
from audiogen.data.store import DataError, Ragged, save_ragged
from audiogen.spectral import MelSpec


def open_voices(path: Path, spec: MelSpec) -> Ragged:
    """A file of `audiogen prepare voices` with mels of that front end. Raises DataError for another file."""
    store = Ragged(path)
    if "mel" not in store or "held_out" not in store.metadata:
        raise DataError(f"{path} holds no voices; make it with `audiogen prepare voices`")
    if differences := spec.differences(MelSpec(**store.metadata["mel_spec"])):
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
    names = ("mel", "f0", "energy", "phones", "speaker", "embedding")
    columns = {name: list(store[name]) for name in names if name in store}
    columns["tokens"] = []
    for mel in progress(store["mel"], "tokens", len(store["mel"])):
        tokens = encode(mel.float())
        if tokens.shape != mel.shape[1:] or not 0 <= int(tokens.min()) <= int(tokens.max()) < len(codebook):
            raise DataError(f"{tokens.shape} tokens of a mel of {mel.shape[1]} frames do not fit it")
        columns["tokens"].append(tokens.to(torch.int16))
    columns["codebook"] = [codebook.float().T]
    save_ragged(out, columns, {**store.metadata, **metadata})
