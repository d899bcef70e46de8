"""Files of released weights: safetensors with what rebuilds the model in their metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from audiogen.systems import SYSTEMS

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "model.safetensors"
CHECKPOINT = ".ckpt"  # of `audiogen fit`
_PACKAGE = Path(__file__).resolve().parent
MODEL_FOLDERS = (_PACKAGE / "_models", _PACKAGE.parent / "models")  # a plain install, then a checkout


class UnknownModel(ValueError):
    """A name or path that leads to no weights."""


class CorruptWeights(ValueError):
    """A file that is not, or is no longer, the weights of one of our systems."""


def known_models() -> list[str]:
    """Names that `load` finds on this machine."""
    return sorted({path.parent.name for folder in MODEL_FOLDERS for path in folder.glob(f"*/{WEIGHTS}")})


def locate(name: str | os.PathLike[str]) -> Path:
    """The weights of a known name, of a folder with model.safetensors, or of a file. Raises UnknownModel."""
    path = Path(name)
    plain = len(path.parts) == 1 and not path.suffix
    folders = [folder / path for folder in MODEL_FOLDERS] if plain else []
    for candidate in (*(folder / WEIGHTS for folder in folders), path / WEIGHTS, path):
        if candidate.is_file():
            return candidate
    known = ", ".join(known_models()) or "none is installed"
    raise UnknownModel(f"unknown model {str(name)!r}; known: {known}; or give the path of a {WEIGHTS}")


def read_metadata(path: str | os.PathLike[str]) -> tuple[str, dict[str, Any]]:
    """System name and hyper-parameters of a weights file. Raises CorruptWeights."""
    try:
        with safe_open(path, framework="numpy") as file:  # no torch to look at a header
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise CorruptWeights(f"{path} is corrupt or no safetensors file ({error}); fetch it again") from error
    try:
        key, hparams = metadata["system"], json.loads(metadata["hparams"])
    except (KeyError, ValueError) as error:
        raise CorruptWeights(
            f"{path} lacks audiogen's metadata; write weights with audiogen.hub.save"
        ) from error
    if key not in SYSTEMS or not isinstance(hparams, dict):
        raise CorruptWeights(f"{path} holds system {key!r}; this version knows {', '.join(SYSTEMS)}")
    return key, hparams


def build(key: str, hparams: Mapping[str, Any]) -> Any:
    """The system of that name in SYSTEMS, with random weights. Raises TypeError where hparams do not fit."""
    return _class(key)(**hparams)


def rebuild(key: str, hparams: Mapping[str, Any], state: Mapping[str, Tensor]) -> Any:
    """The same with released tensors in it. Raises TypeError, RuntimeError where tensors do not fit."""
    system = build(key, hparams)
    load_released(system, state)
    return system


def load_released(system: Any, state: Mapping[str, Tensor]) -> None:
    """Put released tensors into a system, its own way if it has one. Raises RuntimeError."""
    getattr(system, "load_release_state", system.load_state_dict)(state)


def hyper_parameters(key: str) -> set[str]:
    """Names of the hyper-parameters that the system of that name in SYSTEMS takes."""
    return set(signature(_class(key)).parameters)


def _class(key: str) -> Any:
    module, _, name = SYSTEMS[key].partition(":")
    return getattr(import_module(module), name)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file. Raises CorruptWeights if one holds NaN or infinity."""
    import torch

    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping, it has keys() only)
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CorruptWeights(f"{path} is corrupt: {key} holds NaN or infinity; fetch it again")
    return tensors
