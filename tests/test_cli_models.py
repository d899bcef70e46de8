"""`audiogen list`, `info`, `doctor` and completion: what they say is what is there."""

import json
import math
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch
from fake_system import FakeSpeech, FakeVocoder, register

from audiogen import hub, weights
from audiogen.cli import NOTHING_TO_DO, OK, SOME_FAILED, USAGE, VERBS, doctor, main
from audiogen.cli.doctor import BROKEN, FINE, NOTE, fitting_versions, missing_packages, required
from audiogen.cli.list_models import columns, short
from audiogen.cli.shelf import card_digest, card_rows, read_header, read_model
from audiogen.weights import CorruptWeights

ROOT = Path(__file__).parents[1]


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """Two models of our own, the first with a card."""
    register(monkeypatch)
    models = tmp_path / "models"
    for name, system in (("a", FakeSpeech(mel_spec={"sample_rate": 22050})), ("v", FakeVocoder())):
        (models / name).mkdir(parents=True)
        hub.save(system, models / name / weights.WEIGHTS, {"licence": "MIT; of us"} if name == "v" else None)
    digest = hub.sha256(models / "a" / weights.WEIGHTS)
    (models / "a" / "README.md").write_text(
        f"`model.safetensors`: 1 MB, SHA-256 `{digest}`\n\n| | |\n|---|---|\n| licence | CC0. Ours |\n"
        "| training data | none |\n\n| licence | other |\n"
    )
    monkeypatch.setattr(weights, "MODEL_FOLDERS", (models,))
    return models


