"""The sampling core beside diffusers and k-diffusion: equal results, and the time a step takes.

    python benchmarks/sampling_peers.py [--peers DIR]

Agreement: the same grid and a linear model, largest difference of the results. Speed: a network that costs
nothing, [16, 80, 800] and [1, 80, 8] states, alternated in one process, medians of several rounds; beside
them the time of one in-place multiply-add over the state. The C library may keep large freed blocks or hand
them back to the system, when each new one costs page faults. By default it does now this, now that, as the
blocks before had it; so it is also made to keep all and to return all, for all contenders alike.
k-diffusion's requirements are many, so its `sampling.py` is taken alone: pip install --target DIR --no-deps
k-diffusion torchdiffeq torchsde trampoline boltons. Writes results/sampling_peers.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiogen.files import write_text
from audiogen.report import machine_context
from audiogen.sampling import grids, plans
from audiogen.sampling.loop import run
from audiogen.sampling.paths import StraightLine, VarianceExploding, VPCosine
from audiogen.sampling.plans import Plan

HERE = Path(__file__).parent
STEPS = 20
COSINE = VPCosine()


def linear(x: Tensor, t: Tensor | None = None) -> Tensor:
    """A denoiser that any solver must treat alike."""
    return 0.3 * x + 0.1


def levels(last: float = 0.02) -> Tensor:
    """Noise levels sigma / alpha of 20 steps, then none, float64."""
    return torch.cat(
        [torch.logspace(1.2, torch.log10(torch.tensor(last)), STEPS, dtype=torch.float64), torch.zeros(1)]
    )


def times_of(sigmas: Tensor) -> Tensor:
    """Times of the variance-preserving cosine path at which sigma / alpha has these values."""
    return COSINE.t_of_lam(-torch.log(sigmas))


def start(scale: float = 1.0) -> Tensor:
    """A state of 33 points, float32."""
    return scale * torch.linspace(-2.2, 2.2, 33)[None]


def noises() -> list[Tensor]:
    """One fixed noise for every step."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, 33, generator=generator) for _ in range(STEPS + 1)]


def diffusers_run(scheduler: Any, sigmas: Tensor, x: Tensor, model: Any = linear, **options: Any) -> Tensor:
    """Run a scheduler of diffusers on our own noise levels; `noise` in options: one a step."""
    noise = options.pop("noise", None)
    scheduler.set_timesteps(len(sigmas) - 1)
    if hasattr(scheduler, "sigmas"):
        scheduler.sigmas = sigmas.to(scheduler.sigmas.dtype)
        # labels that cannot be confused with one another
        scheduler.timesteps = torch.arange(len(sigmas) - 1, 0, -1).float()
    for n, t in enumerate(scheduler.timesteps):
        if noise is not None:
            options["variance_noise"] = noise[n]
        x = scheduler.step(model(x, t), t, x, **options).prev_sample
    return x


