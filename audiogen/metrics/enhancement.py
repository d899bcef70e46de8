"""How close enhanced speech comes to its clean reference: PESQ, ESTOI, SI-SDR, and their means over items."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiogen.audio import read_audio
from audiogen.metrics.signal import si_sdr

SAMPLE_RATE = 16000
SCORES = ("pesq_wb", "estoi", "si_sdr_db")
PESQ_S = 20.0  # longer signals are scored in parts: P.862 was made for sentences, its code for few of them
TOLERANCE_S = 0.1  # of two lengths that are taken to be the same


def require_scorers() -> None:
    """Raises ValueError naming the remedy where the libraries of `compare` are missing."""
    missing = [name for name in ("pesq", "pystoi") if find_spec(name) is None]
    if missing:
        raise ValueError(
            f"scores against references need {' and '.join(missing)}: pip install 'audiogen[eval,pesq]' "
            "(pesq is compiled, which takes a C compiler)"
        )


def compare(wav: Tensor, reference: Tensor) -> dict[str, float | None]:
    """Scores of wav (T,) against reference (T,), both at SAMPLE_RATE; None for what is not defined.

    pesq_wb: MOS-LQO by ITU-T P.862.2, 1.04 to 4.64. estoi: Jensen & Taal 2016, 0 to 1. si_sdr_db: in dB.
    Nothing is defined where one of the two is silent.
    """
    if not (bool(wav.any()) and bool(reference.any())):
        return dict.fromkeys(SCORES)
    ratio = float(si_sdr(wav.double()[None], reference.double()[None]))
    return {"pesq_wb": pesq_wb(wav, reference), "estoi": estoi(wav, reference), "si_sdr_db": ratio}


def pesq_wb(wav: Tensor, reference: Tensor) -> float | None:
    """Mean PESQ of equal parts of at most PESQ_S seconds; None where no part holds an utterance."""
    from pesq import pesq

    parts = -(-len(reference) // round(PESQ_S * SAMPLE_RATE))
    values = []
    for one, clean in zip(wav.chunk(parts), reference.chunk(parts), strict=True):
        if bool(clean.any()) and bool(one.any()):
            try:
                values.append(float(pesq(SAMPLE_RATE, clean.numpy(), one.numpy(), "wb")))
            except RuntimeError:  # no utterance in it, or too short for one
                continue
    return mean_of(values)


def estoi(wav: Tensor, reference: Tensor) -> float | None:
    """Extended short-time objective intelligibility; None for less than a third of a second of speech."""
    from pystoi import stoi

    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(stoi(reference.numpy(), wav.numpy(), SAMPLE_RATE, extended=True))
        except RuntimeWarning:
            return None


def mean_of(values: Iterable[float | None]) -> float | None:
    """Mean of the numbers among the values; None where there is none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def means(scores: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Mean of every score over the items that have it."""
    return {name: mean_of(item[name] for item in scores) for name in SCORES}


def read_pair(path: Path, reference: Path) -> tuple[Tensor, Tensor]:
    """A recording and its reference, (T,) each at SAMPLE_RATE, channels averaged.

    Lengths that differ by up to TOLERANCE_S are cut to the shorter. Raises ValueError beyond that.
    """
    wav, clean = (read_audio(one, SAMPLE_RATE).mean(0) for one in (path, reference))
    return same_length(wav, clean, str(path), str(reference))


def same_length(wav: Tensor, clean: Tensor, name: str, reference: str) -> tuple[Tensor, Tensor]:
    """Both cut to the shorter. Raises ValueError where they differ by more than TOLERANCE_S."""
    if abs(len(wav) - len(clean)) > TOLERANCE_S * SAMPLE_RATE:
        seconds = (len(wav) / SAMPLE_RATE, len(clean) / SAMPLE_RATE)
        raise ValueError(
            f"{name} has {seconds[0]:.2f} s and its reference {reference} {seconds[1]:.2f} s; give the "
            "reference of the same recording, aligned with it"
        )
    samples = min(len(wav), len(clean))
    return wav[:samples], clean[:samples]


def finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with None in the place of infinities and NaN, which JSON does not have."""
    return {
        name: None if isinstance(x, float) and not torch.isfinite(torch.tensor(x)) else x
        for name, x in values.items()
    }
