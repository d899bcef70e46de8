"""Semantic tokens of music: what is played, coarse in time, for a language model to write."""

from __future__ import annotations

import math
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.nn.kmeans import kmeans, nearest
from audiogen.spectral import MelSpec, mel_filters

REGISTERS_HZ = ((65.0, 262.0), (262.0, 2093.0))  # bass and the rest: two octaves from C2, three from C4
BANDS = 32  # mel bands, whose cosine transform describes the timbre
COEFFICIENTS = 12
FLOOR = 1e-3  # STFT magnitude


class SemanticTokenizer(Protocol):
    """What the language model of music needs of a tokenizer.

    frame_rate: tokens a second. vocabulary: their number of values, 0 to vocabulary - 1. sample_rate: Hz of
    the waveforms it takes. Token n tells of the samples around (n + 0.5) sample_rate / frame_rate.
    """

    @property
    def sample_rate(self) -> int: ...  # noqa: D102

    @property
    def frame_rate(self) -> float: ...  # noqa: D102

    @property
    def vocabulary(self) -> int: ...  # noqa: D102

    def encode(self, wav: Tensor) -> Tensor:
        """wav (B, T) in [-1, 1], mono -> tokens (B, N) int64, N = ceil(T frame_rate / sample_rate)."""
        ...


class ChromaTokenizer(nn.Module):
    """k-means on pitch classes, timbre, loudness and onsets: nothing is downloaded, little is computed.

    A frame of hop_length samples, a multiple of 8, is told by the pitch classes of two registers, the cosine
    transform of its mel bands, its loudness and how suddenly it began, `features` of which `fit` finds
    `vocabulary` centroids. n_fft: of the pitch classes and bands, long, to tell bass notes apart.
    """

    def __init__(
        self, sample_rate: int = 24000, hop_length: int = 3840, vocabulary: int = 512, n_fft: int = 8192
    ) -> None:
        super().__init__()
        if hop_length % 8 or n_fft < hop_length:
            raise ValueError(
                f"hop_length {hop_length} is no multiple of 8 or longer than n_fft {n_fft}; use 3840"
            )
        self.hparams = {
            "sample_rate": sample_rate,
            "hop_length": hop_length,
            "vocabulary": vocabulary,
            "n_fft": n_fft,
        }
        self.sample_rate, self.hop_length, self.vocabulary = sample_rate, hop_length, vocabulary
        self.n_fft = n_fft
        fine = MelSpec(sample_rate, n_fft=self.n_fft, n_mels=BANDS, f_max=sample_rate / 2)
        self.register_buffer("window", torch.hann_window(self.n_fft), persistent=False)
        self.register_buffer("pitches", chroma_filters(sample_rate, self.n_fft), persistent=False)
        self.register_buffer("bands", mel_filters(fine).clone(), persistent=False)
        self.register_buffer("cosines", _cosines(BANDS, COEFFICIENTS), persistent=False)
        width = 12 * len(REGISTERS_HZ) + COEFFICIENTS + 2
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("centroids", torch.zeros(vocabulary, width))
        self.window: Tensor
        self.pitches: Tensor
        self.bands: Tensor
        self.cosines: Tensor
        self.mean: Tensor
        self.scale: Tensor
        self.centroids: Tensor

    @property
    def frame_rate(self) -> float:
        """Tokens a second."""
        return self.sample_rate / self.hop_length

    def encode(self, wav: Tensor) -> Tensor:
        """wav (B, T) in [-1, 1], T >= 1 -> tokens (B, ceil(T / hop_length)) int64."""
        return self.tokens_of(self.features(wav))

    def tokens_of(self, features: Tensor) -> Tensor:
        """Features (B, N, width) -> tokens (B, N) int64."""
        found = self.standardised(features)
        return nearest(found.flatten(0, 1), self.centroids).view(found.shape[:2])

    def transposed(self, features: Tensor, semitones: int) -> Tensor:
        """Features (B, N, width) of the same music that many semitones higher, as if timbre stayed."""
        size = 12 * len(REGISTERS_HZ)
        classes = features[..., :size].view(*features.shape[:-1], -1, 12).roll(semitones, -1).flatten(-2)
        return torch.cat((classes, features[..., size:]), dim=-1)

    def standardised(self, features: Tensor) -> Tensor:
        """Features (B, N, width) as the centroids are."""
        return (features - self.mean) * self.scale

    def features(self, wav: Tensor) -> Tensor:
        """wav (B, T) -> (B, N, 24 + COEFFICIENTS + 2): pitch classes, timbre, loudness (log), onset."""
        spectrum = self.magnitudes(wav, self.n_fft)
        classes = (spectrum @ self.pitches.T).view(*spectrum.shape[:2], len(REGISTERS_HZ), 12)
        total = classes.norm(dim=3, keepdim=True)
        # quiet registers say little: what is far below a tone's level fades to zero
        classes = (classes / (total + 10 * FLOOR * self.n_fft**0.5)).flatten(2)
        levels = (spectrum @ self.bands.T).clamp(min=1e-2 * FLOOR).log()
        timbre = (levels - levels.mean(2, keepdim=True)) @ self.cosines.T
        loudness = spectrum.square().mean(2, keepdim=True).add(FLOOR**2).log()
        return torch.cat((classes, timbre, loudness, self.onsets(wav)[..., None]), dim=2)

    def onsets(self, wav: Tensor) -> Tensor:
        """How much louder the bins of short frames became within each frame, at most (B, N)."""
        short = self.hop_length // 4
        levels = self.magnitudes(wav, 2 * short, short).clamp(min=10 * FLOOR).log()
        rise = F.pad((levels[:, 1:] - levels[:, :-1]).clamp(min=0).mean(2), (1, 0))
        return rise.view(len(wav), -1, 4).amax(2)

    def magnitudes(self, wav: Tensor, n_fft: int, hop_length: int | None = None) -> Tensor:
        """STFT magnitudes (B, N, n_fft // 2 + 1); frame n lies around the middle of hop n."""
        hop = hop_length or self.hop_length
        edge = (n_fft - hop) // 2
        wav = F.pad(wav.float(), (edge, edge + -wav.shape[-1] % self.hop_length))
        window = self.window if n_fft == self.n_fft else torch.hann_window(n_fft, device=wav.device)
        return torch.fft.rfft(wav.unfold(1, n_fft, hop) * window).abs()

    def fit(self, recordings: Iterable[Tensor], seed: int = 0, most: int = 60000) -> ChromaTokenizer:
        """Find the centroids in recordings (T,) of music, in `most` of their frames drawn by `seed`.

        Pitch classes, timbre and the two others weigh alike, whatever their numbers. Returns itself.
        """
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            found = torch.cat([self.features(wav[None])[0] for wav in recordings])
            found = found[torch.randperm(len(found), generator=generator)[:most]]
            groups = (12 * len(REGISTERS_HZ), COEFFICIENTS, 2)
            weight = torch.cat([torch.full((size,), 1 / math.sqrt(size)) for size in groups])
            weight[: groups[0]] *= 2  # harmony is what a language model has most to say about
            self.mean = found.mean(0)
            self.scale = weight.to(found) / found.std(0).clamp(min=1e-4)
            self.centroids = kmeans(self.standardised(found), self.vocabulary, generator)
        return self


