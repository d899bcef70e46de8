"""MeLoDy's dual-path diffusion (Lam et al. 2023, section 4.2): latents of music from semantic tokens.

The noise of a frame has an angle d in [0, pi / 2]: z_d = cos(d) z + sin(d) eps. The network tells the
velocity cos(d) eps - sin(d) z. Frames need not have one angle: those of angle 0 are music that is there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from audiogen.caption_model import CaptionModel
from audiogen.nn.beats import hidden_beats
from audiogen.nn.caption_encoder import Words
from audiogen.nn.dual_path import Context, DualPath
from audiogen.sampling.grids import falling_angles
from audiogen.sampling.guidance import Weight, cfg
from audiogen.sampling.loop import Denoiser, run
from audiogen.sampling.noise import ItemNoise
from audiogen.sampling.paths import VPCosine
from audiogen.sampling.plans import Plan, ctm, ddim
from audiogen.sampling.prediction import AngleV, to_x0

PATH = VPCosine()
RIGHT_ANGLE = math.pi / 2  # radians of the angle at time 1
HIDDEN = {"both": 0.1, "caption": 0.1, "tokens": 0.05}  # what training hides, as shares of the items
VALIDATION_TIMES = (0.2, 0.5, 0.8)


@cache
def sampling_plan(num_steps: int, jumps: bool) -> Plan:
    """DDIM over the paper's angles, or jumps over the same: DDIM by a network that is told where they end."""
    return (ctm if jumps else ddim)(PATH, falling_angles(num_steps))


class Kept(NamedTuple):
    """Music that is there already: latents (B, D, L), and where, (B, L), True = there."""

    latents: Tensor
    mask: Tensor


