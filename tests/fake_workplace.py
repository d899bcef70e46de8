"""A folder, a model and a command line for tests of `audiogen tts`."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
import soundfile
import torch
from fake_system import FakeSpeech, FakeVocoder, front_end, register

from audiogen import hub, weights
from audiogen.cli import main, run
from audiogen.speech import SpeechOptions, join, speak


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A fake model under the default name, a front end without espeak, and a folder of our own."""
    register(monkeypatch)
    models = tmp_path / "models"
    for name, system in (("prodiff", FakeSpeech()), ("voc", FakeVocoder())):
        (models / name).mkdir(parents=True)
        hub.save(system, models / name / weights.WEIGHTS)
    monkeypatch.setattr(weights, "MODEL_FOLDERS", (models,))
    monkeypatch.setattr(run, "TextFrontEnd", lambda language, lexicon: front_end)
    monkeypatch.delenv("AUDIOGEN_DEVICE", raising=False)
    monkeypatch.delenv("AUDIOGEN_THREADS", raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def stdin(monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def tts(*words):
    return main(["tts", "--device", "cpu", *map(str, words)])


def files():
    return sorted(str(path.relative_to(Path.cwd())) for path in Path.cwd().rglob("*") if path.is_file())


def frames(path):
    return soundfile.info(path).frames


def expected(item, **options):
    pieces = speak(FakeSpeech(), [item], SpeechOptions(**options), front_end=front_end)
    return join([piece.audio for piece in pieces]).wav[0].numpy()