def diffusers_cases() -> dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor]]]:
    """Name -> (theirs, ours), each a run from the same start."""
    from diffusers import (
        DDIMScheduler,
        DEISMultistepScheduler,
        DPMSolverMultistepScheduler,
        FlowMatchEulerDiscreteScheduler,
        UniPCMultistepScheduler,
    )

    sample = {"prediction_type": "sample"}
    grid, open_grid = levels(), levels()[:-1]
    z = noises()

    def ours(plan: Plan, x: Tensor | None = None) -> Callable[[], Tensor]:
        given = start() if x is None else x
        return lambda: run(plan, linear, given, noise=lambda row, x: z[row])

    def dpm(order: int, **options: Any) -> Callable[[], Tensor]:
        noise = {"noise": z} if "sde" in options.get("algorithm_type", "") else {}
        return lambda: diffusers_run(
            DPMSolverMultistepScheduler(solver_order=order, **sample, **options), grid, start(), **noise
        )

    def unipc(order: int, kind: str, sigmas: Tensor = grid) -> Callable[[], Tensor]:
        return lambda: diffusers_run(
            UniPCMultistepScheduler(solver_order=order, solver_type=kind, **sample), sigmas, start()
        )

    def deis(order: int) -> Callable[[], Tensor]:
        return lambda: diffusers_run(DEISMultistepScheduler(solver_order=order, **sample), open_grid, start())

    table = DDIMScheduler(clip_sample=False, **sample)
    table.set_timesteps(STEPS)
    bars = table.alphas_cumprod.double()[table.timesteps]
    ddim_times = grids.append_zero(COSINE.t_of_lam(0.5 * torch.log(bars / (1 - bars))))

    def ddim(eta: float) -> Callable[[], Tensor]:
        def theirs() -> Tensor:
            x = start()
            for n, t in enumerate(table.timesteps):
                x = table.step(linear(x), t, x, eta=eta, variance_noise=z[n] if eta else None).prev_sample
            return x

        return theirs

    def flow() -> Tensor:
        scheduler = FlowMatchEulerDiscreteScheduler()
        line = torch.linspace(1, 0, STEPS + 1)
        # their network predicts noise minus data
        return diffusers_run(scheduler, line, start(), lambda x, t: (x - linear(x)) / line[STEPS - int(t)])

    times, open_times = times_of(grid), times_of(open_grid)
    two, three = {"order": 2, "literature": True}, {"order": 3, "literature": True}
    return {
        "DDIM": (ddim(0.0), ours(plans.ddim(COSINE, ddim_times))),
        "DDIM (eta 1)": (ddim(1.0), ours(plans.ddpm(COSINE, ddim_times))),
        "DPM-Solver++ 2M (midpoint)": (dpm(2), ours(plans.multistep(COSINE, times, **two))),
        "DPM-Solver++ 2M (heun)": (
            dpm(2, solver_type="heun"),
            ours(plans.multistep(COSINE, times, order=2)),
        ),
        "DPM-Solver++ 3M, published": (dpm(3), ours(plans.multistep(COSINE, times, **three))),
        "DPM-Solver++ 3M, exact": (dpm(3), ours(plans.multistep(COSINE, times, order=3))),
        "SDE-DPM-Solver++ 1": (
            dpm(1, algorithm_type="sde-dpmsolver++"),
            ours(plans.sde_multistep(COSINE, times, order=1)),
        ),
        "SDE-DPM-Solver++ 2M (midpoint)": (
            dpm(2, algorithm_type="sde-dpmsolver++"),
            ours(plans.sde_multistep(COSINE, times, **two)),
        ),
        "SDE-DPM-Solver++ 3M": (
            dpm(3, algorithm_type="sde-dpmsolver++"),
            ours(plans.sde_multistep(COSINE, times, order=3)),
        ),
        "UniPC-2 (B1)": (
            unipc(2, "bh1", open_grid),
            ours(plans.unipc(COSINE, open_times, order=2, variant="b1")),
        ),
        "UniPC-2 (B1), to the data": (
            unipc(2, "bh1"),
            ours(plans.unipc(COSINE, times, order=2, variant="b1")),
        ),
        "UniPC-2 (B2)": (unipc(2, "bh2"), ours(plans.unipc(COSINE, times, order=2))),
        "UniPC-3 (B2)": (unipc(3, "bh2"), ours(plans.unipc(COSINE, times, order=3, end=(2, 1)))),
        "DEIS-2 (log rho)": (deis(2), ours(plans.deis(COSINE, open_times, order=2, clock="lam", end=(2,)))),
        "DEIS-3 (log rho)": (deis(3), ours(plans.deis(COSINE, open_times, order=3, clock="lam", end=(3,)))),
        "flow Euler": (
            flow,
            ours(plans.runge_kutta(StraightLine(), grids.uniform_t(STEPS), method="euler", space="t")),
        ),
    }


# where the two must differ, and why
KNOWN_GAPS = {
    "DPM-Solver++ 3M, exact": "diffusers halves the weight of the second difference: second order",
    "SDE-DPM-Solver++ 3M": "diffusers has a wrong sign in its third-order term: first order",
    "UniPC-2 (B1), to the data": "diffusers divides infinity by itself in the last step: not a number",
    "SDE-DPM-Solver++ 3M, published": "k-diffusion starts with exact weights of order 2, ours as published",
}


