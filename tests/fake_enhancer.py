"""Enhancing systems without a network, whose output is known: gains, frames at a time, offset-bound noise."""

from __future__ import annotations

import sys
import types

import numpy as np
import torch
from torch import nn

from audiogen.sampling.noise import ItemNoise
from audiogen.systems import SYSTEMS

HOP = 128
N_FFT = 512


class FakeEnhancer(nn.Module):
    """gain: of the result. filtering: a Wiener-like filter of each frame of the spectrum by its own power.

    noise: added to every frame of the spectrum, a function of seed and place alone. `calls` keeps the shapes,
    seeds and offsets it was called with.
    """

    presets = {"fast": 1, "balanced": 4, "best": 12}

    def __init__(self, gain: float = 0.5, noise: float = 0.0, filtering: bool = False) -> None:
        super().__init__()
        self.hparams = {"gain": gain, "noise": noise, "filtering": filtering}
        self.gain = nn.Parameter(torch.tensor(gain))
        self.noise, self.filtering = noise, filtering
        self.sample_rate, self.hop_length = 16000, HOP
        self.calls = []

    def nfe(self, options):
        if options.num_steps is not None and options.num_steps > 100:
            raise ValueError(f"num_steps must be at most 100, got {options.num_steps}")
        return 1 + (self.presets[options.quality] if options.num_steps is None else options.num_steps)

    @torch.inference_mode()
    def enhance(self, wav, seeds, options, timer, *, offset=0):
        assert offset % HOP == 0
        self.calls.append((tuple(wav.shape), tuple(seeds), offset))
        if not (self.filtering or self.noise):
            return self.gain * wav
        window = torch.hann_window(N_FFT)
        padded = nn.functional.pad(wav, (N_FFT // 2, N_FFT // 2 + HOP))
        spec = torch.stft(padded, N_FFT, HOP, window=window, center=False, return_complex=True)
        if self.filtering:
            power = spec.abs().square()
            spec = spec * power / (power + 0.1 * power.mean(1, keepdim=True) + 1e-9)
        noise = ItemNoise(seeds, first_frame=offset // HOP)
        spec = spec + self.noise * noise.start(*spec.shape[1:], dtype=spec.dtype)
        frames = torch.fft.irfft(spec, N_FFT, dim=1) * window[:, None]
        weight = window.square()[:, None].expand(-1, spec.shape[-1])
        total = [
            nn.functional.fold(x, (1, N_FFT + HOP * (spec.shape[-1] - 1)), (1, N_FFT), stride=(1, HOP))
            for x in (frames, weight[None])
        ]
        clean = (total[0] / total[1].clamp(min=1e-6))[:, 0, 0]
        return self.gain * clean[:, N_FFT // 2 :][:, : wav.shape[-1]]


def register(monkeypatch):
    """Make hub know the fake for the length of a test."""
    monkeypatch.setitem(SYSTEMS, "fakeenhancer", f"{FakeEnhancer.__module__}:{FakeEnhancer.__qualname__}")


def fake_pesq(monkeypatch):
    """A PESQ that is 1 + the correlation, for machines without a C compiler -> the calls it will have had."""
    calls = []

    def pesq(rate, reference, degraded, mode):
        calls.append((rate, len(reference), mode))
        return 1 + float(np.corrcoef(reference, degraded)[0, 1])

    module = types.ModuleType("pesq")
    module.pesq = pesq
    module.__spec__ = types.SimpleNamespace(name="pesq")
    monkeypatch.setitem(sys.modules, "pesq", module)
    return calls
