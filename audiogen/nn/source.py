"""Pulses plus noise: what a vocoder of one voice can know of a waveform before it has learnt anything.

As in neural source-filter models (Wang et al. 2019) and DDSP (Engel et al. 2020) a pulse train at the
fundamental frequency and white noise excite what a network shapes; here, frame by frame, they give the
phases of an STFT.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.kernels import cpu
from audiogen.nn.conv import StreamConv1d
from audiogen.nn.refinement import power

LOUDEST = 10.0  # log of the most noise beside the pulses: enough for noise alone, and no overflow


class F0Tracker(nn.Module):
    """Fundamental frequency from log-mels, by a classifier of half semitones between 50 and 1000 Hz.

    In float64, which costs little at this size: the phase of the harmonics is this frequency's integral over
    the whole stream, and must not depend on how the stream is cut. Like CREPE (Kim et al. 2018) it averages
    the classes around the best.
    """

    LOWEST_HZ, CLASSES, NEAR = 50.0, 105, 3

    def __init__(self, n_mels: int, channels: int = 64, layers: int = 3, *, causal: bool = False) -> None:
        super().__init__()
        self.stem = StreamConv1d(n_mels, channels, 5, causal=causal)
        self.layers = nn.ModuleList(StreamConv1d(channels, channels, 5, causal=causal) for _ in range(layers))
        self.head = nn.Linear(channels, self.CLASSES)
        self._weights: list[tuple[cpu.Array, ...]] | None = None
        self.double()

    def forward(self, mel: Tensor) -> Tensor:
        """mel (B, n_mels, N) -> scores (B, N, CLASSES)."""
        return self.stream(self.init_state(len(mel)), mel, last=True)[1]

    def init_state(self, batch: int) -> tuple[Tensor, ...]:
        """The zeros before the first frame, for each convolution."""
        self._weights = None  # they may have moved since the last stream began
        return (self.stem.init_state(batch), *(layer.init_state(batch) for layer in self._convolutions()))

    def stream(
        self, state: Sequence[Tensor], mel: Tensor, last: bool = False
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """The next frames (B, n_mels, n) -> state, scores (B, m, CLASSES) of the frames that are complete."""
        first, x, _ = self.stem.stream(state[0], mel.double(), last)
        states = [first]
        for layer, before in zip(self._convolutions(), state[1:], strict=True):
            after, y, here = layer.stream(before, F.gelu(x), last)
            states.append(after)
            x = here + y
        return tuple(states), self.head(F.gelu(x).transpose(1, 2))

    def follow(
        self, state: Sequence[Tensor], mel: Tensor, last: bool = False
    ) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        """`stream` and `frequency` in one: state, scores (B, m, CLASSES), F0 (B, m) in Hz, no gradient."""
        if not cpu.takes_products(mel, mel.shape[0] * mel.shape[2]):
            after, scores = self.stream(state, mel, last)
            return after, scores, self.frequency(scores).detach()
        weights = self._weights
        if weights is None:
            weights = self._weights = cpu.arrays(self.stem, *self.layers, self.head)
        return cpu.track(mel, state, self.LOWEST_HZ, self.NEAR, self.stem.span, weights, last)

    def _convolutions(self) -> list[StreamConv1d]:
        return [layer for layer in self.layers if isinstance(layer, StreamConv1d)]

    def frequency(self, scores: Tensor) -> Tensor:
        """Scores (B, N, CLASSES) -> F0 in Hz (B, N), the mean of the classes within NEAR of the best."""
        best = scores.argmax(-1, keepdim=True)
        classes = torch.arange(self.CLASSES, device=scores.device)
        near = (classes - best).abs() <= self.NEAR
        weights = scores.masked_fill(~near, -torch.inf).softmax(-1)
        return self.LOWEST_HZ * torch.exp2((weights * classes).sum(-1) / 24)

    def loss(self, scores: Tensor, f0: Tensor) -> Tensor:
        """Cross-entropy of scores (B, N, CLASSES) with F0 in Hz (B, N), 0 where there is none."""
        voiced = f0 > 0
        if not bool(voiced.any()):
            return scores.sum() * 0
        wanted = 24 * torch.log2(f0[voiced].double() / self.LOWEST_HZ)
        classes = torch.arange(self.CLASSES, device=f0.device)
        targets = torch.softmax(-0.5 * (classes - wanted[:, None]).square(), dim=-1)
        return F.cross_entropy(scores[voiced], targets)


class PhaseState(NamedTuple):
    """Where the pulse train is: cycles (B,) modulo 1 and f0 (B,) of the last frame, 0 before the first."""

    cycles: Tensor
    f0: Tensor


def advance(state: PhaseState, f0: Tensor, period_s: float) -> tuple[PhaseState, Tensor, Tensor]:
    """F0 (B, N) in Hz, float64, every `period_s` -> state, cycles (B, N) at the frames, slopes (B, N).

    Between frames the frequency moves along a line; the slope of a frame, in Hz/s, is that of the line before
    it, held within a tenth of the frequency a frame.
    """
    before = torch.cat((state.f0[:, None], f0[:, :-1]), dim=1)
    cycles = (state.cycles[:, None] + ((before + f0) / 2 * period_s).cumsum(1)) % 1
    change = (f0 - before).clamp(-0.1 * f0, 0.1 * f0) * (before > 0)
    if f0.shape[1] == 0:
        return state, cycles, change
    return PhaseState(cycles[:, -1], f0[:, -1]), cycles, change / period_s


def pulse_frames(cycles: Tensor, f0: Tensor, slopes: Tensor, length: int, sample_rate: int) -> Tensor:
    """Pulse trains around frame centres: all harmonics below Nyquist as cosines, unit variance.

    cycles, f0, slopes (B, N), float64 -> (B, N, length), float32. The sum of the cosines has a closed form,
    Dirichlet's kernel.
    """
    times = (torch.arange(length, device=f0.device) - length // 2) / sample_rate
    cycles, f0, slopes = (value.float().unsqueeze(-1) for value in (cycles, f0, slopes))
    phase = torch.addcmul(cycles, times, torch.addcmul(f0, slopes, times, value=0.5))
    # the kernel is even, and its limit at 0 is reached far above the smallest phase
    phase = phase.sub_(phase.round()).abs_().mul_(math.pi).clamp_(min=1e-6)
    harmonics = torch.floor(0.5 * sample_rate / f0)
    kernel = torch.sin((2 * harmonics + 1) * phase).div_(torch.sin(phase))
    return kernel.sub_(1).mul_(torch.rsqrt(2 * harmonics))


class SourceState(NamedTuple):
    """A stream's tracker, the F0 (B, M) of frames whose phases are to come, its phase, frames so far."""

    tracker: tuple[Tensor, ...]
    f0: Tensor
    phase: PhaseState
    position: int