def k_diffusion(folder: str) -> Any:
    """k-diffusion's sampling module, without the rest of the package."""
    sys.path.insert(0, folder)
    package, utils = types.ModuleType("k_diffusion"), types.ModuleType("k_diffusion.utils")
    package.__path__ = [f"{folder}/k_diffusion"]
    utils.append_dims = lambda x, ndim: x[(...,) + (None,) * (ndim - x.ndim)]  # type: ignore[attr-defined]
    package.utils = utils  # type: ignore[attr-defined]
    sys.modules |= {"k_diffusion": package, "k_diffusion.utils": utils}
    spec = importlib.util.find_spec("k_diffusion.sampling")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def k_cases(k: Any) -> dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor]]]:
    """Name -> (theirs, ours) on the variance-exploding path, whose time is the noise level."""
    path, sigmas = VarianceExploding(), levels()
    single = sigmas.float()
    z, x = noises(), start(16.0)
    silent: dict[str, Any] = {"disable": True}

    def model(x: Tensor, sigma: Tensor, **_: Any) -> Tensor:
        return linear(x)

    def replay() -> Callable[[Any, Any], Tensor]:
        left = iter(z)
        return lambda sigma, sigma_next: next(left)

    def ours(plan: Plan) -> Callable[[], Tensor]:
        return lambda: run(plan, linear, x, noise=lambda row, x: z[row])

    def sde(order: int, kappa: float, **options: Any) -> Callable[[], Tensor]:
        return ours(plans.sde_multistep(path, sigmas, order=order, kappa=kappa, **options))

    return {
        "Euler": (
            lambda: k.sample_euler(model, x, single, **silent),
            ours(plans.ddim(path, sigmas)),
        ),
        "Euler ancestral (eta 0.7)": (
            lambda: k.sample_euler_ancestral(model, x, single, eta=0.7, noise_sampler=replay(), **silent),
            ours(plans.ddim(path, sigmas, eta=0.7)),
        ),
        "Heun": (
            lambda: k.sample_heun(model, x, single, **silent),
            ours(plans.runge_kutta(path, sigmas)),
        ),
        "DPM-Solver-2": (
            lambda: k.sample_dpm_2(model, x, single, **silent),
            ours(plans.dpm_solver(path, sigmas, order=2)),
        ),
        "DPM-Solver++ 2M": (
            lambda: k.sample_dpmpp_2m(model, x, single, **silent),
            ours(plans.multistep(path, sigmas, order=2, literature=True)),
        ),
        "SDE-DPM-Solver++ 2M (midpoint, eta 0.8)": (
            lambda: k.sample_dpmpp_2m_sde(model, x, single, eta=0.8, noise_sampler=replay(), **silent),
            sde(2, 0.8, literature=True),
        ),
        "SDE-DPM-Solver++ 2M (heun, eta 0.8)": (
            lambda: k.sample_dpmpp_2m_sde(
                model, x, single, eta=0.8, solver_type="heun", noise_sampler=replay(), **silent
            ),
            sde(2, 0.8),
        ),
        "SDE-DPM-Solver++ 3M, published": (
            lambda: k.sample_dpmpp_3m_sde(model, x, single, noise_sampler=replay(), **silent),
            sde(3, 1.0, literature=True),
        ),
    }


def difference(theirs: Callable[[], Tensor], ours: Callable[[], Tensor]) -> float:
    """Largest difference of two runs, relative to the largest value."""
    a, b = theirs(), ours()
    return float((a - b).abs().max() / b.abs().max())


def differences(
    cases: dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor]]],
) -> dict[str, float | None]:
    """Difference of every case, None where one is not a number."""
    gaps = {name: difference(*pair) for name, pair in cases.items()}
    return {name: None if gap != gap else gap for name, gap in gaps.items()}


