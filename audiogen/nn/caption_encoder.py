"""What is asked for in words, as vectors: a small encoder of our own, or a CLAP model from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from audiogen.nn.transformer import Attention, SwiGLU, hidden_width, rotation


class Words(NamedTuple):
    """Encoded captions: vectors (B, W, D) and a mask (B, W), True = a word."""

    vectors: Tensor
    mask: Tensor

    def repeat(self, times: int) -> Words:
        """The batch `times` times over."""
        return Words(self.vectors.repeat(times, 1, 1), self.mask.repeat(times, 1))


def pad_words(
    rows: Sequence[Sequence[int]], device: torch.device | str | None = None
) -> tuple[Tensor, Tensor]:
    """Numbers of words -> (B, W) padded with 0, and their mask, True = a word."""
    width = max(map(len, rows))
    numbers = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return numbers.to(device), (torch.arange(width) < lengths[:, None]).to(device)


class Block(nn.Module):
    """Self-attention among words, then a gated feed-forward; pre-norm."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.norm = nn.RMSNorm(width, 1e-6), nn.RMSNorm(width, 1e-6)
        self.attention = Attention(width, heads)
        self.feed = SwiGLU(width, hidden_width(width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, W, D), mask (B, W) -> (B, W, D)."""
        y = self.attention_norm(x)
        head = x.shape[-1] // self.attention.heads
        # half of a head knows the order of words, which means little in a caption
        turn = rotation(torch.arange(x.shape[1], device=x.device), head // 4 * 2)
        keys = self.attention.keys_values(y, turn)
        x = x + self.dropout(self.attention(y, keys, turn, mask=mask[:, None, None]))
        return x + self.dropout(self.feed(self.norm(x)))


class Captions(nn.Module):
    """Captions in words to `Words` of `out_width`; what stands for no caption at all is a learned vector."""

    def __init__(self, out_width: int) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.randn(out_width) * 0.02)

    def none(self, like: Words) -> Words:
        """Words of the shape of `like` that say nothing: the learned vector in the first place."""
        first = torch.zeros_like(like.mask)
        first[:, 0] = True
        return Words(first[..., None] * self.nothing.to(like.vectors.dtype), first)

    def drop(self, words: Words, drop: Tensor) -> Words:
        """Items for which drop (B,) is True lose their caption."""
        none = self.none(words)
        vectors = torch.where(drop[:, None, None], none.vectors, words.vectors)
        return Words(vectors, torch.where(drop[:, None], none.mask, words.mask))


class CaptionEncoder(Captions):
    """The shipped encoder: an embedding and a small transformer.

    numbers: caption -> numbers of its words, one at least, below max_words; whoever learns the vocabulary
    later sets it later. max_words: rows of the table, with room for words that are added later.
    """

    def __init__(
        self,
        out_width: int,
        numbers: Callable[[str], Sequence[int]],
        max_words: int = 512,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(out_width)
        self.numbers = numbers
        self.table = nn.Embedding(max_words, width)
        nn.init.normal_(self.table.weight, std=0.5)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.RMSNorm(width, 1e-6)
        self.out = nn.Linear(width, out_width)

    def forward(self, captions: Sequence[str]) -> Words:
        """Captions -> Words as many as the longest has, zero where there is none."""
        numbers, mask = pad_words([self.numbers(caption) for caption in captions], self.nothing.device)
        x = self.table(numbers)
        for block in self.blocks:
            x = block(x, mask)
        return Words(self.out(self.norm(x)) * mask[..., None], mask)


class TextFeatures(Protocol):
    """A text tower that is not trained here: captions to vectors."""

    width: int

    def __call__(self, captions: Sequence[str]) -> Tensor:
        """Captions -> (B, width)."""
        ...


class ClapText:
    """The text tower of a CLAP model (Wu et al. 2023) of the package `transformers`, on the CPU.

    name: of a model on this machine or its hub. Raises ValueError where the package or the model is missing.
    """

    def __init__(self, name: str = "laion/larger_clap_music") -> None:
        if find_spec("transformers") is None:
            raise ValueError(
                "CLAP captions need the package transformers: install it, or use the encoder that ships"
            )
        transformers = import_module("transformers")
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(name)
            self._model = transformers.ClapTextModelWithProjection.from_pretrained(name).eval()
        except OSError as error:
            raise ValueError(f"no CLAP model {name!r} could be loaded: {error}") from error
        self.width = int(self._model.config.projection_dim)

    @torch.no_grad()
    def __call__(self, captions: Sequence[str]) -> Tensor:
        """Captions -> (B, width)."""
        tokens = self._tokenizer(list(captions), return_tensors="pt", padding=True, truncation=True)
        return self._model(**tokens).text_embeds


class FeatureCaptions(Captions):
    """One vector a caption, projected from features such as CLAP's."""

    def __init__(self, out_width: int, features: TextFeatures) -> None:
        super().__init__(out_width)
        self.features = features
        self.out = nn.Linear(features.width, out_width)

    def forward(self, captions: Sequence[str]) -> Words:
        """Captions -> Words of one place."""
        vectors = self.out(self.features(captions).to(self.out.weight))[:, None]
        return Words(vectors, torch.ones(vectors.shape[:2], dtype=torch.bool, device=vectors.device))