class MeLoDy(CaptionModel):
    """Velocity of noisy latents, given semantic tokens and a caption, in windows of up to `chunks` chunks.

    chunk_frames and chunk_tokens last equally long. patterns: shares of training items whose chunks have
    angles of their own, one angle (how music begins), and clean chunks before noisy ones of one angle (how it
    goes on). jumps: the network is a student that `melody_distill` or `melody_trajectory` taught; to_data:
    all of its jumps are to the data; told_guidance: the weight of guidance is an input of it. guidance:
    weight of the tokens and the caption, 1 = off, which otherwise halves the cost. net: options of
    `DualPath`; captions, beats and so on: as in `MeLoDyLM`.
    """

    key = "melody"

    def __init__(
        self,
        latent_dim: int = 64,
        vocabulary: int = 512,
        chunk_frames: int = 120,
        chunk_tokens: int = 16,
        chunks: int = 4,
        net: dict[str, Any] | None = None,
        captions: Literal["words", "clap"] = "words",
        caption_net: dict[str, Any] | None = None,
        words: Sequence[str] = (),
        max_words: int = 512,
        patterns: tuple[float, float, float] = (0.4, 0.2, 0.4),
        guidance: float = 2.5,
        default_steps: int = 10,
        jumps: bool = False,
        to_data: bool = False,
        told_guidance: bool = False,
        beats: bool = False,
        lr: float = 5e-4,
        lr_final: float = 1e-5,
        warmup_steps: int = 500,
        total_steps: int = 20000,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.chunk_frames, self.chunk_tokens, self.chunks = chunk_frames, chunk_tokens, chunks
        options = {**(net or {}), "jumps": jumps, "told_guidance": told_guidance, "beats": beats}
        self.net = DualPath(latent_dim, vocabulary, chunk_frames / chunk_tokens, **options)
        self.make_captions(self.net.enter.out_features, captions, words, max_words, caption_net)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Square error of the velocity at random angles; kept chunks have no say."""
        latents, frames = batch["latents"], batch["frames"]
        chunks = latents.shape[-1] // self.chunk_frames
        t, kept = self.draw_times(len(latents), chunks)
        t, kept = (part.repeat_interleave(self.chunk_frames, dim=1) for part in (t, kept))
        given = self.given(batch, self.draw_hidden(len(latents)))
        loss = self.velocity_error(latents, torch.randn_like(latents), t, given, frames & ~kept)
        self.log("train/velocity", loss, prog_bar=True)
        return loss

    def draw_times(self, items: int, chunks: int) -> tuple[Tensor, Tensor]:
        """Times in (0, 1] of all chunks (items, chunks), 0 for those that are kept, and which those are."""
        shares = torch.tensor(self.hparams["patterns"], device=self.device)
        pattern = torch.multinomial(shares, items, replacement=True)
        t = 1 - torch.rand(items, chunks, device=self.device)  # never 0: there is no noise to tell
        t = torch.where(pattern[:, None] == 0, t, t[:, :1])
        clean = torch.randint(1, max(chunks, 2), (items, 1), device=self.device)
        kept = (pattern[:, None] == 2) & (torch.arange(chunks, device=self.device) < clean)
        if chunks == 1:
            kept = torch.zeros_like(kept)
        return t.masked_fill(kept, 0), kept

    def draw_hidden(self, items: int) -> tuple[Tensor, Tensor]:
        """Which items lose their tokens and which their captions, (items,) each."""
        u = torch.rand(items, device=self.device)
        both = u < HIDDEN["both"]
        caption = both | (u > 1 - HIDDEN["caption"])
        tokens = both | ((u >= HIDDEN["both"]) & (u < HIDDEN["both"] + HIDDEN["tokens"]))
        return tokens, caption

    def given(self, batch: dict[str, Any], hidden: tuple[Tensor, Tensor]) -> Context:
        """What the network is told of a training batch."""
        no_tokens, no_caption = hidden
        words = self.heard(batch["captions"], hidden=no_caption)
        tokens = self.net.embed_tokens(batch["tokens"], no_tokens)
        beats = hidden_beats(batch.get("beats"), no_caption)
        return self.net.prepare(tokens, words, batch["token_mask"], batch["frames"], beats=beats)

    def velocity_error(self, data: Tensor, noise: Tensor, t: Tensor, given: Context, mask: Tensor) -> Tensor:
        """Mean square error of the velocity (B, D, L) at times (B, L), over the frames of the mask (B, L)."""
        alpha, sigma = (f(t)[:, None].to(data.dtype) for f in (PATH.alpha, PATH.sigma))
        v = self.net(alpha * data + sigma * noise, t * RIGHT_ANGLE, given)
        error = (v.float() - (alpha * noise - sigma * data)).square().mean(1)
        return (error * mask).sum() / mask.sum().clamp(min=1)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """The error at three angles, whole windows, with noise that is the same every time."""
        data, frames = batch["latents"], batch["frames"]
        none = torch.zeros(len(data), dtype=torch.bool, device=self.device)
        given = self.given(batch, (none, none))
        noise = ItemNoise(range(len(data)), device=self.device).start(*data.shape[1:])
        errors = []
        for time in VALIDATION_TIMES:
            t = torch.full(frames.shape, time, device=self.device)
            errors.append(self.velocity_error(data, noise, t, given, frames))
            self.log(f"val/velocity_{time:g}", errors[-1], batch_size=len(data))
        self.log("val/velocity", torch.stack(errors).mean(), prog_bar=True, batch_size=len(data))

    def nfe(self, num_steps: int | None = None, guidance: float | None = None) -> int:
        """Evaluations of the network a window; with guidance each step has two. Raises ValueError."""
        steps, weight = self.settled(num_steps, guidance)
        once = weight == 1 or self.hparams["told_guidance"]
        return sampling_plan(steps, self.hparams["jumps"]).nfe * (1 if once else 2)

    def settled(self, num_steps: int | None, guidance: float | None) -> tuple[int, float]:
        """Steps and guidance with the model's own where None. Raises ValueError out of range."""
        steps = self.hparams["default_steps"] if num_steps is None else num_steps
        weight = self.hparams["guidance"] if guidance is None else guidance
        if steps < 1:
            raise ValueError(f"steps must be 1 or more, got {steps}")
        if not weight >= 0:
            raise ValueError(f"guidance must be 0 or more (1 = off), got {weight}")
        return steps, weight

    @torch.inference_mode()
    def sample(
        self,
        tokens: Tensor,
        captions: Sequence[str],
        seeds: Sequence[int],
        *,
        num_steps: int | None = None,
        guidance: float | None = None,
        kept: Kept | None = None,
        first_frame: int = 0,
        beats: Tensor | None = None,
    ) -> Tensor:
        """Latents (B, D, L) of semantic tokens (B, T), whole chunks; kept frames come back bit for bit.

        seeds: one an item; first_frame: of the window in the whole piece, so that a frame's noise is the same
        in every window. beats: (B, T, 2) as `nn.beats` has them, None = unknown. An item depends on its own
        inputs alone. Raises ValueError for tokens that are no whole chunks and for options out of range.
        """
        steps, weight = self.settled(num_steps, guidance)
        if not tokens.shape[1] or tokens.shape[1] % self.chunk_tokens:
            raise ValueError(f"{tokens.shape[1]} tokens are no whole chunks of {self.chunk_tokens}")
        frames = tokens.shape[1] // self.chunk_tokens * self.chunk_frames
        noise = ItemNoise(seeds, device=self.device, first_frame=first_frame)
        x = noise.start(self.hparams["latent_dim"], frames)
        denoise = self.guided(tokens, captions, weight, None if kept is None else kept.mask, beats=beats)
        plan = sampling_plan(steps, self.hparams["jumps"])
        if kept is None:
            return run(plan, denoise, x, noise=noise)
        known, there = kept.latents, kept.mask[:, None]
        x = torch.where(there, known, x)
        return run(plan, denoise, x, noise=noise, x_hook=lambda x, row: torch.where(there, known, x))

    def guided(
        self,
        tokens: Tensor,
        captions: Sequence[str],
        weight: Weight,
        kept: Tensor | None = None,
        masks: tuple[Tensor, Tensor] | None = None,
        hidden: tuple[Tensor | None, Tensor | None] = (None, None),
        beats: Tensor | None = None,
    ) -> Denoiser:
        """The network as denoise(x, t) with both conditions, and if the weight is not 1 without, in one call.

        weight: one for all or (B,). kept: (B, L), True where x is music already. masks: of tokens (B, T) and
        frames (B, L), True = real. hidden: items (B,) that lose their tokens and captions, None = none.
        beats: (B, T, 2), told where the caption is.
        """
        beats = hidden_beats(beats, hidden[1])
        words, told = self.heard(captions, hidden=hidden[1]), self.net.embed_tokens(tokens, hidden[0])
        token_mask, frames = masks or (None, None)
        if self.hparams["told_guidance"]:
            weights = torch.as_tensor(weight, device=self.device).expand(len(tokens))
            given = self.net.prepare(told, words, token_mask, frames, weights, beats)
            return self.denoiser(given, kept)
        if isinstance(weight, float | int) and weight == 1:
            return self.denoiser(self.net.prepare(told, words, token_mask, frames, beats=beats), kept)
        none, drop = self.captions.none(words), torch.ones(len(tokens), dtype=torch.bool, device=self.device)
        both = Words(*(torch.cat(pair) for pair in zip(words, none, strict=True)))
        told = torch.cat((told, self.net.embed_tokens(tokens, drop)))
        beats = None if beats is None else torch.cat((beats, torch.zeros_like(beats)))
        token_mask, frames = (None if mask is None else mask.repeat(2, 1) for mask in (token_mask, frames))
        given = self.net.prepare(told, both, token_mask, frames, beats=beats)
        denoise = self.denoiser(given, None if kept is None else kept.repeat(2, 1))
        return cfg(lambda x, t: denoise(x.repeat(2, 1, 1), t.repeat(2, *[1] * (t.ndim - 1))).chunk(2), weight)

    def denoiser(self, given: Context, kept: Tensor | None = None) -> Denoiser:
        """The network as denoise(x, t) for one context: x (B, D, L), t (B,) of all frames but the kept.

        One that jumps takes t (B, 2): from where to where, which is the data if it jumps `to_data` only.
        """

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            ends = t.reshape(len(t), -1, 1).expand(-1, -1, x.shape[-1]).to(x.dtype)
            if self.hparams["to_data"]:
                ends = torch.cat((ends[:, :1], torch.zeros_like(ends[:, 1:])), dim=1)
            ends = ends if kept is None else ends.masked_fill(kept[:, None], 0)
            times = ends[:, 0]
            steps = times - ends[:, 1] if ends.shape[1] == 2 else None
            v = self.net(x, times * RIGHT_ANGLE, given, None if steps is None else steps * RIGHT_ANGLE)
            return to_x0(AngleV(), v, x, times[:, None], PATH)

        return denoise
