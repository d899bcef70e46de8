"""Do the sampler's tests bite? Change one operation of the code at a time and see whether some test fails.

    python tests/mutations.py [--out FILE] [--share 0.2] [MODULE ...]

A mutant is a module of audiogen/sampling with one operator exchanged (+ and -, * and /, ** and *), one minus
sign dropped, one number changed, or one comparison turned. It runs in a forked process, against the tests
named in TESTS, until one fails. Survivors are listed with their lines: equivalent forms, or gaps. Needs fork
(Linux, macOS).
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import random
import signal
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
CORE = (
    "test_published_forms",
    "test_plans",
    "test_identities",
    "test_edits",
    "test_recurrence",
    "test_loop",
    "test_orders",
)
TESTS = {
    "plans.common": CORE,
    "plans.first_order": ("test_guidance", *CORE),
    "plans.single_step": CORE,
    "plans.multistep": CORE,
    "plans.linear": CORE,
    "plans.stochastic": CORE,
    "plans.distilled": CORE,
    "plans.reversible": CORE,
    "plans.edits": CORE,
    "coefficients": ("test_coefficients", *CORE),
    "guidance": ("test_guidance",),
    "hooks": ("test_hooks",),
    "particles": ("test_particles",),
    "noise": ("test_noise",),
    "brownian": ("test_brownian",),
    "grids": ("test_grids",),
    "fit_grid": ("test_fit_grid",),
    "paths": ("test_paths",),
    "mean_paths": ("test_mean_paths",),
    "tabulated": ("test_tabulated",),
    "prediction": ("test_prediction",),
    "oracles": ("test_oracles",),
    "optimize": ("test_optimize", "test_restarts"),
    "restarts": ("test_restarts", "test_optimize"),
    "recurrence": CORE,
    "table": CORE,
    "loop": CORE,
}
SECONDS = 120
SWAPS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult}
TURNS = {
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}


def mutants(source: str) -> Iterator[tuple[int, str, ast.Module]]:
    """Line, what was changed, and the changed tree, for every change."""
    tree = ast.parse(source)
    for number, node in enumerate(ast.walk(tree)):
        for what in changes(node):
            other = copy.deepcopy(tree)
            target = next(n for k, n in enumerate(ast.walk(other)) if k == number)
            before = ast.unparse(target)
            apply(target, what)
            yield (
                getattr(node, "lineno", 0),
                f"{before}  ->  {ast.unparse(target)}",
                ast.fix_missing_locations(other),
            )


def changes(node: ast.AST) -> list[str]:
    """The kinds of change a node allows."""
    if isinstance(node, ast.BinOp) and type(node.op) in SWAPS and not is_text(node):
        return ["swap"]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return ["plus"]
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in TURNS:
        return ["turn"]
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return ["more"]
    return []


def is_text(node: ast.BinOp) -> bool:
    """Whether an operation joins strings or lists, where a swap is no arithmetic."""
    kinds = (ast.JoinedStr, ast.List, ast.ListComp, ast.Tuple)
    sides = (node.left, node.right)
    return any(
        isinstance(s, kinds) or (isinstance(s, ast.Constant) and isinstance(s.value, str)) for s in sides
    )


def apply(node: ast.AST, what: str) -> None:
    """Change the node in place."""
    if what == "swap":
        assert isinstance(node, ast.BinOp)
        node.op = SWAPS[type(node.op)]()
    elif what == "plus":
        assert isinstance(node, ast.UnaryOp)
        node.op = ast.UAdd()
    elif what == "turn":
        assert isinstance(node, ast.Compare)
        node.ops = [TURNS[type(node.ops[0])]()]
    else:
        assert isinstance(node, ast.Constant)
        node.value = node.value + 1


def survives(name: str, tree: ast.Module, tests: tuple[str, ...]) -> bool:
    """Whether all tests pass with the changed module; one that hangs or crashes fails."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
            code = run_changed(name, tree, tests)
        finally:
            os._exit(code)
    begin = time.monotonic()
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        if time.monotonic() - begin > SECONDS:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return False
        time.sleep(0.02)


def run_changed(name: str, tree: ast.Module, tests: tuple[str, ...]) -> int:
    """Import the package with the changed module in it, and run the tests -> pytest's exit code."""
    import importlib.machinery

    import pytest

    full = f"audiogen.sampling.{name}"
    path = ROOT / "audiogen" / "sampling" / f"{name.replace('.', '/')}.py"

    class Changed:
        """Finder and loader of the one changed module."""

        def find_spec(self, wanted: str, path_: object = None, target: object = None) -> object:
            if wanted != full:
                return None
            return importlib.machinery.ModuleSpec(full, self, origin=str(path))  # type: ignore[arg-type]

        def create_module(self, spec: object) -> None:
            return None

        def exec_module(self, module: types.ModuleType) -> None:
            exec(compile(tree, str(path), "exec"), module.__dict__)

    sys.meta_path.insert(0, Changed())  # type: ignore[arg-type]
    files = [str(ROOT / "tests" / "sampling" / f"{test}.py") for test in tests]
    return int(pytest.main(["-x", "-q", "-n0", "-p", "no:cacheprovider", "-p", "no:randomly", *files]))


def main() -> None:
    """Mutate, report and save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modules", nargs="*", default=list(TESTS), help=f"of {', '.join(TESTS)}")
    parser.add_argument(
        "--share", type=float, default=1.0, help="share of the mutants to try, drawn at random"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON of the counts and the survivors")
    choices = parser.parse_args()
    os.chdir(ROOT)
    # what all children import once; the package itself is imported in each of them
    import hypothesis  # noqa: F401
    import pytest  # noqa: F401
    import scipy.integrate  # noqa: F401
    import torch

    torch.set_num_threads(1)
    rng, report = random.Random(choices.seed), {}
    for name in choices.modules:
        source = (ROOT / "audiogen" / "sampling" / f"{name.replace('.', '/')}.py").read_text(encoding="utf-8")
        if not survives(name, ast.parse(source), TESTS[name]):
            sys.exit(f"the tests of {name} fail without any change")
        tried = [mutant for mutant in mutants(source) if rng.random() < choices.share]
        alive = []
        for line, what, tree in tried:
            if survives(name, tree, TESTS[name]):
                alive.append({"line": line, "change": what})
                print(f"  survived: {name}:{line}  {what}", flush=True)
        report[name] = {"mutants": len(tried), "survived": alive}
        print(f"{name}: {len(tried) - len(alive)} of {len(tried)} mutants found", flush=True)
    if choices.out:
        choices.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
