"""Generators by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audiogen.spectral import MelSpec
from audiogen.vocoders.bigvgan import BigVGan
from audiogen.vocoders.hifigan import HiFiGan
from audiogen.vocoders.vocos import Vocos

GENERATORS: dict[str, Any] = {"vocos": Vocos, "hifigan": HiFiGan, "bigvgan": BigVGan}


def build_generator(kind: str, mel_spec: MelSpec, options: Mapping[str, Any]) -> Any:
    """A vocoder of a kind in GENERATORS with untrained weights; options: arguments of its class.

    Raises ValueError for an unknown kind and an option it does not have.
    """
    if kind not in GENERATORS:
        raise ValueError(f"unknown kind of vocoder {kind!r}; use one of {', '.join(GENERATORS)}")
    try:
        return GENERATORS[kind](mel_spec, **options)
    except TypeError as error:
        raise ValueError(f"a {kind} cannot be built from {dict(options)}: {error}") from error
