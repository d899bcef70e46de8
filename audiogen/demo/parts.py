"""Pieces of the page that several tabs share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from audiogen.demo.account import note as note
from audiogen.demo.models import Tell

PROGRESS = gr.Progress()
ONE_AT_A_TIME = "model"  # a second run beside the first would only make both slower, and their times wrong
STEPS = (1, 2, 4, 8, 10, 16, 20)
QUIET: dict[str, Any] = {"show_progress": "hidden", "queue": False}


def account(text: str) -> gr.HTML:
    """Where the figures of a result stand; `text` until then."""
    return gr.HTML(note(text) if text else "", min_height=40, elem_classes="ag-figures")


def picture(elem_id: str, label: str = "Waveform and mel spectrogram") -> gr.Image:
    """Where waveform and spectrogram are drawn."""
    return gr.Image(
        label=label,
        interactive=False,
        format="png",
        buttons=["download", "fullscreen"],
        elem_id=elem_id,
        elem_classes="ag-picture",
    )


def seed() -> gr.Number:
    """The field of a seed."""
    return gr.Number(0, label="Seed", precision=0, min_width=90)


def whole(seed: float | None) -> int:
    """The seed of its field. Raises ValueError for none and for fractions."""
    if seed is None or seed != int(seed):
        raise ValueError(f"seed {seed} is no whole number; use one such as 0")
    return int(seed)


def steps() -> gr.Dropdown:
    """The field of sampler steps where any number may be asked for; 0 is the model's own choice."""
    return gr.Dropdown(
        [("model's own", 0), *((str(n), n) for n in STEPS)], value=0, label="Steps", min_width=120
    )


def recording(label: str, elem_id: str) -> gr.Audio:
    """Where a recording is loaded or made."""
    return gr.Audio(
        label=label, type="filepath", sources=["upload", "microphone"], buttons=["download"], elem_id=elem_id
    )


def result(label: str, elem_id: str) -> gr.Audio:
    """Where a finished sound is heard and downloaded."""
    return gr.Audio(label=label, interactive=False, buttons=["download"], elem_id=elem_id)


def given(path: str | None, what: str) -> str:
    """The path. Raises ValueError where nothing was loaded."""
    if path is None:
        raise ValueError(f"there is no {what}: load a file, record one, or press an example")
    return path


def examples(
    rows: Sequence[Sequence[Any]], inputs: Sequence[Any], label: str = "Press one to hear it"
) -> Any:
    """Examples that fill the inputs; `load_input_event.then` runs what follows."""
    return gr.Examples([list(row) for row in rows], list(inputs), label=label, cache_examples=False)


def run(
    start: Callable[..., Any],
    work: Callable[..., Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    on: Any,
) -> Any:
    """Let an event start some work of a model, whose progress is shown on `on` -> the event."""
    return start(
        work,
        list(inputs),
        list(outputs),
        concurrency_limit=1,
        concurrency_id=ONE_AT_A_TIME,
        show_progress="full",
        show_progress_on=on,
        api_visibility="private",
    )


def teller(progress: gr.Progress) -> Tell:
    """Gradio's progress as models report it."""
    return lambda share, doing: progress(share, desc=doing)


def missing(task: str, page: str, option: str) -> None:
    """A tab without a model: one line, and nothing that could be pressed in vain."""
    remedy = f"train one as {page} says and start <code>audiogen demo {option} FILE</code>"
    line = f'<p class="ag-missing">No model for this tab is installed: {remedy}.</p>'
    gr.HTML(line, elem_id=f"{task}-missing")
