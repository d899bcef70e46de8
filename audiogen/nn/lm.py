"""A LLaMA-style decoder of tokens after a prefix of vectors (Touvron et al. 2023), and how it is sampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.nn.beats import BeatEmbedding
from audiogen.nn.caption_encoder import Words
from audiogen.nn.transformer import Attention, KeysValues, Rotation, SwiGLU, hidden_width, rotation


@dataclass
class Cache:
    """What a decoder remembers of B sequences: keys and values of the prefix and of `length` tokens.

    layers: pairs (B, H, W + room, E), written in place as tokens come. mask: (B, W) of the prefix, True = a
    vector. One cache serves one sequence of calls.
    """

    layers: list[KeysValues]
    mask: Tensor
    length: int = 0

    @property
    def room(self) -> int:
        """Tokens that still fit."""
        return self.layers[0][0].shape[2] - self.mask.shape[1] - self.length


class DecoderBlock(nn.Module):
    """Causal attention, then a gated feed-forward; pre-norm, without biases."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.norm = nn.RMSNorm(width, 1e-6), nn.RMSNorm(width, 1e-6)
        self.attention = Attention(width, heads)
        self.feed = SwiGLU(width, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, turn: Rotation, mask: Tensor | None) -> Tensor:
        """x (B, S, D) -> (B, S, D); mask as `Attention` has it, None = causal."""
        y = self.attention_norm(x)
        keys = self.attention.keys_values(y, turn)
        y = self.attention(y, keys, turn, mask=mask, causal=mask is None)
        return self._fed(x + self.dropout(y))

    def step(self, x: Tensor, turn: Rotation, kept: KeysValues, first: int, mask: Tensor | None) -> Tensor:
        """The same for the next places x (B, n, D), whose keys and values go to `kept` from place `first`."""
        y = self.attention_norm(x)
        end = first + x.shape[1]
        for store, new in zip(kept, self.attention.keys_values(y, turn), strict=True):
            store[:, :, first:end] = new
        seen = (kept[0][:, :, :end], kept[1][:, :, :end])
        return self._fed(x + self.attention(y, seen, turn, mask=mask))

    def _fed(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.feed(self.norm(x)))


class TokenDecoder(nn.Module):
    """Tokens one after another, given a prefix of vectors (a caption).

    A place's logits are of the token that comes next; place 0 is a start token. The prefix is seen by all and
    sees itself up to each of its own; its places all have the number 0, so that a padded prefix, with its
    mask, is the same as one alone. beats: every place is told where the token that comes next lies in its
    beat, as `nn.beats` says, beyond the paper.
    """

    def __init__(
        self,
        vocabulary: int,
        width: int = 256,
        layers: int = 6,
        heads: int = 4,
        dropout: float = 0.1,
        *,
        beats: bool = False,
    ) -> None:
        super().__init__()
        self.vocabulary, self.start = vocabulary, vocabulary
        self.table = nn.Embedding(vocabulary + 1, width)
        self.blocks = nn.ModuleList(
            DecoderBlock(width, heads, hidden_width(width), dropout) for _ in range(layers)
        )
        self.norm = nn.RMSNorm(width, 1e-6)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.heads, self.head_width = heads, width // heads
        self._initialise(layers)
        self.beats = BeatEmbedding(width) if beats else None

    def _initialise(self, layers: int) -> None:
        """Normal 0.02, what is added to the residual stream less by the number of its terms (GPT-2)."""
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                residual = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * layers) ** 0.5 if residual else 0.02)

    def forward(self, tokens: Tensor, prefix: Words, beats: Tensor | None = None) -> Tensor:
        """tokens (B, T) -> logits (B, T + 1, vocabulary): of every token, and of one more.

        beats: (B, T + 1, 2), of the same; None = unknown.
        """
        x = self.dropout(torch.cat((prefix.vectors, self._embedded(tokens, beats)), dim=1))
        W, S = prefix.mask.shape[1], x.shape[1]
        places = (torch.arange(S, device=x.device) - W).clamp(min=0)
        mask = torch.ones(S, S, dtype=torch.bool, device=x.device).tril() & self._real(prefix.mask, S)
        turn = rotation(places, self.head_width)
        for block in self.blocks:
            x = block(x, turn, mask)
        return self.head(self.norm(x[:, W:]))

    def prefill(
        self, tokens: Tensor, prefix: Words, room: int, beats: Tensor | None = None
    ) -> tuple[Tensor, Cache]:
        """Tokens (B, T) that are there already -> logits (B, vocabulary) of the next one, and the cache.

        room: tokens that will follow at most. beats: (B, T + 1, 2).
        """
        W, length = prefix.mask.shape[1], tokens.shape[1] + 1
        shape = (len(tokens), self.heads, W + length + room, self.head_width)
        layers = [(prefix.vectors.new_zeros(shape), prefix.vectors.new_zeros(shape)) for _ in self.blocks]
        x = torch.cat((prefix.vectors, self._embedded(tokens, beats)), dim=1)
        S = x.shape[1]
        places = (torch.arange(S, device=x.device) - W).clamp(min=0)
        mask = torch.ones(S, S, dtype=torch.bool, device=x.device).tril() & self._real(prefix.mask, S)
        cache = Cache(layers, prefix.mask, length)
        return self._run(x, places, cache, 0, mask), cache

    def next(self, token: Tensor, cache: Cache, beats: Tensor | None = None) -> Tensor:
        """The token (B,) that was chosen -> logits (B, vocabulary) of the one after it; the cache grows.

        beats: (B, 1, 2), of the one after it. Raises ValueError for a cache that is full.
        """
        if cache.room < 1:
            raise ValueError(f"the cache is full with {cache.length} places; prefill with more room")
        place = torch.tensor([cache.length], device=token.device)
        cache.length += 1
        end = cache.mask.shape[1] + cache.length
        mask = None if bool(cache.mask.all()) else self._real(cache.mask, end)
        x = self._with_beats(self.table(token)[:, None], beats)
        return self._run(x, place, cache, end - 1, mask)

    def _run(self, x: Tensor, places: Tensor, cache: Cache, first: int, mask: Tensor | None) -> Tensor:
        turn = rotation(places, self.head_width)
        for block, kept in zip(self.blocks, cache.layers, strict=True):
            assert isinstance(block, DecoderBlock)
            x = block.step(x, turn, kept, first, mask)
        return self.head(self.norm(x[:, -1]))

    def _embedded(self, tokens: Tensor, beats: Tensor | None) -> Tensor:
        return self._with_beats(self.table(F.pad(tokens, (1, 0), value=self.start)), beats)

    def _with_beats(self, x: Tensor, beats: Tensor | None) -> Tensor:
        return x if self.beats is None or beats is None else x + self.beats(beats)

    def _real(self, mask: Tensor, places: int) -> Tensor:
        """The prefix's mask (B, W) -> (B, 1, 1, places), True where a key may be seen by later places.

        A padded place of the prefix itself has to see something: its own first word.
        """
        return F.pad(mask, (0, places - mask.shape[1]), value=True)[:, None, None]


