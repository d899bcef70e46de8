"""Measured orders and errors of every solver of the sampling core, against exact flows.

    python benchmarks/sampling_orders.py

Data: a mixture of three Gaussians, whose ideal denoiser is known. Truth: the probability flow from 33 start
points, integrated by DOP853 with tolerances of 1e-13. Orders are slopes of the root-mean-square error when
the steps double on a grid uniform in log-SNR, on the VP-linear path and on OUVE, which starts at so little
noise that a poor start of a multistep method shows. Errors are at equal numbers of network evaluations.
Stochastic samplers are measured by the exact law of their result on Gaussian data. Writes
results/sampling_orders.json and docs/figures/sampling_orders.png.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path as File
from typing import Any

import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from audiogen.files import write_text
from audiogen.report import machine_context
from audiogen.sampling import grids, plans
from audiogen.sampling.loop import run
from audiogen.sampling.mean_paths import OUVE
from audiogen.sampling.oracles import Gaussian, Mixture
from audiogen.sampling.paths import Path, StraightLine, VPLinear
from audiogen.sampling.plans import Plan

HERE = File(__file__).parent
Y = 0.7  # the mean term of OUVE


@dataclass(frozen=True)
class Solver:
    """A builder of plans and the order that theory gives it.

    stages: network evaluations a step. finest: number of steps from which the order is measured to its
    double; methods of order four reach theirs later. few: the builder for few steps, if another.
    """

    name: str
    build: Callable[[Path, Tensor], Plan]
    order: int
    stages: int = 1
    finest: int = 128
    few: Callable[[Path, Tensor], Plan] | None = None


def rk(method: str, space: str) -> Callable[[Path, Tensor], Plan]:
    return lambda path, times: plans.runge_kutta(path, times, method=method, space=space)


# the last steps keep their order here: the grids of this study end before the data
SOLVERS = (
    Solver("DDIM = Euler (sigma)", lambda p, g: plans.ddim(p, g), 1),
    Solver("Euler (t)", rk("euler", "t"), 1),
    Solver("Heun (sigma)", rk("heun", "sigma"), 2, 2),
    Solver("Heun (t)", rk("heun", "t"), 2, 2),
    Solver("midpoint (sigma)", rk("midpoint", "sigma"), 2, 2),
    Solver("midpoint (t)", rk("midpoint", "t"), 2, 2),
    Solver("RK4 (sigma)", rk("rk4", "sigma"), 4, 4),
    Solver("RK4 (t)", rk("rk4", "t"), 4, 4),
    Solver("DPM-Solver-2", lambda p, g: plans.dpm_solver(p, g, order=2), 2, 2),
    Solver("DPM-Solver-3", lambda p, g: plans.dpm_solver(p, g, order=3), 3, 3),
    Solver("DPM-Solver++ 2S", lambda p, g: plans.exponential_rk(p, g, method="2s"), 2, 2),
    Solver("DPM-Solver++ 3S", lambda p, g: plans.exponential_rk(p, g, method="3s"), 3, 3),
    Solver("exponential Heun", lambda p, g: plans.exponential_rk(p, g, method="heun"), 2, 2),
    Solver("exponential midpoint", lambda p, g: plans.exponential_rk(p, g, method="midpoint"), 2, 2),
    Solver(
        "DPM-Solver++ 2M",
        lambda p, g: plans.multistep(p, g, order=2, end=(2,)),
        2,
        few=lambda p, g: plans.multistep(p, g),
    ),
    Solver(
        "DPM-Solver++ 2M, published",
        lambda p, g: plans.multistep(p, g, order=2, end=(2,), literature=True),
        2,
        few=lambda p, g: plans.multistep(p, g, literature=True),
    ),
    Solver(
        "DPM-Solver++ 3M, 2S start",
        lambda p, g: plans.multistep(p, g, order=3, end=(3,), start=2),
        3,
        few=lambda p, g: plans.multistep(p, g, order=3, start=2, end=(2, 1)),
    ),
    Solver(
        "DPM-Solver++ 3M, published",
        lambda p, g: plans.multistep(p, g, order=3, end=(3,), start=2, literature=True),
        2,
        few=lambda p, g: plans.multistep(p, g, order=3, start=2, end=(2, 1), literature=True),
    ),
    Solver(
        "DPM-Solver++ 4M, 3S start",
        lambda p, g: plans.multistep(p, g, order=4, end=(4,), start=3),
        4,
        finest=256,
        few=lambda p, g: plans.multistep(p, g, order=4, start=3, end=(3, 2, 1)),
    ),
    Solver("UniPC-1", lambda p, g: plans.unipc(p, g, order=1), 2),
    Solver(
        "UniPC-2 (B1)",
        lambda p, g: plans.unipc(p, g, order=2, end=(2,), variant="b1"),
        3,
        few=lambda p, g: plans.unipc(p, g, variant="b1"),
    ),
    Solver(
        "UniPC-2 (B2)",
        lambda p, g: plans.unipc(p, g, order=2, end=(2,)),
        3,
        few=lambda p, g: plans.unipc(p, g),
    ),
    Solver(
        "UniPC-2 (exact)",
        lambda p, g: plans.unipc(p, g, order=2, end=(2,), variant="exact"),
        3,
        few=lambda p, g: plans.unipc(p, g, variant="exact"),
    ),
    Solver(
        "UniPC-3, 3S start",
        lambda p, g: plans.unipc(p, g, order=3, end=(3,), start=3),
        4,
        finest=256,
        few=lambda p, g: plans.unipc(p, g, order=3, start=3, end=(2, 1)),
    ),
    Solver("DEIS tAB-2", lambda p, g: plans.deis(p, g, order=2, end=(2,)), 2),
    Solver("DEIS tAB-3, 2S start", lambda p, g: plans.deis(p, g, order=3, end=(3,), start=2), 3),
    Solver("DEIS rhoAB-2", lambda p, g: plans.deis(p, g, order=2, clock="rho", end=(2,)), 2),
    Solver(
        "DEIS rhoAB-3, 2S start",
        lambda p, g: plans.deis(p, g, order=3, clock="rho", end=(3,), start=2),
        3,
        finest=256,
    ),
    Solver("iPNDM-4", lambda p, g: plans.ipndm(p, g), 2),
    Solver("Adams-Bashforth 2 (velocity)", lambda p, g: plans.adams_bashforth(p, g), 2),
    Solver(
        "Adams-Bashforth 3 (velocity), midpoint start",
        lambda p, g: plans.adams_bashforth(p, g, order=3, start=2),
        3,
    ),
    Solver("GHVB-1 (0.8)", lambda p, g: plans.ghvb(p, g, order=1), 1),
    Solver("GHVB-2 (0.8)", lambda p, g: plans.ghvb(p, g, order=2), 2),
    Solver("GHVB-3 (0.8)", lambda p, g: plans.ghvb(p, g, order=3), 2),
    Solver("BDIA (1)", lambda p, g: plans.bdia(p, g), 2),
    Solver("BDIA (0.5)", lambda p, g: plans.bdia(p, g, gamma=0.5), 1),
)

STOCHASTIC = (
    Solver("DDPM = DDIM (eta 1)", lambda p, g: plans.ddpm(p, g), 1),
    Solver("SDE-DPM-Solver++ 1", lambda p, g: plans.sde_multistep(p, g, order=1), 1),
    Solver("SDE-DPM-Solver++ 2M", lambda p, g: plans.sde_multistep(p, g, order=2, end=(2,)), 2),
    Solver(
        "SDE-DPM-Solver++ 2M, published",
        lambda p, g: plans.sde_multistep(p, g, order=2, end=(2,), literature=True),
        2,
    ),
    Solver("SDE-DPM-Solver++ 3M", lambda p, g: plans.sde_multistep(p, g, order=3, end=(3,)), 2),
    Solver("reverse diffusion", lambda p, g: plans.predictor_corrector(p, g, corrector_steps=0), 1),
)


@dataclass(frozen=True)
class Problem:
    """Flow of the mixture from `start` to `end` on a path, and its exact result."""

    path: Path
    start: float
    end: float

    def grid(self, num_steps: int) -> Tensor:
        """Uniform in log-SNR."""
        return grids.uniform_lambda(self.path, num_steps, start=self.start, end=self.end)

    @property
    def x(self) -> Tensor:
        """33 points within 2.2 standard deviations of the noise, (1, 33)."""
        points = torch.linspace(-2.2, 2.2, 33, dtype=torch.float64)[None]
        return points * self.path.sigma(self.start) + self.path.mu(self.start) * Y

    def denoise(self, x: Tensor, t: Tensor) -> Tensor:
        """Ideal denoiser of the mixture."""
        return Mixture(self.path).denoise(x, t, y=torch.full_like(x, Y))

    def truth(self) -> Tensor:
        """The exact flow: DOP853 on d(u / sigma) / d lambda = e^lambda D, u = x - mu y."""

        def slope(lam: float, scaled: Any) -> Any:
            t = self.path.t_of_lam(lam)
            x = torch.from_numpy(scaled) * self.path.sigma(t) + self.path.mu(t) * Y
            return math.exp(lam) * self.denoise(x[None], t[None])[0].numpy()

        start, end = float(self.path.lam(self.start)), float(self.path.lam(self.end))
        scaled = (self.x[0] - self.path.mu(self.start) * Y) / self.path.sigma(self.start)
        found = solve_ivp(slope, (start, end), scaled.numpy(), method="DOP853", rtol=1e-13, atol=1e-13)
        return torch.from_numpy(found.y[:, -1]) * self.path.sigma(self.end) + self.path.mu(self.end) * Y

    def error(self, plan: Plan, truth: Tensor) -> float:
        """Root-mean-square distance of a run's end from the truth."""
        x = self.x
        end = run(plan, self.denoise, x, y=torch.full_like(x, Y))
        return float((end[0] - truth).square().mean().sqrt())


