"""MeLoDy as a whole (Lam et al. 2023): words to semantic tokens to latents to sound, without end."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.music import MusicOptions, Passes, Prompts
from audiogen.nn.beats import next_beat, steady_beats
from audiogen.nn.lm import Choice
from audiogen.report import StageTimer
from audiogen.steering import Like
from audiogen.systems.melody import Kept, MeLoDy
from audiogen.systems.melody_generator import MeLoDyGenerator, known_tokens, written
from audiogen.systems.melody_lm import MeLoDyLM
from audiogen.text.tempo import told_bpm
from audiogen.training.checkpoint import load_checkpoint, read_weights
from audiogen.weights import CHECKPOINT, build, load_released

PARTS = ("lm", "diffusion", "autoencoder", "tokenizer")
HALF = ("lm", "diffusion")  # parts whose weights are released with 16 bits
STEERED_CHOICE, STEERED_GUIDANCE = Choice(top_p=0.95), 1.5  # of tokens: steering is to change what they say


@dataclass
class MusicState:
    """Where a stream stands; as large after an hour as after a minute.

    tokens: (B, T) and latents: (B, D, L), the newest that are remembered, whole chunks; beats: (B, T, 2) of
    the tokens, as `nn.beats` has them. made: chunks before what comes next. decoder: of the autoencoder.
    """

    tokens: Tensor
    beats: Tensor
    latents: Tensor
    made: int
    decoder: Any


class MeLoDyMusic(L.LightningModule):
    """The parts of MeLoDy, made together for use: `stream` and nothing to train.

    parts: for each of PARTS its "system" in SYSTEMS and "hparams". advance: chunks that are made at once when
    music goes on; it begins with a whole window of them. Raises ValueError for parts that do not fit.
    """

    def __init__(self, parts: Mapping[str, Mapping[str, Any]], advance: int = 2) -> None:
        super().__init__()
        if missing := [name for name in PARTS if name not in parts]:
            raise ValueError(f"MeLoDy lacks its {' and '.join(missing)}; give all of {', '.join(PARTS)}")
        self.save_hyperparameters()
        self.lm: MeLoDyLM = _build(parts["lm"])
        self.diffusion: MeLoDy = _build(parts["diffusion"])
        self.autoencoder = _build(parts["autoencoder"])
        self.tokenizer = _build(parts["tokenizer"])
        self.advance = advance
        self.sample_rate = int(self.coder.sample_rate)
        self._check()

    def _check(self) -> None:
        """Refuse parts of different sizes."""
        wanted = {
            "latents": (self.coder.latents, self.diffusion.hparams["latent_dim"]),
            "tokens": (self.lm.hparams["vocabulary"], self.diffusion.hparams["vocabulary"]),
            "tokens of the tokenizer": (self.tokenizer.vocabulary, self.diffusion.hparams["vocabulary"]),
        }
        for what, (a, b) in wanted.items():
            if a != b:
                raise ValueError(
                    f"the parts of MeLoDy differ in their {what}: {a} and {b}; train them on one file"
                )
        if self.lm.context <= (window := self.chunks * self.diffusion.chunk_tokens):
            raise ValueError(f"the language model remembers {self.lm.context} tokens; a window has {window}")
        seconds = self.diffusion.chunk_tokens / self.tokenizer.frame_rate
        if abs(seconds - self.chunk_seconds) > 1e-6 * seconds:
            raise ValueError(
                f"a chunk has {self.chunk_seconds:g} s of latents and {seconds:g} s of tokens; "
                "the tokenizer or the autoencoder is another than in training"
            )

    @property
    def coder(self) -> Any:
        """The autoencoder itself, without what trains it."""
        return getattr(self.autoencoder, "generator", self.autoencoder)

    @property
    def chunk_samples(self) -> int:
        """Samples of a chunk."""
        return self.diffusion.chunk_frames * int(self.coder.hop_length)

    @property
    def chunk_seconds(self) -> float:
        """Seconds of a chunk."""
        return self.chunk_samples / self.sample_rate

    @property
    def chunks(self) -> int:
        """Chunks of a window."""
        return self.diffusion.chunks

    def release_state(self) -> dict[str, Tensor]:
        """The tensors of all parts that use needs."""
        return {
            f"{name}.{key}": tensor.half() if name in HALF and tensor.is_floating_point() else tensor
            for name in PARTS
            for key, tensor in _release_state(getattr(self, name)).items()
        }

    def load_release_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the tensors of `release_state`."""
        for name in PARTS:
            prefix = f"{name}."
            part = {key.removeprefix(prefix): t for key, t in state.items() if key.startswith(prefix)}
            load_released(getattr(self, name), part)

    def unknown_words(self, caption: str) -> list[str]:
        """Words of a caption that neither model has learned."""
        known = set(self.lm.unknown_words(caption)) & set(self.diffusion.unknown_words(caption))
        return [word for word in self.lm.unknown_words(caption) if word in known]

    def at_once(self, options: MusicOptions, first: bool) -> int:
        """Chunks that are made together, at first or later. Raises ValueError for more than fit a window."""
        wanted = options.opening if first else options.advance
        chunks = (self.chunks if first else self.advance) if wanted is None else wanted
        limit = self.chunks if first else self.chunks - 1
        if chunks > limit:
            raise ValueError(
                f"{'opening' if first else 'advance'} of {chunks} chunks is too much: a window has "
                f"{self.chunks}" + ("" if first else ", one of which is known")
            )
        return chunks

    def plan(self, seconds: float, options: MusicOptions, *, begun: bool = False) -> list[int]:
        """Chunks of every round until `seconds` are made. begun: there is music that it goes on from."""
        if not (seconds > 0 and math.isfinite(seconds)):
            raise ValueError(f"seconds must be positive, got {seconds}")
        left = math.ceil(seconds / self.chunk_seconds - 1e-6)
        rounds: list[int] = []
        while left > 0:
            rounds.append(min(left, self.at_once(options, first=not (rounds or begun))))
            left -= rounds[-1]
        return rounds

    def passes(self, seconds: float, options: MusicOptions) -> Passes:
        """Forward passes of an item of that length; two for a step with guidance, in either model."""
        rounds = self.plan(seconds, options)
        steps = self.diffusion.nfe(options.num_steps, options.guidance)
        tokens = sum(rounds) * self.diffusion.chunk_tokens
        return Passes(tokens * (1 if options.lm_guidance == 1 else 2), steps * len(rounds))

    @torch.inference_mode()
    def begin(self, items: int, before: Tensor | None = None) -> MusicState:
        """A stream of so many items at its start, or after music (B, 1, T) that went before.

        Of that the last whole chunks are remembered. Raises ValueError where it has none.
        """
        decoder = self.coder.init_state(items)
        if before is None:
            nothing = torch.zeros(items, 0, dtype=torch.int64, device=self.device)
            latents = torch.zeros(items, self.diffusion.hparams["latent_dim"], 0, device=self.device)
            return MusicState(nothing, torch.zeros(items, 0, 2, device=self.device), latents, 0, decoder)
        known = min(before.shape[-1] // self.chunk_samples, self._remembered())
        if known < 1:
            raise ValueError(
                f"music can go on from {self.chunk_seconds:.2f} s or more, got "
                f"{before.shape[-1] / self.sample_rate:.2f} s"
            )
        end = before[..., before.shape[-1] - known * self.chunk_samples :].to(self.device)
        latents, tokens = self.coder.encode(end), self.tokenizer.encode(end[:, 0])
        tokens = tokens[:, : known * self.diffusion.chunk_tokens]
        latents = latents[..., : known * self.diffusion.chunk_frames]
        beats = torch.zeros(*tokens.shape, 2, device=self.device)  # which it does not listen for
        latents = latents[..., max(0, latents.shape[-1] - self._free(1)) :]
        return MusicState(tokens, beats, latents, known, decoder)

    @torch.inference_mode()
    def compose(
        self,
        state: MusicState,
        captions: Sequence[str],
        seeds: Sequence[int],
        chunks: int,
        options: MusicOptions,
        timer: StageTimer,
    ) -> tuple[MusicState, Tensor]:
        """The next chunks of music -> state, their latents (B, D, L) (Lam et al. 2023, Algorithm 2).

        The newest chunks that fit the window stay as they are, at angle 0; the new ones come out of noise.
        """
        n = chunks * self.diffusion.chunk_tokens
        beats = torch.cat((state.beats, self.beats(captions, n, next_beat(state.beats))), dim=1)
        with timer.stage("lm"):
            new = self.lm.extend(
                state.tokens,
                captions,
                seeds,
                n,
                choice=Choice(options.temperature, options.top_k, options.top_p),
                guidance=options.lm_guidance,
                first=state.made * self.diffusion.chunk_tokens,
                beats=beats,
            )
            tokens = torch.cat((state.tokens, new), dim=1)
        with timer.stage("diffusion"):
            told = replace(state, tokens=tokens, beats=beats)
            made = self._window(told, captions, seeds, chunks, options)
        kept = made[..., max(0, made.shape[-1] - self._free(1)) :]
        old = max(0, tokens.shape[1] - self._remembered() * self.diffusion.chunk_tokens)
        latents = made[..., -chunks * self.diffusion.chunk_frames :]
        made_so_far = state.made + chunks
        return MusicState(tokens[:, old:], beats[:, old:], kept, made_so_far, state.decoder), latents

    def beats(self, captions: Sequence[str], tokens: int, first: Tensor | None = None) -> Tensor:
        """Beats (B, tokens, 2) of the tempi that captions tell; first (B,): of the first token, else 0."""
        rates = [(told_bpm(caption) or 0.0) / 60 / self.tokenizer.frame_rate for caption in captions]
        rate = torch.tensor(rates, device=self.device)
        return steady_beats(torch.zeros_like(rate) if first is None else first, rate, tokens)

    def _window(
        self,
        state: MusicState,
        captions: Sequence[str],
        seeds: Sequence[int],
        chunks: int,
        options: MusicOptions,
    ) -> Tensor:
        """Latents of a window (B, D, L) whose last chunks are new; the state has their tokens already."""
        diffusion, frames = self.diffusion, chunks * self.diffusion.chunk_frames
        known = state.latents[..., max(0, state.latents.shape[-1] - self._free(chunks)) :]
        old = known.shape[-1] // diffusion.chunk_frames
        there = torch.arange(known.shape[-1] + frames, device=self.device) < known.shape[-1]
        n = (old + chunks) * diffusion.chunk_tokens
        return diffusion.sample(
            state.tokens[:, -n:],
            captions,
            seeds,
            num_steps=options.num_steps,
            guidance=options.guidance,
            kept=Kept(F.pad(known, (0, frames)), there.expand(len(known), -1)) if old else None,
            first_frame=(state.made - old) * diffusion.chunk_frames,
            beats=state.beats[:, -n:],
        )

    @property
    def window_seconds(self) -> float:
        """The longest piece that is made at once."""
        return self.chunks * self.chunk_seconds

    @torch.no_grad()
    def generator(
        self,
        prompt: str,
        seeds: Sequence[int],
        seconds: float,
        *,
        guidance: float | None = None,
        like: Like | None = None,
    ) -> MeLoDyGenerator:
        """The diffusion of a window to be steered, as `SteerableSystem` says.

        The language model writes the tokens, but for those of a recording, which are read from it and whose
        beats it does not know.
        """
        chunks = math.ceil(seconds / self.chunk_seconds - 1e-6)
        if not 1 <= chunks <= self.chunks:
            raise ValueError(
                f"{seconds:g} s cannot be made at once; ask for up to {self.window_seconds:.2f} s"
            )
        count, captions = chunks * self.diffusion.chunk_tokens, [prompt] * len(seeds)
        known, unknown, skip = known_tokens(self.tokenizer, like, count, self.device)
        beats = self.beats(captions, count) if like is None else None
        tokens = written(self.lm, known, unknown, captions, seeds, STEERED_CHOICE, STEERED_GUIDANCE, beats)
        return MeLoDyGenerator(self.diffusion, self.coder, tokens[:, skip:], captions, seeds, guidance, beats)

    def stream(
        self,
        prompts: str | Prompts,
        seeds: Sequence[int] = (0,),
        options: MusicOptions | None = None,
        *,
        seconds: float | None = None,
        before: Tensor | None = None,
        lead: int = 0,
        timer: StageTimer | None = None,
    ) -> Iterator[Tensor]:
        """Blocks (B, 1, T) of music, as `MusicSystem` says; a new prompt holds from the next round on.

        Joined they are the same however they are read. Raises ValueError for options that it cannot follow.
        """
        options, timer = options or MusicOptions(), timer or StageTimer(self.device)
        with timer.stage("io"):
            state = self.begin(len(seeds), before)
        # what the decoder has to forget: the copy of what went before, but for its lead
        skip, left = self._remembered_samples(state) - lead, None
        if seconds is not None:
            left = round(seconds * self.sample_rate) + lead
        rounds = None if seconds is None else iter(self.plan(seconds, options, begun=before is not None))
        start, old = state.made, state.latents
        while left is None or left > 0:
            first = state.made == 0
            chunks = self.at_once(options, first) if rounds is None else next(rounds)
            captions = _captions(prompts, (state.made - start) * self.chunk_seconds, len(seeds))
            state, latents = self.compose(state, captions, seeds, chunks, options, timer)
            done = left is not None and state.made - start >= self._chunks_of(seconds)
            with timer.stage("decoder"):
                state, wav = self._decoded(state, torch.cat((old, latents), dim=-1), last=done)
            old = latents[..., :0]
            skip, wav = max(0, skip - wav.shape[-1]), wav[..., min(skip, wav.shape[-1]) :]
            if left is not None:
                wav = wav[..., :left]
                left = 0 if done else left - wav.shape[-1]
            if wav.shape[-1]:
                yield wav

    @torch.inference_mode()
    def _decoded(self, state: MusicState, latents: Tensor, last: bool) -> tuple[MusicState, Tensor]:
        decoder, wav = self.coder.stream(state.decoder, latents, last)
        return replace(state, decoder=decoder), wav

    def _free(self, chunks: int) -> int:
        """Frames that may stay in a window beside new chunks."""
        return (self.chunks - chunks) * self.diffusion.chunk_frames

    def _remembered(self) -> int:
        """Chunks whose tokens are remembered: by the language model, and at least those of the window."""
        return max(self.lm.context // self.diffusion.chunk_tokens, self.chunks)

    def _remembered_samples(self, state: MusicState) -> int:
        return state.latents.shape[-1] * int(self.coder.hop_length)

    def _chunks_of(self, seconds: float | None) -> int:
        return math.ceil((seconds or 0) / self.chunk_seconds - 1e-6)


def assemble(files: Mapping[str, str], advance: int = 2) -> MeLoDyMusic:
    """One system of checkpoints or released weights, for each of PARTS a path or name. Raises ValueError."""
    if unknown := sorted(set(files) - set(PARTS)):
        raise ValueError(f"MeLoDy has no part {unknown[0]!r}; its parts are {', '.join(PARTS)}")
    found = {name: _read(file) for name, file in files.items()}
    system = MeLoDyMusic({n: {"system": key, "hparams": h} for n, (key, h, _) in found.items()}, advance)
    system.load_release_state(
        {f"{name}.{k}": t for name, (_, _, state) in found.items() for k, t in state.items()}
    )
    return system.eval()


def _read(file: str) -> tuple[str, dict[str, Any], Mapping[str, Tensor]]:
    """System, hyper-parameters and released tensors of a part."""
    key, hparams, state = read_weights(file)
    return key, hparams, _release_state(load_checkpoint(file)) if Path(file).suffix == CHECKPOINT else state


def _captions(prompts: str | Prompts, second: float, items: int) -> Sequence[str]:
    captions = (
        [prompts] * items if isinstance(prompts, str) else prompts(second) if callable(prompts) else prompts
    )
    if len(captions) != items:
        raise ValueError(f"{items} seeds need as many captions, got {len(captions)}")
    return captions


def _build(part: Mapping[str, Any]) -> Any:
    return build(part["system"], part["hparams"])


def _release_state(part: Any) -> Mapping[str, Tensor]:
    state: Mapping[str, Tensor] = (
        part.release_state() if hasattr(part, "release_state") else part.state_dict()
    )
    return state