class TransformersTokenizer(nn.Module):
    """k-means on a layer of a self-supervised encoder of the package transformers, such as MERT.

    model: name on the hub or a folder, of an encoder that takes waveforms and gives hidden states;
    trust_code: let it run the code that it comes with, as MERT (m-a-p/MERT-v1-95M) needs. layer: which hidden
    states; hop_length: samples between them times `merged`, of which a token tells the mean. Raises
    ValueError without transformers.
    """

    def __init__(
        self,
        model: str,
        layer: int = 7,
        vocabulary: int = 512,
        sample_rate: int = 24000,
        hop_length: int = 320,
        merged: int = 6,
        *,
        trust_code: bool = False,
    ) -> None:
        super().__init__()
        if find_spec("transformers") is None:
            raise ValueError(
                f"the tokenizer {model!r} needs the package transformers: pip install transformers, or use "
                "ChromaTokenizer, which needs nothing"
            )
        from transformers import AutoModel

        self.encoder: Any = AutoModel.from_pretrained(
            model, trust_remote_code=trust_code, use_safetensors=True
        ).eval()
        self.layer, self.vocabulary, self.sample_rate, self.merged = layer, vocabulary, sample_rate, merged
        self.hop_length = hop_length * merged
        width = int(self.encoder.config.hidden_size)
        self.register_buffer("centroids", torch.zeros(vocabulary, width))
        self.centroids: Tensor

    @property
    def frame_rate(self) -> float:
        """Tokens a second."""
        return self.sample_rate / self.hop_length

    @torch.no_grad()
    def features(self, wav: Tensor) -> Tensor:
        """wav (B, T) -> means of hidden states (B, ceil(T / hop_length), D)."""
        count = -(-wav.shape[-1] // self.hop_length)
        states = self.encoder(wav, output_hidden_states=True).hidden_states[self.layer]
        # encoders drop a frame or so at the end: the last one stands for it
        missing = max(0, count * self.merged - states.shape[1])
        states = torch.cat((states, states[:, -1:].expand(-1, missing, -1)), dim=1)
        states = states[:, : count * self.merged]
        return states.reshape(len(wav), count, self.merged, -1).mean(2)

    def encode(self, wav: Tensor) -> Tensor:
        """wav (B, T) in [-1, 1] -> tokens (B, ceil(T / hop_length)) int64."""
        found = self.features(wav)
        return nearest(found.flatten(0, 1), self.centroids).view(found.shape[:2])

    def fit(self, recordings: Iterable[Tensor], seed: int = 0) -> TransformersTokenizer:
        """Find the centroids in recordings (T,) of music. Returns itself."""
        found = torch.cat([self.features(wav[None])[0] for wav in recordings])
        self.centroids = kmeans(found, self.vocabulary, torch.Generator().manual_seed(seed))
        return self


def chroma_filters(sample_rate: int, n_fft: int) -> Tensor:
    """Weights (12 registers, n_fft // 2 + 1) of bins for pitch classes, C first, register after register.

    A bin counts for the semitones it is within one of, by a cosine, and for its register.
    """
    hz = torch.arange(1, n_fft // 2 + 1) * sample_rate / n_fft
    pitch = 69 + 12 * torch.log2(hz / 440)
    distance = torch.remainder(pitch[None] - torch.arange(12)[:, None] + 6, 12) - 6
    weight = torch.where(distance.abs() < 1, (0.5 * math.pi * distance).cos(), 0.0)
    rows = [weight * ((hz >= low) & (hz < high)) for low, high in REGISTERS_HZ]
    return F.pad(torch.cat(rows), (1, 0))


def _cosines(bands: int, count: int) -> Tensor:
    """Rows 1 to `count` of the orthonormal cosine transform (count, bands)."""
    angle = math.pi / bands * torch.outer(torch.arange(1, count + 1), torch.arange(bands) + 0.5)
    return angle.cos() * math.sqrt(2 / bands)
