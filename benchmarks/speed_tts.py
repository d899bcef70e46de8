"""How fast `audiogen tts` is: warm beside Matcha-TTS + vocos, from a cold start, and in memory.

    python benchmarks/speed_tts.py --peers DIR

Both pipelines run in this process, sentence by sentence, in turns, at batch size 1, from text to waveform;
every run is timed whole, and by stage. The front end's caches are emptied before every run. Without
Matcha-TTS and vocos (`peers.py` says how to get them) the rest is measured alone.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import pkgutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import audiogen.text
from audiogen import hub
from audiogen.files import write_text
from audiogen.memory import keep_freed
from audiogen.report import machine_context, percentile
from audiogen.speech import SpeechItem, SpeechOptions, check_steps, join, speak
from audiogen.text.frontend import TextFrontEnd

HERE = Path(__file__).parent
STAGES = ("text", "acoustic", "vocoder")
LONG_CHARACTERS = (5_000, 20_000)


@dataclass
class Timing:
    """One sentence through one pipeline: its whole time, the same by stage, and the audio it gave."""

    seconds: float
    audio_seconds: float
    stages: dict[str, float] = field(default_factory=dict)


class Ours:
    """A released model as `audiogen tts` runs it, one sentence at a time."""

    def __init__(self, model: str, steps: int | None, *, compiled: bool = False) -> None:
        self.system = hub.load(model, compiled=compiled)
        self.steps = check_steps(self.system, steps)
        self.front_end = TextFrontEnd(self.system.language)

    def __call__(self, text: str) -> Timing:
        """Speak a text; its length is the model's to choose."""
        start = time.perf_counter()
        item = SpeechItem("0", text)
        options = SpeechOptions(num_steps=self.steps)
        pieces = list(speak(self.system, [item], options, front_end=self.front_end, batch_size=1))
        for piece in pieces:
            if piece.error is not None:
                raise piece.error
        audio = join([piece.audio for piece in pieces if piece.audio is not None])
        total = time.perf_counter() - start
        stages = {name: sum(piece.stages.get(name, 0.0) for piece in pieces) for name in STAGES}
        return Timing(total, audio.seconds, stages)


class Theirs:
    """Matcha-TTS + vocos, asked for as much audio as ours gave."""

    def __init__(self, folder: str | None) -> None:
        import peers

        self.pair = peers.load(folder)

    def __call__(self, text: str, seconds: float) -> Timing:
        """Text to a waveform of `seconds`; the vocoder's input is made outside the clock."""
        mel = self.pair.vocoder_input(seconds)
        marks = [time.perf_counter()]
        ids = self.pair.text(text)
        marks.append(time.perf_counter())
        self.pair.acoustic(ids, seconds)
        marks.append(time.perf_counter())
        wav = self.pair.vocode(mel)
        marks.append(time.perf_counter())
        stages = {name: end - begin for name, begin, end in zip(STAGES, marks, marks[1:], strict=False)}
        return Timing(marks[-1] - marks[0], wav.shape[-1] / 24000, stages)


def empty_text_caches() -> None:
    """Forget every text seen, so that no run gains from an earlier one; the loaded espeak-ng stays."""
    for module in pkgutil.iter_modules(audiogen.text.__path__, "audiogen.text."):
        for value in vars(importlib.import_module(module.name)).values():
            if hasattr(value, "cache_parameters") and value.cache_parameters()["maxsize"] is not None:
                value.cache_clear()


def race(
    sentences: Sequence[str], warm_up: Sequence[str], ours: Ours, theirs: Theirs | None, runs: int
) -> dict[str, list[list[Timing]]]:
    """Each run speaks every sentence by both, in turns -> for each pipeline, runs of timings.

    The warm-up speaks other sentences, so the first run meets lengths it has not seen.
    """
    for text in warm_up:
        timing = ours(text)
        if theirs:
            theirs(text, timing.audio_seconds)
    laps: dict[str, list[list[Timing]]] = {"audiogen": [[] for _ in range(runs)]}
    if theirs:
        laps["matcha_vocos"] = [[] for _ in range(runs)]
    lengths: dict[str, float] = {}
    for run in range(runs):
        empty_text_caches()
        gc.collect()
        for number, text in enumerate(sentences):
            peer_first = run > 0 and (run + number) % 2 == 1
            if theirs and peer_first:
                laps["matcha_vocos"][run].append(theirs(text, lengths[text]))
            laps["audiogen"][run].append(ours(text))
            lengths[text] = laps["audiogen"][run][-1].audio_seconds
            if theirs and not peer_first:
                laps["matcha_vocos"][run].append(theirs(text, lengths[text]))
    return laps


def summary(laps: list[list[Timing]]) -> dict[str, Any]:
    """Median over runs of each sentence, summed over sentences; the spread is over runs.

    rtf: compute over audio. rtfx: its inverse, "x real time". stage_ms: milliseconds for a second of audio.
    """
    sentences = list(zip(*laps, strict=True))
    audio = sum(timings[0].audio_seconds for timings in sentences)
    medians = [statistics.median(t.seconds for t in timings) for timings in sentences]
    each_run = [sum(t.audio_seconds for t in lap) / sum(t.seconds for t in lap) for lap in laps]
    ratios = [m / timings[0].audio_seconds for m, timings in zip(medians, sentences, strict=True)]
    stages = {
        name: 1000 * sum(statistics.median(t.stages[name] for t in timings) for timings in sentences) / audio
        for name in STAGES
    }
    return {
        "audio_seconds": audio,
        "compute_seconds": sum(medians),
        "rtf": sum(medians) / audio,
        "rtfx": audio / sum(medians),
        "rtfx_of_runs": sorted(each_run),
        "rtfx_first_run": each_run[0],
        "rtf_p50": percentile(ratios, 50),
        "rtf_p95": percentile(ratios, 95),
        "stage_ms": stages,
    }


