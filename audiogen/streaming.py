"""Chunks of growing size: the first is heard early, the others cost little more than the whole at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from torch import Tensor


class FrameDecoder(Protocol):
    """What a stream needs of a decoder of frames; `lookahead` as `MelVocoder` defines it."""

    @property
    def lookahead(self) -> int | None: ...  # noqa: D102

    def init_state(self, batch: int) -> Any:
        """The start of `batch` streams."""
        ...

    def stream(self, state: Any, mel: Tensor, last: bool = False) -> tuple[Any, Tensor]:
        """The next frames -> state, the audio that is complete."""
        ...


def chunk_sizes(first: int = 8, largest: int = 64) -> Iterator[int]:
    """Frames a chunk, without end: `first`, then twice as many each time, `largest` at most.

    While a chunk is played the next, twice as long, has to be made: enough up to half of real time, and what
    is ahead of the listener grows. Raises ValueError unless 1 <= first <= largest.
    """
    if not 1 <= first <= largest:
        raise ValueError(f"chunks of {first} to {largest} frames cannot be made; use 1 <= first <= largest")
    return _doubling(first, largest)


def _doubling(size: int, largest: int) -> Iterator[int]:
    while True:
        yield size
        size = min(2 * size, largest)


def decode_chunks(decoder: FrameDecoder, mel: Tensor, sizes: Iterator[int]) -> Iterator[tuple[Tensor, bool]]:
    """mel (B, n_mels, N) -> chunks of audio (B, C, T), joined that of `decode`, and whether each is the last.

    A chunk has as many frames as `sizes` says next; the first waits for the look-ahead too, and less than
    half a chunk at the end joins the one before. A chunk is made when it is asked for and none is kept: who
    stops asking stops the work. A decoder without bounded look-ahead gives all in one chunk.
    """
    frames = mel.shape[-1]
    state = decoder.init_state(len(mel))
    start, stop, last = 0, 0 if decoder.lookahead is None else decoder.lookahead + 1, False
    while not last:
        size = next(sizes)
        stop += size
        last = decoder.lookahead is None or stop + size // 2 >= frames
        state, audio = decoder.stream(state, mel[..., start : None if last else stop], last)
        start = stop
        yield audio, last
