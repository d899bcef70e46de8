"""The command lines of docs/scaling.md are those that the programs take."""

import re
import shlex
from pathlib import Path

import fake_enhancer
import fsspec
import pytest
from fake_sessions import write_recording
from fake_workplace import workplace  # noqa: F401 (a fixture)
from test_engine import by_post

from audiogen import hub, weights
from audiogen.cli import OK, engine, engine_local, main
from audiogen.training.cli import main as train

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)
LINES = [(kind, line) for kind, text in BLOCKS for line in text.splitlines() if not line.startswith("#")]
VERBS = [line for kind, line in LINES if kind == "bash" and "fit" not in line]
FITS = [line for _, line in LINES if "audiogen fit" in line]
OTHERS = [line for kind, line in LINES if kind == "sh" and "audiogen" not in line]


def test_every_line_is_checked_by_one_of_these_tests():
    assert sorted([*VERBS, *FITS, *OTHERS]) == sorted(line for _, line in LINES)
    assert (len(VERBS), len(FITS), len(OTHERS)) == (3, 3, 2)


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("line", VERBS)
def test_a_line_of_a_verb_runs(line, monkeypatch):
    """With workers in this process, since test_engine and test_engine_ray run real ones."""
    fake_enhancer.register(monkeypatch)
    folder = weights.MODEL_FOLDERS[0] / "storm"
    folder.mkdir()
    hub.save(fake_enhancer.FakeEnhancer(), folder / weights.WEIGHTS)
    monkeypatch.setattr(engine, "cores", lambda: 2)
    monkeypatch.setattr(engine_local, "run_local", by_post)

    def by_actors(open_session, groups, crew, device):
        assert crew.engine == "ray"
        return by_post([open_session], groups)

    monkeypatch.setattr("audiogen.cli.engine_ray.run_ray", by_actors)
    store = fsspec.filesystem("memory")
    store.pipe("/bucket/lines.jsonl", b'{"text": "ab"}\n{"text": "abc"}\n')
    Path("lines.jsonl").write_text('{"text": "ab"}\n')
    write_recording(Path("recordings/a.wav"))
    assert main(shlex.split(line.replace("s3://", "memory://"))[1:]) == OK
    made = store.find("/bucket/spoken") or [*Path().rglob("spoken/*.wav"), *Path().rglob("clean/*.wav")]
    assert made
    store.rm("/bucket", recursive=True)


@pytest.mark.parametrize("line", FITS)
def test_a_line_of_fit_is_a_configuration(line, monkeypatch, capsys):
    """What comes after `fit` is read; launchers are others' programs."""
    monkeypatch.chdir(ROOT)
    words = shlex.split(line)
    with pytest.raises(SystemExit) as stop:
        train([*words[words.index("fit") :], "--print_config"])
    assert not stop.value.code
    assert "strategy: ddp" in capsys.readouterr().out


@pytest.mark.parametrize("line", OTHERS)
def test_ray_knows_the_options_of_its_lines(line):
    from ray.scripts.scripts import cli

    words = shlex.split(line, comments=True)
    assert words[:2] == ["ray", "start"]
    known = {option for parameter in cli.commands["start"].params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_torchrun_knows_the_options_of_its_line():
    from torch.distributed.run import get_args_parser

    (line,) = (line for line in FITS if line.startswith("torchrun"))
    words = shlex.split(line)[1:]
    read = get_args_parser().parse_args(words)
    assert (read.nnodes, read.node_rank, read.nproc_per_node, read.module) == ("2", 0, "8", True)
    assert read.training_script == "audiogen"
