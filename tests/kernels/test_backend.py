"""Kernels run where they can, and are imported everywhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from audiogen.kernels import backend

FOLDER = Path(__file__).parent
PACKAGE = FOLDER.parents[1] / "audiogen" / "kernels"


def test_kernels_pass_their_tests_in_the_interpreter():
    """In a process of its own: Triton must be imported with the variable set, and only there."""
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "interpreter", "-p", "no:cacheprovider", str(FOLDER)],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=FOLDER.parents[1],
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stdout[-4000:] + finished.stderr[-2000:]
    assert "passed" in finished.stdout


def test_kernels_do_not_run_on_a_cpu_unless_asked(monkeypatch):
    assert not backend.takes_kernel(torch.zeros(1))
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(RuntimeError, match="TRITON_INTERPRET=1"), backend.interpreted():
        pass


def test_every_kernel_imports_without_triton():
    modules = [f"audiogen.kernels.{path.stem}" for path in PACKAGE.glob("[!_]*.py")]
    script = (
        "import sys; sys.modules['triton'] = None\n"
        f"for name in {modules}: __import__(name)\n"
        "from audiogen.kernels import backend\n"
        "assert backend.triton is None and not backend.takes_kernel()\n"
        "import torch; from audiogen.kernels.snake import antialiased_snake\n"
        "assert antialiased_snake(torch.zeros(1, 1, 4), torch.ones(1)).shape == (1, 1, 4)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=PACKAGE.parents[1])


@pytest.mark.parametrize(("n", "power"), [(1, 1), (2, 2), (3, 4), (256, 256), (257, 512)])
def test_powers_of_two(n, power):
    assert backend.power_of_2(n) == power
