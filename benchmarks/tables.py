"""Writes the measured numbers of `benchmarks/results/` into README and the model cards.

    python benchmarks/tables.py [--check]

A block between `<!-- name -->` and `<!-- /name -->` is replaced by the table of that name; SHA-256 sums of
weights are blocks too. --check changes nothing and fails if a file does not say what the results say.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from audiogen.hub import sha256

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
FILES = ("README.md", "models/README.md", "models/prodiff/README.md", "models/vocos-16k/README.md")


def results(name: str) -> Any:
    """The JSON a benchmark wrote."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def machine(context: dict[str, Any]) -> str:
    """Where numbers come from, in words."""
    return f"{context['cpu']}, {context['threads']} threads, torch {context['versions']['torch']}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def speed() -> str:
    """Warm speed beside Matcha-TTS + vocos, cold start and memory."""
    found = results("speed_tts")
    names = {"audiogen": "audiogen", "matcha_vocos": "Matcha-TTS (4 steps) + vocos"}
    rows = [
        [
            label,
            f"{row['rtfx']:.0f}x",
            f"{row['rtfx_of_runs'][0]:.0f}x to {row['rtfx_of_runs'][-1]:.0f}x",
            *(f"{row['stage_ms'][stage]:.1f}" for stage in ("text", "acoustic", "vocoder")),
        ]
        for name, label in names.items()
        if (row := found["warm"].get(name))
    ]
    context, cold, long = found["context"], found["cold"], found["long"][-1]
    head = [
        "text to waveform, batch 1, warm",
        "times real time",
        "over runs",
        "text ms",
        "acoustic ms",
        "vocoder ms",
    ]
    return "\n\n".join(
        [
            table(head, rows),
            f"{context['steps']} steps, {context['sentences']} everyday sentences, median of "
            f"{context['runs']} runs in turns; stages in milliseconds a second of audio; the peers' official "
            f"modules with random weights. audiogen is {found['warm']['times_faster']:.1f} times as fast. "
            f"From a cold start to a written file: "
            f"{cold['seconds']:.1f} s, peak memory {cold['peak_memory_mb'] / 1000:.2f} GB; a text of "
            f"{long['characters']:,} characters ({long['audio_seconds'] / 60:.0f} minutes of speech): "
            f"{long['peak_memory_mb'] / 1000:.2f} GB. Machine: {machine(context)}.",
        ]
    )


def value(summary: dict[str, Any], name: str, form: str, scale: float = 1.0, interval: bool = False) -> str:
    """One measured number, with its interval if wanted; a dash where there is none."""
    if name not in summary or summary[name]["value"] is None:
        return "-"
    entry = summary[name]
    text = format(scale * entry["value"], form)
    if interval:
        text += f" ({scale * entry['low']:{form}} to {scale * entry['high']:{form}})"
    return text


def quality() -> str:
    """Errors of recordings, copies and every step count on both lists."""
    found = results("quality_tts")
    parts = []
    titles = {"heldout": "Prompts kept out of training", "everyday": "Everyday sentences"}
    for name, title in titles.items():
        rows = []
        for entry in found[name]["conditions"]:
            s = entry["summary"]
            if "cer" not in s:
                continue
            rows.append(
                [
                    entry["condition"],
                    value(s, "cer", ".3f", interval=True),
                    value(s, "mcd_db", ".2f"),
                    value(s, "f0_rmse_cents", ".0f"),
                    value(s, "duration_error", ".0f", 100),
                    value(s, "acoustic_ms", ".1f"),
                ]
            )
        count = max(len(entry["items"]) for entry in found[name]["conditions"])
        head = [f"{title} ({count})", "CER", "MCD dB", "F0 RMSE cents", "duration error %", "acoustic ms/s"]
        parts.append(table(head, rows))
    return "\n\n".join([*parts, f"Machine: {machine(found['context'])}."])


def vocoder() -> str:
    """Copy-synthesis of held-out recordings."""
    found = results("quality_vocoder")
    rows = [
        [
            name,
            group,
            f"{row['pesq_wb']:.2f}",
            f"{row['mel_distance']:.3f}",
            f"{row['ms_per_second']:.1f}",
            str(row["clips"]),
        ]
        for name, groups in found["vocoders"].items()
        for group, row in groups.items()
    ]
    return table(["vocoder", "clips of", "PESQ (wb)", "mel distance", "ms/s, 1 thread", "clips"], rows)


def digest(name: str) -> Callable[[], str]:
    """The SHA-256 of a model's weights, and their size."""

    def block() -> str:
        path = ROOT / "models" / name / "model.safetensors"
        return f"`model.safetensors`: {path.stat().st_size / 1e6:.1f} MB, SHA-256 `{sha256(path)}`"

    return block


BLOCKS: dict[str, Callable[[], str]] = {
    "speed": speed,
    "quality": quality,
    "vocoder": vocoder,
    "prodiff sha256": digest("prodiff"),
    "vocos-16k sha256": digest("vocos-16k"),
}


def filled(text: str) -> str:
    """`text` with every block written anew."""
    for name, render in BLOCKS.items():
        pattern = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if pattern.search(text):
            body = render()
            text = pattern.sub(lambda match, body=body: f"{match[1]}{body}\n{match[2]}", text)
    return text


def main() -> int:
    """Fill or check every file."""
    stale = []
    for name in FILES:
        path = ROOT / name
        old = path.read_text(encoding="utf-8")
        if (new := filled(old)) != old:
            stale.append(name)
            if "--check" not in sys.argv[1:]:
                path.write_text(new, encoding="utf-8")
    print(f"{'stale' if '--check' in sys.argv[1:] else 'written'}: {', '.join(stale) or 'nothing'}")
    return int("--check" in sys.argv[1:] and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
