"""The page of the tab that steers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import gradio as gr

from audiogen.demo import parts
from audiogen.demo.compose import EXAMPLES
from audiogen.demo.curves import LEVELS, SHAPES, curves_picture, drawn, points, shape
from audiogen.demo.errors import readable
from audiogen.demo.files import saved
from audiogen.demo.models import COMPOSE, Shelf
from audiogen.demo.player import HERE
from audiogen.demo.steer import LOUDEST_DB, MOST_STEPS, QUIETEST_DB, Steer, Wish, steered

FIRST_SHAPE = "swell"
CANVAS = f"""
<div class="ag-drawing">
  <h3 class="ag-title">Draw the loudness: {LOUDEST_DB:g} dB at the top, {QUIETEST_DB:g} dB at the bottom</h3>
  <canvas class="ag-canvas" data-levels="{LEVELS}" role="img" aria-label="Drawing of the loudness"></canvas>
</div>
"""


class SteerTab:
    """Controls, results and what happens between them. longest_s: of the music that can be steered."""

    def __init__(self, shelf: Shelf, steer: Steer, longest_s: float = 10.0) -> None:
        self.shelf, self.steer, self.longest_s = shelf, steer, longest_s
        self.stopped: set[str | None] = set()  # visitors who want no more searching
        with gr.Row():
            with gr.Column():
                self._controls()
            with gr.Column():
                self.after = parts.result("Steered", "steer-after")
                self.picture = parts.picture("steer-picture", "Loudness: wished, without and with steering")
                self.before = parts.result("The same words and seed, not steered", "steer-before")
                self.account = parts.account("Draw a curve and press Steer, or press a shape.")
        self._settings()
        self._connect()

    def _controls(self) -> None:
        self.words = gr.Textbox(EXAMPLES[0], label="The music in words", lines=2, elem_id="steer-words")
        self.curve = gr.HTML(
            shape(FIRST_SHAPE),
            container=True,
            padding=True,
            html_template=CANVAS,
            js_on_load=(HERE / "curve.js").read_text(encoding="utf-8"),
            elem_id="steer-curve",
        )
        gr.Markdown("Press a shape to hear music that follows it:", elem_classes="ag-lead")
        with gr.Row():
            self.shapes = [
                (name, gr.Button(name, size="sm", min_width=70, elem_id=f"steer-{name}")) for name in SHAPES
            ]
        with gr.Row():
            self.go = gr.Button("Steer", variant="primary", elem_id="steer-go", min_width=120)
            self.stop = gr.Button("Stop, keep what is found", elem_id="steer-stop", min_width=120)

    def _settings(self) -> None:
        models = self.shelf.choices(COMPOSE)
        with gr.Row():
            self.model = gr.Radio(models, value=models[0][1], label="Model", visible=len(models) > 1)
            self.seconds = gr.Slider(2, self.longest_s, value=min(5, self.longest_s), step=1, label="Seconds")
            self.steps = gr.Slider(10, MOST_STEPS, value=30, step=10, label="Search steps")
            self.seed = parts.seed()

    def _connect(self) -> None:
        inputs = [self.words, self.curve, self.model, self.seconds, self.steps, self.seed]
        results = [self.after, self.before, self.account, self.picture]
        for name, button in self.shapes:
            placed = button.click(partial(shape, name), None, self.curve, **parts.QUIET)
            parts.run(placed.then, self._steer, inputs, results, self.account)
        parts.run(self.go.click, self._steer, inputs, results, self.account)
        self.stop.click(self._stop, **parts.QUIET)

    def _stop(self, request: gr.Request) -> None:
        self.stopped.add(request.session_hash)

    @readable
    def _steer(
        self,
        words: str,
        curve: object,
        model: str,
        seconds: float,
        steps: int,
        seed: float,
        request: gr.Request,
        progress: gr.Progress = parts.PROGRESS,
    ) -> Iterator[tuple[Any, ...]]:
        wished = points(drawn(curve), seconds, QUIETEST_DB, LOUDEST_DB)
        wish = Wish(words, wished, int(steps), parts.whole(seed))
        visitor = request.session_hash
        self.stopped.discard(visitor)
        outcome, account = steered(
            self.shelf, self.steer, model, wish, parts.teller(progress), lambda: visitor in self.stopped
        )
        self.stopped.discard(visitor)
        curves = [("wished", wished), *outcome.loudness]
        picture = curves_picture(curves, QUIETEST_DB - 10, LOUDEST_DB + 10, "dB")
        yield saved(outcome.after, "steered"), saved(outcome.before, "unsteered"), account.html(), picture
