"""The page of the tab that enhances."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from audiogen.demo import parts
from audiogen.demo.enhance import LEVELS_DB, enhance, example, qualities
from audiogen.demo.errors import readable
from audiogen.demo.models import ENHANCE, SPEAK
from audiogen.demo.recording_tab import RecordingTab
from audiogen.enhancement import EnhanceOptions


class EnhanceTab(RecordingTab):
    """Controls, results and what happens between them."""

    done, name = "Enhanced", "enhance"
    lead = "Load a recording and press Enhance, or press an example."

    def _controls(self) -> None:
        self.before = parts.recording("Noisy recording", "enhance-before")
        self.go = gr.Button("Enhance", variant="primary", elem_id="enhance-go")
        self.examples = []
        if self.shelf.names(SPEAK):
            gr.Markdown("A spoken sentence in noise:", elem_classes="ag-lead")
            with gr.Row():
                for level in LEVELS_DB:
                    text = f"speech {level:g} dB above noise"
                    button = gr.Button(text, size="sm", elem_id=f"enhance-example-{level:g}", min_width=140)
                    self.examples.append((button, level))

    def _settings(self) -> None:
        models = self.shelf.choices(ENHANCE)
        with gr.Row():
            self.model = gr.Radio(models, value=models[0][1], label="Model", visible=len(models) > 1)
            quality, seed = self._known(models[0][1])
            self.quality = gr.Radio(**quality, label="Quality", elem_id="enhance-quality")
            self.seed = gr.Number(**seed, label="Seed", precision=0, min_width=90)

    def _known(self, model: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The qualities of a model, and a seed; hidden for a model without steps, which has no choice."""
        choices = qualities(self.shelf.get(ENHANCE, model))
        names, some = [name for _, name in choices], len(choices) > 1
        value = "balanced" if "balanced" in names else names[0]
        return {"choices": choices, "value": value, "visible": some}, {"value": 0, "visible": some}

    def _connect(self) -> None:
        options = [self.model, self.quality, self.seed]
        parts.run(self.go.click, self._enhance, [self.before, *options], self._results, self.account)
        for button, level in self.examples:
            made = parts.run(button.click, self._example(level), [], [self.before], self.account)
            parts.run(made.success, self._enhance, [self.before, *options], self._results, self.account)
        self.model.change(self._model_changed, self.model, [self.quality, self.seed], **parts.QUIET)

    def _model_changed(self, model: str) -> tuple[Any, Any]:
        quality, seed = self._known(model)
        return gr.Radio(**quality), gr.Number(**seed)

    def _example(self, level_db: float) -> Any:
        @readable
        def make(progress: gr.Progress = parts.PROGRESS) -> Iterator[str]:
            yield str(example(self.shelf, level_db, parts.teller(progress)))

        return make

    @readable
    def _enhance(
        self,
        path: str | None,
        model: str,
        quality: str,
        seed: float,
        progress: gr.Progress = parts.PROGRESS,
    ) -> Iterator[tuple[Any, ...]]:
        options = EnhanceOptions(quality)
        made = enhance(
            self.shelf,
            parts.given(path, "recording to enhance"),
            model,
            options,
            parts.whole(seed),
            parts.teller(progress),
        )
        yield self._shown(*made)
