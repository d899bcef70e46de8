"""The page of the tab that converts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from audiogen.conversion import ConvertOptions
from audiogen.demo import parts
from audiogen.demo.convert import convert, examples
from audiogen.demo.errors import readable
from audiogen.demo.models import CONVERT, SPEAK
from audiogen.demo.recording_tab import RecordingTab


class ConvertTab(RecordingTab):
    """Controls, results and what happens between them."""

    done, name = "Converted", "convert"
    lead = "Load two recordings and press Convert, or press the example."

    def _controls(self) -> None:
        self.said = parts.recording("What is said", "convert-said")
        self.voice = parts.recording("The voice, about ten seconds of it", "convert-voice")
        self.go = gr.Button("Convert", variant="primary", elem_id="convert-go")
        self.example = gr.Button(
            "Example: one shipped voice in the other",
            size="sm",
            elem_id="convert-example",
            visible=bool(self.shelf.names(SPEAK)),
        )

    def _settings(self) -> None:
        models = self.shelf.choices(CONVERT)
        with gr.Row():
            self.model = gr.Radio(models, value=models[0][1], label="Model", visible=len(models) > 1)
            self.steps = parts.steps()
            self.seed = parts.seed()
            self.keep = gr.Checkbox(True, label="Keep the timing of what is said")

    def _connect(self) -> None:
        inputs = [self.said, self.voice, self.model, self.steps, self.seed, self.keep]
        parts.run(self.go.click, self._convert, inputs, self._results, self.account)
        made = parts.run(self.example.click, self._examples, [], [self.said, self.voice], self.account)
        parts.run(made.success, self._convert, inputs, self._results, self.account)

    @readable
    def _examples(self, progress: gr.Progress = parts.PROGRESS) -> Iterator[tuple[str, ...]]:
        yield tuple(str(path) for path in examples(self.shelf, parts.teller(progress)))

    @readable
    def _convert(
        self,
        said: str | None,
        voice: str | None,
        model: str,
        steps: int,
        seed: float,
        keep: bool,
        progress: gr.Progress = parts.PROGRESS,
    ) -> Iterator[tuple[Any, ...]]:
        made = convert(
            self.shelf,
            parts.given(said, "recording to convert"),
            parts.given(voice, "recording of the voice"),
            model,
            ConvertOptions(steps or None, keep_duration=keep),
            parts.whole(seed),
            parts.teller(progress),
        )
        yield self._shown(*made)
