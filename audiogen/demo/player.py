"""A player of sound that is still being made: samples as they come, the text that is heard, a WAV at the end.

Gradio's own streaming encodes every chunk with ffmpeg, which a pip install does not bring; here the browser
gets the samples themselves and plays them one after another, without a gap.
"""

from __future__ import annotations

import base64
import io
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from audiogen.audio import HEADERLESS, write_audio
from audiogen.demo.highlight import Mark

HERE = Path(__file__).parent
SKELETON = """
<div class="ag-player">
  <h3 class="ag-title">TITLE</h3>
  <div class="ag-controls">
    <button type="button" class="ag-stop" hidden>Stop</button>
    <span class="ag-state" role="status"></span>
    <audio class="ag-audio" controls hidden></audio>
    <a class="ag-download" hidden>Download</a>
  </div>
  <p class="ag-text"></p>
</div>
"""


def player(title: str, elem_id: str) -> gr.HTML:
    """The component; its values are those of `Playback`, its event `stop` is the press of its button."""
    return gr.HTML(
        None,
        container=True,
        padding=True,
        html_template=SKELETON.replace("TITLE", escape(title)),
        js_on_load=(HERE / "player.js").read_text(encoding="utf-8"),
        elem_id=elem_id,
        elem_classes="ag-block",
    )


def samples(wav: Tensor, sample_rate: int) -> bytes:
    """wav (1, T) -> signed 16-bit little-endian samples, those of a WAV file that audiogen writes."""
    buffer = io.BytesIO()
    write_audio(buffer, wav, sample_rate, HEADERLESS)
    return buffer.getvalue()


@dataclass
class Playback:
    """One sound in the player, chunk after chunk.

    name: of the file to download, without its suffix. autoplay: whether it is heard as soon as it comes.
    """

    sample_rate: int
    name: str = "audiogen"
    autoplay: bool = True
    chunks: list[Tensor] = field(default_factory=list)
    _run: str = field(default_factory=lambda: uuid.uuid4().hex, init=False)
    _encoded: list[str] = field(default_factory=list, init=False)

    def add(self, wav: Tensor) -> None:
        """Append wav (1, T)."""
        self.chunks.append(wav)
        self._encoded.append(base64.b64encode(samples(wav, self.sample_rate)).decode())

    @property
    def wav(self) -> Tensor:
        """All of it (1, T)."""
        return torch.cat([torch.zeros(1, 0), *self.chunks], dim=-1)

    @property
    def seconds(self) -> float:
        """Length so far."""
        return sum(wav.shape[-1] for wav in self.chunks) / self.sample_rate

    def value(self, marks: Sequence[Mark] = (), *, done: bool = False) -> dict[str, Any]:
        """What the player is given: everything so far, of which it takes what is new."""
        return {
            "run": self._run,
            "rate": self.sample_rate,
            "name": self.name,
            "autoplay": self.autoplay,
            "chunks": list(self._encoded),
            "marks": [asdict(mark) for mark in marks],
            "done": done,
        }
