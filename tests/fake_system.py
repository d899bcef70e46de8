"""A speaking system without a network: tones whose length follows the text, whose pitch the seed."""

from __future__ import annotations

import torch
from torch import nn

from audiogen.audio import Audio, Timing
from audiogen.spectral import MelSpec
from audiogen.systems import SYSTEMS
from audiogen.text.frontend import NothingToSay, Sentence, Token, Word

SAMPLES_PER_TOKEN = 200
SAMPLES_PER_FRAME = 20


def front_end(text):
    """Sentences end with "/"; "!" leads a refused text; "<" asks for half a second of pause; "~" is lost."""
    if not text.strip() or text.startswith("!"):
        raise NothingToSay(f"nothing to say in {text!r}")
    return [sentence(part) for part in text.split("/") if part]


def sentence(text):
    words = tuple(Word(word, word, 0, len(word)) for word in text.strip("<~").split())
    tokens = tuple(Token(letter, 0, 0, k) for k, word in enumerate(words) for letter in word.text)
    return Sentence(
        text.strip("<~") + ".",
        words,
        (*tokens, Token(".", 0, 0, -1)),
        0.5 * text.endswith("<"),
        ("~",) * text.count("~"),
    )


class FakeSpeech(nn.Module):
    """Texts holding "poison" raise, those holding "nan" give NaN."""

    def __init__(self, speakers=("anna", "bert"), vocoder=None, mel_spec=None, steps=(4, 2, 1)):
        super().__init__()
        self.hparams = {
            "speakers": list(speakers),
            "vocoder": vocoder,
            "mel_spec": mel_spec,
            "steps": list(steps),
        }
        self.gain = nn.Parameter(torch.tensor(0.5))
        self.mel_spec = MelSpec(**(mel_spec or {}))
        self.sample_rate = self.mel_spec.sample_rate
        self.language = "en-us"
        self.speakers = tuple(speakers)
        self.step_counts = tuple(steps)
        self.default_steps = 2
        self.vocoder = None
        self.calls = []

    def synthesize_sentences(self, sentences, seeds, speakers, options, timer):
        self.calls.append(len(sentences))
        with timer.stage("acoustic"):
            if any("poison" in sentence.text for sentence in sentences):
                raise RuntimeError("poisoned")
        with timer.stage("vocoder"):
            return [self._tone(*each, options) for each in zip(sentences, seeds, speakers, strict=True)]

    def stream_sentence(self, sentence, seed, speaker, options, timer, sizes):
        (audio,) = self.synthesize_sentences([sentence], [seed], [speaker], options, timer)
        timings, start, length = audio.timings, 0, audio.wav.shape[-1]
        while start < length:
            stop = start + SAMPLES_PER_FRAME * next(sizes)
            yield Audio(audio.wav[:, start:stop], self.sample_rate, timings), stop >= length
            timings, start = (), stop

    def _tone(self, sentence, seed, speaker, options):
        samples = int(SAMPLES_PER_TOKEN * len(sentence.tokens) / options.speed)
        hz = 100 + seed % 400 + 1000 * speaker
        wav = self.gain * torch.cos(2 * torch.pi * hz * torch.arange(samples) / self.sample_rate)[None]
        if "nan" in sentence.text:
            wav = wav * torch.nan
        seconds = samples / self.sample_rate / len(sentence.words)
        words = [
            Timing(word.text, k * seconds, (k + 1) * seconds, "word") for k, word in enumerate(sentence.words)
        ]
        phones = [Timing("x", 0.0, seconds, "phone")]
        return Audio(wav, self.sample_rate, (*words, *phones))


class FakeVocoder(nn.Module):
    def __init__(self, mel_spec=None):
        super().__init__()
        self.hparams = {"mel_spec": mel_spec}
        self.mel_spec = MelSpec(**(mel_spec or {}))
        self.weight = nn.Parameter(torch.ones(3))

    def decode(self, mel):
        return mel[:, :1]


def register(monkeypatch):
    """Make hub know the fakes for the length of a test."""
    for key, cls in (("fake", FakeSpeech), ("fakevocoder", FakeVocoder)):
        monkeypatch.setitem(SYSTEMS, key, f"{cls.__module__}:{cls.__qualname__}")
