"""The page of the tab that makes music."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from audiogen.demo import compose, parts
from audiogen.demo.compose import EXAMPLES, MOST_SECONDS, frames
from audiogen.demo.errors import readable
from audiogen.demo.models import COMPOSE, Shelf
from audiogen.demo.player import player
from audiogen.music import MusicOptions


class ComposeTab:
    """Controls, results and what happens between them."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        with gr.Row():
            with gr.Column():
                self._controls()
            with gr.Column():
                self.player = player("Music", "compose-player")
                self.account = parts.account("Press Compose, or an example.")
                self.picture = parts.picture("compose-picture")
        self._settings()
        self._connect()

    def _controls(self) -> None:
        self.words = gr.Textbox(EXAMPLES[0], label="The music in words", lines=2, elem_id="compose-words")
        self.go = gr.Button("Compose", variant="primary", elem_id="compose-go")
        self.examples = parts.examples([[words] for words in EXAMPLES], [self.words])

    def _settings(self) -> None:
        models = self.shelf.choices(COMPOSE)
        with gr.Row():
            self.model = gr.Radio(models, value=models[0][1], label="Model", visible=len(models) > 1)
            self.seconds = gr.Slider(2, MOST_SECONDS, value=compose.USUAL_SECONDS, step=1, label="Seconds")
            self.steps = parts.steps()
            self.seed = parts.seed()
            self.early = gr.Checkbox(True, label="Heard early: the first chunk by itself", min_width=120)
            self.temperature = gr.Slider(0.0, 2.0, value=1.0, step=0.05, label="Temperature")

    def _connect(self) -> None:
        inputs = [self.words, self.model, self.seconds, self.steps, self.seed, self.temperature, self.early]
        results = [self.player, self.account, self.picture]
        runs = [
            parts.run(start, self._compose, inputs, results, self.account)
            for start in (self.go.click, self.words.submit, self.examples.load_input_event.then)
        ]
        self.player.stop(None, cancels=runs)

    @readable
    def _compose(
        self,
        words: str,
        model: str,
        seconds: float,
        steps: int,
        seed: float,
        temperature: float,
        early: bool,
        progress: gr.Progress = parts.PROGRESS,
    ) -> Iterator[tuple[Any, ...]]:
        options = MusicOptions(
            steps or None,
            temperature=temperature,
            opening=1 if early else None,
        )
        tell = parts.teller(progress)
        yield from frames(self.shelf, words, model, options, seconds, parts.whole(seed), tell)
