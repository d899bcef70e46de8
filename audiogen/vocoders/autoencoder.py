"""An autoencoder of waveforms: few latent frames a second, and the waveform back, whole or in chunks."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.nn.clock import PhaseClock
from audiogen.nn.conv import StreamConv1d, StreamConvTranspose1d
from audiogen.nn.convnext import ChannelNorm, ConvNeXtBlock
from audiogen.nn.istft import InverseStft, IstftState
from audiogen.nn.refinement import PhaseRefinement, RefinementState
from audiogen.nn.standard import Standard
from audiogen.nn.streams import Chain, Pointwise
from audiogen.vocoders.vocos import LOG_MAX

LIMIT = 3.0  # latents before normalisation lie within +-LIMIT
QUIETEST = 1e-4  # magnitude, a full-scale sine having 1, below which the encoder hears silence
NARROW = -4.0  # log-variance of the untrained encoder


class Posterior(NamedTuple):
    """Diagonal Gaussians of the encoder: mean and log_variance, both (B, D, L)."""

    mean: Tensor
    log_variance: Tensor

    def sample(self) -> Tensor:
        """One draw (B, D, L), with gradients."""
        return self.mean + (0.5 * self.log_variance).exp() * torch.randn_like(self.mean)

    def divergence(self) -> Tensor:
        """KL divergence from standard normals, mean over all values (Kingma & Welling 2014, appendix B)."""
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance).mean()


class AutoencoderState(NamedTuple):
    """What a stream of the decoder remembers: inputs that layers still need, phases, the overlap."""

    trunk: tuple[Any, ...]
    clock: Tensor
    refinements: tuple[RefinementState, ...]
    istft: IstftState


class AutoencoderOutput(NamedTuple):
    """audio (B, 1, T), and what training looks at besides.

    magnitude and deviation (B, N, n_fft // 2 + 1): what the head asked for, the latter as `PhaseClock` says.
    """

    audio: Tensor
    magnitude: Tensor
    deviation: Tensor


class Autoencoder(nn.Module):
    """Waveform to latents and back, trained as a VAE-GAN (MeLoDy, Lam et al. 2023, appendix), at frame rate.

    Where the paper mirrors HiFi-GAN on samples, encoder and decoder here are ConvNeXt stacks on STFT frames,
    `hop_length` samples apart: the encoder reads log-magnitudes, the decoder gives magnitudes and
    frequencies, from which `PhaseClock`, `refinements` iterations of Griffin-Lim and an inverse STFT make the
    waveform. Latent frame l stands for hop_length prod(strides) samples from l times as many on.

    latents: values of a latent frame; strides: 2 or more frames joined into one, by level, the finest level
    first; encoder_blocks and decoder_blocks: of each level, one more than strides. n_fft: a multiple of two
    hops. The latents that `encode` gives and `decode` takes have about zero mean and unit variance in the
    training data, by the statistics `latent_mean` and `latent_std`.
    """

    def __init__(
        self,
        sample_rate: int = 24000,
        latents: int = 64,
        hop_length: int = 256,
        n_fft: int = 1536,
        strides: Sequence[int] = (2,),
        channels: int = 256,
        hidden: int = 768,
        encoder_blocks: Sequence[int] = (2, 3),
        decoder_blocks: Sequence[int] = (3, 2),
        refinements: int = 2,
    ) -> None:
        super().__init__()
        if not len(encoder_blocks) == len(decoder_blocks) == len(strides) + 1:
            raise ValueError(
                f"strides {tuple(strides)} make {len(strides) + 1} levels, but encoder_blocks "
                f"{tuple(encoder_blocks)} and decoder_blocks {tuple(decoder_blocks)} do not; give one a level"
            )
        self.sample_rate, self.latents, self.n_fft = sample_rate, latents, n_fft
        self.frame_hop, self.stride = hop_length, prod(strides)
        window, bins = torch.hann_window(n_fft), n_fft // 2 + 1
        self.levels = Standard(bins)  # of log-magnitudes
        self.encoder = nn.Sequential(
            nn.Conv1d(bins, channels, 3, padding=1),
            ChannelNorm(channels),
            *_descent(channels, hidden, strides, encoder_blocks),
            ChannelNorm(channels),
            nn.Conv1d(channels, 2 * latents, 1),
        )
        self.trunk = Chain(
            StreamConv1d(latents, channels, 3),
            Pointwise(ChannelNorm(channels)),
            *_ascent(channels, hidden, strides, decoder_blocks),
            Pointwise(ChannelNorm(channels)),
        )
        self.head = nn.Linear(channels, 3 * bins)
        with torch.no_grad():  # draws as wide as the means would hide them, and no decoder would listen
            last = self.encoder[-1]
            assert isinstance(last, nn.Conv1d)
            assert last.bias is not None
            last.weight.mul_(0.5)
            last.bias[latents:] = NARROW
        self.clock = PhaseClock(n_fft, hop_length)
        self.refinements = nn.ModuleList(
            PhaseRefinement(window, hop_length, center=False) for _ in range(refinements)
        )
        self.istft = InverseStft(window, hop_length, center=False)
        self.register_buffer("latent_mean", torch.zeros(latents))
        self.register_buffer("latent_std", torch.ones(latents))
        self.latent_mean: Tensor
        self.latent_std: Tensor

    @property
    def hop_length(self) -> int:
        """Samples of a latent frame."""
        return self.frame_hop * self.stride

    @property
    def frame_rate(self) -> float:
        """Latent frames a second."""
        return self.sample_rate / self.hop_length

    @property
    def lookahead(self) -> int:
        """Latent frames beyond the next one that the audio up to a frame waits for."""
        layers = [layer for layer in self.refinements if isinstance(layer, PhaseRefinement)]
        frames = self.trunk.lookahead + sum(layer.lookahead for layer in layers) + self.istft.lookahead
        return -(-(frames + 1) // self.stride) - 1

    @property
    def lookahead_ms(self) -> float:
        """The same in milliseconds."""
        return 1000 * self.lookahead / self.frame_rate

    def spectrum(self, wav: Tensor) -> Tensor:
        """wav (B, T) -> complex STFT (B, N, n_fft // 2 + 1), N = ceil(T / hop_length) prod(strides).

        Frame n lies around the middle of hop n; beyond the edges is silence.
        """
        edge = (self.n_fft - self.frame_hop) // 2
        wav = F.pad(wav.float(), (edge, edge + -wav.shape[-1] % self.hop_length))
        return torch.fft.rfft(wav.unfold(1, self.n_fft, self.frame_hop) * self.istft.window)

    def posterior(self, spectrum: Tensor) -> Posterior:
        """What `spectrum` gives -> Gaussians over latents before `squash`."""
        level = spectrum.abs().clamp(min=QUIETEST * self.n_fft / 4).log().mT
        mean, log_variance = self.encoder(self.levels(level)).float().chunk(2, dim=1)
        return Posterior(mean, log_variance.clamp(-12, 4))

    def encode(self, wav: Tensor) -> Tensor:
        """wav (B, 1, T) in [-1, 1], T >= 1 -> normalised latents (B, latents, ceil(T / hop_length))."""
        return self.normalise(squash(self.posterior(self.spectrum(wav[:, 0])).mean))

    def normalise(self, squashed: Tensor) -> Tensor:
        """Latents (B, latents, L) within +-LIMIT -> those of unit variance."""
        return (squashed - self.latent_mean[:, None]) / self.latent_std[:, None]

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents (B, latents, L), L >= 1 -> waveform (B, 1, L hop_length)."""
        return self.synthesize(latents).audio

    forward = decode

    def synthesize(self, latents: Tensor) -> AutoencoderOutput:
        """`decode` for training."""
        return self._stream(self.init_state(len(latents)), latents, last=True)[1]

    def describe(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Magnitude and deviation as in `AutoencoderOutput`, without the waveform: a fifth of the work."""
        _, magnitude, deviation, _ = self._read(self.trunk.init_state(len(latents)), latents, last=True)
        return magnitude, deviation

    def init_state(self, batch: int) -> AutoencoderState:
        """The start of `batch` streams."""
        return AutoencoderState(
            self.trunk.init_state(batch),
            self.clock.init_state(batch),
            tuple(layer.init_state(batch) for layer in self._refinements()),
            self.istft.init_state(batch),
        )

    def stream(
        self, state: AutoencoderState, latents: Tensor, last: bool = False
    ) -> tuple[AutoencoderState, Tensor]:
        """The next latents (B, latents, n), n >= 0 -> state, the audio (B, 1, T) that is complete.

        Joined, the audio is that of `decode`. The last chunk ends the stream.
        """
        state, output = self._stream(state, latents, last)
        return state, output.audio

    def _stream(
        self, state: AutoencoderState, latents: Tensor, last: bool
    ) -> tuple[AutoencoderState, AutoencoderOutput]:
        trunk, magnitude, deviation, offset = self._read(state.trunk, latents, last)
        # frequencies learn from their own loss: the waveform's gradient, summed over all frames, drowns it
        clock, phases = self.clock.stream(state.clock, deviation.detach(), magnitude)
        spectrum = torch.polar(magnitude, phases + offset)
        wanted, before, refinements = magnitude, torch.zeros_like(spectrum), []
        for layer, old in zip(self._refinements(), state.refinements, strict=True):
            new, spectrum, wanted, before = layer.stream(old, spectrum, wanted, before, last)
            refinements.append(new)
        istft, audio = self.istft.stream(state.istft, spectrum, last)
        state = AutoencoderState(trunk, clock, tuple(refinements), istft)
        return state, AutoencoderOutput(audio[:, None], magnitude, deviation)

    def _read(
        self, state: tuple[Any, ...], latents: Tensor, last: bool
    ) -> tuple[tuple[Any, ...], Tensor, Tensor, Tensor]:
        """Normalised latents -> the trunk's state; magnitude, deviation and phase offset (B, N, bins)."""
        squashed = latents * self.latent_std[:, None] + self.latent_mean[:, None]
        state, x = self.trunk.stream(state, squashed, last)
        loudness, deviation, offset = self.head(x.mT).float().chunk(3, dim=2)
        return state, self.levels.inverse(loudness).clamp(max=LOG_MAX).exp(), deviation, offset

    def _refinements(self) -> list[PhaseRefinement]:
        return [layer for layer in self.refinements if isinstance(layer, PhaseRefinement)]


def squash(latents: Tensor) -> Tensor:
    """Into +-LIMIT, smoothly: the paper's clamp gives no gradient to what it clips."""
    return LIMIT * torch.tanh(latents / LIMIT)


def _descent(channels: int, hidden: int, strides: Sequence[int], blocks: Sequence[int]) -> list[nn.Module]:
    """The encoder's levels, from fine to coarse. Kernels are multiples of their strides."""
    layers: list[nn.Module] = []
    for count, stride in zip(blocks, (*strides, None), strict=True):
        layers += [ConvNeXtBlock(channels, hidden) for _ in range(count)]
        if stride is not None:
            kernel = _kernel(stride)
            layers.append(nn.Conv1d(channels, channels, kernel, stride, padding=(kernel - stride) // 2))
    return layers


def _ascent(channels: int, hidden: int, strides: Sequence[int], blocks: Sequence[int]) -> list[nn.Module]:
    """The decoder's levels, from coarse to fine."""
    layers: list[nn.Module] = []
    for count, stride in zip(reversed(blocks), (*reversed(strides), None), strict=True):
        layers += [ConvNeXtBlock(channels, hidden) for _ in range(count)]
        if stride is not None:
            layers.append(StreamConvTranspose1d(channels, channels, _kernel(stride), stride))
    return layers


def _kernel(stride: int) -> int:
    """The smallest multiple of a stride, above one, that lies centred over it."""
    return 2 * stride if stride % 2 == 0 else 3 * stride
