"""What a result cost, in one line of figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape

from audiogen.report import rtf


@dataclass(frozen=True)
class Account:
    """audio_s: seconds of sound. compute_s: seconds it took without loading. first_s: until the first of it.

    facts: what else is shown, such as model, steps and seed.
    """

    audio_s: float
    compute_s: float
    first_s: float | None = None
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def figures(self) -> list[tuple[str, str]]:
        """(name, value) of each figure; a ratio to no audio is left out."""
        rows = [("audio", f"{self.audio_s:.2f} s"), ("made in", _time(self.compute_s))]
        ratio = rtf(self.compute_s, self.audio_s)
        if ratio is not None:
            speed = f" ({1 / ratio:.{1 if ratio < 1 else 2}f}x real time)" if ratio > 0 else ""
            rows.append(("RTF", f"{ratio:.3f}{speed}"))
        if self.first_s is not None:
            rows.append(("first audio after", _time(self.first_s)))
        return [*rows, *((name, str(value)) for name, value in self.facts.items())]

    def html(self) -> str:
        """The figures as a list that wraps on a small window."""
        items = "".join(f"<li>{escape(name)} <b>{escape(value)}</b></li>" for name, value in self.figures)
        return f'<ul class="ag-account">{items}</ul>'


def note(text: str) -> str:
    """A line where figures will stand."""
    return f'<p class="ag-note">{escape(text)}</p>'


def _time(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
