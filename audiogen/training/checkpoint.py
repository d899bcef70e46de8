"""From a training checkpoint to a system that can be released."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from audiogen.systems import SYSTEMS
from audiogen.weights import (
    CHECKPOINT,
    build,
    hyper_parameters,
    locate,
    read_metadata,
    read_tensors,
    rebuild,
)


def release_of(key: str, hparams: Mapping[str, Any], training_only: Sequence[str] = ()) -> dict[str, Any]:
    """What a checkpoint says of the system to release: name in SYSTEMS, plain hyper-parameters.

    training_only: beginnings of the names of tensors that are not released.
    """
    plain = {k: v for k, v in hparams.items() if not k.startswith("_")}
    return {"system": key, "hparams": plain, "training_only": list(training_only)}


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """System name, hyper-parameters and (averaged) weights of a checkpoint that `audiogen fit` wrote.

    Nothing but tensors and plain values is unpickled. Raises ValueError for anything else, FileNotFoundError
    if the file is missing.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no checkpoint at {path}; train one with `audiogen fit`")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        release, state = checkpoint["release"], checkpoint["state_dict"]
        key, hparams = release["system"], release["hparams"]
        training_only = tuple(release.get("training_only", ()))
    except Exception as error:  # torch reports damaged files in many ways
        raise ValueError(
            f"{path} is not a checkpoint of `audiogen fit` ({type(error).__name__}: {error})"
        ) from error
    if key not in SYSTEMS:
        raise ValueError(f"{path} holds system {key!r}; this version knows {', '.join(SYSTEMS)}")
    released = {name: tensor for name, tensor in state.items() if not name.startswith(training_only)}
    return key, hparams, released


def read_weights(name: str | os.PathLike[str]) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """The same of a released model by name or path, or of a checkpoint. Raises ValueError."""
    if Path(name).suffix == CHECKPOINT:
        return read_checkpoint(name)
    path = locate(name)
    return *read_metadata(path), read_tensors(path)


def load_weights(name: str | os.PathLike[str]) -> tuple[str, Any]:
    """System name and system of a released model by name or path, or of a checkpoint, in eval mode.

    Nothing is attached to it, see `hub.load`. Raises ValueError.
    """
    if Path(name).suffix == CHECKPOINT:
        return read_checkpoint(name)[0], load_checkpoint(name)
    key, hparams, state = read_weights(name)
    return key, rebuild(key, hparams, state).eval()


def load_checkpoint(
    path: str | os.PathLike[str], changes: Mapping[str, Any] | None = None
) -> L.LightningModule:
    """The released system of a checkpoint, with its weights, in eval mode.

    changes: other values for hyper-parameters that no weight depends on, those that the checkpoint is too old
    to have among them. Raises ValueError like `read_checkpoint`, and for a change to what there is not or
    what the weights do not fit.
    """
    key, hparams, state = read_checkpoint(path)
    changes = changes or {}
    known = set(hparams) | hyper_parameters(key)
    if unknown := sorted(set(changes) - known):
        raise ValueError(f"{path} has no hyper-parameter {unknown[0]!r}; it has {', '.join(sorted(known))}")
    system: L.LightningModule = build(key, {**hparams, **changes})
    try:
        system.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"the weights of {path} do not fit {dict(changes)}: {error}") from error
    return system.eval()
