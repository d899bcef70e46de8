"""The models of a server, each with its queue, found by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from audiogen.server.errors import ApiError
from audiogen.server.limits import Limits
from audiogen.server.metrics import Metrics
from audiogen.server.worker import Worker
from audiogen.speech import FrontEnd
from audiogen.text.frontend import TextFrontEnd

SPEECH, ENHANCEMENT, CONVERSION, MUSIC = "speech", "enhancement", "conversion", "music"
METHODS = {  # what only a system of the kind has
    SPEECH: "synthesize_sentences",
    MUSIC: "passes",
    CONVERSION: "convert",
    ENHANCEMENT: "enhance",
}
REMEDIES = {
    SPEECH: "start the server with --model prodiff",
    ENHANCEMENT: "start the server with --model storm",
    CONVERSION: "start the server with --model stablevc",
    MUSIC: "start the server with --model melody",
}
# what clients of OpenAI ask for when nobody told them another name
OPENAI_MODELS = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")


@dataclass(frozen=True)
class Served:
    """A loaded system. front_end: how texts become sentences, None where it reads none."""

    name: str
    kind: str
    system: Any
    worker: Worker
    front_end: TextFrontEnd | None = None

    @property
    def reads(self) -> FrontEnd:
        """The sentences of a text, one at a time."""
        assert self.front_end is not None, "only a speaking system is asked to read"
        return self.front_end.sentences


class Models:
    """Systems by name. Raises ValueError for one that does none of the server's tasks."""

    def __init__(self, systems: Mapping[str, Any], limits: Limits, metrics: Metrics) -> None:
        self._served: dict[str, Served] = {}
        for name, system in systems.items():
            kind = kind_of(name, system)
            front_end = TextFrontEnd(system.language) if kind == SPEECH else None
            worker = Worker(name, metrics, capacity=limits.queue, batch=limits.batch)
            self._served[name] = Served(name, kind, system, worker, front_end)

    def __iter__(self) -> Iterator[Served]:
        """All of them, in the order they were given."""
        return iter(self._served.values())

    def pick(self, kind: str, name: str | None) -> Served:
        """The model of that name, or the first of the kind; OpenAI's names are the first that speaks.

        Raises ApiError 404 that names what there is.
        """
        fitting = [model for model in self if model.kind == kind]
        if not fitting:
            message = f"no model for {kind} is loaded: {REMEDIES[kind]}"
            raise ApiError(404, message, code="model_not_found", param="model")
        if name is None or (kind == SPEECH and name in OPENAI_MODELS and name not in self._served):
            return fitting[0]
        for model in fitting:
            if model.name == name:
                return model
        names = ", ".join(model.name for model in fitting)
        message = f"no model {name!r} for {kind} is loaded; use {names}"
        raise ApiError(404, message, code="model_not_found", param="model")

    def get(self, name: str) -> Served:
        """The model of that name. Raises ApiError 404."""
        if name not in self._served:
            message = f"no model {name!r} is loaded; there are {', '.join(self._served)}"
            raise ApiError(404, message, code="model_not_found", param="model")
        return self._served[name]


def kind_of(name: str, system: Any) -> str:
    """What a system is for. Raises ValueError where the server has no use for it."""
    for kind, method in METHODS.items():
        if hasattr(system, method):
            return kind
    raise ValueError(
        f"model {name!r} cannot be served: it does not speak, enhance, convert or make music; "
        "use one that does, such as prodiff or storm"
    )
