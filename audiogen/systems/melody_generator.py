"""MeLoDy as something to steer: latents of one prompt out of noise, with gradients from sound to noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.nn.lm import Choice
from audiogen.sampling.grids import falling_angles
from audiogen.sampling.loop import Denoiser
from audiogen.sampling.noise import ItemNoise
from audiogen.sampling.paths import Path
from audiogen.steering import Like
from audiogen.systems.melody import PATH, MeLoDy
from audiogen.systems.melody_lm import MeLoDyLM

JUDGED_AT = (0.35, 0.6)  # times at which latents are compared with what the caption lets expect


@dataclass
class MeLoDyGenerator:
    """The diffusion of MeLoDy in one window: a `LatentGenerator`.

    tokens: (B, T) semantic tokens, whole chunks; captions and seeds: one an item. guidance: None = the
    model's. beats: (B, T, 2) as `nn.beats` has them, None = unknown. Its networks no longer get
    gradients for their parameters.
    """

    diffusion: MeLoDy
    coder: Any
    tokens: Tensor
    captions: Sequence[str]
    seeds: Sequence[int]
    guidance: float | None = None
    beats: Tensor | None = None
    path: Path = field(default=PATH, init=False)
    estimate: Denoiser = field(init=False)
    jump: Denoiser | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Prepare the network for all calls."""
        self.diffusion.requires_grad_(False)
        self.coder.requires_grad_(False)
        self.sample_rate = int(self.coder.sample_rate)
        _, weight = self.diffusion.settled(None, self.guidance)
        with torch.no_grad():
            denoise = self.diffusion.guided(self.tokens, self.captions, weight, beats=self.beats)
        if self.diffusion.hparams["jumps"]:
            self.jump = denoise
            self.estimate = partial(_from_here, denoise)
        else:
            self.estimate = denoise

    @property
    def latent_rate(self) -> float:
        """Latent frames a second."""
        return self.sample_rate / int(self.coder.hop_length)

    @property
    def frames(self) -> int:
        """Latent frames of the window."""
        return self.tokens.shape[1] // self.diffusion.chunk_tokens * self.diffusion.chunk_frames

    def start(self) -> Tensor:
        """Noise (B, D, L), that of `MeLoDy.sample`."""
        noise = ItemNoise(self.seeds, device=self.diffusion.device)
        return noise.start(self.diffusion.hparams["latent_dim"], self.frames)

    def times(self, num_steps: int) -> Tensor:
        """The angles of the paper."""
        return falling_angles(num_steps)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, D, L) -> wav (B, T)."""
        wav: Tensor = self.coder.decode(latents)[:, 0]
        return wav

    def encode(self, wav: Tensor) -> Tensor:
        """wav (B, T) -> latents (B, D, L)."""
        latents: Tensor = self.coder.encode(wav[:, None].to(self.diffusion.device))
        return latents

    def only(self, items: Sequence[int]) -> MeLoDyGenerator:
        """The generator of some of the items."""
        picked = list(items)
        return replace(
            self,
            tokens=self.tokens[picked],
            captions=[self.captions[n] for n in picked],
            seeds=[self.seeds[n] for n in picked],
            beats=None if self.beats is None else self.beats[picked],
        )

    def caption_loss(self, latents: Tensor, caption: str) -> Tensor:
        """How much worse the network predicts latents (B, D, L) with the caption than without, a share (B,).

        Negative where the caption helps. Tokens are hidden from it, frames below a whole chunk are padded.
        The noise is the same in every call, so that a search has one goal.
        """
        chunk = self.diffusion.chunk_frames
        padded = F.pad(latents, (0, -latents.shape[-1] % chunk))
        noise = ItemNoise(self.seeds, device=latents.device).combine(padded.detach(), {1: 1.0}, stream=1)
        shares = []
        told, untold = self._judges(caption, padded.shape[-1] // chunk)
        for time in JUDGED_AT:
            t = torch.full((len(latents),), time, device=latents.device)
            x = self.path.add_noise(padded, noise, t)
            wrong = [
                (denoise(x, t) - padded)[..., : latents.shape[-1]].square().mean((1, 2))
                for denoise in (told, untold)
            ]
            shares.append(wrong[0] / wrong[1].clamp(min=1e-6) - 1)
        return torch.stack(shares).mean(0)

    def _judges(self, caption: str, chunks: int) -> list[Denoiser]:
        """Estimates by a network that is told a caption alone, and nothing."""
        diffusion, items = self.diffusion, len(self.seeds)
        tokens = torch.zeros(
            items, chunks * diffusion.chunk_tokens, dtype=torch.int64, device=diffusion.device
        )
        hidden = torch.ones(items, dtype=torch.bool, device=diffusion.device)
        with torch.no_grad():
            found = [
                diffusion.guided(tokens, [caption] * items, 1.0, hidden=(hidden, heard))
                for heard in (None, hidden)
            ]
        jumps = diffusion.hparams["jumps"]
        return [partial(_from_here, denoise) if jumps else denoise for denoise in found]


def _from_here(denoise: Denoiser, x: Tensor, t: Tensor) -> Tensor:
    """What a network that jumps expects of the data if it goes nowhere: its estimate as a diffusion's."""
    return denoise(x, torch.stack((t, t), dim=-1))


@torch.no_grad()
def written(
    lm: MeLoDyLM,
    known: Tensor,
    unknown: Tensor,
    captions: Sequence[str],
    seeds: Sequence[int],
    choice: Choice,
    guidance: float,
    beats: Tensor | None = None,
) -> Tensor:
    """Tokens (B, T) of which (T,) `unknown` says what the language model writes, from what is before.

    beats: (B, T, 2) of all of them, None = unknown.
    """
    tokens = known.expand(len(seeds), -1).clone()
    places = unknown.nonzero()[:, 0].tolist()
    while places:
        first = places[0]
        count = next((n for n, place in enumerate(places) if place != first + n), len(places))
        new = lm.extend(
            tokens[:, :first],
            captions,
            seeds,
            count,
            choice=choice,
            guidance=guidance,
            first=first,
            beats=None if beats is None else beats[:, : first + count],
        )
        tokens[:, first : first + count] = new
        places = places[count:]
    return tokens


def known_tokens(
    tokenizer: Any, like: Like | None, count: int, device: torch.device
) -> tuple[Tensor, Tensor, int]:
    """What a recording tells of a piece of `count` tokens -> tokens (1, T), which are unknown (T,), and skip.

    The first `skip` tokens are of music before the piece.
    """
    if like is None:
        return torch.zeros(1, count, dtype=torch.int64, device=device), torch.ones(count, dtype=torch.bool), 0
    rate = tokenizer.frame_rate
    skip = round(like.skip_s * rate)
    found = tokenizer.encode(like.wav.to(device))
    tokens = F.pad(found[:, : skip + count], (0, max(0, skip + count - found.shape[1])))
    middles = (torch.arange(skip + count) + 0.5) / rate - like.skip_s
    unknown = torch.arange(skip + count) >= found.shape[1]
    for start, end in like.unknown:
        unknown |= (middles >= start) & (middles < end)
    return tokens, unknown, skip