@dataclass(frozen=True)
class Choice:
    """How a token is drawn.

    temperature: 0 = the likeliest. top_k, top_p: keep the likeliest so many, and of these the fewest that
    hold this probability; 0 and 1 keep all. Raises ValueError outside the ranges.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is no choice."""
        if not self.temperature >= 0:
            raise ValueError(f"temperature {self.temperature} must be 0 or more")
        if self.top_k < 0:
            raise ValueError(f"top_k {self.top_k} must be 0 (off) or more")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p {self.top_p} must lie above 0, up to 1 (off)")

    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits (B, V) -> probabilities (B, V) in float64, 0 for what is not to be drawn."""
        logits = logits.double()
        if self.temperature == 0:
            return F.one_hot(logits.argmax(-1), logits.shape[-1]).double()
        p = (logits / self.temperature).softmax(-1)
        if 0 < self.top_k < p.shape[-1]:
            p = p * (p >= p.topk(self.top_k).values[:, -1:])
        if self.top_p < 1:
            ranked, order = p.sort(descending=True, stable=True)
            total = ranked.sum(-1, keepdim=True)
            keep = ranked.cumsum(-1) - ranked < self.top_p * total
            p = p * torch.zeros_like(keep).scatter(-1, order, keep)
        return p / p.sum(-1, keepdim=True)


def draw(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """The token at which the running sum of probabilities (B, V) passes uniform (B,) in [0, 1); (B,)."""
    edges = probabilities.cumsum(-1)
    last = probabilities.shape[-1] - 1
    token = torch.searchsorted(edges, uniform.double()[:, None] * edges[:, -1:], right=True)
    return token[:, 0].clamp(max=last)


@torch.no_grad()
def continue_tokens(
    decoder: TokenDecoder,
    tokens: Tensor,
    conditions: Sequence[Words],
    uniforms: Tensor,
    choice: Choice,
    guidance: float = 1.0,
    beats: Tensor | None = None,
) -> Tensor:
    """Tokens (B, T) that are there, T >= 0 -> the next n (B, n); uniforms (B, n) in [0, 1) are their chances.

    conditions: the captions and, where guidance is not 1, the empty ones. guidance: weight w of
    log p_empty + w (log p_caption - log p_empty). beats: (B, T + n, 2), known where the caption is. What an
    item becomes depends on its own inputs alone.
    """
    copies, n = len(conditions), uniforms.shape[1]
    prefix = conditions[0]
    if copies == 2:
        prefix = Words(*(torch.cat(parts) for parts in zip(*conditions, strict=True)))
    if beats is not None and copies == 2:
        beats = torch.cat((beats, torch.zeros_like(beats)))
    end = tokens.shape[1] + 1
    logits, cache = decoder.prefill(tokens.repeat(copies, 1), prefix, n, _until(beats, 0, end))
    made = []
    for number in range(n):
        if copies == 2:
            given, empty = logits.log_softmax(-1).chunk(2)
            logits = empty + guidance * (given - empty)
        made.append(draw(choice.probabilities(logits), uniforms[:, number]))
        if number + 1 < n:
            place = end + number
            logits = decoder.next(made[-1].repeat(copies), cache, _until(beats, place, place + 1))
    return torch.stack(made, dim=1)


def _until(beats: Tensor | None, start: int, end: int) -> Tensor | None:
    return None if beats is None else beats[:, start:end]
