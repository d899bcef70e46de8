"""Which models there are for each task, loaded when they are first used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from audiogen import hub, weights

SPEAK, ENHANCE, CONVERT, COMPOSE = "speak", "enhance", "convert", "compose"
TASKS = {  # system of a weights file -> its task; the first of a task is its default
    "prodiff": SPEAK,
    "comospeech": SPEAK,
    "storm": ENHANCE,
    "stablevc": CONVERT,
    "melody_music": COMPOSE,
}
ABILITIES = {SPEAK: "synthesize_sentences", ENHANCE: "enhance", CONVERT: "convert", COMPOSE: "passes"}

Tell = Callable[[float, str], object]
"""Told how far loading is, 0 to 1, and what is being done."""


def silent(share: float, doing: str) -> None:
    """A `Tell` for those who do not want to know."""


@dataclass
class Shelf:
    """The models of a demo.

    device: as `hub.load` takes it. more: names or paths of further models by task; they come first. Raises
    what `check` raises.
    """

    device: str = "auto"
    more: Mapping[str, Sequence[str]] = field(default_factory=dict)
    _loaded: dict[str, Any] = field(default_factory=dict, init=False)
    _lock: Lock = field(default_factory=Lock, init=False)

    def __post_init__(self) -> None:
        """Look before anybody waits."""
        for task, names in self.more.items():
            for name in names:
                check(task, name)

    def names(self, task: str) -> list[str]:
        """Models for a task: those given, then the installed ones."""
        found = []
        for name in weights.known_models():
            with suppress(weights.CorruptWeights):  # `audiogen` without it is still a demo
                key, _ = weights.read_metadata(weights.locate(name))
                if TASKS.get(key) == task:
                    found.append((list(TASKS).index(key), name))
        return list(dict.fromkeys([*self.more.get(task, ()), *(name for _, name in sorted(found))]))

    def choices(self, task: str) -> list[tuple[str, str]]:
        """(label, name) of each model for a task; a path is labelled by its end."""
        return [(label(name), name) for name in self.names(task)]

    def hparams(self, name: str) -> dict[str, Any]:
        """Hyper-parameters of a model, read without loading it."""
        return hub.read_hparams(weights.locate(name))

    def get(self, task: str, name: str, tell: Tell = silent) -> Any:
        """The system, loaded at the first call. Raises UnknownModel for a model of another task."""
        with self._lock:
            if name not in self._loaded:
                size = weights.locate(name).stat().st_size / 1e6
                tell(0.1, f"loading {label(name)} ({size:.0f} MB)")
                self._loaded[name] = hub.load(name, self.device)
                tell(0.7, f"first use of {label(name)}")
                if task == SPEAK:
                    warm_up(self._loaded[name])
            system = self._loaded[name]
        if not hasattr(system, ABILITIES[task]):
            raise weights.UnknownModel(f"model {name!r} cannot {task}; give another one for that tab")
        return system


def check(task: str, name: str) -> None:
    """Raises UnknownModel for weights that are not there or of another task, CorruptWeights for no weights.

    Of a checkpoint the task is seen when it is loaded.
    """
    path = weights.locate(name)
    if path.suffix == weights.CHECKPOINT:
        return
    key, _ = weights.read_metadata(path)
    if TASKS.get(key) != task:
        able = " or ".join(system for system, what in TASKS.items() if what == task)
        raise weights.UnknownModel(f"{name} is of system {key!r}; to {task}, give one of {able}")


def label(name: str) -> str:
    """A short name: of `folder/model.safetensors` the folder."""
    path = Path(name)
    return path.parent.name if path.name == weights.WEIGHTS and path.parent.name else path.stem


def warm_up(system: Any) -> None:
    """Say a word, so that the first text does not pay for every first-time cost."""
    from audiogen.speech import SpeechOptions, synthesize

    synthesize(system, "Hello.", SpeechOptions())