def vp() -> Problem:
    """VP-linear from lambda = -5 to t = 0.001."""
    path = VPLinear()
    return Problem(path, float(path.t_of_lam(-5.0)), 1e-3)


def ouve() -> Problem:
    """OUVE as in SGMSE, from t = 1 to 0.03."""
    return Problem(OUVE(), 1.0, 0.03)


def straight() -> Problem:
    """The straight line from lambda = -7 to 7: t = 0.999 to 0.001."""
    path = StraightLine()
    return Problem(path, float(path.t_of_lam(-7.0)), float(path.t_of_lam(7.0)))


def slope(errors: Sequence[float]) -> float:
    """Order between the last doubling."""
    return math.log2(errors[-2] / errors[-1])


def law(plan: Plan, path: Path, mean: float, std: float, y: float | None, start: str) -> tuple[float, float]:
    """Mean and variance of a run on Gaussian data, exactly: it is affine in its noises.

    Item 0 gets no noise; each other item a 1 in one of the start and the rows. start: "exact" begins with the
    law of x at the first label, "y" around y, as enhancement does.
    """
    rows, label = len(plan), plan.labels[0]
    units = torch.eye(rows + 2, dtype=torch.float64)[:, 1:]
    if start == "exact":
        centre = path.alpha(label) * mean + path.mu(label) * (y or 0.0)
        spread = torch.sqrt((path.alpha(label) * std) ** 2 + path.sigma(label) ** 2)
    else:
        centre, spread = torch.tensor(y, dtype=torch.float64), path.sigma(label)
    x = (centre + spread * units[:, 0])[:, None]
    mean_term = torch.full_like(x, y or 0.0)
    end = run(
        plan,
        lambda x, t: Gaussian(path, mean, std).denoise(x, t, y=mean_term),
        x,
        y=mean_term,
        noise=lambda row, x: units[:, 1 + row, None],
    )[:, 0]
    return float(end[0]), float(((end[1:] - end[0]) ** 2).sum())


