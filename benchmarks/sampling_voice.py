"""The sampling core on a real network: the voice's 4-step teacher under every solver and grid, at equal cost.

    python benchmarks/sampling_voice.py

The denoiser was trained at the four times of one grid; other grids ask it about times it has not seen.
Character errors on the tuning sentences and the held-out prompts, mel-cepstral distortion on the prompts, and
the distance of the mel from 64 DDIM steps. `fit_grid` and `search` choose grids from the network's own
trajectories on tuning sentences, without training. Writes results/sampling_voice.json.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiogen import hub
from audiogen.cli.evaluate import run as measure
from audiogen.files import write_text
from audiogen.metrics.evaluation import Condition, EvalItem, read_manifest, speech
from audiogen.report import machine_context
from audiogen.sampling import fit_grid, grids, plans
from audiogen.sampling.loop import run
from audiogen.sampling.noise import ItemNoise
from audiogen.sampling.plans import Plan
from audiogen.speech import SpeechOptions
from audiogen.text.frontend import TextFrontEnd

HERE = Path(__file__).parent
TEACHER_STEPS = 4  # whose denoiser is used throughout
FINE = 32


def with_plan(system: Any, plan: Plan) -> Any:
    """The same voice, sampled by `plan`."""
    other = copy.copy(system)
    other.plan = lambda num_steps: plan
    return other


@torch.inference_mode()
def trajectories(system: Any, items: list[EvalItem]) -> list[tuple[Callable[..., Tensor], Tensor]]:
    """The denoiser and the starting noise of each sentence."""
    front_end, found = TextFrontEnd(system.language), []
    for number, item in enumerate(items):
        sentence = front_end(item.text)[0]
        hidden, durations, pitch, energy, mask = system.prosody([sentence], [0], SpeechOptions())
        condition = system.condition(hidden, durations, pitch, energy, mask)
        start = ItemNoise([number]).start(system.mel_spec.n_mels, condition.mask.shape[-1])
        denoise = system.denoiser(TEACHER_STEPS, condition)
        found.append((denoise, system.temperature * start))
    return found


def fitted_grid(system: Any, cases: list[tuple[Callable[..., Tensor], Tensor]], num_steps: int) -> Tensor:
    """The subset of a fine grid with the least one-step errors, averaged over the sentences."""
    fine = grids.uniform_t(FINE)
    teacher, costs = plans.ddim(system.path, fine), torch.zeros(FINE + 1, FINE + 1, dtype=torch.float64)
    for denoise, x in cases:
        states = fit_grid.teacher_states(teacher, denoise, x, fine)
        costs += fit_grid.step_costs(system.path, denoise, states, fine)
    return fine[torch.tensor(fit_grid.cheapest_steps(costs, num_steps))]


def distance(cases: list[Any], targets: list[Tensor], plan: Plan) -> float:
    """Root-mean-square distance of the standardised mels from the targets."""
    with torch.inference_mode():
        errors = [
            (run(plan, denoise, x) - target).square().mean()
            for (denoise, x), target in zip(cases, targets, strict=True)
        ]
    return float(torch.stack(errors).mean().sqrt())


def candidates(system: Any, cases: list[Any], targets: list[Tensor]) -> dict[str, Plan]:
    """Plans by name: solvers on the training's grid, other grids, and what the searches find."""
    path = system.path
    found: dict[str, Plan] = {}
    solvers = {
        "DDIM": plans.ddim,
        "DPM-Solver++ 2M": plans.multistep,
        "UniPC-2": plans.unipc,
        "Adams-Bashforth 2": plans.adams_bashforth,
    }
    for nfe in (2, 4):
        for name, build in solvers.items():
            found[f"{name}, uniform t, {nfe}"] = build(path, grids.uniform_t(nfe))
        found[f"DDIM, quadratic, {nfe}"] = plans.ddim(path, grids.quadratic(nfe))
        found[f"DDIM, cosine, {nfe}"] = plans.ddim(path, grids.cosine(nfe))
        fitted = fitted_grid(system, cases, nfe)
        found[f"DDIM, fit_grid, {nfe}"] = plans.ddim(path, fitted)
        searched = fit_grid.search(
            [
                (partial(build, path), times)
                for build in solvers.values()
                for times in (fitted, grids.uniform_t(nfe))
            ],
            partial(distance, cases, targets),
            evaluations=60,
        )
        found[f"search, {nfe}"] = searched.plan
    found["DDIM, uniform t, 8"] = plans.ddim(path, grids.uniform_t(8))
    found["UniPC-2, uniform t, 8"] = plans.unipc(path, grids.uniform_t(8))
    found["DDIM, uniform t, 64"] = plans.ddim(path, grids.uniform_t(64))
    return found


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="prodiff")
    parser.add_argument("--tuning", type=Path, default=HERE / "tuning_sentences.csv")
    parser.add_argument("--heldout", type=Path, default=HERE.parent / "data" / "ivr" / "heldout.csv")
    parser.add_argument("--limit", type=int, help="use only the first items of each list")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "sampling_voice.json")
    choices = parser.parse_args()
    torch.set_num_threads(1)
    system = hub.load(choices.model)
    tuning, heldout = (read_manifest(path)[: choices.limit] for path in (choices.tuning, choices.heldout))
    cases = trajectories(system, tuning[:8])
    fine = plans.ddim(system.path, grids.uniform_t(64))
    with torch.inference_mode():
        targets = [run(fine, denoise, x) for denoise, x in cases]
    named = candidates(system, cases, targets)
    front_end = TextFrontEnd(system.language)
    conditions: list[Condition] = [
        speech(with_plan(system, plan), front_end, num_steps=TEACHER_STEPS, name=name)
        for name, plan in named.items()
    ]
    by_list = {
        name: measure(items, conditions, 0).to_dict()
        for name, items in (("tuning", tuning), ("heldout", heldout))
    }
    rows = []
    for number, (name, plan) in enumerate(named.items()):
        tuned, held = (by_list[key][number]["summary"] for key in ("tuning", "heldout"))
        times = [*plan.labels.tolist(), float(plan.ends[-1])]
        rows.append(
            {
                "plan": name,
                "solver": plan.spec["solver"],
                "nfe": plan.nfe,
                "times": [round(t, 4) for t in times],
                "cer_tuning": tuned["cer"],
                "cer_heldout": held["cer"],
                "mcd_db": held["mcd_db"],
                "distance": distance(cases, targets, plan),
            }
        )
        print(
            name,
            plan.nfe,
            *(f"{rows[-1][key]['value']:.3f}" for key in ("cer_tuning", "cer_heldout", "mcd_db")),
            f"{rows[-1]['distance']:.4f}",
        )
    content = {"context": machine_context(), "sentences": [len(tuning), len(heldout)], "rows": rows}
    write_text(choices.out, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
