"""Sessions that workers open: they need no model and no torch, and die when they are told to."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from audiogen.report import ItemReport


@dataclass(frozen=True)
class Text:
    id: str
    text: str


@dataclass(frozen=True)
class Job:
    """As much of a job as matters to those who hand it out."""

    item: Text
    out: Path
    error: Exception | None = None


class Diary:
    """Writes each job's text into its file, and notes in DIARY who did it; dies where it is said to.

    deadly: text that kills. once: only the first worker that meets it, as a file here tells.
    """

    def __init__(self, diary: Path, deadly: str, once: bool) -> None:
        self.diary, self.deadly, self.once = diary, deadly, once
        self.context = {"threads": 1}

    def work(self, group):
        for place in group.wanted:
            job = group.jobs[place]
            if self.deadly in job.item.text:
                self._die(job)
            job.out.write_text(job.item.text)
            with open(self.diary, "a") as file:  # short appends are whole
                file.write(f"{os.getpid()} {job.item.id}\n")
            yield place, (ItemReport(job.item.id, audio_seconds=1.0, stages={"io": 0.5}), None)

    def _die(self, job):
        mark = self.diary.with_suffix(".died")
        if self.once and mark.exists():
            return
        mark.touch()
        job.out.with_name(f".{job.out.name}.x1.part").touch()
        os.kill(os.getpid(), signal.SIGKILL)


def open_diary(console, *, diary, deadly="poison", once=True):
    return Diary(diary, deadly, once)


def jobs_in(folder, texts):
    folder.mkdir(exist_ok=True)
    return [Job(Text(str(k), text), folder / f"{k}.txt") for k, text in enumerate(texts)]


def refuse(console):
    raise ValueError("no such model")


def die_at_once(console):
    os.kill(os.getpid(), signal.SIGKILL)
