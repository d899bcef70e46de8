"""The acoustic decoder of CoMoSpeech: the 50-step teacher beside the one-step student.

    python benchmarks/speed_comospeech.py

Both sample mels of the same utterances from the same condition, in turns, in one process. Text side and
vocoder are left out: `speed_tts.py --model comospeech --steps 1` times the whole. Writes
results/speed_comospeech.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from audiogen import hub
from audiogen.acoustic_model import Condition
from audiogen.files import write_text
from audiogen.memory import keep_freed
from audiogen.report import machine_context
from audiogen.speech import SpeechOptions
from audiogen.text.frontend import TextFrontEnd

HERE = Path(__file__).parent
TEXTS = (  # about 2, 4 and 8 seconds
    "Your call is important to us.",
    "Thank you for calling, please stay on the line while we find someone to help you.",
    "If you know the extension of the person you want, press it now. To hear the menu again, and all "
    "the other choices that there are, press nine.",
)


@torch.inference_mode()
def conditions(system: Any) -> list[Condition]:
    """What the decoder gets of every text, its sentences laid end to end."""
    front_end, found = TextFrontEnd(system.language), []
    for text in TEXTS:
        parts = [system.lay_out([sentence], [0], SpeechOptions())[0] for sentence in front_end(text)]
        columns = zip(*((part.frames, part.mask, part.mean) for part in parts), strict=True)
        found.append(Condition(*(torch.cat(column, dim=-1) for column in columns)))
    return found


@torch.inference_mode()
def seconds(system: Any, condition: Condition, steps: int) -> float:
    """One sampling run."""
    start = time.perf_counter()
    system.sample(condition, [0], steps)
    return time.perf_counter() - start


def compare(system: Any, condition: Condition, teacher: int, student: int, runs: int) -> dict[str, float]:
    """Medians of both in turns after a warm-up, in milliseconds a second of audio, and their ratio."""
    audio = condition.mask.shape[-1] * system.mel_spec.hop_length / system.sample_rate
    laps: dict[int, list[float]] = {teacher: [], student: []}
    for run in range(runs + 1):
        for steps in sorted(laps, reverse=run % 2 == 1):
            laps[steps].append(seconds(system, condition, steps))
    ms = {steps: 1000 * statistics.median(times[1:]) / audio for steps, times in laps.items()}
    return {
        "audio_seconds": audio,
        "teacher_ms": ms[teacher],
        "student_ms": ms[student],
        "ratio": ms[teacher] / ms[student],
    }


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="comospeech")
    parser.add_argument("--teacher-steps", type=int, default=50)
    parser.add_argument("--student-steps", type=int, default=1)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "speed_comospeech.json")
    return parser.parse_args()


def main() -> None:
    """Measure, print and save."""
    args = parse()
    keep_freed()  # as the command does
    torch.set_num_threads(args.threads)
    system = hub.load(args.model)
    rows = [
        compare(system, condition, args.teacher_steps, args.student_steps, args.runs)
        for condition in conditions(system)
    ]
    for row in rows:
        print(
            f"{row['audio_seconds']:.1f} s: teacher {row['teacher_ms']:.1f}, student {row['student_ms']:.2f} "
            f"ms a second of audio, {row['ratio']:.1f} times"
        )
    origin = {key: Path(value).name for key, value in hub.provenance(args.model).items()}
    steps = {"teacher_steps": args.teacher_steps, "student_steps": args.student_steps}
    content = {"context": {**machine_context(), **origin, **steps, "runs": args.runs}, "utterances": rows}
    args.out.parent.mkdir(exist_ok=True)
    write_text(args.out, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
