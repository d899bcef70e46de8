"""Griffin-Lim: the vocoder without weights, for those who ask for it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audiogen.nn.istft import InverseStft
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
        self.uncentred: InverseStft | None = None
        if not mel_spec.center:
            edge = (mel_spec.n_fft - mel_spec.win_length) // 2
            window = torch.nn.functional.pad(self.window, (edge, mel_spec.n_fft - mel_spec.win_length - edge))
            self.uncentred = InverseStft(window, mel_spec.hop_length, center=False)

    def decode(self, mel: Tensor) -> Tensor:
        """mel (B, n_mels, N), N >= 4 -> waveform (B, 1, (N - 1) hop_length); N hops if uncentred."""
        spec, frames = self.mel_spec, mel.shape[-1]
        if (frames - spec.center) * spec.hop_length <= spec.n_fft // 2:  # its edges could not be reflected
            raise ValueError(
                f"{frames} frames are too few for Griffin-Lim; give at least "
                f"{spec.n_fft // 2 // spec.hop_length + 1 + spec.center}"
            )
        magnitudes = (self.inverse_filters @ mel.exp()).clamp(min=0)
        phase = (
            torch.rand(magnitudes.shape[1:], generator=torch.Generator().manual_seed(0)).to(mel)
            * 2
            * torch.pi
        )
        spectrum = torch.polar(magnitudes, phase.expand_as(magnitudes).contiguous())
        for _ in range(self.iterations):
            spectrum = torch.polar(magnitudes, self._analyse(self._synthesise(spectrum)).angle())
        return self._synthesise(spectrum)[:, None]

    forward = decode

    def init_state(self, batch: int) -> Tensor:
        """No frames yet, (B, n_mels, 0)."""
        return self.window.new_zeros(batch, self.mel_spec.n_mels, 0)

    def stream(self, state: Tensor, mel: Tensor, last: bool = False) -> tuple[Tensor, Tensor]:
        """The next frames (B, n_mels, n) -> all frames so far, no audio (B, 1, 0) before the last chunk."""
        frames = torch.cat((state, mel), dim=-1)
        return frames, self.decode(frames) if last else mel.new_zeros(len(mel), 1, 0)

    def _synthesise(self, spectrum: Tensor) -> Tensor:
        """Complex (B, n_freqs, N) -> waveform (B, T)."""
        spec = self.mel_spec
        if self.uncentred is not None:
            return self.uncentred(spectrum.mT)
        return torch.istft(spectrum, spec.n_fft, spec.hop_length, spec.win_length, self.window)

    def _analyse(self, wav: Tensor) -> Tensor:
        """Waveform (B, T) -> complex (B, n_freqs, N)."""
        spec = self.mel_spec
        if self.uncentred is not None:
            edge = (spec.n_fft - spec.hop_length) // 2
            wav = torch.nn.functional.pad(wav, (edge, edge), mode="reflect")
        sizes = (spec.n_fft, spec.hop_length, spec.win_length)
        return torch.stft(wav, *sizes, self.window, center=spec.center, return_complex=True)
