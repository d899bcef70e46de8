"""Captioned music that needs no files of sound: tokens explained by captions, latents by tokens."""

import random

import torch

from audiogen.data.store import save_ragged

VOCABULARY, DIM, FRAMES, TOKENS = 16, 4, 12, 4  # of a chunk
LATENT_RATE, TOKEN_RATE = 30.0, 10.0
INSTRUMENTS = ("piano", "flute", "violin", "trumpet")


def item(number, tokens=24):
    """Tokens count up in the instrument's own quarter of the vocabulary -> facts, tokens, latents."""
    rng = random.Random(number)
    which = number % len(INSTRUMENTS)
    facts = {
        "instruments": [INSTRUMENTS[which]],
        "key": rng.choice(("A minor", "Bb major")),
        "bpm": rng.randint(60, 160),
    }
    row = (torch.arange(tokens) + rng.randint(0, 3)) % 4 + 4 * which
    table = torch.randn(VOCABULARY, DIM, generator=torch.Generator().manual_seed(0))
    latents = table[row].repeat_interleave(FRAMES // TOKENS, 0).T
    return facts, row.short(), latents.half()


def write_latents(path, items=24, tokens=24):
    """A file as `audiogen prepare music` writes it: of six items one is for validation, one for the test."""
    facts, rows, latents = zip(*(item(n, tokens) for n in range(items)), strict=True)
    metadata = {
        "kind": "music_latents",
        "ids": [f"tune{n}" for n in range(items)],
        "captions": [f"solo {f['instruments'][0]} in {f['key']} at {f['bpm']} bpm" for f in facts],
        "facts": list(facts),
        "splits": ["validation" if n % 6 == 0 else "test" if n % 6 == 1 else "train" for n in range(items)],
        "latent_rate": LATENT_RATE,
        "token_rate": TOKEN_RATE,
        "vocabulary": VOCABULARY,
    }
    save_ragged(path, {"latents": list(latents), "tokens": list(rows)}, metadata)
    return path
