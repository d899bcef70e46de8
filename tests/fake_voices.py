"""A miniature file of `audiogen prepare voices`: phones are bands that sound, voices are how they sound."""

from dataclasses import asdict

import torch

from audiogen.data.phone_frames import UNKNOWN
from audiogen.data.store import save_ragged
from audiogen.spectral import MelSpec
from audiogen.text.symbols import IDS, SYMBOLS

PHONES = [IDS[symbol] for symbol in " aiusm"]
SPEAKERS = ["ann", "bob", "cid", "dot"]  # dot is held out, of cid no phone is known


def clip(speaker, seed, frames=70):
    """mel (80, F) and phones (F,): runs of 5 to 12 frames; each phone lifts two bands of its own."""
    generator = torch.Generator().manual_seed(seed)
    phones = torch.empty(0, dtype=torch.int64)
    while len(phones) < frames:
        number = int(torch.randint(len(PHONES), (), generator=generator))
        length = int(torch.randint(5, 13, (), generator=generator))
        phones = torch.cat([phones, torch.full((length,), number)])
    phones = phones[:frames]
    mel = torch.full((80, frames), -8.0 + 0.3 * SPEAKERS.index(speaker))
    for band in range(6):
        mel[10 * phones + 4 + band, torch.arange(frames)] += 5.0
    mel += 0.3 * torch.randn(80, frames, generator=generator)
    return mel, torch.tensor(PHONES)[phones]


def write_voices(path, clips=6):
    """Write the file -> its path; the last clip of each speaker is a test clip."""
    columns = {name: [] for name in ("mel", "f0", "energy", "phones", "speaker", "embedding")}
    facts = {name: [] for name in ("ids", "texts", "languages", "test", "held_out")}
    for number, speaker in enumerate(SPEAKERS):
        for k in range(clips):
            mel, phones = clip(speaker, 100 * number + k, 60 + 5 * k)
            frames = mel.shape[-1]
            columns["mel"].append(mel.half())
            columns["f0"].append(torch.full((frames,), 100.0 + 30 * number))
            columns["energy"].append(mel.mean(0).half())
            unknown = torch.full_like(phones, UNKNOWN)
            columns["phones"].append((unknown if speaker == "cid" else phones).short())
            columns["speaker"].append(torch.tensor([number], dtype=torch.int16))
            columns["embedding"].append(torch.eye(256)[:, number : number + 1].half())
            name = f"{speaker}/{k}"
            facts["ids"].append(name)
            facts["texts"].append("")
            facts["languages"].append("en")
            if k == clips - 1:
                facts["test"].append(name)
            if k == clips - 1 or speaker == "dot":
                facts["held_out"].append(name)
    more = {"mel_spec": asdict(MelSpec()), "symbols": SYMBOLS, "speakers": SPEAKERS}
    save_ragged(path, columns, {**facts, **more, "held_out_speakers": ["dot"]})
    return path
