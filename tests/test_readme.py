"""README's test command is the gate, and numbers of README and docs/ are the measured ones.

That its commands run, tests/test_docs.py shows.
"""

import os
import subprocess
import sys

from docs_commands import ROOT, commands

GATE = 'pip install -e ".[dev]" && pytest'


def test_the_gate_is_readmes_own_test_command():
    script = (ROOT / ".ci" / "run").read_text()
    for part in GATE.split(" && "):
        assert part.removeprefix("pip install") in script
    assert GATE in commands(ROOT / "README.md")


def test_readme_is_one_screen_and_its_speech_needs_two_commands():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 110
    install, _, speak = commands(ROOT / "README.md")[0].partition(" && ")
    assert install == "pip install ."
    assert speak.startswith("audiogen tts ")


def test_numbers_in_readme_and_docs_are_the_measured_ones():
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "tables.py", "--check"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
