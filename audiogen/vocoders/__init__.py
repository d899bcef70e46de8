"""Vocoders: features in, waveform out. Every one has `mel_spec` and `decode(mel) -> (B, 1, T)`."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from audiogen.spectral import MelSpec


class MelVocoder(Protocol):
    """What an acoustic model asks of its vocoder."""

    mel_spec: MelSpec

    def decode(self, mel: Tensor) -> Tensor:
        """mel (B, n_mels, N) -> waveform (B, 1, (N - 1) hop_length)."""
        ...


class MelSpecMismatch(ValueError):
    """A model and a vocoder that speak different mel front ends."""


def require_same_spec(model: MelSpec, vocoder: MelSpec) -> None:
    """Refuse a vocoder that was trained on another front end than the model. Raises MelSpecMismatch."""
    if differences := model.differences(vocoder):
        raise MelSpecMismatch(
            f"the model and the vocoder use different mel front ends ({differences}; model != vocoder): "
            f"model {model}, vocoder {vocoder}; choose a vocoder trained with the model's front end"
        )