def variance_slope(solver: Solver, problem: Problem) -> float:
    """Order at which the variance of Gaussian data is approached."""
    path, mean, std, y = problem.path, 0.3, 0.5, Y
    errors = []
    for num_steps in (64, 128, 256):
        plan = solver.build(path, problem.grid(num_steps))
        wanted = float((path.alpha(problem.end) * std) ** 2 + path.sigma(problem.end) ** 2)
        errors.append(abs(law(plan, path, mean, std, y, "exact")[1] - wanted))
    return slope(errors)


def enhancement_law() -> list[dict[str, Any]]:
    """OUVE from y, as enhancement starts, for clean data N(0.2, 0.05^2) and y = 1: mean and spread."""
    path, mean, std = OUVE(), 0.2, 0.05
    rows = []
    for name, plan in (
        ("predictor-corrector, 30 steps", _pc(path, 30)),
        ("predictor-corrector, 10 steps", _pc(path, 10)),
        ("SDE-DPM-Solver++ 2M, 10 steps", _sde(path, 10)),
        ("DPM-Solver++ 2M (flow), 10 steps", plans.multistep(path, _enhancement_grid(path, 10))),
    ):
        got, variance = law(plan, path, mean, std, 1.0, "y")
        rows.append(
            {
                "solver": name,
                "nfe": plan.nfe,
                "mean_error": abs(got - mean),
                "std_ratio": math.sqrt(variance) / std,
            }
        )
    return rows


