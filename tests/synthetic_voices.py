"""A packed file of made-up voices: tokens have a spectrum, speakers a colour, clips an intonation."""

from dataclasses import asdict

import torch

from audiogen.data.store import save_ragged
from audiogen.spectral import MelSpec

TOKENS = 12


def write_voices(path, speakers=3, clips=4, seconds=1.5, held_out_speakers=("v2",)):
    """Clips `v0-0` ... of speakers v0 ...; the first clip of each speaker is held out. Returns the path."""
    spec = MelSpec()
    generator = torch.Generator().manual_seed(0)
    phones = 2 * torch.randn(TOKENS, spec.n_mels, 1, generator=generator)
    columns = {name: [] for name in ("mel", "f0", "energy", "speaker", "embedding", "tokens")}
    ids = []
    for s in range(speakers):
        colour = torch.randn(spec.n_mels, 1, generator=generator)
        vector = torch.randn(256, generator=generator)
        for k in range(clips):
            runs = torch.randint(2, 9, (round(12 * seconds),), generator=generator)
            said = torch.randint(TOKENS, runs.shape, generator=generator).repeat_interleave(runs)
            said = said[: round(seconds * spec.frame_rate)]
            time = torch.arange(len(said)) / spec.frame_rate
            f0 = (100 + 60 * s) * (1 + 0.2 * torch.sin(2 * torch.pi * time + k)) * (said % 3 > 0)
            mel = phones[said, :, 0].T + colour - 5 + 0.1 * torch.randn(80, len(said), generator=generator)
            noisy = vector + 0.1 * torch.randn(256, generator=generator)
            columns["mel"].append(mel.half())
            columns["f0"].append(f0)
            columns["energy"].append(mel.mean(0).half())
            columns["speaker"].append(torch.tensor([s], dtype=torch.int16))
            columns["embedding"].append(torch.nn.functional.normalize(noisy, dim=0)[:, None].half())
            columns["tokens"].append(said.to(torch.int16))
            ids.append(f"v{s}-{k}")
    facts = {
        "mel_spec": asdict(spec),
        "ids": ids,
        "speakers": [f"v{s}" for s in range(speakers)],
        "test": [name for name in ids if name.endswith("-0")],
        "held_out": [n for n in ids if n.endswith("-0") or n.rpartition("-")[0] in held_out_speakers],
        "held_out_speakers": list(held_out_speakers),
        "vocabulary": TOKENS,
    }
    save_ragged(path, columns, facts)
    return path
