"""Models by name or path: weights are safetensors, and what rebuilds the model travels in their metadata."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import audiogen
from audiogen.content import RECOGNISER
from audiogen.files import replacing
from audiogen.spectral import MelSpec
from audiogen.systems import SYSTEMS
from audiogen.weights import (
    CHECKPOINT,
    CorruptWeights,
    UnknownModel,
    locate,
    read_metadata,
    read_tensors,
    rebuild,
)

GRIFFIN_LIM = "griffin-lim"


def load(
    name: str | os.PathLike[str],
    device: str | torch.device = "cpu",
    vocoder: str | os.PathLike[str] | None = None,
    *,
    compiled: bool = False,
) -> Any:
    """A trained system, ready for use: in eval mode on `device`, with vocoder and content encoder attached.

    name: a known name, a folder, a safetensors file or a checkpoint (.ckpt) of `audiogen fit`.
    device: "auto", "cpu", "cuda", "cuda:1" ...
    vocoder: another one than the model names; "griffin-lim" is one without weights, for comparison.
    compiled: let Numba compile what a Vocos does frame by frame on a CPU. The first use on a machine takes
    half a minute, every later process a second or two; then the vocoder is a little faster, a stream in short
    chunks twice as fast or more, the same to rounding.
    Raises UnknownModel, CorruptWeights, MelSpecMismatch (ValueErrors all), ValueError for a missing device.
    """
    device = resolve_device(device)
    path = locate(name)
    system, hparams = _build(path)
    system.to(device)
    if (wanted := vocoder or hparams.get("vocoder")) is not None:
        system.vocoder = _load_vocoder(wanted, system, device)
    if (wanted := hparams.get("content")) is not None:
        system.content = _load_content(wanted, system, device)
    if compiled:
        from audiogen.vocoders.vocos import Vocos

        for module in system.modules():
            if isinstance(module, Vocos):
                module.fused = True
    return system.eval()


def load_vocoder(name: str | os.PathLike[str], device: str | torch.device = "cpu") -> Any:
    """A vocoder alone, in eval mode on `device`; "griffin-lim" inverts the default front end.

    Raises UnknownModel for a model that is none; otherwise as `load`.
    """
    if name == GRIFFIN_LIM:
        return _griffin_lim(MelSpec(), resolve_device(device))
    vocoder = load(name, device)
    if not hasattr(vocoder, "decode"):
        raise UnknownModel(f"{str(name)!r} is no vocoder; use a vocoder such as vocos-16k, or {GRIFFIN_LIM}")
    return vocoder


def import_vocoder(
    checkpoint: str | os.PathLike[str],
    output: str | os.PathLike[str],
    config: str | os.PathLike[str] | None = None,
    layout: str | None = None,
    notes: Mapping[str, str] | None = None,
) -> Any:
    """Write the vocoder of an official release (`vocoders.importers`) as a file that `load` takes -> it.

    notes: see `save`. Raises ValueError and OSError for files that are no such release.
    """
    from audiogen.systems.vocoder import Vocoder
    from audiogen.vocoders.importers import import_vocoder as read_release

    found = read_release(checkpoint, config, layout)
    system = Vocoder(mel_spec=asdict(found.mel_spec), kind=found.kind, generator=found.options)
    system.load_release_state({f"generator.{key}": t for key, t in found.generator.state_dict().items()})
    save(system, output, {"layout": found.kind, **(notes or {})})
    return system.eval()


def resolve_device(device: str | torch.device) -> torch.device:
    """The device of that name; "auto" is CUDA where there is one. Raises ValueError for one not there."""
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"unknown device {device!r}; use auto, cpu, cuda or cuda:N") from error
    counts = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (chosen.index or 0) >= counts.get(chosen.type, 0):
        raise ValueError(f"device {str(device)!r} is not available on this machine; use --device auto or cpu")
    return chosen


def save(system: Any, path: str | os.PathLike[str], notes: Mapping[str, str] | None = None) -> None:
    """Write weights, hyper-parameters and system name to one safetensors file, atomically.

    The system needs `hparams` of plain values, as Lightning's save_hyperparameters leaves them. What is
    attached (vocoder, content encoder) is left out: it has a file of its own, and its name stands in the
    hyper-parameters. notes: further metadata by name, such as the licence; nothing reads them but people.
    """
    try:
        hparams = json.dumps(dict(system.hparams))
    except TypeError as error:
        raise ValueError(
            f"the hyper-parameters of {type(system).__name__} are not plain values: {error}"
        ) from error
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in release_state(system).items()}
    metadata = {
        **(notes or {}),
        "audiogen": audiogen.__version__,
        "system": system_key(system),
        "hparams": hparams,
    }
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata)


def release_state(system: Any) -> Mapping[str, Tensor]:
    """The tensors worth releasing: what the system says, else all but an attached vocoder's."""
    if hasattr(system, "release_state"):
        released: Mapping[str, Tensor] = system.release_state()
        return released
    return {key: tensor for key, tensor in system.state_dict().items() if not key.startswith("vocoder.")}


