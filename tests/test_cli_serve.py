"""`audiogen serve` up to the point where it listens."""

import sys

import pytest
from fake_enhancer import FakeEnhancer
from fake_enhancer import register as register_enhancer
from fake_system import FakeSpeech, FakeVocoder, register

from audiogen import hub
from audiogen.cli import OK, USAGE, main
from audiogen.cli.serve_run import is_loopback
from audiogen.server.limits import Limits
from audiogen.server.models import ENHANCEMENT, SPEECH


@pytest.fixture(autouse=True)
def served(tmp_path, monkeypatch):
    """An empty folder with two models -> what uvicorn was to run."""
    register(monkeypatch)
    register_enhancer(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUDIOGEN_API_KEY", raising=False)
    hub.save(FakeSpeech(), "s.safetensors")
    hub.save(FakeEnhancer(), "e.safetensors")
    hub.save(FakeVocoder(), "v.safetensors")
    seen = []
    monkeypatch.setattr("uvicorn.run", lambda app, **options: seen.append((app, options)))
    return seen


def serve(*words):
    return main(["serve", *map(str, words), "--device", "cpu"])


def test_models_are_loaded_and_listened_for(served, capsys):
    words = ["--model", "s.safetensors", "--model", "e.safetensors", "--port", 8123, "--threads", 1]
    assert serve(*words) == OK
    ((app, options),) = served
    models = list(app.state.served.models)
    assert [(model.name, model.kind) for model in models] == [
        ("s.safetensors", SPEECH),
        ("e.safetensors", ENHANCEMENT),
    ]
    assert models[0].system.calls == [1]  # it has spoken, so that the first request does not wait for it
    assert (options["host"], options["port"], options["log_level"]) == ("127.0.0.1", 8123, "info")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "loaded e.safetensors in" in captured.err
    assert "warning" not in captured.err


def test_limits_arrive(served):
    words = ["--queue", 3, "--max-text", 10, "--max-upload", 0.5, "--max-seconds", 7, "--max-time", 9]
    assert serve("--model", "s.safetensors", *words, "--batch-size", 2, "-q") == OK
    ((app, options),) = served
    assert app.state.served.limits == Limits(10, 0.5, 7.0, 9.0, 3, 2)
    assert options["log_level"] == "warning"


def test_without_a_word_it_is_the_shipped_voice_and_enhancer(served, monkeypatch):
    monkeypatch.setattr(
        hub, "load", lambda name, device: {"prodiff": FakeSpeech, "storm": FakeEnhancer}[name]()
    )
    assert serve("--quiet") == OK
    ((app, _),) = served
    assert [model.name for model in app.state.served.models] == ["prodiff", "storm"]


@pytest.mark.parametrize(
    ("words", "warned"),
    [
        (["--host", "0.0.0.0"], True),
        (["--host", "::"], True),
        (["--host", "0.0.0.0", "--api-key", "secret"], False),
        (["--host", "::1"], False),
        (["--host", "localhost"], False),
    ],
)
def test_an_open_door_is_told(words, warned, capsys):
    assert serve("--model", "s.safetensors", *words) == OK
    assert ("anybody who reaches" in capsys.readouterr().err) == warned


def test_the_key_of_the_environment_counts(monkeypatch, capsys):
    monkeypatch.setenv("AUDIOGEN_API_KEY", "secret")
    assert serve("--model", "s.safetensors", "--host", "0.0.0.0") == OK
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "nobody"], "unknown model 'nobody'"),
        (["--model", "v.safetensors"], "'v.safetensors' cannot be served"),
        (["--model", "s.safetensors", "--max-time", 0], "a limit of 0 for request_s"),
        (["--model", "s.safetensors", "--api-key", " "], "the API key is empty"),
        (["--model", "s.safetensors", "--port", 70000], "65535"),
    ],
)
def test_what_cannot_be_ends_with_2(served, words, message, capsys):
    assert serve(*words) == USAGE
    assert message in " ".join(capsys.readouterr().err.split())
    assert served == []


def test_a_missing_extra_is_told(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert serve("--model", "s.safetensors") == USAGE
    assert 'pip install "audiogen[serve]"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.2", True), ("example.org", False), ("10.0.0.1", False)]
)
def test_loopback(host, loopback):
    assert is_loopback(host) == loopback
