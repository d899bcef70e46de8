"""`audiogen export`: what it may change about a checkpoint on the way."""

import pytest
import torch

import audiogen
from audiogen.cli import OK, USAGE, main
from audiogen.systems.comospeech import CoMoSpeech


@pytest.fixture
def checkpoint(tmp_path):
    """An untrained system as `fit` keeps it, from before there was a `pace`."""
    torch.manual_seed(0)
    sizes = {"channels": 16, "encoder": {"blocks": 1}, "denoiser": {"channels": 16, "blocks": 1}}
    system = CoMoSpeech(**sizes)
    release = system.release()
    del release["hparams"]["pace"]
    torch.save({"state_dict": system.state_dict(), "release": release}, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def test_a_checkpoint_takes_values_for_what_came_later(checkpoint, tmp_path):
    out = tmp_path / "model.safetensors"
    assert main(["export", str(checkpoint), "-o", str(out), "--set", "pace=[2, 4]"]) == OK
    assert audiogen.load(str(out)).pace.tolist() == [2, 4]


def test_unknown_names_are_refused(checkpoint, tmp_path, capsys):
    out = tmp_path / "model.safetensors"
    assert main(["export", str(checkpoint), "-o", str(out), "--set", "speed=2"]) == USAGE
    assert "no hyper-parameter 'speed'" in capsys.readouterr().err
    assert not out.exists()


def test_half_halves_the_file_and_rounds_the_weights(checkpoint, tmp_path):
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    assert main(["export", str(checkpoint), "-o", str(whole)]) == OK
    assert main(["export", str(checkpoint), "-o", str(half), "--half"]) == OK
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    exact, rounded = (audiogen.load(str(path)).release_state() for path in (whole, half))
    for name, value in exact.items():
        assert rounded[name].dtype == value.dtype
        assert torch.equal(rounded[name], value.half().to(value.dtype)), name
