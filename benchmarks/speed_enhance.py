"""How fast enhancement is: one evaluation of the networks beside NCSN++M, whole runs, and a long file.

    python benchmarks/speed_enhance.py

The networks of the default configuration (random weights, which speed does not depend on), the released model
and NCSN++M, the network of the papers, take turns in one process on the same `--seconds` of audio; medians
over `--runs` turns. A file of `--long-minutes` goes through `audiogen enhance` in a process of its own, whose
memory is read once a second. Writes results/speed_enhance.json. RTF is compute seconds over audio seconds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
import torch
from speed_vocoder import measure

from audiogen import hub
from audiogen.enhancement import EnhanceOptions
from audiogen.files import write_text
from audiogen.memory import keep_freed
from audiogen.nn.ncsnpp import NCSNpp
from audiogen.report import StageTimer, machine_context
from audiogen.systems.storm import StoRM

HERE = Path(__file__).parent
RATE = 16000
PRESETS = ("fast", "balanced", "best")


def contenders(model: str, seconds: float, peer: bool) -> dict[str, tuple[int, Callable[[], object]]]:
    """What takes turns: name -> evaluations of a network, the work."""
    wav = 0.1 * torch.randn(1, round(seconds * RATE))
    released, whole = hub.load(model), StoRM().eval()
    noisy = whole.stft.analyse(wav)
    t, end = torch.full((1,), 0.5), torch.zeros_like(noisy)

    def enhancing(system: Any, quality: str) -> Callable[[], object]:
        return lambda: system.enhance(wav, [0], EnhanceOptions(quality), StageTimer())

    shipped = EnhanceOptions()
    entries: dict[str, tuple[int, Callable[[], object]]] = {
        f"{model}, as shipped": (max(1, released.nfe(shipped)), enhancing(released, shipped.quality)),
        "predictor": (1, lambda: whole.predict(noisy)),
        "score network": (1, lambda: whole.output(noisy, t, noisy, end)),
    }
    for quality in PRESETS:
        entries[f"StoRM, {quality}"] = (whole.nfe(EnhanceOptions(quality)), enhancing(whole, quality))
    if peer:
        network = NCSNpp(3, timed=True, bins=whole.stft.n_freqs).eval()
        planes = torch.randn(1, 6, *noisy.shape[1:])
        entries["NCSN++M"] = (1, lambda: network(planes, t.log()))
    return entries


def in_turns(
    entries: dict[str, tuple[int, Callable[[], object]]], seconds: float, runs: int
) -> list[dict[str, Any]]:
    """Turns of all -> name, evaluations and RTF of each."""
    rows, _ = measure({name: (work, seconds) for name, (_, work) in entries.items()}, runs)
    return [{"name": name, "evaluations": entries[name][0], **row} for name, row in rows.items()]


def write_noise(path: Path, minutes: float) -> None:
    """A long recording of noise, block by block."""
    generator = np.random.default_rng(0)
    with sf.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for _ in range(round(minutes * 60)):
            file.write(0.1 * generator.standard_normal(RATE, dtype=np.float32))


def resident(pid: int) -> float | None:
    """Resident memory of a process in MB, None once it has gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None
    return pages * 4096 / 1e6


def watched(command: Sequence[str], every_s: float) -> tuple[float, list[float]]:
    """Run a command -> seconds, its resident memory in MB all along. Raises RuntimeError if it fails."""
    start, memory, over = time.perf_counter(), [], threading.Event()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def watch() -> None:
        while not over.wait(every_s):
            if (now := resident(process.pid)) is not None:
                memory.append(now)

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, error = process.communicate()
    over.set()
    watcher.join()
    if process.returncode:
        raise RuntimeError(error.decode())
    return time.perf_counter() - start, memory


def long_file(model: str, minutes: float, threads: int, quality: str, every_s: float = 1.0) -> dict[str, Any]:
    """`audiogen enhance` on a long file: seconds, RTF, and memory by quarters of the run."""
    with tempfile.TemporaryDirectory() as folder:
        source, cleaned = Path(folder) / "long.wav", Path(folder) / "cleaned.wav"
        write_noise(source, minutes)
        words = ["enhance", str(source), "-o", str(cleaned), "--model", model, "--threads", str(threads)]
        words += ["--quality", quality]
        seconds, memory = watched([sys.executable, "-m", "audiogen", *words], every_s)
        frames = sf.info(cleaned).frames
    if frames != round(minutes * 60) * RATE:
        raise RuntimeError(f"the long file went in with {minutes} minutes and came out with {frames} samples")
    quarter = max(1, len(memory) // 4)
    return {
        "minutes": minutes,
        "quality": quality,
        "seconds": seconds,
        "rtf": seconds / (60 * minutes),
        "second_quarter_mb": max(memory[quarter : 2 * quarter] or memory),
        "last_quarter_mb": max(memory[-quarter:]),
        "peak_mb": max(memory),
    }


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="storm")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--long-minutes", type=float, default=60.0, help="0: no long file")
    parser.add_argument("--long-quality", default="fast", help="quality of the long file")
    parser.add_argument("--no-peer", action="store_true", help="leave NCSN++M out, which takes long")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "speed_enhance.json")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print and save."""
    args = parse(words)
    keep_freed()  # as the command does
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    with torch.inference_mode():
        rows = in_turns(contenders(args.model, args.seconds, not args.no_peer), args.seconds, args.runs)
    for row in rows:
        print(
            f"{row['name']:24} {row['evaluations']:2} evaluations, RTF {row['rtf']:.3f} "
            f"({row['rtf_least']:.3f} to {row['rtf_most']:.3f})"
        )
    origin = {key: Path(value).name for key, value in hub.provenance(args.model).items()}
    content: dict[str, Any] = {
        "context": {**machine_context(), **origin, "seconds": args.seconds, "runs": args.runs},
        "runs": rows,
    }
    if args.long_minutes:
        content["long"] = found = long_file(args.model, args.long_minutes, args.threads, args.long_quality)
        print(
            f"{args.long_minutes:g} minutes: RTF {found['rtf']:.3f}, {found['second_quarter_mb']:.0f} MB in "
            f"the second quarter, {found['last_quarter_mb']:.0f} MB in the last"
        )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(args.out, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
