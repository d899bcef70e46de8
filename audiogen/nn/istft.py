"""The inverse STFT, whole and in chunks."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.kernels import cpu


class IstftState(NamedTuple):
    """audio (B, W - hop): windowed sums that later frames add to. position: frames so far."""

    audio: Tensor
    position: int


class InverseStft(nn.Module):
    """Windowed overlap-add of an STFT, normalised by the summed squared window (Griffin & Lim 1984).

    Spectra are (B, N, W // 2 + 1), frames first, as the transform wants them. center: N frames, centred on
    multiples of hop_length, give (N - 1) hop_length samples, as `torch.istft` does; otherwise each is centred
    on a hop of its own and they give N hop_length samples. window (W,), W a multiple of two hops. A sample
    waits for `lookahead` frames beyond the next one.
    """

    def __init__(self, window: Tensor, hop_length: int, *, center: bool = True) -> None:
        super().__init__()
        if len(window) % (2 * hop_length):
            raise ValueError(
                f"a window of {len(window)} samples is no multiple of twice hop_length {hop_length}; "
                f"choose n_fft as {2 * hop_length}, {4 * hop_length} ..."
            )
        if not center and (len(window) - hop_length) % 2:
            raise ValueError(
                f"frames of {len(window)} samples cannot be centred on hops of {hop_length}: choose both even"
            )
        self.hop_length = hop_length
        self.n_fft = len(window)
        self.overlap = self.n_fft // hop_length
        self.skip = self.n_fft // 2 if center else (self.n_fft - hop_length) // 2
        # samples at the end that wait for no frame; centred, the last frame gives nothing beyond its centre
        self.tail = self.n_fft // 2 - hop_length if center else self.skip
        self.lookahead = self.overlap // 2 - 1 if center else -(-self.skip // hop_length) - 1
        self.register_buffer("window", window, persistent=False)
        # row k: what the first k stretches of a hop of the squared window sum to
        sums = F.pad(window.square().view(self.overlap, hop_length).cumsum(0), (0, 0, 1, 0))
        self.register_buffer("sums", sums, persistent=False)
        self.window: Tensor
        self.sums: Tensor

    def forward(self, spectrum: Tensor) -> Tensor:
        """Complex (B, N, W // 2 + 1), N >= 2 -> waveform (B, (N - 1) hop_length), or N hops uncentred."""
        return self.stream(self.init_state(len(spectrum)), spectrum, last=True)[1]

    def init_state(self, batch: int) -> IstftState:
        """Nothing yet."""
        return IstftState(self.window.new_zeros(batch, self.n_fft - self.hop_length), 0)

    def stream(self, state: IstftState, spectrum: Tensor, last: bool = False) -> tuple[IstftState, Tensor]:
        """The next frames (B, n, W // 2 + 1) -> state, the samples (B, T) that are complete."""
        batch, count, _ = spectrum.shape
        rest, end = state.audio, state.position + count
        skip, done = self.stretch(state, count, last)
        hops = -(-done // self.hop_length)
        total = end if last else None
        # the transform refuses to do nothing
        frames = torch.fft.irfft(spectrum, self.n_fft) if count else None
        if frames is not None and cpu.takes_loops(frames):
            out, rest = cpu.overlap(rest, frames, self.window, self.sums, state.position, total, hops)
        else:
            audio = rest if frames is None else self._add(rest, frames)
            out = audio[:, : hops * self.hop_length].view(batch, hops, self.hop_length)
            out = out / self._weight(state.position, hops, total).clamp(min=1e-11)
            rest = audio[:, count * self.hop_length :]
        return IstftState(rest, end), out.flatten(1)[:, skip:done]

    def stretch(self, state: IstftState, count: int, last: bool) -> tuple[int, int]:
        """Which of the sums from the state on are samples that `count` more frames complete: start, end."""
        done = count * self.hop_length + (self.tail if last else 0)
        return min(done, max(0, self.skip - state.position * self.hop_length)), done

    def _weight(self, start: int, hops: int, frames: int | None) -> Tensor:
        """Summed squared windows (hops, hop_length) from hop `start` on; frames: their number in all."""
        if start >= self.overlap - 1 and frames is None:
            return self.sums[-1:]
        hop = torch.arange(start, start + hops, device=self.sums.device)
        weight = self.sums[(hop + 1).clamp(max=self.overlap)]
        return weight if frames is None else weight - self.sums[(hop + 1 - frames).clamp(min=0)]

    def _add(self, rest: Tensor, frames: Tensor) -> Tensor:
        """Overlap-add frames (B, n, W), windowed, onto the sums (B, W - hop) they begin in.

        Returns (B, W + (n - 1) hop).
        """
        batch, count, _ = frames.shape
        parts = frames.view(batch, count, self.overlap, self.hop_length)
        total = F.pad(rest, (0, count * self.hop_length))
        total = total.view(batch, self.overlap - 1 + count, self.hop_length)
        for k, window in enumerate(self.window.view(self.overlap, self.hop_length)):
            total[:, k : k + count].addcmul_(parts[:, :, k], window)
        return total.flatten(1)