def command(arguments: Sequence[str]) -> tuple[float, int]:
    """Run `python -m audiogen` in a new process -> (seconds from start to exit, peak resident bytes)."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "audiogen", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    complaint = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(
            f"audiogen {arguments[0]} failed with {process.returncode}: {complaint.strip()[-500:]}"
        )
    return seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def from_cold(options: Sequence[str], text: str, runs: int) -> dict[str, Any]:
    """A new process for one text: seconds to the written file, and peak memory; the median of `runs`."""
    with tempfile.TemporaryDirectory() as folder:
        out, report = Path(folder) / "out.wav", Path(folder) / "report.json"
        arguments = ["tts", text, "-o", str(out), "--report", str(report), "--quiet", *options]
        results = [command(arguments) for _ in range(runs)]
        account = json.loads(report.read_text())["summary"]
    seconds, peaks = zip(*results, strict=True)
    return {
        "characters": len(text),
        "audio_seconds": account["audio_seconds"],
        "seconds": statistics.median(seconds),
        "seconds_of_runs": list(seconds),
        "peak_memory_mb": statistics.median(peaks) / 1e6,
    }


def long_text(sentences: Sequence[str], characters: int) -> str:
    """Sentences in a row, over and over, of `characters` at least, cut at the end of a sentence."""
    text = ""
    while len(text) < characters:
        text += "".join(f"{sentence} " for sentence in sentences)
    end = text.find(". ", characters - 1)
    return text[: end + 1 if end >= 0 else len(text)].strip()


def context(model: str, steps: int, names: Sequence[str]) -> dict[str, Any]:
    """The machine, the versions and the weights."""
    origin = {key: Path(value).name for key, value in hub.provenance(model).items()}
    versions = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "unknown"
    machine = machine_context()
    machine["versions"] = {**machine["versions"], **versions}
    return {**machine, **origin, "steps": steps, "batch_size": 1}


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="prodiff")
    parser.add_argument("--steps", type=int, help="sampler steps; default: the model's")
    parser.add_argument(
        "--sentences", type=Path, default=HERE / "everyday_sentences.csv", help="lines id|text"
    )
    parser.add_argument("--limit", type=int, default=30, help="how many of them, after those to warm up")
    parser.add_argument("--warm-up", type=int, default=10, help="how many others to speak first, untimed")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--cold-runs", type=int, default=3, help="new processes; 0: none, and no memory")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--compile", action="store_true", help="as `audiogen tts --compile`, in the race alone"
    )
    parser.add_argument(
        "--peers", help="folder with Matcha-TTS and vocos, if they are not in the environment"
    )
    parser.add_argument("--out", type=Path, default=HERE / "results" / "speed_tts.json")
    return parser.parse_args()


def main() -> None:
    """Measure, print and save."""
    args = parse()
    keep_freed()  # as the command does
    torch.set_num_threads(args.threads)
    texts = [line.split("|")[1] for line in args.sentences.read_text(encoding="utf-8").splitlines()[1:]]
    warm_up, sentences = texts[: args.warm_up], texts[args.warm_up : args.warm_up + args.limit]
    ours = Ours(args.model, args.steps, compiled=args.compile)
    theirs, names = None, ()
    try:
        theirs, names = Theirs(args.peers), ("matcha-tts", "vocos")
    except ImportError as error:
        print(error, file=sys.stderr)
    result: dict[str, Any] = {"context": context(args.model, ours.steps, names)}
    result["context"] |= {"sentences": len(sentences), "runs": args.runs, "compiled": args.compile}
    laps = race(sentences, warm_up, ours, theirs, args.runs)
    result["warm"] = {name: summary(timings) for name, timings in laps.items()}
    if theirs:
        result["warm"]["times_faster"] = (
            result["warm"]["matcha_vocos"]["rtf"] / result["warm"]["audiogen"]["rtf"]
        )
    if args.cold_runs:
        options = ["--model", args.model, "--steps", str(ours.steps), "--threads", str(args.threads)]
        result["cold"] = from_cold(options, sentences[0], args.cold_runs)
        result["long"] = [from_cold(options, long_text(texts, n), 1) for n in LONG_CHARACTERS]
    args.out.parent.mkdir(exist_ok=True)
    write_text(args.out, json.dumps(result, indent=1) + "\n")
    show(result)


def show(result: dict[str, Any]) -> None:
    """Print what was measured."""
    for name in ("audiogen", "matcha_vocos"):
        if row := result["warm"].get(name):
            stages = ", ".join(f"{stage} {ms:.1f}" for stage, ms in row["stage_ms"].items())
            runs = f"{row['rtfx_of_runs'][0]:.1f} to {row['rtfx_of_runs'][-1]:.1f}"
            print(f"{name}: {row['rtfx']:.1f} x real time (runs: {runs}); ms for a second of audio: {stages}")
    if "times_faster" in result["warm"]:
        print(f"audiogen is {result['warm']['times_faster']:.1f} times as fast")
    if "cold" in result:
        cold = result["cold"]
        print(f"cold start to file: {cold['seconds']:.1f} s; peak memory {cold['peak_memory_mb']:.0f} MB")
        for row in result["long"]:
            speech = f"{row['audio_seconds']:.0f} s of speech in {row['seconds']:.1f} s"
            print(f"{row['characters']} characters: {speech}; peak memory {row['peak_memory_mb']:.0f} MB")


if __name__ == "__main__":
    main()
