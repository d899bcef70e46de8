"""Speaker embeddings: how alike two voices sound, by resemblyzer's encoder.

The encoder is that of GE2E (Wan et al. 2018, "Generalized End-to-End Loss for Speaker Verification"): three
LSTM layers over 40 mel bands, read at the end of stretches of 1.6 s. The released weights are those of
the package resemblyzer.
"""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.audio import resample
from audiogen.weights import locate, read_tensors

NAME = "speaker-encoder"  # of the released weights
SAMPLE_RATE = 16000
DIMENSION = 256
WINDOW, HOP, BANDS = 400, 160, 40  # 25 ms and 10 ms
STRETCH = 160  # frames that the encoder reads at once, 1.6 s
STEP = 77  # frames between the starts of stretches: 1.3 a second
LEVEL_DB = -30.0  # quieter recordings are raised to this RMS level
QUIET_DB = 35.0  # below the loud parts: silence, which is cut out
BLOCK = 480  # samples, 30 ms


class SpeakerEncoder(nn.Module):
    """Mel energies of a stretch of speech -> a unit vector of the voice (B, 256), nowhere negative."""

    def __init__(self) -> None:
        super().__init__()
        self.hparams: dict[str, object] = {}
        self.lstm = nn.LSTM(BANDS, DIMENSION, num_layers=3, batch_first=True)
        self.linear = nn.Linear(DIMENSION, DIMENSION)

    def forward(self, energies: Tensor) -> Tensor:
        """(B, frames, 40) -> (B, 256)."""
        _, (hidden, _) = self.lstm(energies)
        return F.normalize(self.linear(hidden[-1]).relu(), dim=-1, eps=1e-8)

    @torch.inference_mode()
    def embed(self, wav: Tensor) -> Tensor:
        """wav (T,) at 16 kHz -> (256,), the mean over its stretches, scaled to length one.

        Half a stretch overlaps the next, the last is filled up with zeros unless it holds less than three
        quarters. Raises ValueError for a waveform of another shape, or with nothing in it.
        """
        if wav.dim() != 1 or not len(wav) or not bool(wav.abs().max() > 0):
            raise ValueError(f"a voice needs sound: one signal (T,) that is not silent, got {(*wav.shape,)}")
        energies = mel_energies(without_silence(raised(wav.float())))
        count = max(1, 1 + math.ceil((len(energies) - STRETCH) / STEP))
        if count > 1 and len(energies) - (count - 1) * STEP < 0.75 * STRETCH:
            count -= 1
        padded = F.pad(energies, (0, 0, 0, max(0, (count - 1) * STEP + STRETCH - len(energies))))
        stretches = padded.unfold(0, STRETCH, STEP)[:count].transpose(1, 2)
        return F.normalize(self(stretches).mean(0), dim=0, eps=1e-8).clone()


def speaker_embedding(wav: Tensor, sample_rate: int) -> Tensor:
    """The voice in wav (T,) at any rate, in [-1, 1], as a unit vector (256,) on the CPU.

    The cosine of two is their inner product. Raises ValueError for what `SpeakerEncoder.embed` refuses.
    """
    return released_encoder().embed(resample(wav.detach().cpu(), sample_rate, SAMPLE_RATE)).clone()


@cache
def released_encoder() -> SpeakerEncoder:
    """The encoder with the released weights, on the CPU, one for all who ask."""
    encoder = SpeakerEncoder()
    encoder.load_state_dict(read_tensors(locate(NAME)))
    return encoder.eval()


def raised(wav: Tensor) -> Tensor:
    """wav (T,), raised to an RMS level of LEVEL_DB if it is quieter."""
    level = 20 * math.log10(max(float(wav.square().mean().sqrt()), 1e-9))
    return wav * 10 ** (max(0.0, LEVEL_DB - level) / 20)


def without_silence(wav: Tensor) -> Tensor:
    """wav (T,) without its silences of over 0.2 s; resemblyzer itself uses a voice activity detector here."""
    count = len(wav) // BLOCK
    if count == 0:
        return wav
    power = wav[: count * BLOCK].reshape(count, BLOCK).square().mean(1)
    active = (power > power.quantile(0.95) * 10 ** (-QUIET_DB / 10)).float()
    near = F.max_pool1d(active[None], 7, stride=1, padding=3)[0] > 0
    kept = wav[: count * BLOCK].reshape(count, BLOCK)[near].flatten()
    return kept if len(kept) else wav


def mel_energies(wav: Tensor) -> Tensor:
    """wav (T,) or (B, T) -> powers of 40 mel bands (..., T // 160 + 1, 40); the edges see zeros."""
    from torchaudio.functional import melscale_fbanks

    stft = torch.stft(
        wav,
        WINDOW,
        HOP,
        window=torch.hann_window(WINDOW, device=wav.device),
        pad_mode="constant",
        return_complex=True,
    )
    power = stft.real.square() + stft.imag.square()
    filters = melscale_fbanks(
        WINDOW // 2 + 1, 0.0, SAMPLE_RATE / 2, BANDS, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
    )
    return power.mT @ filters.to(power)
