"""Phases made to agree with magnitudes, whole and in chunks."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.kernels import cpu
from audiogen.nn.istft import InverseStft, IstftState


class RefinementState(NamedTuple):
    """One iteration's memory: the synthesis, and what waits for its frame.

    audio (B, T): samples that frames to come still need. magnitude and before (B, M, W // 2 + 1): of the
    frames that are not through yet.
    """

    istft: IstftState
    audio: Tensor
    magnitude: Tensor
    before: Tensor


class PhaseRefinement(nn.Module):
    """One iteration of the fast Griffin-Lim algorithm (Perraudin et al. 2013), a layer to train through.

    The spectrum is made consistent by synthesis and analysis, extrapolated by `momentum` beyond the last
    iteration's, and given the wanted magnitudes again. Frame n waits for `lookahead` further frames. Spectra
    are (B, N, W // 2 + 1), as in `InverseStft`.
    """

    def __init__(
        self, window: Tensor, hop_length: int, momentum: float = 0.5, *, center: bool = True
    ) -> None:
        super().__init__()
        self.istft = InverseStft(window, hop_length, center=center)
        self.n_fft, self.hop_length, self.momentum = len(window), hop_length, momentum
        self.lookahead = self.istft.overlap - 1

    def init_state(self, batch: int) -> RefinementState:
        """The start of a stream: silence before the first frame."""
        window = self.istft.window
        silence = window.new_zeros(batch, self.istft.skip)
        none = window.new_zeros(batch, 0, self.n_fft // 2 + 1)
        return RefinementState(self.istft.init_state(batch), silence, none, none.to(torch.complex64))

    def stream(
        self, state: RefinementState, spectrum: Tensor, magnitude: Tensor, before: Tensor, last: bool = False
    ) -> tuple[RefinementState, Tensor, Tensor, Tensor]:
        """The next frames -> state, and of the frames that are through: spectrum, magnitudes, consistent.

        spectrum: complex (B, n, W // 2 + 1). magnitude: those it should have. before: the consistent spectrum
        of the last iteration; the new one is returned for the next.
        """
        if spectrum.shape[1] and cpu.takes_loops(spectrum):
            return self._looped(state, spectrum, magnitude, before, last)
        istft, audio = self.istft.stream(state.istft, spectrum, last)
        audio = torch.cat((state.audio, F.pad(audio, (0, self.istft.skip)) if last else audio), dim=-1)
        magnitude = torch.cat((state.magnitude, magnitude), dim=1)
        before = torch.cat((state.before, before), dim=1)
        count = max(0, (audio.shape[-1] - self.n_fft) // self.hop_length + 1)
        rest = RefinementState(
            istft, audio[:, count * self.hop_length :], magnitude[:, count:], before[:, count:]
        )
        magnitude, before = magnitude[:, :count], before[:, :count]
        if count == 0:
            return rest, before, magnitude, before
        consistent = torch.fft.rfft(audio.unfold(1, self.n_fft, self.hop_length) * self.istft.window)
        ahead = torch.view_as_real(before).lerp(torch.view_as_real(consistent), 1 + self.momentum)
        # the gradient of a phase grows without bound as its bin vanishes
        scale = magnitude * torch.rsqrt(power(ahead) + 1e-10)
        return rest, torch.view_as_complex(ahead) * scale, magnitude, consistent

    def _looped(
        self, state: RefinementState, spectrum: Tensor, magnitude: Tensor, before: Tensor, last: bool
    ) -> tuple[RefinementState, Tensor, Tensor, Tensor]:
        """`stream` of some frames by compiled loops."""
        layer, start, count = self.istft, state.istft.position, spectrum.shape[1]
        frames, rest, audio = cpu.resynthesise(
            state.istft.audio,
            torch.fft.irfft(spectrum, self.n_fft),
            layer.window,
            layer.sums,
            start,
            start + count if last else None,
            layer.stretch(state.istft, count, last),
            state.audio,
            layer.skip if last else 0,
        )
        # the transform refuses to do nothing
        consistent = torch.fft.rfft(frames) if frames.shape[1] else before[:, :0]
        found = cpu.project((state.before, before), consistent, (state.magnitude, magnitude), self.momentum)
        state = RefinementState(IstftState(rest, start + count), audio, found.wanted, found.before)
        return state, found.spectrum, found.magnitude, consistent


def power(parts: Tensor) -> Tensor:
    """Squared size of complex numbers given as real and imaginary parts (..., 2) -> (...)."""
    real, imaginary = parts.unbind(-1)
    return torch.addcmul(real * real, imaginary, imaginary)
