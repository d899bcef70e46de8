"""One step of a streaming vocoder for many streams: PyTorch, torch.compile, kernels, kernels in a graph.

    python benchmarks/kernels_streaming.py                  on the GPU, where there is one
    python benchmarks/kernels_streaming.py --miniature --methods eager kernels graph --out out.json

A causal Vocos with random weights takes one mel frame of every stream and gives one hop of samples. The floor
is the least memory traffic of a step (`VocosPool.traffic`) over the bandwidth of a copy measured here; a card
whose cache holds the weights can fall below it with few streams. The baselines carry their streams in one
batch in step; in the pool every stream has a place of its own. They run in float32 alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiogen.files import write_text
from audiogen.report import machine_context
from audiogen.spectral import MelSpec
from audiogen.vocoders.pool import VocosPool
from audiogen.vocoders.vocos import Vocos

HERE = Path(__file__).parent
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
BASELINES, KERNELS = ("eager", "compile"), ("kernels", "graph")
Step = Callable[[Tensor], object]


def network(miniature: bool, source: bool, device: torch.device) -> Vocos:
    """A causal Vocos of the usual size, or a very small one."""
    torch.manual_seed(0)
    if miniature:
        spec = MelSpec(n_mels=8, n_fft=32, win_length=32, hop_length=16)
        return Vocos(spec, 8, 16, 2, n_fft=32, causal=True, source=source).eval().to(device)
    return Vocos(MelSpec(), causal=True, source=source).eval().to(device)


def baseline(vocos: Vocos, streams: int, compiled: bool) -> Step:
    """The vocoder's own streaming, all streams in one batch."""
    advance = torch.compile(vocos.stream) if compiled else vocos.stream
    state = vocos.init_state(streams)

    def step(frames: Tensor) -> object:
        nonlocal state
        state, audio = advance(state, frames.unsqueeze(2))
        return audio

    return step


def pooled(pool: VocosPool) -> Step:
    """The pool with all its slots taken."""
    slots = torch.tensor([pool.open() for _ in range(pool.slots)], device=pool.state[0].device)
    return lambda frames: pool.step(slots, frames)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_a_step(step: Step, frames: Tensor, steps: int, runs: int) -> float:
    """Median over runs of the mean of `steps` steps in a row, after a run that is not counted."""
    times = []
    for _ in range(runs + 1):
        synchronize(frames.device)
        start = time.perf_counter()
        for _ in range(steps):
            step(frames)
        synchronize(frames.device)
        times.append((time.perf_counter() - start) / steps)
    return statistics.median(times[1:])


def copy_bandwidth(device: torch.device, size: int, runs: int) -> float:
    """Bytes a second, read and written, of a copy of `size` bytes."""
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / seconds_a_step(target.copy_, source, 5, runs)


def account(streams: int, seconds: float, floor: float, frame_rate: float) -> dict[str, Any]:
    """One line of the result: streams that a card serves in real time, and how near the floor a step is."""
    return {
        "streams": streams,
        "step_ms": 1000 * seconds,
        "floor_ms": 1000 * floor,
        "times_floor": seconds / floor,
        "real_time_streams": streams / (seconds * frame_rate),
    }


def time_method(
    vocos: Vocos, method: str, dtype: str, streams: int, bandwidth: float, args: argparse.Namespace
) -> dict[str, Any]:
    """One line of the result."""
    pool = VocosPool(vocos, streams, dtype=DTYPES[dtype], graphs=method == "graph")
    step = pooled(pool) if method in KERNELS else baseline(vocos, streams, method == "compile")
    frames = torch.randn(streams, vocos.mel_spec.n_mels, device=pool.state[0].device)
    seconds = seconds_a_step(step, frames, args.steps, args.runs)
    torch.compiler.reset()
    row = account(streams, seconds, pool.traffic(streams) / bandwidth, vocos.mel_spec.frame_rate)
    print(
        f"{method:8} {dtype:8} {streams:5} streams: {row['step_ms']:8.3f} ms a step, "
        f"{row['times_floor']:6.1f} x floor, {row['real_time_streams']:9.0f} in real time"
    )
    return {"method": method, "dtype": dtype, **row}


@torch.inference_mode()
def measure(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Every method at every number of streams."""
    vocos = network(args.miniature, args.source, device)
    bandwidth = copy_bandwidth(device, 1 << (20 if args.miniature else 30), args.runs)
    rows = [
        time_method(vocos, method, dtype, streams, bandwidth, args)
        for streams in args.streams
        for dtype in args.dtypes
        for method in args.methods
        if method in KERNELS or dtype == "float32"
    ]
    return {
        "context": {
            **machine_context(device),
            "copy_bytes_per_s": bandwidth,
            "matmul_precision": torch.get_float32_matmul_precision(),
            "frame_ms": 1000 / vocos.mel_spec.frame_rate,
            "miniature": args.miniature,
            "source": args.source,
            "steps": args.steps,
            "runs": args.runs,
        },
        "steps": rows,
    }


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 16, 256, 1024])
    parser.add_argument("--methods", nargs="+", choices=BASELINES + KERNELS, default=BASELINES + KERNELS)
    parser.add_argument("--dtypes", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    parser.add_argument("--source", action="store_true", help="a vocoder with harmonics plus noise as source")
    parser.add_argument("--miniature", action="store_true", help="a very small network and copy")
    parser.add_argument("--steps", type=int, default=100, help="steps in a row, timed together")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, help="default: results/kernels_streaming_<device>.json")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and save."""
    args = parse(argv)
    device = torch.device(args.device)
    result = measure(args, device)
    name = (result["context"]["gpu"] or "cpu").lower().replace(" ", "_")
    out = args.out or HERE / "results" / f"kernels_streaming_{name}.json"
    out.parent.mkdir(exist_ok=True)
    write_text(out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
