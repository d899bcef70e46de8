"""Two hundred requests at once: each gets its own audio, and memory stays."""

import asyncio
import ctypes
import gc
import io
from itertools import pairwise

import fake_system
import httpx
import numpy as np
import psutil
import pytest
import soundfile
import torch
from fake_system import FakeSpeech
from serving import PATIENCE_S, serving

from audiogen.audio import Audio
from audiogen.speech import SpeechOptions, synthesize

REQUESTS = 200
WORDS = ("gate", "house", "river", "window", "garden", "table", "light", "paper", "stone", "music")


class Distinct(FakeSpeech):
    """Speaks ten times as slowly, each seed at a pitch of its own."""

    def _tone(self, sentence, seed, speaker, options):
        samples = int(2000 * len(sentence.tokens) / options.speed)
        hz = 100 + seed % 1000003 / 1000 + 1000 * speaker
        phase = 2 * torch.pi * hz * torch.arange(samples, dtype=torch.float64) / self.sample_rate
        return Audio((self.gain * torch.cos(phase)[None]).float(), self.sample_rate)


def text(n):
    return f"The {WORDS[n % 10]} number {n} is near the {WORDS[n // 10 % 10]}. {WORDS[n % 7]} it stays."


def asked(n):
    """Streamed and whole, in two formats without loss, of two speeds and two speakers."""
    return {
        "input": text(n),
        "seed": n,
        "voice": ("anna", "bert")[n % 2],
        "speed": (1.0, 2.0)[n // 2 % 2],
        "stream": n % 3 > 0,
        "response_format": ("wav", "flac")[n % 5 == 0 and n % 3 == 0],
    }


async def wave(url, limit=REQUESTS):
    """All requests at once -> their answers in order."""
    limits = httpx.Limits(max_connections=limit)
    async with httpx.AsyncClient(base_url=url, timeout=8 * PATIENCE_S, limits=limits) as client:
        posts = (client.post("/v1/audio/speech", json=asked(n)) for n in range(REQUESTS))
        return [answer.content for answer in await asyncio.gather(*posts)]


def memory():
    """Bytes of this process, after what is free has gone back to the system where that can be asked for."""
    gc.collect()
    getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)
    return psutil.Process().memory_info().rss


@pytest.fixture(scope="module")
def load():
    """Three waves -> the answers of the first, and by how many bytes memory grew in each of the others."""
    with pytest.MonkeyPatch.context() as patch, serving({"slow": Distinct()}, queue=REQUESTS) as server:
        patch.setattr(fake_system, "SAMPLES_PER_FRAME", 512)  # some ten chunks a stream
        answers = asyncio.run(wave(server.url))
        levels = [memory()]
        for _ in range(2):
            asyncio.run(wave(server.url))
            levels.append(memory())
        return answers, [after - before for before, after in pairwise(levels)]


def test_nobody_hears_what_another_asked_for(load):
    alone, (answers, _) = Distinct(), load
    assert len(set(answers)) == REQUESTS
    for n, answer in enumerate(answers):
        body = asked(n)
        options = SpeechOptions(speed=body["speed"])
        audio = synthesize(alone, body["input"], options, seed=n, speaker=body["voice"])
        wav, rate = soundfile.read(io.BytesIO(answer), dtype="int16")
        assert rate == audio.sample_rate
        assert len(wav) == audio.wav.shape[-1]
        assert np.abs(wav - 32768 * audio.wav[0].double().numpy()).max() <= 1


def test_memory_stays(load):
    """One of two waves leaves behind no more than half of its bytes, which is some 18 MB.

    Whatever kept one thing of each request, were it only the bytes that were sent, would grow by twice that
    in every wave, and kept samples by four times. The wave before takes what caches need; the allocator may
    keep a few MB in one wave, not in each.
    """
    answers, grown = load
    sent = sum(map(len, answers))
    assert sent > 30e6
    assert min(grown) < sent / 2
