"""Vocos: a ConvNeXt stack that predicts an STFT, and the inverse STFT (Siuzdak 2023)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from audiogen.kernels import cpu
from audiogen.nn.conv import StreamConv1d
from audiogen.nn.convnext import ConvNeXtBlock
from audiogen.nn.istft import InverseStft, IstftState
from audiogen.nn.refinement import PhaseRefinement, RefinementState
from audiogen.nn.source import Source, SourceState
from audiogen.spectral import MelSpec

PIECE = 256  # frames
LOG_MAX = math.log(100.0)  # no single bin can explode


class VocosState(NamedTuple):
    """What a stream remembers: the inputs that convolutions still need, the source, phases, the overlap."""

    stem: Tensor
    blocks: tuple[Tensor, ...]
    source: SourceState | None
    refinements: tuple[RefinementState, ...]
    istft: IstftState


class VocosOutput(NamedTuple):
    """audio (B, 1, T), and what training looks at besides.

    magnitude (B, W // 2 + 1, N): what the head asked for. f0_scores (B, N, classes): of the source's tracker.
    """

    audio: Tensor
    magnitude: Tensor
    f0_scores: Tensor | None


class Vocos(nn.Module):
    """Log-mel frames to a waveform in one pass at frame rate.

    The head predicts magnitude and phase of every STFT bin, the inverse STFT does the upsampling (Siuzdak
    2023, section 3). n_fft: window of that STFT, a multiple of two hops, which need not be the mels' own.
    channels, hidden and blocks size the stack.

    causal: convolutions see past frames only. source: for one voice at a time, speech or singing: phases are
    relative to those of a pulse train with some noise (`Source`), of which the head says how much.
    refinements: iterations of Griffin-Lim at the end, which training sees; each costs look-ahead.

    fused: set it to let Numba compile the loops over frames (`audiogen.kernels.cpu`) for the CPU: a little
    less time, half or less for a stream in short chunks, once Numba is imported and, at the first use on a
    machine, has compiled them.
    """

    def __init__(
        self,
        mel_spec: MelSpec,
        channels: int = 256,
        hidden: int = 768,
        blocks: int = 8,
        n_fft: int = 1024,
        *,
        causal: bool = False,
        source: bool = False,
        refinements: int = 0,
    ) -> None:
        super().__init__()
        self.mel_spec = mel_spec
        self.n_fft = n_fft
        self.fused = False  # an attribute: it is no matter of what the network is
        hop, window = mel_spec.hop_length, torch.hann_window(n_fft)
        self.stem = StreamConv1d(mel_spec.n_mels, channels, 7, causal=causal)
        self.stem_norm = nn.LayerNorm(channels, eps=1e-6)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(channels, hidden, layer_scale=1 / blocks, causal=causal) for _ in range(blocks)
        )
        self.head_norm = nn.LayerNorm(channels, eps=1e-6)
        self.head = nn.Linear(channels, (3 if source else 2) * (n_fft // 2 + 1))
        self.source = (
            Source(mel_spec.n_mels, window, hop, mel_spec.sample_rate, causal=causal) if source else None
        )
        center = mel_spec.center
        self.refinements = nn.ModuleList(
            PhaseRefinement(window, hop, center=center) for _ in range(refinements)
        )
        self.istft = InverseStft(window, hop, center=center)
        self._weights: list[tuple[cpu.Array, ...]] | None = None

    @property
    def lookahead(self) -> int:
        """Frames beyond the next one that the audio up to a frame waits for."""
        stack = self.stem.lookahead + sum(block.depthwise.lookahead for block in self._blocks())
        return stack + sum(layer.lookahead for layer in self._refinements()) + self.istft.lookahead

    @property
    def lookahead_ms(self) -> float:
        """The same in milliseconds."""
        return 1000 * self.lookahead / self.mel_spec.frame_rate

    def decode(self, mel: Tensor) -> Tensor:
        """mel (B, n_mels, N), N >= 2 -> waveform (B, 1, (N - 1) hop_length); N hops if uncentred."""
        return self.synthesize(mel).audio

    forward = decode

    def synthesize(self, mel: Tensor) -> VocosOutput:
        """`decode` for training."""
        with cpu.fused(self.fused):
            _, audio, magnitudes, scores = self._stream(self.init_state(len(mel)), mel, last=True)
        return VocosOutput(audio, torch.cat(magnitudes, dim=1).transpose(1, 2), scores)

    def init_state(self, batch: int) -> VocosState:
        """The start of `batch` streams."""
        self._weights = None  # they may have moved since the last stream began
        return VocosState(
            self.stem.init_state(batch),
            tuple(block.init_state(batch) for block in self._blocks()),
            self.source.init_state(batch) if self.source is not None else None,
            tuple(layer.init_state(batch) for layer in self._refinements()),
            self.istft.init_state(batch),
        )

    def stream(self, state: VocosState, mel: Tensor, last: bool = False) -> tuple[VocosState, Tensor]:
        """The next frames (B, n_mels, n), n >= 0 -> state, the audio (B, 1, T) that is complete.

        Joined, the audio is that of `decode`. The last chunk ends the stream.
        """
        with cpu.fused(self.fused):
            state, audio, _, _ = self._stream(state, mel, last)
        return state, audio

    def _stream(
        self, state: VocosState, mel: Tensor, last: bool
    ) -> tuple[VocosState, Tensor, list[Tensor], Tensor | None]:
        """State, audio, magnitudes in pieces, scores of the source's tracker."""
        stem, blocks, out = self._stack(state, mel, last)
        source, scores = state.source, None
        if self.source is not None and source is not None:
            source, scores = self.source.track(source, mel, last)
        state = VocosState(stem, blocks, source, state.refinements, state.istft)
        # what follows is bound by memory, and pieces stay in the cache
        at_once = torch.is_grad_enabled() or out.shape[1] <= PIECE
        pieces = [out] if at_once else list(torch.split(out, PIECE, dim=1))
        audio, magnitudes = [], []
        for k, piece in enumerate(pieces):
            state, samples, magnitude = self._sound(state, piece, last and k + 1 == len(pieces))
            audio.append(samples)
            magnitudes.append(magnitude)
        joined = audio[0] if at_once else torch.cat(audio, dim=1)
        return state, joined[:, None], magnitudes, scores

    def _sound(self, state: VocosState, out: Tensor, last: bool) -> tuple[VocosState, Tensor, Tensor]:
        """The head's output (B, n, outputs) -> state, samples (B, T), magnitudes (B, n, W // 2 + 1)."""
        source = state.source
        if self.source is not None and source is not None and cpu.takes_loops(out) and out.shape[1]:
            source, magnitude, spectrum = self.source.voice(source, out, LOG_MAX)
        else:
            magnitude, spectrum, noise = self.read(out)
            if self.source is not None and source is not None:
                source, turns = self.source.phases(source, noise)
                spectrum = spectrum * turns
        refinements, spectrum = self._refine(state, spectrum, magnitude, last)
        istft, audio = self.istft.stream(state.istft, spectrum, last)
        return state._replace(source=source, refinements=refinements, istft=istft), audio, magnitude

    def read(self, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The head's output (B, n, outputs) -> magnitude, spectrum, log of a source's noise, if any."""
        bins = self.n_fft // 2 + 1
        log_magnitude, phase, noise = torch.tensor_split(out, (bins, 2 * bins), dim=2)
        magnitude = log_magnitude.clamp(max=LOG_MAX).exp()
        # torch.polar, which takes twice the time
        return magnitude, torch.complex(magnitude * phase.cos(), magnitude * phase.sin()), noise

    def _stack(self, state: VocosState, mel: Tensor, last: bool) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        """States of stem and blocks, and the head's output (B, m, outputs), float32."""
        if self.blocks and cpu.takes_products(mel, len(mel) * mel.shape[-1]):
            weights = self._weights
            if weights is None:
                weights = cpu.arrays(self.stem, self.stem_norm, *self.blocks, self.head_norm, self.head)
                self._weights = weights
            spans = self.stem.span, self._blocks()[0].depthwise.span
            return cpu.stack(state.stem, state.blocks, mel, self.head_norm.eps, spans, weights, last)
        stem, x, _ = self.stem.stream(state.stem, mel, last)
        x = self.stem_norm(x.transpose(1, 2)).transpose(1, 2)
        states = []
        for block, before in zip(self._blocks(), state.blocks, strict=True):
            after, x = block.stream(before, x, last)
            states.append(after)
        return stem, tuple(states), self.head(self.head_norm(x.transpose(1, 2))).float()

    def _refine(
        self, state: VocosState, spectrum: Tensor, magnitude: Tensor, last: bool
    ) -> tuple[tuple[RefinementState, ...], Tensor]:
        """States of the iterations, and the spectrum of the frames that are through all of them."""
        if not state.refinements:
            return (), spectrum
        consistent = torch.zeros_like(spectrum)
        states = []
        for layer, before in zip(self._refinements(), state.refinements, strict=True):
            after, spectrum, magnitude, consistent = layer.stream(
                before, spectrum, magnitude, consistent, last
            )
            states.append(after)
        return tuple(states), spectrum

    def _blocks(self) -> list[ConvNeXtBlock]:
        return [block for block in self.blocks if isinstance(block, ConvNeXtBlock)]

    def _refinements(self) -> list[PhaseRefinement]:
        return [layer for layer in self.refinements if isinstance(layer, PhaseRefinement)]
