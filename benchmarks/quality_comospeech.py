"""How good CoMoSpeech's one-step student is beside its teacher and ProDiff.

    python benchmarks/quality_comospeech.py

The lists and measures of `quality_tts.py`. Conditions: the teacher at 50 and 4 steps, the student at 4, 2 and
1, ProDiff at 2, recordings and their copies. Also draws spectrograms of the first prompts.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from quality_tts import draw, measure

from audiogen import hub
from audiogen.files import write_text
from audiogen.metrics.evaluation import Condition, copy_synthesis, read_manifest, recording, speech
from audiogen.report import machine_context
from audiogen.text.frontend import TextFrontEnd

HERE = Path(__file__).parent
TEACHER, STUDENT, PRODIFF = (50, 4), (4, 2, 1), 2


def conditions(model: str, prodiff: str, seed: int) -> list[Condition]:
    """Recordings, their copies, then both networks and ProDiff."""
    student, teacher = hub.load(model), hub.load(model)
    teacher.teacher_steps, teacher.student_steps = TEACHER, ()
    found = [recording(), copy_synthesis(student.vocoder, "copy by the vocoder")]
    rows: list[tuple[str, Any, int]] = [
        *(("teacher", teacher, n) for n in TEACHER),
        *(("student", student, n) for n in STUDENT),
        ("prodiff", hub.load(prodiff), PRODIFF),
    ]
    for name, system, steps in rows:
        source = speech(system, TextFrontEnd(system.language), num_steps=steps, seed=seed)
        found.append(replace(source, name=f"{name}, {source.name}"))
    return found


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="comospeech")
    parser.add_argument("--prodiff", default="prodiff")
    parser.add_argument("--everyday", type=Path, default=HERE / "everyday_sentences.csv")
    parser.add_argument("--unseen", type=Path, default=HERE / "unseen_sentences.csv")
    parser.add_argument("--heldout", type=Path, default=HERE.parent / "data" / "ivr" / "heldout.csv")
    parser.add_argument(
        "--lists", default="everyday,unseen,heldout", help="which to measure; the file keeps the others"
    )
    parser.add_argument("--limit", type=int, help="use only the first items of each list")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pictures", type=int, default=2, help="how many prompts to draw")
    parser.add_argument("--picture-dir", type=Path, default=HERE.parent / "models" / "comospeech")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "quality_comospeech.json")
    return parser.parse_args()


def main() -> None:
    """Measure, print, save and draw."""
    args = parse()
    torch.set_num_threads(args.threads)
    sources = conditions(args.model, args.prodiff, args.seed)
    items = {name: read_manifest(getattr(args, name))[: args.limit] for name in args.lists.split(",")}
    origin = {key: Path(value).name for key, value in hub.provenance(args.model).items()}
    context = {**machine_context(), **origin, "seed": args.seed}
    found: dict[str, Any] = {}
    measure(items, sources, args.seed, found)
    # only now: another process may have measured other lists meanwhile
    content = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
    write_text(args.out, json.dumps({**content, "context": context, **found}, indent=1) + "\n")
    shown = [source for source in sources if not source.name.startswith(("copy", "teacher, 4", "student, 4"))]
    if "heldout" in items:
        draw(items["heldout"], shown, args.pictures, args.picture_dir)


if __name__ == "__main__":
    main()
