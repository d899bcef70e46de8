"""Training runs of the tiny configurations."""

from pathlib import Path

import torch

from audiogen.systems.phonetic_encoder import PhoneticContent
from audiogen.training.cli import main

CONFIGS = Path(__file__).parents[1] / "configs"


def fit(name, prepared, run, *more):
    """Train a tiny config in folder `run` -> its last checkpoint."""
    data = "audio" if name.startswith("vocos") else "speech"
    main(
        [
            "fit",
            *("-c", str(CONFIGS / f"{name}.yaml")),
            *("--data.init_args.path", str(prepared / f"{data}.safetensors")),
            *("--trainer.default_root_dir", str(run)),
            *more,
        ]
    )
    return run / "runs" / name / "last.ckpt"


def fit_here(name, path, *more):
    """Train a tiny config on a packed file, in the current folder -> its last checkpoint."""
    main(["fit", "-c", str(CONFIGS / f"{name}.yaml"), "--data.init_args.path", str(path), *more])
    return f"runs/{name}/last.ckpt"


def untrained_phones(path):
    """Write the checkpoint of a tiny phonetic encoder without training -> its path."""
    model = PhoneticContent(net={"channels": 16, "hidden": 32, "blocks": 1, "bottleneck": 8}, codes=12)
    torch.save({"release": model.release(), "state_dict": model.state_dict()}, path)
    return path
