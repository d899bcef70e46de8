"""A converter without a network, and recordings."""

from __future__ import annotations

import soundfile
import torch
from torch import nn

from audiogen.audio import Audio


class Echo(nn.Module):
    """A converter without a network: the source again, softer, with noise of the seed's."""

    sample_rate = 16000

    def __init__(self, gain: float = 0.5) -> None:
        super().__init__()
        self.hparams = {"gain": gain}
        self.gain = nn.Parameter(torch.tensor(gain))

    def nfe(self, options):
        return 1

    def convert(self):
        raise AssertionError("its blocks are those of echo_blocks")


def echo_blocks(system, source, voice, *, seed, **rest):
    noise = torch.randn(source.wav.shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        yield system.gain * source.wav + 0.01 * noise


def write_recording(path, seconds=0.5, seed=0, rate=16000):
    path.parent.mkdir(parents=True, exist_ok=True)
    wav = 0.1 * torch.randn(1, round(seconds * rate), generator=torch.Generator().manual_seed(seed))
    soundfile.write(path, wav.T.numpy(), rate)
    return Audio(wav, rate)
