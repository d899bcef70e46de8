"""The commands of README and docs/: found as they are printed, and run in a folder prepared for their page.

`tests/docs_places.py` says which folder a page has. A page of its own needs a line there, and nothing here.
"""

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from audiogen.cli import OK, main

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
INSTALL = "pip install . && "  # the wheel is tested in test_models_folder
NOT_RUN = (  # lines that no test can run, with the reason
    ('pip install -e ".[dev]" && pytest', "a test cannot install itself; .ci/run does it"),
    ('pip install -e ".[dev]"', "a test cannot install itself; .ci/run does it"),
    ("pytest", "these are the tests"),
    ('pip install ".[demo]" && audiogen demo', "runs until it is stopped; tests/demo starts it"),
    ("pre-commit install", "needs a clone's .git folder; .ci/run runs the same hooks"),
)
WORD = re.compile(r'"(?:\\.|[^"\\])*"|\'[^\']*\'|\\.|[|&;<>]+|[^"\'\\|&;<>]+', re.DOTALL)


def blocks(page, kind):
    """What the fenced blocks of a kind say, as `bash` and `python`."""
    return re.findall(rf"^```{kind}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(page):
    """The shell lines of a page without comments; one that ends in a backslash goes on in the next."""
    lines = "".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    plain = (re.sub(r"\s+", " ", re.sub(r"(^|  +)#.*", "", line)).strip() for line in lines)
    return [line for line in plain if line]


def once(pages, place_of):
    """Pairs (page, command) of all pages; a line that pages of one place share is the first one's."""
    left_out = {line for line, _ in NOT_RUN}
    found = {}
    for page in pages:
        for command in commands(page):
            if command not in left_out:
                found.setdefault((place_of(page), command), (page, command))
    return list(found.values())


def parts(line):
    """A line cut where audiogen's words end at a pipe, a redirection or the like -> (words, rest)."""
    pieces, seen = WORD.findall(line), False
    for number, piece in enumerate(pieces):
        seen = seen or "audiogen " in piece
        if seen and piece[0] in "|&;<>":
            return "".join(pieces[:number]), "".join(pieces[number:])
    return line, ""


def words_of(line, folder):
    """The words of a line as bash makes them of quotes, backslashes and patterns."""
    done = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line}"], cwd=folder, capture_output=True, check=True
    )
    return done.stdout.decode().split("\0")[:-1]


def one_step(line, folder):
    """Words that make a training take one step, and keep its checkpoint where the line's own would be."""
    (name,) = re.findall(r"configs/(\w+)\.yaml", line)
    trainer = yaml.safe_load((folder / "configs" / f"{name}.yaml").read_text())["trainer"]
    for callback in trainer["callbacks"]:
        if "every_n_train_steps" in callback.get("init_args", {}):
            callback["init_args"]["every_n_train_steps"] = 1
    short = {"max_steps": 1, "limit_val_batches": 1, "num_sanity_val_steps": 0, "log_every_n_steps": 1}
    short |= {"enable_progress_bar": False, "callbacks": trainer["callbacks"]}
    path = folder / f"{name}_short.yaml"
    path.write_text(yaml.safe_dump({"trainer": short}))
    return ["-c", path.name]


def run(command, folder, more=()):
    """Run a line in `folder`: a call of audiogen alone in this process, all else in bash as it is printed.

    more: words for audiogen, after its own. Training takes one step whatever the line says.
    """
    line = command.removeprefix(INSTALL)
    if line.startswith("audiogen fit "):
        more = [*one_step(line, folder), *more]
    own, rest = parts(line)
    if own.startswith("audiogen ") and not rest:
        assert main([*words_of(own, folder)[1:], *more]) == OK
        return
    own = " ".join([own.rstrip(), *(f"'{word}'" for word in more)])
    done = subprocess.run(["bash", "-o", "pipefail", "-c", f"{own} {rest}"], cwd=folder, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def program(folder, name, script):
    """Write a program of that name, of sh, into the folder's bin/."""
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@contextmanager
def inside(place, folder):
    """The folder as the current one, its bin/ first among the programs, and the place's patches in force."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("PYTHONPATH", str(ROOT))
        place.patches(patch, folder)
        yield folder


def prepare(place, name, folder):
    """Fill an empty folder as the place of that name wants it."""
    for each in ("configs", "benchmarks"):
        (folder / each).symlink_to(ROOT / each)
    script = Path(__file__).with_name("docs_places.py")
    program(folder, "audiogen", f'exec "{sys.executable}" "{script}" {name} "{folder}" "$@"')
    with inside(place, folder):
        place.fill(folder)
