"""Semantic tokens of music: what is played, coarse in time, for a language model to write."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class SemanticTokenizer(Protocol):
    """What the language model of music needs of a tokenizer.

    frame_rate: tokens a second. vocabulary: their number of values, 0 to vocabulary - 1. sample_rate: Hz of
    the waveforms it takes. Token n tells of the samples around (n + 0.5) sample_rate / frame_rate.
    """

    @property
    def sample_rate(self) -> int: ...  # noqa: D102

    @property
    def frame_rate(self) -> float: ...  # noqa: D102

    @property
    def vocabulary(self) -> int: ...  # noqa: D102

    def encode(self, wav: Tensor) -> Tensor:
        """wav (B, T) in [-1, 1], mono -> tokens (B, N) int64, N = ceil(T frame_rate / sample_rate)."""
        ...
