"""What `audiogen tts` is asked to speak, and where each item goes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from audiogen.files import Place, location
from audiogen.speech import SpeechItem

STDIN = "-"
STDOUT = "-"


class UsageError(ValueError):
    """A request that cannot be carried out as it stands."""


class NothingToDo(Exception):
    """A request that asks for nothing."""


@dataclass(frozen=True)
class Job:
    """One item and its file; `out` is None for standard output. `error` is why it cannot even be tried."""

    item: SpeechItem
    out: Place | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class Defaults:
    """What holds for items that do not say otherwise."""

    seed: int = 0
    speaker: str | int = 0


def read_jobs(text: str | None, manifest: str | None, defaults: Defaults, *, single: bool) -> list[Job]:
    """The items of TEXT, a manifest or standard input, without files yet.

    A text of its own has the id "0"; lines have their number in four digits. With `single`, standard input is
    one text, otherwise one item a line. Raises UsageError or NothingToDo.
    """
    if text is not None and manifest is not None:
        raise UsageError("both a text and --manifest were given; choose one")
    if text is not None and text != STDIN:
        if not text.strip():
            raise UsageError("the text is empty; give at least one word")
        return [_text_job(text, defaults)]
    if manifest is None:
        if text is None and sys.stdin.isatty():
            raise UsageError(
                "nothing to speak was given; give a text, --manifest FILE or a text on standard input"
            )
        if single:
            return [_text_job(_required(sys.stdin.read(), "standard input"), defaults)]
        manifest = STDIN
    jobs = list(_manifest_jobs(manifest, defaults))
    _required("".join(job.item.id for job in jobs), f"manifest {manifest}")
    _refuse_twins((job.item.id for job in jobs), "id")
    return jobs


def _text_job(text: str, defaults: Defaults) -> Job:
    return Job(SpeechItem("0", text, defaults.seed, defaults.speaker))


def _required(content: str, source: str) -> str:
    if not content.strip():
        raise NothingToDo(f"{source} holds nothing to speak")
    return content


def _manifest_jobs(manifest: str, defaults: Defaults) -> Iterator[Job]:
    """Items of a manifest: JSONL by suffix or first character, CSV by suffix, else a text a line."""
    try:
        content = (
            sys.stdin.read() if manifest == STDIN else location(manifest).read_text(encoding="utf-8-sig")
        )
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read manifest {manifest}: {error}") from error
    suffix = Path(manifest).suffix.lower()
    parse: Callable[[str, str, Defaults], Job] = _parse_plain
    if suffix in (".jsonl", ".json") or content.lstrip().startswith("{"):
        parse = _parse_json
    elif suffix == ".csv":
        parse = _parse_csv
    for number, line in enumerate(content.split("\n"), 1):
        line = line.strip()
        if not line or (parse is _parse_plain and line.startswith("#")):
            continue
        if parse is _parse_csv and line.lower() == "id|text":
            continue
        name = f"{number:04d}"
        try:
            yield parse(line, name, defaults)
        except ValueError as error:  # one bad line does not end the run
            yield Job(SpeechItem(name, ""), error=ValueError(f"line {number}: {error}"))


def _parse_plain(line: str, name: str, defaults: Defaults) -> Job:
    return Job(SpeechItem(name, line, defaults.seed, defaults.speaker))


def _parse_csv(line: str, name: str, defaults: Defaults) -> Job:
    """`id|text`; what follows a second bar, as in LJSpeech, is left alone."""
    columns = line.split("|")
    if len(columns) < 2 or not columns[0].strip():
        raise ValueError(f"{line[:40]!r} is not of the form id|text")
    return Job(SpeechItem(columns[0].strip(), columns[1].strip(), defaults.seed, defaults.speaker))


def _parse_json(line: str, name: str, defaults: Defaults) -> Job:
    """{"text", and if wanted "id", "speaker", "seed", "out"}; other keys are other tools' and ignored."""
    entry: Any = json.loads(line)
    if not isinstance(entry, dict) or not isinstance(entry.get("text"), str):
        raise ValueError('no "text"; each line is a JSON object with at least a text')
    seed, speaker = entry.get("seed", defaults.seed), entry.get("speaker", defaults.speaker)
    if not isinstance(seed, int):
        raise ValueError(f"seed {seed!r} is not an integer")
    if not isinstance(speaker, (int, str)):
        raise ValueError(f"speaker {speaker!r} is not a name or number")
    out = entry.get("out")
    item = SpeechItem(str(entry.get("id", name)), entry["text"], seed, speaker)
    return Job(item, None if out is None else location(str(out)))


def place(jobs: list[Job], out: str | None, out_dir: Place | None, suffix: str) -> list[Job]:
    """Give every job its file: --output for one item, names from ids in --out-dir, else its own "out".

    suffix: with its dot, for names made from ids. Raises UsageError if a job has no place or two share one.
    """
    if out is not None and out_dir is not None:
        raise UsageError("both --output and --out-dir were given; choose one")
    if out is not None and len(jobs) != 1:
        raise UsageError(f"--output names one file for {len(jobs)} items; use --out-dir")
    if out is not None:
        return [replace(jobs[0], out=None if out == STDOUT else location(out))]
    placed = [_place_in(job, out_dir, suffix) for job in jobs]
    _refuse_twins((str(job.out) for job in placed if job.error is None), "output file")
    return placed


def _place_in(job: Job, out_dir: Place | None, suffix: str) -> Job:
    """The job with its path; one that would leave `out_dir` becomes a job with an error."""
    if job.error is not None:
        return job
    if out_dir is None:
        if job.out is None:
            raise UsageError(
                "no place for the audio was given; use -o FILE (- for standard output) or --out-dir DIR"
            )
        return job
    name = job.item.id + suffix
    if job.out is not None:
        if job.out.is_absolute() or ".." in job.out.parts:
            return replace(
                job, error=ValueError(f"out {str(job.out)!r} leaves --out-dir; give a path inside it")
            )
        return replace(job, out=out_dir / job.out)
    if not job.item.id or Path(name).name != name or "\\" in name or "\0" in name or len(name.encode()) > 250:
        return replace(
            job, error=ValueError(f'id {job.item.id[:80]!r} is no file name; rename it or give an "out"')
        )
    return replace(job, out=out_dir / name)


def _refuse_twins(names: Iterable[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UsageError(f"{what} {name!r} occurs twice; every item needs its own")
        seen.add(name)
