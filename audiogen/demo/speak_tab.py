"""The page of the tab that speaks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from audiogen.demo import parts
from audiogen.demo.errors import readable
from audiogen.demo.models import SPEAK, Shelf
from audiogen.demo.pictures import picture
from audiogen.demo.player import player
from audiogen.demo.speak import EXAMPLES, Words, compare, frames, shown, step_counts


class SpeakTab:
    """Controls, results and what happens between them."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        with gr.Row():
            with gr.Column():
                self._controls()
            with gr.Column():
                self.player = player("Speech", "speak-player")
                self.account = parts.account("Press Speak, or an example: the first one loads the model.")
                self.picture = parts.picture("speak-picture")
        self._settings()
        self._compare()
        self._connect()

    def _controls(self) -> None:
        self.text = gr.Textbox(EXAMPLES[0], label="Text", lines=3, max_lines=8, elem_id="speak-text")
        self.go = gr.Button("Speak", variant="primary", elem_id="speak-go")
        self.examples = parts.examples([[text] for text in EXAMPLES], [self.text])

    def _settings(self) -> None:
        models = self.shelf.choices(SPEAK)
        speakers, steps, default = self._known(models[0][1])
        with gr.Row():
            self.model = gr.Radio(models, value=models[0][1], label="Model", elem_id="speak-model")
            self.speaker = gr.Dropdown(speakers, value=speakers[0], label="Voice", min_width=120)
            self.steps = gr.Dropdown(steps, value=default, label="Steps", min_width=90)
            self.seed = parts.seed()
            self.speed = gr.Slider(0.5, 2.0, value=1.0, step=0.05, label="Speed")

    def _compare(self) -> None:
        _, steps, _ = self._known(self.shelf.names(SPEAK)[0])
        with gr.Accordion("Compare two step counts on the same seed", open=False):
            with gr.Row():
                self.first = gr.Dropdown(steps, value=steps[0], label="Steps A", min_width=90)
                self.second = gr.Dropdown(steps, value=steps[-1], label="Steps B", min_width=90)
                self.both = gr.Button("Compare", elem_id="speak-compare", min_width=120)
            self.apart = parts.account("The text above, twice, from the same noise.")
            with gr.Row():
                self.sides = [self._side(name) for name in ("A", "B")]

    def _side(self, name: str) -> tuple[Any, Any, Any]:
        with gr.Column():
            heard = player(f"Steps {name}", f"speak-{name}")
            return heard, parts.account(""), parts.picture(f"speak-picture-{name}")

    def _known(self, model: str) -> tuple[list[str], list[int], int]:
        """Voices, step counts and the default one of a model that need not be loaded."""
        hparams = self.shelf.hparams(model)
        steps = step_counts(hparams)
        speakers = [str(name) for name in hparams.get("speakers") or ("0",)]
        return speakers, steps, int(hparams.get("default_steps", steps[0]))

    def _connect(self) -> None:
        words = [self.text, self.model, self.speaker, self.steps, self.seed, self.speed]
        results = [self.player, self.account, self.picture]
        runs = [
            parts.run(start, self._speak, words, results, self.account)
            for start in (self.go.click, self.text.submit, self.examples.load_input_event.then)
        ]
        self.player.stop(None, cancels=runs)
        known = [self.speaker, self.steps, self.first, self.second]
        self.model.change(self._model_changed, self.model, known, **parts.QUIET)
        sides = [part for side in self.sides for part in side]
        parts.run(
            self.both.click, self._both, [*words, self.first, self.second], [self.apart, *sides], self.apart
        )

    def _model_changed(self, model: str) -> tuple[Any, ...]:
        speakers, steps, default = self._known(model)
        return (
            gr.Dropdown(speakers, value=speakers[0]),
            gr.Dropdown(steps, value=default),
            gr.Dropdown(steps, value=steps[0]),
            gr.Dropdown(steps, value=steps[-1]),
        )

    @readable
    def _speak(
        self,
        text: str,
        model: str,
        speaker: str,
        steps: int,
        seed: float,
        speed: float,
        progress: gr.Progress = parts.PROGRESS,
    ) -> Iterator[tuple[Any, ...]]:
        words = Words(text, model, speaker, steps, parts.whole(seed), speed)
        yield from frames(self.shelf, words, parts.teller(progress))

    @readable
    def _both(
        self,
        text: str,
        model: str,
        speaker: str,
        steps: int,
        seed: float,
        speed: float,
        first: int,
        second: int,
        progress: gr.Progress = parts.PROGRESS,
    ) -> Iterator[tuple[Any, ...]]:
        words = Words(text, model, speaker, steps, parts.whole(seed), speed)
        results, line = compare(self.shelf, words, (first, second), parts.teller(progress))
        sides = [
            (
                shown(audio, f"{n}-steps-seed{words.seed}"),
                account.html(),
                picture(audio.wav, audio.sample_rate),
            )
            for (audio, account), n in zip(results, (first, second), strict=True)
        ]
        yield (parts.note(line), *sides[0], *sides[1])
