"""Griffin-Lim: the vocoder without weights, for those who ask for it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audiogen.spectral import MelSpec, mel_filters


class GriffinLim(nn.Module):
    """Phase by alternating projections (Griffin & Lim 1984), magnitudes by the filters' pseudo-inverse.

    The phase starts from a fixed seed, so the same mel gives the same waveform. Every iteration sees the
    whole signal, so a stream gives all of its audio at the end.
    """

    lookahead = None
    lookahead_ms = None

    def __init__(self, mel_spec: MelSpec, iterations: int = 32) -> None:
        super().__init__()
        self.mel_spec = mel_spec
        self.iterations = iterations
        self.register_buffer("inverse_filters", torch.linalg.pinv(mel_filters(mel_spec)), persistent=False)
        self.register_buffer("window", torch.hann_window(mel_spec.win_length), persistent=False)
        self.inverse_filters: Tensor
        self.window: Tensor

    def decode(self, mel: Tensor) -> Tensor:
        """mel (B, n_mels, N), N >= 4 -> waveform (B, 1, (N - 1) hop_length)."""
        spec = self.mel_spec
        magnitudes = (self.inverse_filters @ mel.exp()).clamp(min=0)
        stft = (spec.n_fft, spec.hop_length, spec.win_length, self.window)
        phase = (
            torch.rand(magnitudes.shape[1:], generator=torch.Generator().manual_seed(0)).to(mel)
            * 2
            * torch.pi
        )
        spectrum = torch.polar(magnitudes, phase.expand_as(magnitudes).contiguous())
        for _ in range(self.iterations):
            wav = torch.istft(spectrum, *stft)
            estimate = torch.stft(wav, *stft, return_complex=True)
            spectrum = torch.polar(magnitudes, estimate.angle())
        return torch.istft(spectrum, *stft)[:, None]

    forward = decode

    def init_state(self, batch: int) -> Tensor:
        """No frames yet, (B, n_mels, 0)."""
        return self.window.new_zeros(batch, self.mel_spec.n_mels, 0)

    def stream(self, state: Tensor, mel: Tensor, last: bool = False) -> tuple[Tensor, Tensor]:
        """The next frames (B, n_mels, n) -> all frames so far, no audio (B, 1, 0) before the last chunk."""
        frames = torch.cat((state, mel), dim=-1)
        return frames, self.decode(frames) if last else mel.new_zeros(len(mel), 1, 0)
