"""An autoencoder of waveforms: few latent frames a second, and the waveform back, whole or in chunks."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.nn.basis import Basis
from audiogen.nn.clock import PhaseClock
from audiogen.nn.conv import StreamConv1d, StreamConvTranspose1d
from audiogen.nn.convnext import ChannelNorm, ConvNeXtBlock
from audiogen.nn.istft import InverseStft, IstftState
from audiogen.nn.refinement import PhaseRefinement, RefinementState
from audiogen.nn.standard import Standard
from audiogen.nn.streams import Chain, Pointwise
from audiogen.vocoders.vocos import LOG_MAX

LIMIT = 6.0  # latents lie within +-LIMIT
EXPONENT = 0.3  # of magnitudes, before their components are taken: the weak ones count too
EVEN_BELOW_HZ = 1500.0  # above, components count bins for less and less
LEAST = 5e-3  # STFT magnitude that the linear part of the decoder gives
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
    """What a stream of the decoder remembers: inputs that layers still need, phases, the overlap.

    base (B, M, bins): magnitudes of the linear part that wait for the network's.
    """

    trunk: tuple[Any, ...]
    base: Tensor
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

    Where the paper mirrors HiFi-GAN on samples, this works on STFT frames, `hop_length` samples apart, whose
    magnitudes joined over prod(strides) frames have a best linear code (`Basis`), which need not be learnt
    step by step. The encoder is that code, plus a ConvNeXt stack where encoder_blocks are given; the decoder
    is its inverse, plus a ConvNeXt stack that corrects the magnitudes and tells frequencies, from which
    `PhaseClock`, `refinements` iterations of Griffin-Lim and an inverse STFT make the waveform. Latent frame
    l stands for hop_length prod(strides) samples from l times as many on. The latents of the training data
    have about zero mean and unit variance.

    latents: values of a latent frame; strides: frames joined into one, by level, the finest level first;
    encoder_blocks (none: linear alone) and decoder_blocks: of each level, one more than strides. n_fft: a
    multiple of two hops.
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
        encoder_blocks: Sequence[int] = (),
        decoder_blocks: Sequence[int] = (3, 2),
        refinements: int = 2,
    ) -> None:
        super().__init__()
        for name, blocks in (("encoder_blocks", encoder_blocks), ("decoder_blocks", decoder_blocks)):
            if len(blocks) != len(strides) + 1 and (blocks or name == "decoder_blocks"):
                raise ValueError(
                    f"strides {tuple(strides)} make {len(strides) + 1} levels, but {name} are {tuple(blocks)}"
                )
        self.sample_rate, self.latents, self.n_fft = sample_rate, latents, n_fft
        self.frame_hop, self.stride = hop_length, prod(strides)
        window, bins = torch.hann_window(n_fft), n_fft // 2 + 1
        self.basis = Basis(self.stride * bins, latents)
        hz = torch.arange(bins) * sample_rate / n_fft
        # low partials are heard apart, high ones together
        self.register_buffer("emphasis", (1 + hz / EVEN_BELOW_HZ).rsqrt(), persistent=False)
        self.emphasis: Tensor
        self.log_variance = nn.Parameter(torch.full((latents, 1), NARROW))
        self.encoder = _encoder(bins, latents, channels, hidden, strides, encoder_blocks)
        self.trunk = Chain(
            StreamConv1d(latents, channels, 3),
            Pointwise(ChannelNorm(channels)),
            *_ascent(channels, hidden, strides, decoder_blocks),
            Pointwise(ChannelNorm(channels)),
        )
        self.head = nn.Linear(channels, 3 * bins)
        with torch.no_grad():  # begin with the linear part
            self.head.weight[:bins] *= 0.1
            self.head.bias[:bins] = 0
        self.clock = PhaseClock(n_fft, hop_length)
        self.refinements = nn.ModuleList(
            PhaseRefinement(window, hop_length, center=False) for _ in range(refinements)
        )
        self.istft = InverseStft(window, hop_length, center=False)

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
        mean = self.basis.analyse(self.joined(spectrum)).mT
        if self.encoder is None:
            return Posterior(mean, self.log_variance.expand_as(mean))
        level = spectrum.abs().clamp(min=QUIETEST * self.n_fft / 4).log().mT
        more, log_variance = self.encoder(level).float().chunk(2, dim=1)
        return Posterior(mean + more, (self.log_variance + log_variance).clamp(-12, 4))

    def joined(self, spectrum: Tensor) -> Tensor:
        """Complex STFT (B, N, bins) -> compressed magnitudes (B, L, prod(strides) bins) for the basis."""
        raised = spectrum.abs().pow(EXPONENT) * self.emphasis
        return raised.flatten(1).view(len(spectrum), -1, len(self.basis.mean))

    def encode(self, wav: Tensor) -> Tensor:
        """wav (B, 1, T) in [-1, 1], T >= 1 -> latents (B, latents, ceil(T / hop_length))."""
        return squash(self.posterior(self.spectrum(wav[:, 0])).mean)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, latents, L), L >= 1 -> waveform (B, 1, L hop_length)."""
        return self.synthesize(latents).audio

    forward = decode

    def synthesize(self, latents: Tensor) -> AutoencoderOutput:
        """`decode` for training."""
        return self._stream(self.init_state(len(latents)), latents, last=True)[1]

    def describe(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Magnitude and deviation as in `AutoencoderOutput`, without the waveform: a fifth of the work."""
        return self._read(self.init_state(len(latents)), latents, last=True)[1:3]

    def init_state(self, batch: int) -> AutoencoderState:
        """The start of `batch` streams."""
        return AutoencoderState(
            self.trunk.init_state(batch),
            self.head.weight.new_zeros(batch, 0, self.n_fft // 2 + 1),
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
        state, magnitude, deviation, offset = self._read(state, latents, last)
        # frequencies learn from their own loss: the waveform's gradient, summed over all frames, drowns it
        clock, phases = self.clock.stream(state.clock, deviation.detach(), magnitude)
        spectrum = torch.polar(magnitude, phases + offset)
        wanted, before, refinements = magnitude, torch.zeros_like(spectrum), []
        for layer, old in zip(self._refinements(), state.refinements, strict=True):
            new, spectrum, wanted, before = layer.stream(old, spectrum, wanted, before, last)
            refinements.append(new)
        istft, audio = self.istft.stream(state.istft, spectrum, last)
        state = AutoencoderState(state.trunk, state.base, clock, tuple(refinements), istft)
        return state, AutoencoderOutput(audio[:, None], magnitude, deviation)

    def _read(
        self, state: AutoencoderState, latents: Tensor, last: bool
    ) -> tuple[AutoencoderState, Tensor, Tensor, Tensor]:
        """The state after trunk and base; magnitude, deviation and phase offset (B, N, bins)."""
        trunk, x = self.trunk.stream(state.trunk, latents, last)
        more, deviation, offset = self.head(x.mT).float().chunk(3, dim=2)
        base = torch.cat((state.base, self.linear(latents)), dim=1)
        count = more.shape[1]
        magnitude = (base[:, :count] + more).clamp(max=LOG_MAX).exp()
        return state._replace(trunk=trunk, base=base[:, count:]), magnitude, deviation, offset

    def linear(self, latents: Tensor) -> Tensor:
        """Latents (B, latents, L) -> log-magnitudes (B, L prod(strides), bins) by the basis alone."""
        raised = self.basis.synthesise(unsquash(latents.float()).mT)
        raised = raised.flatten(1).view(len(latents), -1, len(self.emphasis)) / self.emphasis
        return raised.clamp(min=LEAST**EXPONENT).log() / EXPONENT

    def _refinements(self) -> list[PhaseRefinement]:
        return [layer for layer in self.refinements if isinstance(layer, PhaseRefinement)]


def squash(latents: Tensor) -> Tensor:
    """Into +-LIMIT, smoothly: the paper's clamp gives no gradient to what it clips."""
    return LIMIT * torch.tanh(latents / LIMIT)


def unsquash(latents: Tensor) -> Tensor:
    """The inverse of `squash`; what is at the limit or beyond comes from near it."""
    return LIMIT * torch.atanh((latents / LIMIT).clamp(-0.99, 0.99))


def _encoder(
    bins: int, latents: int, channels: int, hidden: int, strides: Sequence[int], blocks: Sequence[int]
) -> nn.Sequential | None:
    """What is added to the linear code; nothing at first, and nothing at all without blocks."""
    if not blocks:
        return None
    last = nn.Conv1d(channels, 2 * latents, 1)
    nn.init.zeros_(last.weight)
    if last.bias is not None:
        nn.init.zeros_(last.bias)
    return nn.Sequential(
        Standard(bins),
        nn.Conv1d(bins, channels, 3, padding=1),
        ChannelNorm(channels),
        *_descent(channels, hidden, strides, blocks),
        ChannelNorm(channels),
        last,
    )


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
