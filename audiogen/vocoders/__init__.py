"""Vocoders: mel frames in, waveform out, whole or while the frames arrive."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from audiogen.spectral import MelSpec


class MelVocoder(Protocol):
    """What every vocoder offers.

    The waveform is as long as the frames of its front end say: (N - 1) hop_length samples from N frames that
    are centred (`MelSpec.center`), N hop_length samples from N that are not, so that sample t of a copy is
    sample t of the recording.

    The chunks of a stream, joined, are the waveform of `decode`. lookahead: frames beyond the next one that
    the audio up to a frame waits for; None: it waits for the last frame. lookahead_ms: the same as time.
    """

    mel_spec: MelSpec

    @property
    def lookahead(self) -> int | None: ...  # noqa: D102

    @property
    def lookahead_ms(self) -> float | None: ...  # noqa: D102

    def decode(self, mel: Tensor) -> Tensor:
        """mel (B, n_mels, N) -> waveform (B, 1, T)."""
        ...

    def init_state(self, batch: int) -> Any:
        """The start of `batch` streams."""
        ...

    def stream(self, state: Any, mel: Tensor, last: bool = False) -> tuple[Any, Tensor]:
        """The next frames (B, n_mels, n), n >= 0 -> state, the audio (B, 1, T) that is complete.

        The last chunk ends the streams.
        """
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
