"""Captioned music that needs no files of sound: tokens explained by captions, latents by tokens."""

import json
import random

import torch
from torch import nn

from audiogen.data.store import save_ragged
from audiogen.systems import SYSTEMS

VOCABULARY, DIM, FRAMES, TOKENS = 16, 4, 12, 4  # of a chunk
LATENT_RATE, TOKEN_RATE = 30.0, 10.0
INSTRUMENTS = ("piano", "flute", "violin", "trumpet")


def item(number, tokens=24):
    """Tokens count up in the instrument's own quarter of the vocabulary -> facts, tokens, latents."""
    rng = random.Random(number)
    which = number % len(INSTRUMENTS)
    bpm = rng.randint(60, 160)
    name, mode = INSTRUMENTS[which], rng.choice(("minor", "major"))
    facts = {"instruments": [name], "family": name, "key": f"B flat {mode}", "mode": mode, "bpm": bpm}
    row = (torch.arange(tokens) + rng.randint(0, 3)) % 4 + 4 * which
    table = torch.randn(VOCABULARY, DIM, generator=torch.Generator().manual_seed(0))
    latents = table[row].repeat_interleave(FRAMES // TOKENS, 0).T
    return facts, row.short(), latents.half()


def write_latents(path, items=24, tokens=24, beats=False):
    """A file as `audiogen prepare music` writes it: of six items one is for validation, one for the test.

    beats: all items have 120 beats a minute, the first after 0.1 s.
    """
    facts, rows, latents = zip(*(item(n, tokens) for n in range(items)), strict=True)
    if beats:
        facts = [{**told, "bpm": 120, "first_beat_s": 0.1} for told in facts]
    metadata = {
        "kind": "music_latents",
        "ids": [f"tune{n}" for n in range(items)],
        "captions": [
            [f"solo {f['instruments'][0]} in {f['key']} at {f['bpm']} bpm", f["instruments"][0]]
            for f in facts
        ],
        "facts": list(facts),
        "splits": ["validation" if n % 6 == 0 else "test" if n % 6 == 1 else "train" for n in range(items)],
        "latent_rate": LATENT_RATE,
        "token_rate": TOKEN_RATE,
        "vocabulary": VOCABULARY,
    }
    save_ragged(path, {"latents": list(latents), "tokens": list(rows)}, metadata)
    return path


class FakeTokenizer(nn.Module):
    """Tokens by loudness, `hop` samples each."""

    def __init__(self, sample_rate=24000, hop=384, vocabulary=VOCABULARY):
        super().__init__()
        self.hparams = {"sample_rate": sample_rate, "hop": hop, "vocabulary": vocabulary}
        self.sample_rate, self.hop, self.vocabulary = sample_rate, hop, vocabulary
        self.frame_rate = sample_rate / hop
        self.register_buffer("scale", torch.tensor(40.0))

    def encode(self, wav):
        wav = nn.functional.pad(wav, (0, -wav.shape[-1] % self.hop))
        level = wav.unflatten(-1, (-1, self.hop)).abs().mean(-1)
        return (level * self.scale).long().clamp(max=self.vocabulary - 1)


AUTOENCODER = {
    "latents": DIM,
    "hop_length": 64,
    "n_fft": 256,
    "channels": 16,
    "hidden": 16,
    "encoder_blocks": (1, 1),
    "decoder_blocks": (1, 1),
}
NET = {"width": 16, "blocks": 2, "heads": 2, "size": 8, "angle_channels": 8}
WORDS = ("piano", "slow", "flute", "in", "key:a", "minor")
CAPTIONS = {"words": WORDS, "max_words": 16, "caption_net": {"width": 16, "layers": 1, "heads": 2}}
PARTS = {
    "lm": {
        "system": "melody_lm",
        "hparams": {
            "vocabulary": VOCABULARY,
            "context": 24,
            "net": {"width": 16, "layers": 2, "heads": 2},
            "beats": True,
            **CAPTIONS,
        },
    },
    "diffusion": {
        "system": "melody",
        "hparams": {
            "latent_dim": DIM,
            "vocabulary": VOCABULARY,
            "chunk_frames": FRAMES,
            "chunk_tokens": TOKENS,
            "chunks": 4,
            "net": NET,
            "default_steps": 2,
            "beats": True,
            **CAPTIONS,
        },
    },
    "autoencoder": {"system": "autoencoder", "hparams": AUTOENCODER},
    "tokenizer": {"system": "faketokenizer", "hparams": {}},
}


def register(monkeypatch):
    """Make the package know the fake tokenizer for the length of a test."""
    monkeypatch.setitem(SYSTEMS, "faketokenizer", f"{FakeTokenizer.__module__}:{FakeTokenizer.__qualname__}")


def music_system(seed=0, **more):
    """MeLoDy of random weights, its parts of the sizes that fit each other; register the tokenizer first."""
    from audiogen.systems.melody_music import MeLoDyMusic

    torch.manual_seed(seed)
    system = MeLoDyMusic(PARTS, **more)
    for parameter in system.lm.parameters():
        nn.init.normal_(parameter, std=0.3)
    nn.init.normal_(system.diffusion.net.exit.weight, std=0.2)
    nn.init.normal_(system.diffusion.net.beats.leave.weight, std=0.2)
    # what a release keeps of both, so that a file is the system to the last bit
    system.lm.half().float()
    system.diffusion.half().float()
    return system.eval()


def write_waveforms(folder, splits, seconds=2.6):
    """A folder of `audiogen prepare music`: chords of a low or a high instrument, item after item."""
    lines, audio = [], []
    t = torch.arange(round(seconds * 24000)) / 24000
    for n, split in enumerate(splits):
        family, hz = (("strings", 110.0), ("woodwinds", 880.0))[n % 2]
        chord = sum(torch.sin(2 * torch.pi * hz * 2 ** (k / 12) * t) for k in (0, 3, 7))
        loud = 0.5 + 0.5 * torch.sign(torch.sin(2 * torch.pi * 2 * t))  # two beats a second
        noise = torch.rand(len(t), generator=torch.Generator().manual_seed(n))
        audio.append((8000 * (chord / 3 * loud + 0.02 * noise)).short())
        about = {
            "instruments": [family],
            "families": [family],
            "family": family,
            "tonic": 9,
            "mode": "minor",
            "key": "A minor",
            "bpm": 120.0 if n % 4 < 2 else 90.0,
        }
        caption = f"{family} in A minor"
        lines.append({"id": f"p{n}", "captions": [caption], "about": about, "score": f"s{n}", "split": split})
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    facts = {"sample_rate": 24000, "ids": [line["id"] for line in lines]}
    save_ragged(folder / "audio.safetensors", {"audio": audio}, facts)
