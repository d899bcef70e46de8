"""Speech and noise to mixtures: levels, reverberation and the choice of what is mixed."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from audiogen.audio import resample
from audiogen.data.store import DataError, Ragged, RaggedColumn

TRIES = 10  # draws of a passage that is not a pause
LEAST_POWER = 0.05  # of such a passage, as a part of the whole recording's


class Mixture(NamedTuple):
    """clean, noisy: (T,) float32, aligned. name: what it was made of."""

    clean: Tensor
    noisy: Tensor
    name: str


class MixtureSource(Protocol):
    """Something that mixtures are drawn from."""

    def draw(self, rng: random.Random, samples: int) -> Mixture:
        """A mixture of `samples` samples: a function of the state of rng alone."""
        ...


def mix(speech: Tensor, noise: Tensor, snr_db: float) -> Tensor:
    """speech + g noise, (T,) each, with 10 log10(power of speech / power of g noise) = snr_db.

    Raises ValueError for silence, which has no level to speak of.
    """
    powers = [wav.double().square().mean() for wav in (speech, noise)]
    for name, power in zip(("speech", "noise"), powers, strict=True):
        if power == 0:
            raise ValueError(f"the {name} is silent; no gain gives it {snr_db:g} dB; choose another passage")
    gain = torch.sqrt(powers[0] / powers[1]) * 10 ** (-snr_db / 20)
    return speech + gain.to(speech) * noise


def reverberate(wav: Tensor, response: Tensor) -> Tensor:
    """wav (T,) convolved with response (R,) -> its first T samples."""
    least = wav.shape[-1] + response.shape[-1] - 1
    size = 1 << (least - 1).bit_length()  # lengths with large prime factors take ten times as long
    spectrum = torch.fft.rfft(wav, size) * torch.fft.rfft(response, size)
    return torch.fft.irfft(spectrum, size)[..., : wav.shape[-1]]


class Recording:
    """int16 samples (T,) with sound somewhere, and their mean power; samples that follow one another."""

    def __init__(self, samples: Tensor, start: int = 0) -> None:
        self.samples = samples
        self.start = start  # of the first sample, in what the recording was cut from
        self.power = float(as_float(samples).square().mean())

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.samples)

    def passage(self, rng: random.Random, samples: int, *, around: bool = False) -> tuple[int, Tensor]:
        """A passage that is no pause -> its first sample, (samples,) float32.

        around: go on from the start at the end, as a noise may; else there must be `samples` of them. The
        loudest of ten draws is taken where each is a pause.
        """
        loudest, chosen = -1.0, (0, torch.zeros(0))
        for _ in range(TRIES):
            first = rng.randrange(len(self) if around else len(self) - samples + 1)
            part = self.samples[first : first + samples]
            if len(part) < samples:
                part = self.samples[(torch.arange(samples) + first) % len(self)]
            wav = as_float(part)
            power = float(wav.square().mean())
            if power > loudest:
                loudest, chosen = power, (first, wav)
            if power >= LEAST_POWER * self.power:
                break
        return chosen


@dataclass(frozen=True)
class Chances:
    """How mixtures are drawn.

    snr_db: range of the ratio of speech, as it arrives, to noise. room_probability: of a room. speeds: the
    speech is played at one of these, which moves pitch and formants: other voices than the recorded ones.
    """

    snr_db: tuple[float, float] = (-6.0, 14.0)
    room_probability: float = 0.3
    speeds: tuple[float, ...] = (0.8, 0.9, 1.0, 1.1)

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        if self.snr_db[0] > self.snr_db[1]:
            raise ValueError(f"snr_db {self.snr_db} is no range; give (lowest, highest)")
        if not 0 <= self.room_probability <= 1:
            raise ValueError(f"room_probability {self.room_probability} is no probability; use 0 to 1")
        if not self.speeds or not all(0.5 <= speed <= 2 for speed in self.speeds):
            raise ValueError(f"speeds {self.speeds} are out of range; give numbers from 0.5 to 2")


class SpeechInNoise:
    """Mixtures of a file of `audiogen prepare enhancement`, made as they are drawn.

    store: columns speech, noise (int16), talker and noise_source (responses, float16). split: "train" or
    "validation".
    """

    def __init__(self, store: Ragged, split: str, chances: Chances) -> None:
        self.sample_rate: int = store.metadata["sample_rate"]
        self.chances = chances
        self.speech = store["speech"]
        self.ids: dict[str, list[str]] = {name: store.metadata[f"{name}_ids"] for name in ("speech", "noise")}
        self.talker, self.noise_source = store["talker"], store["noise_source"]
        self.stretches = stretches(
            self.speech, store.metadata["voices"], store.metadata["speech_splits"], split
        )
        self.noises = {
            i: Recording(store["noise"][i]) for i in members(store.metadata["noise_splits"], split)
        }
        self.rooms = members(store.metadata["room_splits"], split)
        if not self.stretches or not self.noises:
            raise DataError(f"the file holds no {split} speech or noise; prepare it again")
        if chances.room_probability and not self.rooms:
            raise DataError("the file holds no rooms; set room_probability: 0 or prepare it with --rooms")

    def draw(self, rng: random.Random, samples: int) -> Mixture:
        """Speech of one voice and a noise, at times in a room. The clean signal is the direct path."""
        name, clean = self._speech(rng, samples)
        number = rng.choice(list(self.noises))
        _, noise = self.noises[number].passage(rng, samples, around=True)
        heard = clean
        if rng.random() < self.chances.room_probability:
            room = rng.choice(self.rooms)
            heard = reverberate(clean, self.talker[room].float())
            noise = reverberate(noise, self.noise_source[room].float())
        noisy = mix(heard, noise, rng.uniform(*self.chances.snr_db))
        return Mixture(clean, noisy, f"{name}+{self.ids['noise'][number]}")

    def _speech(self, rng: random.Random, samples: int) -> tuple[str, Tensor]:
        """Id of the first recording, and speech of one voice (samples,) at one of the speeds."""
        speed = rng.choice(self.chances.speeds)
        rate = round(self.sample_rate * speed / 100) * 100  # round numbers make short filters
        needed = -(-samples * rate // self.sample_rate)
        usable = [stretch for stretch in self.stretches if len(stretch) >= needed]
        if not usable:
            raise DataError(f"no voice has {needed / self.sample_rate:.1f} s of speech; lower data.crop_s")
        stretch = rng.choices(usable, [len(stretch) for stretch in usable])[0]
        start, part = stretch.passage(rng, needed)
        item = bisect_right(self.speech.offsets, stretch.start + start) - 1
        return self.ids["speech"][item], resample(part, rate, self.sample_rate)[:samples]


class Pairs:
    """Pairs of a file of `audiogen prepare pairs` or `voicebank`, cut at the same place.

    store: columns clean and noisy (int16, equally long). Short pairs are filled up with silence.
    """

    def __init__(self, store: Ragged, split: str) -> None:
        self.clean, self.noisy = store["clean"], store["noisy"]
        self.ids: list[str] = store.metadata["ids"]
        self.items = members(store.metadata["splits"], split)
        if not self.items:
            raise DataError(f"the file holds no {split} pairs; prepare it again")

    def draw(self, rng: random.Random, samples: int) -> Mixture:
        """A passage of a pair; long recordings are drawn in proportion to their length."""
        item = rng.choices(self.items, [self.clean.length(i) for i in self.items])[0]
        start = 0
        if self.clean.length(item) > samples:
            start, _ = Recording(self.clean[item]).passage(rng, samples)
        cut = [as_float(column[item][start : start + samples]) for column in (self.clean, self.noisy)]
        clean, noisy = (torch.nn.functional.pad(wav, (0, samples - len(wav))) for wav in cut)
        return Mixture(clean, noisy, self.ids[item])


def members(splits: Sequence[str], split: str) -> list[int]:
    """The places where `splits` says `split`."""
    return [number for number, one in enumerate(splits) if one == split]


def stretches(
    speech: RaggedColumn, voices: Sequence[str], splits: Sequence[str], split: str
) -> list[Recording]:
    """Neighbouring clips of one voice and of the split, joined: a crop may be longer than a clip."""
    found = []
    for (_, one), group in groupby(range(len(voices)), key=lambda number: (voices[number], splits[number])):
        numbers = list(group)
        start, stop = speech.offsets[numbers[0]], speech.offsets[numbers[-1] + 1]
        if one == split:
            found.append(Recording(speech.values[start:stop], start))
    return found


def as_float(samples: Tensor) -> Tensor:
    """int16 -> float32 in [-1, 1)."""
    return samples.float() / 32768


def as_int16(wav: Tensor) -> Tensor:
    """Float in [-1, 1] -> int16, clamped, so that `as_float` gives it back to within half a step."""
    return (wav * 32768).round().clamp(-32768, 32767).to(torch.int16)
