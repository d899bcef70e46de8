"""Checkpoints of the released SGMSE+ and StoRM (github.com/sp-uhh, NCSN++ at 16 kHz), read into `StoRM`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiogen.nn.ncsnpp import NCSNpp
from audiogen.nn.ncsnpp_release import from_release
from audiogen.systems.storm import StoRM

STORM_SIZES: dict[str, dict[str, Any]] = {
    "ncsnpp": {},
    "ncsnpp12M": {"base": 96, "multipliers": (1, 2, 2, 1)},
    "ncsnpp6M": {"base": 96, "multipliers": (1, 1, 1, 1)},
}
SGMSE_SIZES = {"multipliers": (1, 1, 2, 2, 2, 2, 2), "blocks": 2, "attention_bins": (16,)}


class DataModule:
    """Stands for the class that the checkpoints name among their hyper-parameters; nothing is made of it."""


def read_release(checkpoint: str | os.PathLike[str]) -> dict[str, Any]:
    """What a released checkpoint holds; nothing but tensors and plain values is unpickled.

    Raises ValueError for anything else, FileNotFoundError if the file is missing.
    """
    names = ("sgmse.data_module.SpecsDataModule", "sgmse.data_module.DataModule")
    try:
        with torch.serialization.safe_globals([(DataModule, name) for name in names]):
            found: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
        keys = {key.partition(".")[0] for key in found["state_dict"]}
    except FileNotFoundError:
        raise
    except Exception as error:  # torch reports damaged files in many ways
        raise ValueError(
            f"{checkpoint} is no released checkpoint ({type(error).__name__}: {error})"
        ) from error
    if not keys & {"dnn", "score_net"} or "hyper_parameters" not in found:
        raise ValueError(f"{checkpoint} holds {sorted(keys)}, but neither dnn (SGMSE+) nor score_net (StoRM)")
    return found


def averaged(found: Mapping[str, Any]) -> dict[str, Tensor]:
    """The state dict with its moving averages, which the releases are meant to be used with.

    They are listed in the order of the parameters; the Fourier frequencies are none.
    """
    state = dict(found["state_dict"])
    names = [name for name in state if not name.endswith("all_modules.0.W")]
    shadow = found.get("ema", {}).get("shadow_params")
    if shadow is None:
        return state
    if len(shadow) != len(names):
        raise ValueError(f"the checkpoint has {len(names)} parameters but averages of {len(shadow)}")
    return {**state, **dict(zip(names, shadow, strict=True))}


def import_release(checkpoint: str | os.PathLike[str]) -> StoRM:
    """A released SGMSE+ or StoRM of the OUVE process as a `StoRM`, in eval mode.

    What differs from ours comes along: the division by t before the last layer, inputs 2 x - 1 of StoRM, the
    scale of its spectra. Take `quality="paper"` for the sampler it was published with. Raises ValueError for
    other backbones, processes or conditions, and FileNotFoundError.
    """
    found = read_release(Path(checkpoint))
    hparams, state = found["hyper_parameters"], averaged(found)
    regenerates = any(name.startswith("score_net.") for name in state)
    backbone = hparams.get("backbone_score" if regenerates else "backbone", "ncsnpp")
    _expect("backbone", backbone, STORM_SIZES)
    _expect("sde", hparams.get("sde", "ouve"), ("ouve", "ouvesde"))
    if regenerates:
        _expect("condition", hparams.get("condition", "both"), ("both",))
        _expect("backbone_denoiser", hparams.get("backbone_denoiser", backbone), STORM_SIZES)
    # both repositories call their network for SGMSE+ ncsnpp, but StoRM's is the smaller one
    modules = {name.split(".")[2] for name in state if name.startswith("dnn.all_modules.")}
    large = len(modules) > 40
    sizes: dict[str, Any] = SGMSE_SIZES if large else STORM_SIZES[backbone]
    quirks = {"shifted": not large}
    system = StoRM(
        stft={
            "n_fft": hparams.get("n_fft", 510),
            "hop_length": hparams.get("hop_length", 128),
            "exponent": hparams.get("spec_abs_exponent", 0.5),
            "scale": hparams.get("spec_factor", 0.15),
        },
        path={name: hparams[name] for name in ("theta", "sigma_min", "sigma_max") if name in hparams},
        t_eps=hparams.get("t_eps", 0.03),
        predictor="joint" if regenerates else "none",
        objective="score",
        backbone="ncsnpp",
        predictor_net={**STORM_SIZES[hparams.get("backbone_denoiser", "ncsnpp")], **quirks},
        score_net={**sizes, **quirks, "level_bias": True},
    )
    for ours, theirs in (
        (system.score, "score_net." if regenerates else "dnn."),
        (system.predictor, "denoiser_net."),
    ):
        if isinstance(ours, NCSNpp):
            part = {k.removeprefix(theirs): t for k, t in state.items() if k.startswith(theirs)}
            ours.load_state_dict(from_release(part, ours))
    return system.eval()


def _expect(what: str, value: Any, known: Any) -> None:
    if value not in known:
        raise ValueError(f"a release with {what} {value!r} cannot be imported; known: {', '.join(known)}")
