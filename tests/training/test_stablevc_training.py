"""StableVC from packed voices to weights that can be shared."""

import pytest
import torch
from fitting import CONFIGS
from synthetic_voices import write_voices
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from audiogen import hub
from audiogen.training.checkpoint import read_checkpoint
from audiogen.training.cli import main


def fit(name, voices, *more):
    """Train a tiny config here -> its last checkpoint."""
    words = ["fit", "-c", str(CONFIGS / f"{name}.yaml"), "--data.init_args.path", str(voices), *more]
    main(words)
    return f"runs/{name}/last.ckpt"


@pytest.fixture
def voices(tmp_path, monkeypatch):
    """A packed file in a folder of our own to run in."""
    monkeypatch.chdir(tmp_path)
    return write_voices(tmp_path / "voices.safetensors")


def test_training_learns_and_releases_a_system_without_its_classifier(voices):
    more = ["--trainer.max_steps", "60", "--model.init_args.total_steps", "60"]
    checkpoint = fit("stablevc_tiny", voices, *more, "--model.init_args.settle_steps", "40")
    events = EventAccumulator("runs/stablevc_tiny/version_0")
    events.Reload()
    for name in ("train/flow", "train/guess"):
        values = [event.value for event in events.Scalars(name)]
        assert sum(values[-5:]) < 0.9 * sum(values[:5]), name
    key, hparams, state = read_checkpoint(checkpoint)
    assert (key, hparams["speakers"]) == ("stablevc", 0)
    assert not any(name.startswith("classifier.") for name in state)
    system = hub.load(checkpoint)
    hub.save(system, "model.safetensors")
    again = hub.load("model.safetensors")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in state.items())
    assert 0 < float(again.sigma_data) < 1.5