def system_key(system: nn.Module) -> str:
    """The name under which SYSTEMS lists the class of `system`. Raises ValueError if it does not."""
    cls = type(system)
    for key, home in SYSTEMS.items():
        if home == f"{cls.__module__}:{cls.__qualname__}":
            return key
    raise ValueError(f"{cls.__module__}.{cls.__qualname__} is no system; SYSTEMS lists {', '.join(SYSTEMS)}")


def read_hparams(path: Path) -> dict[str, Any]:
    """Hyper-parameters of a weights file or a training checkpoint. Raises ValueError."""
    if path.suffix != CHECKPOINT:
        return read_metadata(path)[1]
    from audiogen.training.checkpoint import read_checkpoint

    return read_checkpoint(path)[1]


def provenance(name: str | os.PathLike[str], vocoder: str | os.PathLike[str] | None = None) -> dict[str, str]:
    """Names and SHA-256 of the weights that `load` takes for the same arguments, for reports."""
    path = locate(name)
    origin = {"model": str(name), "model_sha256": sha256(path)}
    hparams = read_hparams(path)
    if (content := hparams.get("content")) is not None:
        origin["content"] = str(content)
        if content != RECOGNISER:
            origin["content_sha256"] = sha256(locate(content))
    if (wanted := vocoder or hparams.get("vocoder")) is None:
        return origin
    origin["vocoder"] = str(wanted)
    return origin if wanted == GRIFFIN_LIM else {**origin, "vocoder_sha256": sha256(locate(wanted))}


def sha256(path: str | os.PathLike[str]) -> str:
    """Hex digest of a file, as the model cards state it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _build(path: Path) -> tuple[Any, dict[str, Any]]:
    """The system a file describes, with the file's tensors in it, on the CPU."""
    if path.suffix == CHECKPOINT:
        from audiogen.training.checkpoint import load_checkpoint

        return load_checkpoint(path), read_hparams(path)
    key, hparams = read_metadata(path)
    try:
        system = rebuild(key, hparams, read_tensors(path))
    except (TypeError, RuntimeError) as error:
        raise CorruptWeights(
            f"{path} does not fit {key} of audiogen {audiogen.__version__}: {error}"
        ) from error
    return system, hparams


def _load_vocoder(name: str | os.PathLike[str], system: Any, device: torch.device) -> Any:
    """The vocoder, in eval mode on `device`. Raises MelSpecMismatch if the system gives other mels."""
    from audiogen.vocoders import require_same_spec

    if name == GRIFFIN_LIM:
        return _griffin_lim(system.mel_spec, device)
    path = locate(name)
    vocoder, _ = _build(path)
    if not hasattr(vocoder, "decode"):
        raise UnknownModel(f"{str(name)!r} is no vocoder; use a vocoder such as vocos-16k, or {GRIFFIN_LIM}")
    require_same_spec(system.mel_spec, vocoder.mel_spec)
    return vocoder.to(device).eval()


def _load_content(name: str | os.PathLike[str], system: Any, device: torch.device) -> Any:
    """The content encoder, in eval mode on `device`. Raises UnknownModel if it is none that fits."""
    if name == RECOGNISER:
        from audiogen.content_recognised import RecognisedContent

        content: Any = RecognisedContent().to(device)
    else:
        content = load(name, device)
    if not hasattr(content, "encode"):
        raise UnknownModel(f"{str(name)!r} is no content encoder; name the one the model was trained with")
    if content.vocabulary > (known := system.hparams["vocabulary"]):
        raise UnknownModel(f"{str(name)!r} has {content.vocabulary} content tokens, the model knows {known}")
    return content


def _griffin_lim(mel_spec: MelSpec, device: torch.device) -> Any:
    from audiogen.vocoders.griffin_lim import GriffinLim

    return GriffinLim(mel_spec).to(device).eval()
