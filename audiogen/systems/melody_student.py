"""What the students of MeLoDy's diffusion share: a teacher, and a release of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from audiogen.systems.melody import MeLoDy
from audiogen.training.checkpoint import read_checkpoint, release_of


class MeLoDyStudent(MeLoDy):
    """A `MeLoDy` that jumps, begun from the weights of a teacher's.

    teacher: checkpoint of a `MeLoDy` run. changes: hyper-parameters of the released student that are not the
    teacher's. training: those of this run alone, such as lr. Raises ValueError for another teacher.
    """

    def __init__(self, teacher: str, changes: Mapping[str, Any], training: Mapping[str, Any]) -> None:
        key, hparams, state = read_checkpoint(teacher)
        if key != "melody" or hparams["jumps"]:
            raise ValueError(f"{teacher} is no MeLoDy that was trained as a diffusion")
        self.released_hparams = {**hparams, "jumps": True, "patterns": (0.0, 0.5, 0.5), **changes}
        super().__init__(**self.released_hparams)
        for name in ("changes", "training"):  # Lightning may note all arguments; these say nothing new
            self.hparams.pop(name, None)
        self.hparams.update({**self.released_hparams, **training})
        self.load_state_dict(state, strict=False)  # the teacher knows nothing of what a student is told
        guide = MeLoDy(**hparams).requires_grad_(False).eval()
        guide.hparams.update(hparams)  # under LightningCLI it would have those of the run
        guide.load_state_dict(state)
        # in a tuple it is no part of this module: it is neither trained nor saved, its checkpoint has it
        self._teacher: tuple[nn.Module, ...] = (guide,)

    @property
    def teacher(self) -> MeLoDy:
        """The frozen diffusion."""
        (guide,) = self._teacher
        assert isinstance(guide, MeLoDy), "made above"
        return guide

    def release(self, left_out: tuple[str, ...] = ()) -> dict[str, Any]:
        """A student is released as the `MeLoDy` it is. left_out: beginnings of names of other weights."""
        return release_of(self.key, {**self.released_hparams, "words": list(self.words)}, left_out)

    def on_fit_start(self) -> None:
        """Bring the teacher to where the student is."""
        self.teacher.to(self.device)
