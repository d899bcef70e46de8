"""A speaking system without weights, for everything that measures one."""

import math
from functools import cache

import pytest
import torch

from audiogen.audio import Audio
from audiogen.spectral import MelSpec
from audiogen.text.frontend import Sentence, Word
from audiogen.vocoders.griffin_lim import GriffinLim


def sentence(text):
    """A sentence that `speak` accepts; its words are never looked at."""
    return Sentence(text, (Word(text, text, 0, len(text)),), ())


def buzz(f0_hz, seconds):
    """A buzz with six partials between two silences of 0.2 s, (T,) at 16 kHz."""
    t = torch.arange(round(16000 * seconds)) / 16000
    wav = sum(torch.sin(2 * math.pi * k * f0_hz * t) / k for k in range(1, 7)) * 0.1
    return torch.nn.functional.pad(wav, (3200, 3200))


@cache
def griffin_lim():
    return GriffinLim(MelSpec(), iterations=2)


class ToneSystem:
    """Says every sentence as a buzz of 0.4 s; more steps come nearer to 200 Hz. "mute" cannot be said."""

    sample_rate = 16000
    mel_spec = MelSpec()
    language = "en-us"
    speakers = ("tone",)
    step_counts = (4, 2, 1)
    default_steps = 2

    def __init__(self):
        self.vocoder = griffin_lim()
        self.calls = []

    def synthesize_sentences(self, sentences, seeds, speakers, options, timer):
        self.calls.append((options.num_steps, tuple(seeds)))
        with timer.stage("acoustic"):
            if any("mute" in sentence.text for sentence in sentences):
                raise ValueError("cannot say mute")
        with timer.stage("vocoder"):
            f0_hz = 200 * 2 ** (1 / (3 * options.num_steps))
            return [Audio(buzz(f0_hz, 0.4)[None], self.sample_rate) for _ in sentences]


@pytest.fixture
def system():
    return ToneSystem()


@pytest.fixture
def front_end():
    return lambda text: [sentence(part) for part in text.split("|")]


@pytest.fixture
def tone():
    return buzz
