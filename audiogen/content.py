"""What is said, apart from who says it: content tokens of speech, runs of equal tokens merged and expanded.

A content encoder turns a waveform into one token a frame (StableVC, arXiv 2412.04724, section 3.1: clustered
features of a speech model). Equal neighbours are merged into one token and its run length, which is the
token's duration, and expanded again by true, predicted or scaled run lengths.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

RECOGNISER: Final = "recogniser"
"""The name of `content_recognised.RecognisedContent`, of which there are no weights of ours."""


@dataclass(frozen=True)
class Content:
    """Content tokens of a batch of recordings.

    tokens: (B, F) int64, each in [0, vocabulary), zero beyond an item's end. lengths: (B,) int64, frames of
    each item. Raises ValueError for shapes or lengths that do not fit.
    """

    tokens: Tensor
    lengths: Tensor

    def __post_init__(self) -> None:
        _check(self.tokens, self.lengths)


class ContentEncoder(Protocol):
    """A front end from waveforms to content tokens; the codebook is what the tokens stand for."""

    @property
    def sample_rate(self) -> int:
        """Of the waveforms that it takes, in Hz."""
        ...

    @property
    def frame_rate(self) -> float:
        """Tokens a second."""
        ...

    @property
    def vocabulary(self) -> int:
        """Number V of tokens."""
        ...

    @property
    def codebook(self) -> Tensor:
        """The vector of each token (V, D), float32."""
        ...

    def encode(self, wav: Tensor, lengths: Tensor) -> Content:
        """wav (B, T) in [-1, 1], lengths (B,) in samples -> tokens, each item's as if it were alone."""
        ...


def one_by_one(wav: Tensor, lengths: Tensor, tokens_of: Callable[[Tensor], Tensor]) -> Content:
    """wav (B, T), lengths (B,) in samples -> what tokens_of says of each item alone, (T,) -> (F,) int64.

    Raises ValueError for shapes that do not fit.
    """
    if wav.dim() != 2 or lengths.shape != wav.shape[:1]:
        raise ValueError(f"wav must be (B, T) and lengths (B,), got {(*wav.shape,)}, {(*lengths.shape,)}")
    items = [tokens_of(row[:length]) for row, length in zip(wav, lengths.tolist(), strict=True)]
    frames = torch.tensor([len(item) for item in items], device=wav.device)
    return Content(pad_sequence(items, batch_first=True), frames)


def merge_runs(tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Merge equal neighbours -> unique tokens (B, U), run lengths (B, U), their numbers (B,).

    tokens: (B, F) int64; lengths: (B,) frames that count. U is the most runs of an item; beyond its own an
    item holds zeros. The run lengths of an item sum to its length, and each item's runs are those that it has
    alone. Raises ValueError for shapes or lengths that do not fit.
    """
    _check(tokens, lengths)
    batch, frames = tokens.shape
    inside = torch.arange(frames, device=tokens.device)[None] < lengths[:, None]
    starts = inside.clone()
    starts[:, 1:] &= tokens[:, 1:] != tokens[:, :-1]
    counts = starts.sum(1)
    width = int(counts.max()) if batch else 0
    run = (starts.cumsum(1) - 1).clamp(min=0)  # the run of each frame
    runs = tokens.new_zeros(batch, max(width, 1)).scatter_add_(1, run, inside.to(tokens.dtype))
    unique = tokens.new_zeros(batch, max(width, 1)).scatter_add_(1, run, tokens * starts)
    return unique[:, :width], runs[:, :width], counts


def expand_runs(unique: Tensor, runs: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of `merge_runs` -> tokens (B, F) int64, lengths (B,).

    unique, runs: (B, U) int64; each token is repeated as often as its run is long, a run of 0 not at all. F
    is the greatest length; beyond its own an item holds zeros. Raises ValueError for shapes that differ or a
    negative run.
    """
    if unique.shape != runs.shape or unique.dim() != 2:
        raise ValueError(f"unique and runs must both be (B, U), got {(*unique.shape,)} and {(*runs.shape,)}")
    if bool((runs < 0).any()):
        raise ValueError(f"a run length must be at least 0, got {int(runs.min())}")
    index, lengths = run_of_frame(runs)
    inside = torch.arange(index.shape[1], device=index.device)[None] < lengths[:, None]
    return unique.gather(1, index) * inside, lengths


def run_of_frame(runs: Tensor) -> tuple[Tensor, Tensor]:
    """Run lengths (B, U), U >= 1 -> the run that each frame lies in (B, F) int64, lengths (B,).

    F is the greatest length. Frames beyond an item's end point to the last run. `features.gather` with it
    expands whatever there is one of a run.
    """
    ends = runs.cumsum(1)
    lengths = ends[:, -1] if runs.shape[1] else runs.new_zeros(len(runs))
    frames = torch.arange(int(lengths.max()) if len(runs) else 0, device=runs.device)
    index = torch.searchsorted(ends, frames.expand(len(runs), -1).contiguous(), right=True)
    return index.clamp(max=max(runs.shape[1] - 1, 0)), lengths


def resample_tokens(tokens: Tensor, lengths: Tensor, frames: Tensor) -> Tensor:
    """Fit tokens to other numbers of frames by the nearest -> (B, max(frames)) int64, zero beyond an item's.

    tokens: (B, F) int64; lengths: (B,) >= 1; frames: (B,) >= 0, say of mels: new frame m of M is the middle
    of the m-th M-th part of the item. Lengths that agree change nothing. Raises ValueError for values that do
    not fit.
    """
    _check(tokens, lengths)
    if frames.shape != lengths.shape or bool((frames < 0).any()):
        raise ValueError(f"frames must be {(*lengths.shape,)} numbers of at least 0, got {frames.tolist()}")
    if bool(((lengths == 0) & (frames > 0)).any()):
        raise ValueError("an item without tokens cannot fill frames; leave it out")
    new = torch.arange(int(frames.max()) if len(frames) else 0, device=tokens.device)[None]
    # floor((m + 1/2) L / M) in whole numbers, so that no rounding moves a boundary
    index = (2 * new + 1) * lengths[:, None] // (2 * frames[:, None].clamp(min=1))
    inside = new < frames[:, None]
    return tokens.gather(1, index.clamp(max=tokens.shape[1] - 1)) * inside


def _check(tokens: Tensor, lengths: Tensor) -> None:
    """Refuse tokens that are not (B, F), or lengths that are not (B,) numbers of at most F."""
    if tokens.dim() != 2 or lengths.shape != tokens.shape[:1]:
        raise ValueError(
            f"tokens must be (B, F) and lengths (B,), got {(*tokens.shape,)} and {(*lengths.shape,)}"
        )
    if len(lengths) and not 0 <= int(lengths.min()) <= int(lengths.max()) <= tokens.shape[1]:
        raise ValueError(f"lengths must lie in 0..{tokens.shape[1]}, got {lengths.tolist()}")
