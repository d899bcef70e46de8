"""What a small corpus of noisy speech lacks: other voices than the recorded ones, and steady noises.

Both are written as files that can be listened to: voices by synthetic readers, noises in the layout of
ESC-50.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from audiogen.audio import resample, write_audio
from audiogen.data.clips import Clip
from audiogen.data.progress import Progress, quiet
from audiogen.data.readers import reader
from audiogen.data.voices import ESPEAK, FLITE

READERS = (*FLITE, *ESPEAK)
NOISE_S = 5.0
KINDS = ("coloured", "gusts", "hum", "babble")
TALKERS = 6  # of babble
PEAK = 0.9


def read_prompts(
    names: Sequence[str],
    texts: Sequence[str],
    folder: Path,
    minutes: float,
    sample_rate: int,
    seed: int = 0,
    progress: Progress = quiet,
) -> list[Clip]:
    """Texts read by synthetic readers (see `readers`), each in an order of its own, `minutes` long each.

    Recordings are FOLDER/NAME/NUMBER.wav; those of an earlier call with the same arguments are made again.
    Raises DataError for an unknown reader.
    """
    clips = []
    for number, name in enumerate(progress(names, "readers", len(names))):
        read, seconds = reader(name), 0.0
        order = random.Random(f"readers/{seed}/{number}").sample(list(texts), len(texts))
        place = folder / name.replace(":", "-")
        place.mkdir(parents=True, exist_ok=True)
        for k, text in enumerate(order):
            if seconds >= 60 * minutes:
                break
            reading = read(text)
            wav = resample(reading.wav, reading.sample_rate, sample_rate)
            path = place / f"{k:04d}.wav"
            write_audio(path, wav[None], sample_rate)
            seconds += len(wav) / sample_rate
            clips.append(Clip(f"{name}/{k:04d}", path, text, "en", name))
    return clips


def generate_noises(folder: Path, count: int, clips: Sequence[Clip], sample_rate: int, seed: int = 0) -> Path:
    """`count` noises of each of KINDS, 5 s: FOLDER/KIND/0-NUMBER-A.wav -> FOLDER. Babble is of `clips`.

    Those of an earlier call go.
    """
    for kind in KINDS:
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for old in (folder / kind).glob("0-*-A.wav"):
            old.unlink()
        for number in range(count):
            rng = np.random.default_rng([seed, KINDS.index(kind), number])
            wav = babble(rng, clips, sample_rate) if kind == "babble" else NOISES[kind](rng, sample_rate)
            wav = wav * (PEAK / wav.abs().max().clamp(min=1e-9))
            write_audio(folder / kind / f"0-{number:03d}-A.wav", wav[None], sample_rate)
    return folder


def coloured(rng: np.random.Generator, sample_rate: int) -> Tensor:
    """Stationary noise: a power law of 0 to -9 dB an octave times a smooth random response within 12 dB."""
    size = round(NOISE_S * sample_rate)
    hertz = np.fft.rfftfreq(size, 1 / sample_rate).clip(min=20)
    octaves = np.log2(hertz / 20)
    knots = np.linspace(0, octaves[-1], 9)
    level_db = -rng.uniform(0, 9) * octaves + np.interp(octaves, knots, rng.uniform(-12, 12, len(knots)))
    spectrum = np.fft.rfft(rng.standard_normal(size)) * 10 ** (level_db / 20)
    return torch.from_numpy(np.fft.irfft(spectrum, size)).float()


def gusts(rng: np.random.Generator, sample_rate: int) -> Tensor:
    """`coloured` noise that swells and fades by up to about 20 dB, a few times a second at most."""
    wav = coloured(rng, sample_rate)
    points = round(NOISE_S * rng.uniform(0.5, 4)) + 2
    level_db = np.interp(np.linspace(0, 1, len(wav)), np.linspace(0, 1, points), rng.uniform(-20, 0, points))
    return wav * torch.from_numpy(10 ** (level_db / 20)).float()


def hum(rng: np.random.Generator, sample_rate: int) -> Tensor:
    """Harmonics of a mains or a motor, 40 to 240 Hz, steady or slowly drifting, over a little noise."""
    size = round(NOISE_S * sample_rate)
    steady = rng.random() < 0.5
    base = rng.choice([50.0, 60.0]) if steady else rng.uniform(40, 240)
    times = np.arange(size) / sample_rate
    drift = 0.0 if steady else rng.uniform(0, 0.1) * np.sin(2 * np.pi * rng.uniform(0.1, 0.5) * times)
    turns = np.cumsum(base * (1 + drift) * np.ones(size)) / sample_rate
    count = int(min(40, 0.45 * sample_rate / (1.1 * base)))
    fall = rng.uniform(0.3, 1.5)
    total = np.zeros(size)
    for k in range(1, count + 1):
        gain = rng.lognormal(0, 1) * k**-fall
        total += gain * np.sin(2 * np.pi * (k * turns + rng.random()))
    wav = torch.from_numpy(total / total.std()).float()
    rest = coloured(rng, sample_rate)
    return wav + rest * (10 ** (-rng.uniform(5, 25) / 20) / rest.std())


def babble(rng: np.random.Generator, clips: Sequence[Clip], sample_rate: int) -> Tensor:
    """TALKERS voices at once, each at a level of its own within 6 dB."""
    size = round(NOISE_S * sample_rate)
    total = torch.zeros(size)
    for _ in range(TALKERS):
        parts: list[Tensor] = []
        while sum(len(part) for part in parts) < size:
            parts.append(clips[int(rng.integers(len(clips)))].read(sample_rate))
        wav = torch.cat(parts)[:size]
        total += wav * (10 ** (-rng.uniform(0, 6) / 20) / max(float(wav.square().mean()), 1e-8) ** 0.5)
    return total


NOISES = {"coloured": coloured, "gusts": gusts, "hum": hum}
