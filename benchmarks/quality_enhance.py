"""How much better enhanced speech is than noisy speech, at each number of steps: StoRM, and SGMSE+ beside it.

    python benchmarks/quality_enhance.py --storm runs/storm.safetensors --sgmse runs/sgmse.safetensors
    python benchmarks/quality_enhance.py --storm runs/student.safetensors --steps 1 \
        --out benchmarks/results/quality_enhance_student.json

The recordings are the test set of `audiogen prepare enhancement`: a voice, noise and rooms that training did
not hear. The measures are those of `audiogen evaluate enhance`; differences are paired, item by item.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from audiogen import hub
from audiogen.cli.evaluate import parse_steps, show
from audiogen.cli.evaluate_enhance import run, table
from audiogen.data.pairs import list_pairs
from audiogen.files import write_text
from audiogen.metrics.enhancement import SCORES, finite, means
from audiogen.metrics.enhancement_evaluation import (
    EnhanceCondition,
    EnhanceEvaluation,
    EnhanceItem,
    by_steps,
    unprocessed,
)
from audiogen.report import machine_context

HERE = Path(__file__).parent
TEST = HERE.parent / "data" / "enhancement" / "test"
STEPS = "1,4,8,16,30"


@dataclass(frozen=True)
class Contender:
    """A model's name or path, the preset whose solver it is heard by, and its numbers of steps."""

    model: str
    quality: str
    steps: Sequence[int]


def conditions(
    contenders: dict[str, Contender], systems: dict[str, Any], seed: int
) -> list[EnhanceCondition]:
    """The noisy recordings, then each system by its predictor, if it has one, and at each number of steps."""
    found = [unprocessed()]
    for label, contender in contenders.items():
        for one in by_steps(systems[label], contender.steps, contender.quality, seed):
            found.append(EnhanceCondition(f"{label}, {one.name}", one.render, one.nfe))
    return found


def groups(folder: Path) -> dict[str, dict[str, str]]:
    """By level of noise in dB and by place, each an id -> group of the test set's items.

    Without the set's manifest there are none.
    """
    manifest = folder / "manifest.jsonl"
    if not manifest.exists():
        return {}
    entries = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    return {
        "by_snr_db": {entry["id"]: f"{entry['snr_db']:g}" for entry in entries},
        "by_place": {entry["id"]: "room" if entry.get("room") else "dry" for entry in entries},
    }


def account(result: EnhanceEvaluation, kinds: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Every condition's summary, items, means of the groups, and its gain over the noisy ones."""
    entries = []
    for entry in result.to_dict():
        scores = [score for score in result.scores[entry["condition"]] if score.error is None]
        of_groups = {
            kind: {
                group: finite(means([s.values for s in scores if members.get(s.id) == group]))
                for group in dict.fromkeys(members[s.id] for s in scores if s.id in members)
            }
            for kind, members in kinds.items()
        }
        entries.append({**entry, **of_groups})
    gains = {
        name: {
            metric: {"value": gain.value, "low": gain.low, "high": gain.high, "items": gain.items}
            for metric in SCORES
            if (gain := result.difference(name, "noisy", metric)) is not None
        }
        for name in result.scores
        if name != "noisy"
    }
    return {"conditions": entries, "gains": gains}


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--storm", default="storm", help="name or path of a StoRM model")
    parser.add_argument("--sgmse", help="path of an SGMSE+ model, a diffusion without a predictor")
    parser.add_argument("--steps", default=STEPS, help="numbers of steps; '' is the predictor alone")
    parser.add_argument("--quality", default="balanced", help="the preset whose solver takes the steps")
    parser.add_argument("--sgmse-steps", default="30", help="the same of SGMSE+")
    parser.add_argument("--sgmse-quality", default="paper", help="by predictor and corrector, as published")
    parser.add_argument("--test", type=Path, default=TEST, help="folder with clean/ and noisy/")
    parser.add_argument("--limit", type=int, help="use only the first items")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "quality_enhance.json")
    return parser.parse_args(words)


def steps_of(words: str) -> Sequence[int]:
    """Numbers with commas between them; none of an empty text."""
    return parse_steps(words) if words else []


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print and save."""
    args = parse(words)
    torch.set_num_threads(args.threads)
    contenders = {"StoRM": Contender(args.storm, args.quality, steps_of(args.steps))}
    if args.sgmse:
        contenders["SGMSE+"] = Contender(args.sgmse, args.sgmse_quality, steps_of(args.sgmse_steps))
    systems = {label: hub.load(one.model, args.device) for label, one in contenders.items()}
    pairs = list_pairs(args.test / "clean", args.test / "noisy")[: args.limit]
    items = [EnhanceItem(pair.id, pair.noisy, pair.clean) for pair in pairs]
    result = run(items, conditions(contenders, systems, args.seed), args.seed)
    show(table(result))
    origin = {
        label: {k: Path(v).name for k, v in hub.provenance(one.model).items()} | {"quality": one.quality}
        for label, one in contenders.items()
    }
    context = {
        **machine_context(args.device),
        "models": origin,
        "seed": args.seed,
        "items": len(items),
    }
    content = {"context": context, **account(result, groups(args.test))}
    args.out.parent.mkdir(exist_ok=True)
    write_text(args.out, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