def _enhancement_grid(path: Path, num_steps: int) -> Tensor:
    return grids.append_zero(grids.uniform_lambda(path, num_steps - 1, start=1.0, end=0.03))


def _sde(path: Path, num_steps: int) -> Plan:
    return plans.sde_multistep(path, _enhancement_grid(path, num_steps), order=2)


def _pc(path: Path, num_steps: int) -> Plan:
    times = torch.linspace(1.0, 0.03, num_steps, dtype=torch.float64)
    return plans.predictor_corrector(path, grids.append_zero(times), snr=0.5)


def few_step_errors(problem: Problem, budgets: Sequence[int], uniform: bool) -> list[dict[str, Any]]:
    """Errors at exactly `budgets` network evaluations; uniform: a grid uniform in t, not in log-SNR.

    The last steps of a grid uniform in t are huge in log-SNR: multistep methods end in order 1.
    """
    truth, rows = problem.truth(), []
    for solver in SOLVERS:
        row: dict[str, Any] = {"solver": solver.name}
        for nfe in budgets:
            row[str(nfe)] = None
            for steps in range(1, nfe + 1):
                times = (
                    grids.uniform_t(steps, start=problem.start, end=problem.end)
                    if uniform
                    else problem.grid(steps)
                )
                plan = (solver.few or solver.build)(problem.path, times)
                if plan.nfe == nfe:
                    row[str(nfe)] = problem.error(plan, truth)
        rows.append(row)
    return rows


def orders() -> list[dict[str, Any]]:
    """Slopes of every deterministic solver on both paths."""
    problems = {"VP": vp(), "OUVE": ouve()}
    truths = {name: problem.truth() for name, problem in problems.items()}
    rows = []
    for solver in SOLVERS:
        row: dict[str, Any] = {"solver": solver.name, "order": solver.order, "nfe_per_step": solver.stages}
        for name, problem in problems.items():
            counts = [n for n in (8, 16, 32, 64, 128, 256, 512) if n <= 2 * solver.finest]
            errors = [
                problem.error(solver.build(problem.path, problem.grid(n)), truths[name]) for n in counts
            ]
            row[name] = {"slope": slope(errors), "errors": dict(zip(map(str, counts), errors, strict=True))}
        rows.append(row)
        print(f"{solver.name:46s} order {solver.order}", *(f"{row[p]['slope']:.2f}" for p in problems))
    return rows


def picture(rows: Sequence[dict[str, Any]], to: File) -> None:
    """Error against network evaluations on both paths, for the solvers people choose between."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shown = (
        "DDIM = Euler (sigma)",
        "Heun (sigma)",
        "DPM-Solver++ 2M",
        "DPM-Solver++ 3M, published",
        "DPM-Solver++ 3M, 2S start",
        "UniPC-2 (B2)",
        "UniPC-3, 3S start",
    )
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
    for axis, name in zip(axes, ("VP", "OUVE"), strict=True):
        for row in rows:
            if row["solver"] in shown:
                errors = row[name]["errors"]
                nfe = [int(n) * row["nfe_per_step"] for n in errors]
                axis.loglog(nfe, list(errors.values()), "o-", markersize=3, label=row["solver"])
        axis.set(title=name, xlabel="network evaluations")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("error of the end point (RMS)")
    axes[1].legend(fontsize=8)
    to.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(to, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=File, default=HERE / "results" / "sampling_orders.json")
    parser.add_argument(
        "--figure", type=File, default=HERE.parent / "docs" / "figures" / "sampling_orders.png"
    )
    choices = parser.parse_args()
    torch.set_num_threads(1)
    problems = {"VP": vp(), "OUVE": ouve()}
    found = {
        "context": machine_context(),
        "orders": orders(),
        "weak_orders": [
            {
                "solver": solver.name,
                "order": solver.order,
                **{name: variance_slope(solver, problem) for name, problem in problems.items()},
            }
            for solver in STOCHASTIC
        ],
        "straight_line": few_step_errors(straight(), (4, 6, 8, 12, 16, 32), uniform=True),
        "enhancement": enhancement_law(),
    }
    write_text(choices.out, json.dumps(found, indent=1) + "\n")
    picture(found["orders"], choices.figure)
    for row in found["weak_orders"] + found["enhancement"]:
        print(row)


if __name__ == "__main__":
    main()
