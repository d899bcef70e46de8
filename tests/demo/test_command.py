"""`audiogen demo` and the page it shows, without a browser."""

import json
import os
import re
import runpy
import shlex
import sys
from pathlib import Path

import fake_music
import gradio as gr
import pytest
import torch
from safetensors.torch import save_file

from audiogen import weights
from audiogen.cli import OK, USAGE, main
from audiogen.demo import ditto
from audiogen.demo.models import Shelf
from audiogen.demo.page import build
from audiogen.demo.steer import Wish

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "docs" / "demo.md", ROOT / "demo" / "README.md")
COMMANDS = [
    line
    for page in PAGES
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for line in block.splitlines()
    if not line.startswith("pip install")  # README's is tested with the wheel
]


SPEAKING = {"speakers": ["anna", "bert"], "step_counts": [4, 2, 1], "default_steps": 2}


def write(path, system, **hparams):
    """Weights that nobody loads: the page is made of what their metadata say."""
    save_file({"weight": torch.ones(1)}, path, {"system": system, "hparams": json.dumps(hparams)})


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """A folder with the models that commands name, and a list of what was served -> that list."""
    monkeypatch.chdir(tmp_path)
    write("my_voice.safetensors", "prodiff", **SPEAKING)
    write("stablevc.safetensors", "stablevc")
    write("melody.safetensors", "melody_music")
    (tmp_path / "models" / "voice").mkdir(parents=True)
    write(tmp_path / "models" / "voice" / weights.WEIGHTS, "comospeech", **SPEAKING)
    monkeypatch.setattr(weights, "MODEL_FOLDERS", (tmp_path / "models",))
    monkeypatch.setattr("typer.launch", lambda address: served.append(("opened", address)))
    served = []

    def launch(page, **settings):
        served.append((texts(page), settings))
        return None, f"http://{settings['server_name']}:{settings['server_port'] or 7860}/", None

    monkeypatch.setattr(gr.Blocks, "launch", launch)
    monkeypatch.setattr(gr.Blocks, "block_thread", lambda page: served.append("blocked"))
    monkeypatch.setitem(os.environ, "GRADIO_ANALYTICS_ENABLED", "True")
    return served


def texts(page):
    """All values and labels of a page."""
    parts = (part["props"] for part in page.get_config_file()["components"])
    return " ".join(str(props.get(key)) for props in parts for key in ("label", "value", "choices"))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_pages_runs(command, shown, monkeypatch):
    *settings, program = re.split(r"\s+(?=audiogen |python )", f" {command}".strip())
    for setting in shlex.split(" ".join(settings)):
        name, _, value = setting.partition("=")
        monkeypatch.setenv(name, value)
    words = shlex.split(program)
    if words[0] == "python":
        monkeypatch.setattr(sys, "argv", words[1:])
        runpy.run_path(str(ROOT / words[1]), run_name="__main__")
    else:
        assert words[0] == "audiogen"
        assert main(words[1:]) == OK
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    (_, settings), *_ = [entry for entry in shown if isinstance(entry[1], dict)]
    assert settings["server_name"] == "127.0.0.1"
    assert [settings[off] for off in ("share", "ssr_mode", "run_history", "mcp_server")] == [False] * 4


def test_settings_reach_the_server(shown, capsys):
    words = ["--host", "0.0.0.0", "--port", "7990", "--no-open", "--speak", "my_voice.safetensors"]
    assert main(["demo", *words, "--device", "cpu", "--threads", "1"]) == OK
    (page, settings), blocked = shown
    assert (settings["server_name"], settings["server_port"]) == ("0.0.0.0", 7990)
    assert blocked == "blocked"
    assert "my_voice" in page
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "http://0.0.0.0:7990/" in captured.err


def test_tabs_without_a_model_say_what_to_do(shown):
    page = texts(build(Shelf("cpu")))
    for words in ("docs/storm.md", "--enhance FILE", "--convert FILE", "--music FILE"):
        assert words in page
    assert "--speak FILE" not in page
    assert page.count("No model for this tab is installed") == 4


def test_a_model_that_is_not_there_is_wrong_use(shown, capsys):
    assert main(["demo", "--music", "nowhere.safetensors"]) == USAGE
    assert "nowhere.safetensors" in capsys.readouterr().err
    assert shown == []


def test_the_browser_is_opened_at_the_page(shown):
    assert main(["demo", "--device", "cpu"]) == OK
    assert shown[1:] == [("opened", "http://127.0.0.1:7860/"), "blocked"]


def test_without_gradio_the_command_says_what_to_install(shown, monkeypatch, capsys):
    monkeypatch.setattr("audiogen.cli.demo.find_spec", lambda name: None)
    assert main(["demo"]) == USAGE
    assert 'pip install "audiogen[demo]"' in capsys.readouterr().err


def test_ditto_steers_the_demo_s_way(monkeypatch):
    fake_music.register(monkeypatch)
    system, told = fake_music.music_system().eval(), []
    wish = Wish("slow piano", [(0.0, -30.0), (system.chunk_seconds, -20.0)], steps=2)
    made = ditto.steer_by_ditto(system, wish, lambda share, what: told.append((share, what)))
    assert made.before.wav.shape == made.after.wav.shape
    assert made.error_after <= made.error_before  # the best that was met is kept
    assert told[-1][1] == "search step 2 of 2"
    assert [name for name, _ in made.loudness] == ["without", "steered"]
    with pytest.raises(ValueError, match="cannot be steered"):
        ditto.check(object())
