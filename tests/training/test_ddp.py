"""Two processes train together as one would, and go on where they have stopped."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fitting import CONFIGS

from audiogen.data.mels import MelData

ROOT = Path(__file__).parents[2]
SCRIPT = """
import torch
from audiogen.training.cli import main

def fit(folder, steps, *more):
    words = ["-c", {config!r}, "--data.init_args.path", {data!r}, "--data.init_args.max_frames", "150"]
    words += ["--trainer.strategy", "ddp", "--trainer.devices", "2", "--trainer.max_steps", str(steps)]
    words += ["--trainer.callbacks", "[StepSeed, ModelCheckpoint]", "--trainer.logger", "false"]
    words += ["--trainer.callbacks.dirpath", folder, "--trainer.callbacks.save_last", "true"]
    words += ["--trainer.callbacks.every_n_train_steps", "3", "--trainer.callbacks.save_top_k", "0"]
    words += ["--trainer.limit_val_batches", "1", "--trainer.num_sanity_val_steps", "0"]
    main(["fit", *words, "--trainer.default_root_dir", folder, *more])

fit("whole", 6)
fit("parts", 3)
fit("parts", 6, "--ckpt_path", "parts/last.ckpt")
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory, prepared):
    """A folder with the checkpoints of an unbroken and a broken run of two processes."""
    folder = tmp_path_factory.mktemp("ddp")
    config, data = CONFIGS / "prodiff_tiny.yaml", prepared / "speech.safetensors"
    script = SCRIPT.format(config=str(config), data=str(data))
    (folder / "train.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=folder, env=environment, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "MEMBER: 2/2" in done.stderr + done.stdout
    return folder


def checkpoint(path):
    return torch.load(path, weights_only=True)


def test_a_run_of_two_that_goes_on_ends_as_if_it_had_not_stopped(trained):
    whole, parts = (checkpoint(trained / name / "last.ckpt") for name in ("whole", "parts"))
    assert whole["global_step"] == parts["global_step"] == 6
    assert whole["state_dict"].keys() == parts["state_dict"].keys()
    for name, tensor in whole["state_dict"].items():
        assert torch.equal(tensor, parts["state_dict"][name]), name


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_see_every_piece_of_an_epoch(prepared, monkeypatch, ranks):
    """The property of the loader in a real data module: no piece is missing, none is shared."""
    data = MelData(str(prepared / "speech.safetensors"), max_frames=150)
    data.setup("fit")
    ids = []
    for rank in range(ranks):
        monkeypatch.setattr("audiogen.data.loader.rank_and_ranks", lambda rank=rank: (rank, ranks))
        ids += [[name for batch in data.train_dataloader() for name in batch["ids"]]]
    plans = data.plan_epoch(0)
    again = -len(plans) % ranks
    everything = [data.ids[i] for plan in plans + plans[:again] for i in plan]
    assert sorted(sum(ids, [])) == sorted(everything)
    assert {name for share in ids for name in share} == {data.ids[i] for i in data.training_items}
