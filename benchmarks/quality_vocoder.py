"""How close copies through a vocoder come to held-out recordings, next to Griffin-Lim.

    python benchmarks/quality_vocoder.py

The recordings are the held-out clips of `audiogen prepare ivr` (`data/ivr/audio.safetensors`): prompts no
vocoder was trained on, four languages. Mel distance is the mean absolute difference of natural-log mels,
PESQ is wide-band (ITU-T P.862.2; extra `pesq`), on clips of at least half a second. Times are milliseconds a
second of audio on one thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiogen import hub
from audiogen.data.store import Ragged
from audiogen.files import write_text
from audiogen.report import machine_context
from audiogen.spectral import mel_spectrogram
from audiogen.vocoders.griffin_lim import GriffinLim

HERE = Path(__file__).parent


def clips(path: Path, at_least_s: float = 0.5) -> list[tuple[str, Tensor]]:
    """Held-out clips (1, T) with their ids."""
    store = Ragged(path)
    held_out, rate = set(store.metadata["held_out"]), store.metadata["sample_rate"]
    audio = store["audio"]
    return [
        (name, audio[i].float()[None] / 32768)
        for i, name in enumerate(store.metadata["ids"])
        if name in held_out and audio.length(i) >= at_least_s * rate
    ]


@torch.inference_mode()
def measure(vocoder: Any, wav: Tensor) -> dict[str, float]:
    """Mel distance, PESQ and time of one copy."""
    from pesq import pesq

    spec = vocoder.mel_spec
    mel = mel_spectrogram(wav, spec)
    start = time.perf_counter()
    copy = vocoder.decode(mel)[0].clamp(-1, 1)
    seconds = time.perf_counter() - start
    length = min(copy.shape[-1], wav.shape[-1])
    frames = length // spec.hop_length + 1
    distance = (mel_spectrogram(copy[:, :length], spec) - mel[..., :frames]).abs().mean()
    quality = pesq(spec.sample_rate, wav[0, :length].numpy(), copy[0, :length].numpy(), "wb")
    speed = 1000 * seconds * spec.sample_rate / copy.shape[-1]
    return {"mel_distance": float(distance), "pesq_wb": float(quality), "ms_per_second": speed}


def averages(rows: Iterable[dict[str, float]]) -> dict[str, float]:
    """Means over clips; of times, which have outliers, the median."""
    rows = list(rows)
    means = {key: statistics.mean(row[key] for row in rows) for key in ("mel_distance", "pesq_wb")}
    median = statistics.median(row["ms_per_second"] for row in rows)
    return {**means, "ms_per_second": median, "clips": len(rows)}


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="vocos-16k")
    parser.add_argument("--data", type=Path, default=HERE.parent / "data" / "ivr" / "audio.safetensors")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "quality_vocoder.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    vocoder = hub.load(args.model)
    recordings = clips(args.data)
    content: dict[str, Any] = {"context": {**machine_context(), **hub.provenance(args.model)}, "vocoders": {}}
    for name, candidate in ((args.model, vocoder), ("griffin-lim", GriffinLim(vocoder.mel_spec))):
        rows = {clip: measure(candidate, wav) for clip, wav in recordings}
        languages = sorted({clip.partition("/")[0] for clip in rows})
        content["vocoders"][name] = {
            "all": averages(rows.values()),
            **{
                language: averages(row for clip, row in rows.items() if clip.startswith(f"{language}/"))
                for language in languages
            },
        }
        print(name, json.dumps(content["vocoders"][name], indent=1))
    args.out.parent.mkdir(exist_ok=True)
    write_text(args.out, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