class Source(nn.Module):
    """Phases of a pulse train with noise, frame by frame.

    window (W,): of the STFT. The noise is one stretch of NOISE_FRAMES frames, drawn
    once and repeated, so that it is the same in every run, batch and stream.
    """

    NOISE_FRAMES = 256

    def __init__(
        self, n_mels: int, window: Tensor, hop_length: int, sample_rate: int, *, causal: bool
    ) -> None:
        super().__init__()
        self.tracker = F0Tracker(n_mels, causal=causal)
        self.hop_length, self.sample_rate, self.n_fft = hop_length, sample_rate, len(window)
        noise = torch.randn(self.NOISE_FRAMES * hop_length, generator=torch.Generator().manual_seed(0))
        frames = torch.cat((noise, noise[: self.n_fft])).unfold(0, self.n_fft, hop_length)[
            : self.NOISE_FRAMES
        ]
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("noise", torch.fft.rfft(frames * window), persistent=False)
        self.window: Tensor
        self.noise: Tensor

    def init_state(self, batch: int) -> SourceState:
        """The start of a stream."""
        zeros = self.tracker.head.weight.new_zeros(batch)
        return SourceState(self.tracker.init_state(batch), zeros[:, None][:, :0], PhaseState(zeros, zeros), 0)

    def track(self, state: SourceState, mel: Tensor, last: bool = False) -> tuple[SourceState, Tensor]:
        """The next mel frames (B, n_mels, n) -> state with their F0 queued, scores of the tracker."""
        tracker, scores, f0 = self.tracker.follow(state.tracker, mel, last)
        f0 = torch.cat((state.f0, f0), dim=1) if state.f0.shape[1] else f0
        return state._replace(tracker=tracker, f0=f0), scores

    def phases(self, state: SourceState, log_noise: Tensor) -> tuple[SourceState, Tensor]:
        """State, and unit complex numbers (B, n, W // 2 + 1) with the phases of pulses plus noise.

        log_noise (B, n, W // 2 + 1): how loud the noise is beside the pulses, bin by bin.
        """
        if log_noise.shape[1] == 0:  # the transform refuses to do nothing
            return state, torch.zeros_like(log_noise, dtype=self.noise.dtype)
        state, cycles, f0, slopes, noise = self._next(state, log_noise.shape[1])
        return state, self.turns(cycles, f0, slopes, noise, log_noise)

    def voice(self, state: SourceState, head: Tensor, log_max: float) -> tuple[SourceState, Tensor, Tensor]:
        """`phases` and what they turn in one: state, magnitude, spectrum (B, n, W // 2 + 1) by `cpu.voice`.

        head (B, n, 3 (W // 2 + 1)), n > 0: logarithms of magnitudes, phases beside the source's, log_noise.
        """
        state, cycles, f0, slopes, noise = self._next(state, head.shape[1])
        frames = cpu.pulses(cycles, f0, slopes, self.window, self.sample_rate)
        return state, *cpu.voice(head, torch.fft.rfft(frames), noise, log_max, LOUDEST)

    def _next(self, state: SourceState, count: int) -> tuple[SourceState, Tensor, Tensor, Tensor, Tensor]:
        """The next frames: state, cycles, F0 and slopes (B, count), the noise's spectrum (count, F)."""
        f0, period = state.f0[:, :count], self.hop_length / self.sample_rate
        if f0.dtype == torch.float64 and cpu.takes_loops(self.window):
            cycles, slopes = cpu.advance(*state.phase, f0, period)
            phase = PhaseState(cycles[:, -1], f0[:, -1])
        else:
            phase, cycles, slopes = advance(state.phase, f0, period)
        start = state.position % len(self.noise)
        noise = self.noise[start : start + count]
        if len(noise) < count:
            noise = self.noise[(start + torch.arange(count, device=f0.device)) % len(self.noise)]
        state = SourceState(state.tracker, state.f0[:, count:], phase, state.position + count)
        return state, cycles, f0, slopes, noise

    def turns(self, cycles: Tensor, f0: Tensor, slopes: Tensor, noise: Tensor, log_noise: Tensor) -> Tensor:
        """The unit numbers of `phases` from where the pulses are, (B, n) each, and the noise's spectrum."""
        frames = pulse_frames(cycles, f0, slopes, self.n_fft, self.sample_rate) * self.window
        loudness = log_noise.clamp(max=LOUDEST).exp()
        mixed = torch.fft.rfft(frames) + noise * loudness
        return mixed * torch.rsqrt(power(torch.view_as_real(mixed)) + 1e-8)
