"""Vocos: a ConvNeXt stack that predicts an STFT, and the inverse STFT (Siuzdak 2023)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from audiogen.nn.conv import StreamConv1d
from audiogen.nn.convnext import ConvNeXtBlock
from audiogen.nn.istft import InverseStft, IstftState
from audiogen.nn.source import Source, SourceState
from audiogen.spectral import MelSpec

LOG_MAX = math.log(100.0)  # no single bin can explode


class VocosState(NamedTuple):
    """What a stream remembers: the inputs that convolutions still need, the source, the overlap."""

    stem: Tensor
    blocks: tuple[Tensor, ...]
    source: SourceState | None
    istft: IstftState


class Vocos(nn.Module):
    """Log-mel frames to a waveform in one pass at frame rate.

    The head predicts every STFT bin, the inverse STFT does the upsampling (Siuzdak 2023, section 3). n_fft:
    window of that STFT, a multiple of the hop, which need not be the mels' own. channels, hidden and blocks
    size the stack.

    causal: convolutions see past frames only. source: for one voice at a time, speech or singing: the head
    predicts filters of a pulse train and of noise (`Source`) instead of a spectrum from nothing.
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
    ) -> None:
        super().__init__()
        self.mel_spec = mel_spec
        self.n_fft = n_fft
        window = torch.hann_window(n_fft)
        if source:
            window = window.sqrt()  # it cuts the source into frames as well as the filtered frames
        self.stem = StreamConv1d(mel_spec.n_mels, channels, 7, causal=causal)
        self.stem_norm = nn.LayerNorm(channels, eps=1e-6)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(channels, hidden, layer_scale=1 / blocks, causal=causal) for _ in range(blocks)
        )
        self.head_norm = nn.LayerNorm(channels, eps=1e-6)
        self.head = nn.Linear(channels, (3 if source else 2) * (n_fft // 2 + 1))
        self.source = (
            Source(mel_spec.n_mels, window, mel_spec.hop_length, mel_spec.sample_rate, causal=causal)
            if source
            else None
        )
        self.istft = InverseStft(window, mel_spec.hop_length, center=mel_spec.center)

    @property
    def lookahead(self) -> int:
        """Frames beyond the next one that the audio up to a frame waits for."""
        stack = self.stem.lookahead + sum(block.depthwise.lookahead for block in self._blocks())
        return stack + self.istft.lookahead

    @property
    def lookahead_ms(self) -> float:
        """The same in milliseconds."""
        return 1000 * self.lookahead / self.mel_spec.frame_rate

    def decode(self, mel: Tensor) -> Tensor:
        """mel (B, n_mels, N), N >= 2 -> waveform (B, 1, (N - 1) hop_length); N hops if uncentred."""
        return self.stream(self.init_state(len(mel)), mel, last=True)[1]

    forward = decode

    def init_state(self, batch: int) -> VocosState:
        """The start of `batch` streams."""
        return VocosState(
            self.stem.init_state(batch),
            tuple(block.init_state(batch) for block in self._blocks()),
            self.source.init_state(batch) if self.source is not None else None,
            self.istft.init_state(batch),
        )

    def stream(self, state: VocosState, mel: Tensor, last: bool = False) -> tuple[VocosState, Tensor]:
        """The next frames (B, n_mels, n), n >= 0 -> state, the audio (B, 1, T) that is complete.

        Joined, the audio is that of `decode`. Each state serves once; the last chunk ends the stream.
        """
        state, audio, _ = self._stream(state, mel, last)
        return state, audio

    def decode_and_score(self, mel: Tensor) -> tuple[Tensor, Tensor | None]:
        """What training needs: the waveform of `decode`, and the F0 scores (B, N, classes) of the source."""
        _, audio, scores = self._stream(self.init_state(len(mel)), mel, last=True)
        return audio, scores

    def _stream(self, state: VocosState, mel: Tensor, last: bool) -> tuple[VocosState, Tensor, Tensor | None]:
        stem, x, _ = self.stem.stream(state.stem, mel, last)
        x = self.stem_norm(x.transpose(1, 2)).transpose(1, 2)
        states = []
        for block, before in zip(self._blocks(), state.blocks, strict=True):
            after, x = block.stream(before, x, last)
            states.append(after)
        filters = self.head(self.head_norm(x.transpose(1, 2))).transpose(1, 2).float()
        source, scores = state.source, None
        if self.source is None or source is None:
            spectrum = self._spectrum(filters)
        else:
            source, scores = self.source.track(source, mel, last)
            spectrum = filters.new_zeros(len(filters), self.n_fft // 2 + 1, 0, dtype=torch.complex64)
            if filters.shape[-1]:
                source, pulses, noise = self.source.spectra(source, filters.shape[-1])
                spectrum = self._filtered(filters, pulses, noise)
        istft, audio = self.istft.stream(state.istft, spectrum, last)
        return VocosState(stem, tuple(states), source, istft), audio[:, None], scores

    @staticmethod
    def _spectrum(out: Tensor) -> Tensor:
        """Log-magnitudes and phases (B, W + 2, N) -> complex STFT (B, W // 2 + 1, N)."""
        log_magnitude, phase = out.chunk(2, dim=1)
        return torch.polar(log_magnitude.clamp(max=LOG_MAX).exp(), phase)

    @staticmethod
    def _filtered(out: Tensor, pulses: Tensor, noise: Tensor) -> Tensor:
        """The filters (B, 3 (W // 2 + 1), N): gain and phase for the pulses, gain for the noise."""
        voiced, phase, unvoiced = out.chunk(3, dim=1)
        filtered = torch.polar(voiced.clamp(max=LOG_MAX).exp(), phase) * pulses
        return filtered + unvoiced.clamp(max=LOG_MAX).exp() * noise

    def _blocks(self) -> list[ConvNeXtBlock]:
        return [block for block in self.blocks if isinstance(block, ConvNeXtBlock)]
