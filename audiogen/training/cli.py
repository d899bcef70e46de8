"""`audiogen fit | validate | test | predict`: Lightning's own command line."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI


class AudiogenCLI(LightningCLI):
    """LightningCLI with links, so that a model and its data cannot disagree on numbers both need."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options that are ours.

        Training batches are shared among ranks by `ResumableLoader`; what Lightning's sampler would share as
        well is validation, whose numbers are then of a part of the items. So every rank validates with all.
        """
        parser.set_defaults({"trainer.use_distributed_sampler": False})
        parser.add_argument(
            "--threads", type=int, default=0, help="CPU threads of torch; 0 keeps its own choice"
        )

    def _parse_ckpt_path(self) -> None:
        """Let the configuration rule; Lightning would silently put a checkpoint's numbers over it."""

    def before_instantiate_classes(self) -> None:
        """Set the thread count before anything computes."""
        config: Any = self.config[self.config.subcommand] if "subcommand" in self.config else self.config
        if config.threads > 0:
            torch.set_num_threads(config.threads)


def main(argv: Sequence[str] | None = None) -> None:
    """Run LightningCLI on `argv` (without the program's name), e.g. ["fit", "-c", "configs/prodiff.yaml"]."""
    # Lightning warns whoever passes words on instead of letting it read the command line itself
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
    AudiogenCLI(args=None if argv is None else list(argv), save_config_kwargs={"overwrite": True})