def timings(k: Any | None, rounds: int) -> list[dict[str, Any]]:
    """Milliseconds a step with a network that costs nothing; each solver's peers alternate with ours."""
    from diffusers import (
        DDIMScheduler,
        DPMSolverMultistepScheduler,
        EulerDiscreteScheduler,
        FlowMatchEulerDiscreteScheduler,
        UniPCMultistepScheduler,
    )

    grid = times_of(levels())
    line = grids.uniform_t(STEPS)
    solvers: dict[str, tuple[Plan, Callable[[], Any], str | None]] = {
        "DDIM": (
            plans.ddim(COSINE, grid),
            lambda: DDIMScheduler(clip_sample=False, prediction_type="sample"),
            None,
        ),
        "Euler": (
            plans.ddim(VarianceExploding(), levels()),
            lambda: EulerDiscreteScheduler(prediction_type="sample"),
            "sample_euler",
        ),
        "Euler (flow)": (
            plans.runge_kutta(StraightLine(), line, method="euler", space="t"),
            FlowMatchEulerDiscreteScheduler,
            None,
        ),
        "DPM-Solver++ 2M": (
            plans.multistep(COSINE, grid, literature=True),
            lambda: DPMSolverMultistepScheduler(prediction_type="sample"),
            "sample_dpmpp_2m",
        ),
        "UniPC-2": (
            plans.unipc(COSINE, grid),
            lambda: UniPCMultistepScheduler(prediction_type="sample"),
            None,
        ),
    }
    rows = []
    for shape in ((16, 80, 800), (1, 80, 8)):
        for name, (plan, scheduler, k_name) in solvers.items():
            k_sample = getattr(k, k_name) if k is not None and k_name else None
            runs = _runs(plan, scheduler, k_sample, torch.randn(shape), torch.randn(shape))
            found: dict[str, list[float]] = {peer: [] for peer in runs}
            for number in range(rounds + 1):
                for peer, call in runs.items():
                    begin = time.perf_counter()
                    call()
                    if number:  # the first round warms up
                        found[peer].append(1000 * (time.perf_counter() - begin) / STEPS)
            medians = {peer: statistics.median(values) for peer, values in found.items()}
            pairs = zip(found["audiogen"], found["diffusers"], strict=True)
            ratio = statistics.median(ours / theirs for ours, theirs in pairs)
            rows.append({"solver": name, "shape": list(shape), "ms_per_step": medians, "of_diffusers": ratio})
            print(rows[-1])
    return rows


# glibc: blocks from the first size on have pages of their own; free memory beyond the second is handed back
ALLOCATORS = {
    "default": {},
    "kept": {"MALLOC_MMAP_THRESHOLD_": str(1 << 25), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)},
    "returned": {"MALLOC_MMAP_THRESHOLD_": str(1 << 17)},
}


def timed(choices: argparse.Namespace, settings: dict[str, str]) -> list[dict[str, Any]]:
    """The timings of a process of its own with these settings of the C library."""
    with tempfile.TemporaryDirectory() as folder:
        to = Path(folder) / "timings.json"
        command = [sys.executable, __file__, "--rounds", str(choices.rounds), "--timings-only", str(to)]
        if choices.peers:
            command += ["--peers", choices.peers]
        subprocess.run(command, env={**os.environ, **settings}, check=True)
        rows: list[dict[str, Any]] = json.loads(to.read_text(encoding="utf-8"))
    return rows


def _runs(
    plan: Plan, scheduler: Callable[[], Any], k_sample: Callable[..., Tensor] | None, x: Tensor, d: Tensor
) -> dict[str, Callable[[], Any]]:
    """Twenty steps by each peer from x, the network's output being d."""
    runs: dict[str, Callable[[], Any]] = {
        "audiogen": lambda: run(plan, lambda x, t: d, x),
        "diffusers": lambda: _steps(scheduler(), x, d),
        "multiply_add": lambda: [x.add_(d, alpha=1e-9) for _ in range(STEPS)],
    }
    if k_sample is not None:
        sigmas = levels().float()
        runs["k_diffusion"] = lambda: k_sample(lambda x, s, **_: d, x, sigmas, disable=True)
    return runs


def _steps(scheduler: Any, x: Tensor, d: Tensor) -> Tensor:
    scheduler.set_timesteps(STEPS)
    scheduler.is_scale_input_called = True  # it would warn that the input is not scaled
    for t in scheduler.timesteps:
        x = scheduler.step(d, t, x).prev_sample
    return x


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", help="folder with k-diffusion")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "sampling_peers.json")
    parser.add_argument("--timings-only", type=Path, help=argparse.SUPPRESS)
    choices = parser.parse_args()
    import diffusers

    k = k_diffusion(choices.peers) if choices.peers else None
    if choices.timings_only:
        with torch.inference_mode():
            write_text(choices.timings_only, json.dumps(timings(k, choices.rounds)))
        return
    with torch.inference_mode():
        agreement = {"diffusers": differences(diffusers_cases())}
        if k is not None:
            agreement["k_diffusion"] = differences(k_cases(k))
        print(json.dumps(agreement, indent=1))
        found = {
            "context": {**machine_context(), "diffusers": diffusers.__version__},
            "agreement": agreement,
            "known_gaps": KNOWN_GAPS,
            "speed": {name: timed(choices, settings) for name, settings in ALLOCATORS.items()},
        }
    write_text(choices.out, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
