"""Checkpoints of the official vocos, HiFi-GAN and BigVGAN releases, read into our vocoders."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from audiogen.spectral import MelSpec
from audiogen.vocoders.build import build_generator
from audiogen.vocoders.layouts import LAYOUTS, LayoutError, detect

CONFIG_NAMES = ("config.yaml", "config.json")


@dataclass(frozen=True)
class ImportedVocoder:
    """A vocoder with the official weights, and what builds it again: `build_generator`'s arguments."""

    kind: str
    mel_spec: MelSpec
    options: dict[str, Any]
    generator: nn.Module


def import_vocoder(
    checkpoint: str | os.PathLike[str],
    config: str | os.PathLike[str] | None = None,
    layout: str | None = None,
) -> ImportedVocoder:
    """Read an official release; weight normalisation is folded into plain weights.

    checkpoint: pytorch_model.bin of vocos, g_* or generator_* of HiFi-GAN, bigvgan_generator.pt, or the same
    tensors as .safetensors. config: config.yaml or config.json of the release; left out, the one that lies
    beside the checkpoint. layout: vocos, hifigan or bigvgan; left out, what the config looks like.

    Nothing but tensors is unpickled. Raises FileNotFoundError, and LayoutError (a ValueError) for a file that
    is none of these, a config we cannot build, and tensors that are missing, left over or of another size.
    """
    content = read_config(find_config(Path(checkpoint)) if config is None else Path(config))
    kind = detect(content) if layout is None else layout
    if kind not in LAYOUTS:
        raise LayoutError(f"unknown layout {kind!r}; use one of {', '.join(LAYOUTS)}")
    official = LAYOUTS[kind]
    try:
        mel_spec, options = official.settings(content)
        generator = build_generator(kind, mel_spec, options)
    except LayoutError:
        raise
    except (TypeError, ValueError) as error:
        raise LayoutError(f"the config describes no {kind} that can be built: {error}") from error
    tensors = fold_weight_norm(read_tensors(Path(checkpoint)))
    names = {name: official.official_name(name, options) for name in generator.state_dict()}
    constants = {name: official.constant(name, mel_spec) for name in tensors}
    check_constants(tensors, constants, mel_spec)
    weights = {name: tensor for name, tensor in tensors.items() if constants[name] is None}
    generator.load_state_dict(translate(weights, names, generator))
    return ImportedVocoder(kind, mel_spec, options, generator.eval())


def find_config(checkpoint: Path) -> Path:
    """The config beside a checkpoint. Raises LayoutError if there is none or more than one."""
    found = [checkpoint.parent / name for name in CONFIG_NAMES if (checkpoint.parent / name).is_file()]
    if len(found) != 1:
        raise LayoutError(
            f"{'no' if not found else 'more than one'} {' or '.join(CONFIG_NAMES)} lies beside {checkpoint}; "
            "name the release's own with --config"
        )
    return found[0]


def read_config(path: Path) -> dict[str, Any]:
    """A YAML or JSON file -> its dictionary. Raises LayoutError for anything else."""
    import yaml

    if not path.is_file():
        raise FileNotFoundError(f"no config at {path}; it is part of the vocoder's release")
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise LayoutError(f"{path} is no YAML or JSON ({error})") from error
    if not isinstance(content, dict):
        raise LayoutError(f"{path} holds no settings but {type(content).__name__}")
    return content


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, as float32; of training checkpoints those under "generator".

    Raises FileNotFoundError, and LayoutError for a file that holds anything but tensors by name.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both report damaged files in many ways
        raise LayoutError(
            f"{path} is no checkpoint of tensors alone ({type(error).__name__}: {error})"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("generator"), Mapping):
        content = content["generator"]
    if not isinstance(content, Mapping) or not all(isinstance(t, Tensor) for t in content.values()):
        raise LayoutError(
            f'{path} holds no tensors by name, nor any under "generator"; give the generator\'s checkpoint'
        )
    bad = [name for name, tensor in content.items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise LayoutError(f"{path} is corrupt: {bad[0]} holds NaN or infinity; fetch it again")
    return {str(name): tensor.float() for name, tensor in content.items()}


def fold_weight_norm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Direction and length of a weight (Salimans & Kingma 2016, eq. 2) -> the weight; the rest stays.

    Pairs `weight_v`, `weight_g` and torch's newer `parametrizations.weight.original1`, `.original0`. The
    length is that of all but the first dimension. Raises LayoutError for a half of a pair.
    """
    folded = {}
    for name, tensor in tensors.items():
        if match := re.fullmatch(r"(.*)(weight_v|parametrizations\.weight\.original1)", name):
            length_name = match[1] + {"weight_v": "weight_g"}.get(
                match[2], "parametrizations.weight.original0"
            )
            if length_name not in tensors:
                raise LayoutError(f"{name} has no {length_name} beside it; the checkpoint is incomplete")
            norms = torch.linalg.vector_norm(tensor, dim=tuple(range(1, tensor.ndim)), keepdim=True)
            folded[match[1] + "weight"] = tensor * (tensors[length_name] / norms)
        elif not re.search(r"(weight_g|parametrizations\.weight\.original0)$", name):
            folded[name] = tensor
    return folded


def check_constants(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor | None], mel_spec: MelSpec
) -> None:
    """Raises LayoutError if a window or filter of the checkpoint is not the one that we compute ourselves."""
    for name, value in expected.items():
        if value is not None and not (
            tensors[name].shape == value.shape and torch.allclose(tensors[name], value, atol=1e-5)
        ):
            raise LayoutError(f"{name} is not that of {mel_spec}; the config belongs to other weights")


def translate(
    weights: Mapping[str, Tensor], names: Mapping[str, str], generator: nn.Module
) -> dict[str, Tensor]:
    """Official names -> ours; names: ours -> official.

    Raises LayoutError that tells, by official names, what is missing, left over or of another size.
    """
    missing = [name for name in names.values() if name not in weights]
    left_over = sorted(weights.keys() - set(names.values()))
    if missing or left_over:
        raise LayoutError(
            f"the checkpoint does not fit its config: {_some('missing', missing)}; "
            f"{_some('unexpected', left_over)}; check --config and --layout"
        )
    for name, own in generator.state_dict().items():
        if weights[names[name]].shape != own.shape:
            raise LayoutError(
                f"{names[name]} has the shape {list(weights[names[name]].shape)}, the config asks for "
                f"{list(own.shape)}; check --config"
            )
    return {name: weights[official] for name, official in names.items()}


def _some(what: str, names: list[str]) -> str:
    """At most three of the names."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{what} {', '.join(names[:3]) or 'nothing'}{more}"
