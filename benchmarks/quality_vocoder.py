"""How close copies through the vocoders come to held-out recordings, next to Griffin-Lim.

    python benchmarks/quality_vocoder.py

The recordings are the held-out clips of `audiogen prepare ivr` (prompts no vocoder was trained on, four
languages) and of `audiogen prepare music` (scores none was trained on). Mel distance is the mean absolute
difference of natural-log mels. PESQ is wide-band (ITU-T P.862.2; extra `pesq`), of speech alone; periodicity
error is the RMSE of the probability of voicing, F1 that of the decision (`audiogen.metrics.pitch`), of speech
alone. Clips last at least half a second, of music the first `--music-seconds` of each are taken.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiogen import hub, weights
from audiogen.data.store import Ragged
from audiogen.files import write_text
from audiogen.metrics.pitch import periodicity, periodicity_errors
from audiogen.report import machine_context
from audiogen.spectral import mel_spectrogram
from audiogen.vocoders.griffin_lim import GriffinLim

HERE = Path(__file__).parent
DATA = HERE.parent / "data"


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
def measure(vocoder: Any, wav: Tensor, speech: bool = True) -> dict[str, float]:
    """Errors of one copy."""
    spec = vocoder.mel_spec
    mel = mel_spectrogram(wav, spec)
    copy = vocoder.decode(mel)[0].clamp(-1, 1)
    length = min(copy.shape[-1], wav.shape[-1])
    copy, wav = copy[:, :length], wav[:, :length]
    frames = length // spec.hop_length + 1
    distance = (mel_spectrogram(copy, spec) - mel[..., :frames]).abs().mean()
    row = {"mel_distance": float(distance)}
    if speech:
        from pesq import pesq

        row["pesq_wb"] = pesq(spec.sample_rate, wav[0].numpy(), copy[0].numpy(), "wb")
        errors = periodicity_errors(periodicity(wav[0]), periodicity(copy[0]))
        row["periodicity_rmse"], row["voicing_f1"] = errors
    return row


def averages(rows: Iterable[dict[str, float]]) -> dict[str, float]:
    """Means over clips."""
    rows = list(rows)
    return {**{key: statistics.mean(row[key] for row in rows) for key in rows[0]}, "clips": len(rows)}


def groups(rows: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Averages over all clips and over those of each language, the folder of their ids."""
    languages = sorted({clip.partition("/")[0] for clip in rows if "/" in clip})
    return {
        "all": averages(rows.values()),
        **{
            language: averages(row for clip, row in rows.items() if clip.startswith(f"{language}/"))
            for language in languages
        },
    }


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--speech", nargs="*", default=["vocos-16k", "vocos-16k-causal"])
    parser.add_argument("--music", nargs="*", default=["vocos-24k-music"])
    parser.add_argument("--speech-data", type=Path, default=DATA / "ivr" / "audio.safetensors")
    parser.add_argument("--music-data", type=Path, default=DATA / "music" / "audio.safetensors")
    parser.add_argument("--music-seconds", type=float, default=10.0)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "quality_vocoder.json")
    args = parser.parse_args()
    content: dict[str, Any] = {"context": machine_context(), "sha256": {}}
    for kind, models, path in (
        ("speech", args.speech, args.speech_data),
        ("music", args.music, args.music_data),
    ):
        if not models:
            continue
        recordings = clips(path)
        vocoders = {name: hub.load(name) for name in models}
        content["sha256"] |= {name: hub.sha256(weights.locate(name)) for name in models}
        spec = next(iter(vocoders.values())).mel_spec
        if kind == "music":
            limit = round(args.music_seconds * spec.sample_rate)
            recordings = [(name, wav[:, :limit]) for name, wav in recordings]
        content[kind] = {}
        for name, vocoder in {**vocoders, "griffin-lim": GriffinLim(spec)}.items():
            rows = {clip: measure(vocoder, wav, kind == "speech") for clip, wav in recordings}
            content[kind][name] = groups(rows)
            print(kind, name, json.dumps(content[kind][name]["all"], indent=1))
    args.out.parent.mkdir(exist_ok=True)
    write_text(args.out, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
