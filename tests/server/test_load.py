"""Two hundred requests at once: each gets its own audio, and memory stays."""

import asyncio
import gc
import io

import httpx
import numpy as np
import psutil
import soundfile
from fake_system import FakeSpeech
from serving import PATIENCE_S, serving

from audiogen.speech import SpeechOptions, synthesize

REQUESTS = 200
WORDS = ("gate", "house", "river", "window", "garden", "table", "light", "paper", "stone", "music")


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


def test_nobody_hears_what_another_asked_for():
    alone = FakeSpeech()
    with serving({"fake": FakeSpeech()}, queue=REQUESTS) as server:
        answers = asyncio.run(wave(server.url))
    assert len(set(answers)) == REQUESTS
    for n, answer in enumerate(answers):
        body = asked(n)
        options = SpeechOptions(speed=body["speed"])
        audio = synthesize(alone, body["input"], options, seed=n, speaker=body["voice"])
        wav, rate = soundfile.read(io.BytesIO(answer), dtype="int16")
        assert rate == audio.sample_rate
        assert len(wav) == audio.wav.shape[-1]
        # the library's own way to 16 bits rounds as the server's, to a bit
        assert np.abs(wav - 32768 * audio.wav[0].double().numpy()).max() <= 1


def test_memory_stays():
    """Three more waves may leave no more than a third of one wave's audio behind.

    A wave is at least 200 answers of 100 kB, and four times that as samples while they are made: whatever
    kept a thing of each request, be it the bytes alone, would grow by 60 MB. What the allocator and the
    caches take at first is taken by the wave before.
    """
    process = psutil.Process()
    with serving({"fake": FakeSpeech()}, queue=REQUESTS) as server:
        sent = sum(map(len, asyncio.run(wave(server.url))))
        gc.collect()
        before = process.memory_info().rss
        for _ in range(3):
            asyncio.run(wave(server.url))
        gc.collect()
        grown = process.memory_info().rss - before
    assert grown < sent / 3
