"""How fast vocoders are, offline and streaming, beside the official vocos and HiFi-GAN V1.

    python benchmarks/speed_vocoder.py [--peers DIR]

Every contender decodes mels of its own front end, `--seconds` of audio at batch 1; ours also stream them in
chunks of 4 and 16 frames, and do it all with their loops compiled by Numba as well; everything on `--threads`
threads and on one, which is what a stream uses. They take turns in one process, a matrix product between them
as a measure of the machine at that moment; medians over `--runs` turns. The peers' official modules have
random weights, which their speed does not depend on; DIR holds them as `vocoder_parity.py` says. RTF is
compute seconds over audio seconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from audiogen import hub
from audiogen.files import write_text
from audiogen.memory import keep_freed
from audiogen.report import machine_context

HERE = Path(__file__).parent
CHUNKS = (4, 16)
Key = TypeVar("Key")
Contender = tuple[Callable[[], object], float]  # what to time, seconds of audio it makes


def ours(name: str, seconds: float, compiled: bool = False) -> dict[str, Contender]:
    """A shipped vocoder, whole and in chunks."""
    vocoder = hub.load(name, compiled=compiled)
    label = f"{name}, compiled" if compiled else name
    spec = vocoder.mel_spec
    mel = torch.randn(1, spec.n_mels, round(seconds * spec.frame_rate) // 16 * 16) - 5
    made = mel.shape[-1] / spec.frame_rate

    def streamed(frames: int) -> None:
        state, pieces = vocoder.init_state(1), mel.split(frames, dim=-1)
        for k, piece in enumerate(pieces):
            state, _ = vocoder.stream(state, piece, last=k + 1 == len(pieces))

    entries: dict[str, Contender] = {f"{label}, whole": (lambda: vocoder.decode(mel), made)}
    for frames in CHUNKS:
        entries[f"{label}, {frames} frames"] = (lambda frames=frames: streamed(frames), made)
    return entries


def peers(folder: Path, seconds: float) -> dict[str, Contender]:
    """The official modules, at the settings of their releases; vocos also in bfloat16."""
    sys.path[:0] = [str(HERE), str(folder)]
    import vocoder_parity as parity

    def mels(config: dict[str, Any], rate: int, count: int) -> Tensor:
        return torch.randn(1, count, round(seconds * rate / 256)) - 5

    vocos = parity.official_vocos(parity.VOCOS, folder)
    hifigan = parity.official_hifigan(parity.SIZES, folder)
    mel_24k, mel_22k = mels(parity.VOCOS, 24000, 100), mels(parity.SIZES, 22050, 80)

    def in_bfloat16() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            vocos.decode(mel_24k)

    return {
        "vocos (official), whole": (lambda: vocos.decode(mel_24k), seconds),
        "vocos (official), whole, bf16": (in_bfloat16, seconds),
        "HiFi-GAN V1 (official), whole": (lambda: hifigan.decode(mel_22k), seconds),
    }


def on(threads: int, contender: Contender) -> Contender:
    """The contender on so many threads."""
    work, seconds = contender

    def threaded() -> None:
        torch.set_num_threads(threads)
        work()

    return threaded, seconds


def measure(contenders: dict[Key, Contender], runs: int) -> tuple[dict[Key, Any], list[float]]:
    """Turns of all contenders -> RTF of each, and the milliseconds of the matrix product between them."""
    square = torch.randn(768, 768)
    times: dict[Key, list[float]] = {name: [] for name in contenders}
    calibration = []
    for run in range(runs + 1):
        for name, (work, _) in contenders.items():
            start = time.perf_counter()
            square @ square
            middle = time.perf_counter()
            work()
            if run:  # the first turn warms up
                times[name].append(time.perf_counter() - middle)
                calibration.append(1000 * (middle - start))
    rows = {}
    for name, (_, seconds) in contenders.items():
        rtf = [t / seconds for t in sorted(times[name])]
        rows[name] = {"rtf": statistics.median(rtf), "rtf_least": rtf[0], "rtf_most": rtf[-1]}
    return rows, calibration


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["vocos-16k", "vocos-16k-causal", "vocos-24k-music"])
    parser.add_argument("--peers", type=Path, help="folder with the official modules")
    parser.add_argument("--seconds", type=float, default=5.12)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "speed_vocoder.json")
    args = parser.parse_args()
    keep_freed()  # as the command does
    torch.set_num_threads(args.threads)
    contenders = {}
    for model in args.models:
        for compiled in (False, True):
            contenders |= ours(model, args.seconds, compiled)
    if args.peers is not None:
        contenders |= peers(args.peers, args.seconds)
    everything = {
        (threads, name): on(threads, contender)
        for name, contender in contenders.items()
        for threads in sorted({args.threads, 1}, reverse=True)
    }
    with torch.inference_mode():
        measured, calibration = measure(everything, args.runs)
    torch.set_num_threads(args.threads)
    rows, alone = ({name: measured[threads, name] for name in contenders} for threads in (args.threads, 1))
    for name, row in rows.items():
        spread = f"{row['rtf_least']:.4f} to {row['rtf_most']:.4f}"
        print(f"{name:40} RTF {row['rtf']:.4f} ({spread}), on one thread {alone[name]['rtf']:.4f}")
    content = {
        "context": {**machine_context(), "seconds": args.seconds, "runs": args.runs},
        "calibration_ms": [min(calibration), statistics.median(calibration), max(calibration)],
        "vocoders": rows,
        "one_thread": alone,
    }
    args.out.parent.mkdir(exist_ok=True)
    write_text(args.out, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
