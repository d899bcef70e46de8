"""The inverse STFT, whole and in chunks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class IstftState(NamedTuple):
    """What later frames still add to, and how far the stream is.

    audio (B, W - hop): windowed sums not handed out yet. weight (W - hop,): sums of the squared window there.
    skip: samples at the start that are still to be dropped.
    """

    audio: Tensor
    weight: Tensor
    skip: int


class InverseStft(nn.Module):
    """Windowed overlap-add of an STFT, normalised by the summed squared window (Griffin & Lim 1984).

    center: N frames, centred on multiples of hop_length, give (N - 1) hop_length samples, as `torch.istft`
    does; otherwise each is centred on a hop of its own and they give N hop_length samples. window (W,), W a
    multiple of hop_length. A sample waits for `lookahead` frames beyond the next one.
    """

    def __init__(self, window: Tensor, hop_length: int, *, center: bool = True) -> None:
        super().__init__()
        if len(window) % hop_length or len(window) < 2 * hop_length:
            raise ValueError(
                f"a window of {len(window)} samples is no multiple of hop_length {hop_length}, or below two; "
                "choose n_fft as a multiple of hop_length"
            )
        if not center and (len(window) - hop_length) % 2:
            raise ValueError(
                f"frames of {len(window)} samples cannot be centred on hops of {hop_length}: choose both even"
            )
        self.hop_length = hop_length
        self.n_fft = len(window)
        self.skip = self.n_fft // 2 if center else (self.n_fft - hop_length) // 2
        # samples at the end that wait for no frame; centred, the last frame gives nothing beyond its centre
        self.tail = max(0, self.n_fft // 2 - hop_length) if center else self.skip
        self.lookahead = self.n_fft // 2 // hop_length - 1 if center else -(-self.skip // hop_length) - 1
        self.register_buffer("window", window, persistent=False)
        self.window: Tensor

    def forward(self, spectrum: Tensor) -> Tensor:
        """Complex (B, W // 2 + 1, N), N >= 2 -> waveform (B, (N - 1) hop_length), or N hops uncentred."""
        return self.stream(self.init_state(len(spectrum)), spectrum, last=True)[1]

    def init_state(self, batch: int) -> IstftState:
        """Nothing yet."""
        rest = self.n_fft - self.hop_length
        return IstftState(self.window.new_zeros(batch, rest), self.window.new_zeros(rest), self.skip)

    def stream(self, state: IstftState, spectrum: Tensor, last: bool = False) -> tuple[IstftState, Tensor]:
        """The next frames (B, W // 2 + 1, n) -> state, the samples (B, T) that are complete."""
        count = spectrum.shape[-1]
        if count:
            frames = torch.fft.irfft(spectrum.transpose(1, 2), self.n_fft) * self.window
        else:  # the transform refuses to do nothing
            frames = state.audio.new_zeros(len(spectrum), 0, self.n_fft)
        weights = self.window.square().expand(1, count, -1)
        audio, weight = self._add(state.audio, frames), self._add(state.weight[None], weights)
        done = count * self.hop_length
        if last:  # no frame comes after
            done += self.tail
        out = audio[:, state.skip : done] / weight[:, state.skip : done].clamp(min=1e-11)
        skip = max(0, state.skip - done)
        return IstftState(audio[:, done:], weight[0, done:], skip), out

    def _add(self, rest: Tensor, frames: Tensor) -> Tensor:
        """Overlap-add frames (B, n, W) onto the sums (B, W - hop) they begin in -> (B, W + (n - 1) hop)."""
        batch, count, _ = frames.shape
        overlap = self.n_fft // self.hop_length
        parts = frames.reshape(batch, count, overlap, self.hop_length)
        total = torch.nn.functional.pad(rest, (0, count * self.hop_length))
        total = total.reshape(batch, overlap - 1 + count, self.hop_length)
        for k in range(overlap):
            total[:, k : k + count] += parts[:, :, k]
        return total.flatten(1)