def words_of(module, *words):
    """Modules of a fresh interpreter after a command."""
    script = (
        "import sys, json, io, contextlib\nfrom audiogen.cli import main\n"
        f"with contextlib.redirect_stdout(io.StringIO()):\n    assert main({list(words)!r}) == 0\n"
        "print(json.dumps(list(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return [name for name in module if name in json.loads(done.stdout)]


def test_headers_are_read_as_safetensors_reads_them():
    """Of a released model: shapes and numbers as the library has them."""
    from safetensors import safe_open

    path = weights.locate("vocos-16k")
    with safe_open(path, framework="pt") as file:
        shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118
        notes = file.metadata()
    header = read_header(path)
    assert header.pop("__metadata__") == notes
    assert {key: tensor["shape"] for key, tensor in header.items()} == shapes
    model = read_model("vocos-16k")
    assert model.parameters == sum(map(math.prod, shapes.values()))
    assert model.bytes == path.stat().st_size
    assert (model.system, model.sample_rate, model.verb) == ("vocoder", 16000, "vocode")
    assert model.licence.startswith("CC-BY-SA")
    assert model.card_sha256 == hub.sha256(path)


def test_damaged_headers_are_refused(tmp_path):
    for data in (b"", b"\xff" * 20, b"\x05\0\0\0\0\0\0\0hello"):
        (tmp_path / "x").write_bytes(data)
        with pytest.raises(CorruptWeights, match="fetch it again"):
            read_header(tmp_path / "x")


def test_list_shows_names_rates_and_licences(shelf, capsys):
    assert main(["list"]) == OK
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["name", "a", "v"]
    assert "22050 Hz" in lines[1]
    assert lines[1].endswith("CC0")
    assert lines[2].endswith("MIT")
    assert main(["list", "--json"]) == OK
    models = json.loads(capsys.readouterr().out)
    assert [model["name"] for model in models] == ["a", "v"]
    assert models[0]["parameters"] == 1
    (shelf / "v" / weights.WEIGHTS).write_bytes(b"x" * 100)
    assert main(["list"]) == SOME_FAILED
    assert "corrupt" in capsys.readouterr().err


def test_an_empty_shelf_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(weights, "MODEL_FOLDERS", (tmp_path,))
    assert main(["list"]) == NOTHING_TO_DO
    assert "no model is installed" in capsys.readouterr().err


def test_info_tells_what_header_and_card_say(shelf, capsys):
    assert main(["info", "a", "--json"]) == OK
    facts = json.loads(capsys.readouterr().out)
    assert facts["speakers"] == ["anna", "bert"]
    assert (facts["sample_rate"], facts["licence"], facts["training_data"]) == (22050, "CC0. Ours", "none")
    assert facts["sha256"] == facts["card_sha256"] == hub.sha256(shelf / "a" / weights.WEIGHTS)
    assert main(["info", str(shelf / "v")]) == OK
    told = capsys.readouterr().out
    assert "MIT; of us" in told
    assert "parameters     3" in told
    assert "speakers" not in told
    hub.save(FakeSpeech(steps=(1,)), shelf / "a" / weights.WEIGHTS)
    assert main(["info", "a"]) == SOME_FAILED
    assert "the weights are damaged or others" in capsys.readouterr().err
    assert main(["info", "nowhere"]) == USAGE


def test_cards_have_rows_and_a_digest():
    text = "| a | b |\n|---|---|\n| licence | MIT |\n| x | y | z |\n| licence | other |\n"
    assert card_rows(text) == {"a": "b", "licence": "MIT"}
    assert card_digest(text) is None
    assert short("CC0. By us; and them") == "CC0"
    assert columns([["a", "bcd"], ["efg", "h"]]) == "a    bcd\nefg  h"


def test_looking_needs_no_torch():
    assert words_of(["torch", "lightning"], "info", "storm") == []


def test_torch_and_torchaudio_belong_together():
    assert fitting_versions("2.11.0+cu130", "2.11.1").state == FINE
    wrong = fitting_versions("2.10.0", "2.11.0")
    assert wrong.state == BROKEN
    assert "torchaudio==2.10.*" in wrong.text


def test_missing_packages_are_named_with_their_remedy(monkeypatch):
    requirements = ["numpy>=1", 'nothere[x]>=2; extra == "ray"', 'rich>=1; extra == "ray"', "nowhere ~=1"]
    assert required(requirements[1]) == ("nothere", "ray")
    assert required(requirements[3]) == ("nowhere", "")
    found = list(missing_packages(requirements))
    assert [(finding.what, finding.state) for finding in found] == [("packages", BROKEN), ("extra ray", NOTE)]
    assert found[0].text == "nowhere missing; pip install nowhere"
    assert found[1].text == "nothere missing; pip install 'audiogen[ray]'"
    whole = list(missing_packages(["numpy", 'rich; extra == "x"']))
    assert {finding.state for finding in whole} == {FINE}


def test_the_doctor_finds_this_installation_well(capsys):
    assert main(["doctor"]) == OK
    lines = capsys.readouterr().out.splitlines()
    assert not [line for line in lines if line.startswith(BROKEN)]
    for what in (
        "python",
        "torch",
        "torchaudio",
        "espeak-ng",
        "model prodiff",
        "audio files",
        "cuda",
        "cache",
    ):
        assert any(line.split(": ")[0].endswith(what) for line in lines), what


@pytest.fixture
def only(monkeypatch):
    """The doctor with some of his checks."""

    def choose(*checks):
        monkeypatch.setattr(doctor, "CHECKS", checks)

    return choose


def test_the_doctor_finds_damaged_weights(shelf, only, capsys):
    only(doctor.check_weights)
    assert main(["doctor"]) == OK
    hub.save(FakeSpeech(steps=(1,)), shelf / "a" / weights.WEIGHTS)
    (shelf / "v" / weights.WEIGHTS).write_bytes(b"x" * 100)
    capsys.readouterr()
    assert main(["doctor", "--json"]) == SOME_FAILED
    found = json.loads(capsys.readouterr().out)
    assert [finding["state"] for finding in found] == [BROKEN, BROKEN]
    assert "SHA-256" in found[0]["text"]
    assert main(["doctor"]) == SOME_FAILED
    assert "2 of 2 things are broken" in capsys.readouterr().out


def test_the_doctor_finds_what_else_is_broken(only, monkeypatch, tmp_path, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    only(doctor.check_folders)
    assert main(["doctor"]) == SOME_FAILED
    assert "set XDG_CACHE_HOME" in capsys.readouterr().out
    monkeypatch.setattr("audiogen.text.frontend.TextFrontEnd", lambda language: 1 / 0)
    monkeypatch.setattr("os.getloadavg", lambda: (99.0, 0.0, 0.0))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1000)
    only(doctor.check_espeak, doctor.check_machine)
    assert main(["doctor"]) == SOME_FAILED
    told = capsys.readouterr().out
    assert "broken  espeak: ZeroDivisionError" in told
    assert "note    threads: 1000 on" in told
    assert "note    load: 99.0" in told

    def lost(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", lost)
    only(doctor.check_packages)
    assert main(["doctor"]) == OK
    assert "is not installed" in capsys.readouterr().out


def complete(line):
    """What the shell is offered at the end of a line."""
    words = line.split(" ")
    more = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_AUDIOGEN_COMPLETE": "complete_bash"}
    script = (
        "import sys\nfrom audiogen.cli import main\ntry:\n    main([])\nfinally:\n"
        "    print(*sorted({'torch', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, env={**os.environ, **more}
    )
    return done.stdout.split(), done.stderr.split()


def test_the_shell_completes_verbs_and_options_without_torch():
    assert complete("audiogen ") == (list(VERBS), [])
    assert complete("audiogen en") == (["enhance"], [])
    assert complete("audiogen tts --skip") == (["--skip-existing"], [])


def test_completion_can_be_shown(monkeypatch, capsys):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    assert main(["--show-completion", "bash"]) == OK
    assert "_AUDIOGEN_COMPLETE=complete_bash" in capsys.readouterr().out
