"""What the tabs have in common that make one recording of another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import gradio as gr

from audiogen.audio import Audio
from audiogen.demo import parts
from audiogen.demo.account import Account
from audiogen.demo.files import saved
from audiogen.demo.models import Shelf
from audiogen.demo.pictures import picture


class RecordingTab(ABC):
    """Controls, the result beside them, pictures of before and after below.

    done: what has been done to the recording, which titles the result; name: of the elements; lead: what to
    do first.
    """

    done: ClassVar[str]
    name: ClassVar[str]
    lead: ClassVar[str]

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        with gr.Row():
            with gr.Column():
                self._controls()
            with gr.Column():
                self.after = parts.result(self.done, f"{self.name}-after")
                self.account = parts.account(self.lead)
        with gr.Row():
            self.picture_before = parts.picture(f"{self.name}-picture-before", "Before")
            self.picture_after = parts.picture(f"{self.name}-picture-after", "After")
        self._settings()
        self._connect()

    @abstractmethod
    def _controls(self) -> None: ...

    @abstractmethod
    def _settings(self) -> None: ...

    @abstractmethod
    def _connect(self) -> None: ...

    @property
    def _results(self) -> list[Any]:
        """Where `_shown` goes."""
        return [self.after, self.account, self.picture_before, self.picture_after]

    def _shown(self, before: Audio, after: Audio, account: Account) -> tuple[Any, ...]:
        """What the page shows of a result."""
        drawn = (picture(audio.wav, audio.sample_rate) for audio in (before, after))
        return saved(after, self.done.lower()), account.html(), *drawn
