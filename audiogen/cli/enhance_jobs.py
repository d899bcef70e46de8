"""What `audiogen enhance` is asked to work on, and where each recording goes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from audiogen.audio import AUDIO_SUFFIXES
from audiogen.cli.jobs import Job, NothingToDo, UsageError, place
from audiogen.files import Place, RemotePath, location
from audiogen.speech import SpeechItem

LOSSLESS = (".wav", ".flac")


def find_jobs(
    inputs: Sequence[Place],
    manifest: Place | None,
    format: str | None,
    out: str | None,
    out_dir: Place | None,
) -> list[Job]:
    """Every recording with its place; an item's text is its path, its id the name it goes by.

    Recordings of a folder keep their path below it. Raises UsageError, or NothingToDo for empty folders.
    """
    jobs = [job for path in inputs for job in _of_input(path, format)]
    if manifest is not None:
        jobs += _of_manifest(manifest, format)
    if not jobs:
        if not inputs and manifest is None:
            raise UsageError("no recording was given; give files, folders or --manifest FILE")
        raise NothingToDo(f"no recordings (such as .wav or .flac) in {', '.join(map(str, inputs))}")
    if out is None and out_dir is None:
        raise UsageError(
            "no place for the results was given; use --out-dir DIR, or -o FILE for one recording"
        )
    jobs = place(jobs, out, out_dir, "")
    _keep_inputs(jobs)
    return jobs


def _of_input(path: Place, format: str | None) -> Iterator[Job]:
    """A file, which may be missing: that is told when its turn comes. Or all recordings below a folder."""
    if not path.is_dir():
        yield _job(path, Path(path.name), format)
        return
    for found, below in _contents(path):
        hidden = any(part.startswith(".") for part in below.parts)
        if found.suffix.lower() in AUDIO_SUFFIXES and not hidden:
            yield _job(found, below, format)


def _contents(folder: Place) -> Iterator[tuple[Place, Path]]:
    """The files below a folder, in order, each with its path from there."""
    if isinstance(folder, RemotePath):
        skip = len(folder.parts)
        yield from ((found, Path(*found.parts[skip:])) for found in folder.below())
        return
    for found in sorted(folder.rglob("*")):
        if found.is_file():
            yield found, found.relative_to(folder)


def _job(path: Place, name: Path, format: str | None) -> Job:
    """The recording `path`, to be written as `name` with the suffix of what it becomes."""
    suffix = name.suffix.lower() if name.suffix.lower() in LOSSLESS else ".wav"
    if format is not None:
        suffix = f".{format.lower()}"
    return Job(SpeechItem(name.with_suffix("").as_posix(), str(path)), name.with_suffix(suffix))


def _of_manifest(manifest: Place, format: str | None) -> Iterator[Job]:
    """Paths, one a line, or JSON objects with "audio". Raises UsageError for a file that is no manifest."""
    try:
        lines = manifest.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read manifest {manifest}: {error}") from error
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        try:
            yield _of_line(line, manifest.parent, format)
        except ValueError as error:  # one bad line does not end the run
            yield Job(SpeechItem(f"{number:04d}", ""), error=ValueError(f"line {number}: {error}"))


def _of_line(line: str, folder: Place, format: str | None) -> Job:
    entry = json.loads(line) if line.startswith("{") else {"audio": line}
    if not isinstance(entry, dict) or not isinstance(entry.get("audio"), str):
        raise ValueError('no "audio"; each object needs the path of a recording')
    path = _named(location(entry["audio"]), folder)
    name = Path(str(entry["id"]) + path.suffix) if "id" in entry else Path(path.name)
    job = _job(path, name, format)
    return job if entry.get("out") is None else replace(job, out=location(str(entry["out"])))


def _named(path: Place, folder: Place) -> Place:
    """What a manifest in `folder` means by a path: from there, or from here where only that is found."""
    if isinstance(path, RemotePath):
        return path
    if isinstance(folder, RemotePath):
        return path if path.is_absolute() else folder / path
    return folder / path if (folder / path).exists() else path


def _keep_inputs(jobs: Iterable[Job]) -> None:
    """Raises UsageError where a result would take the place of a recording that is to be read."""
    read = {location(job.item.text).resolve() for job in jobs if job.error is None}
    for job in jobs:
        if job.out is not None and job.error is None and job.out.resolve() in read:
            raise UsageError(f"{job.out} is an input itself; choose another place for the result")


def references(jobs: Iterable[Job], folder: Path) -> dict[str, Path]:
    """Id -> the file of that name below `folder`, whatever its suffix.

    Raises UsageError where one has none, or where a result would take its place.
    """
    found = {}
    for job in jobs:
        if job.error is not None:
            continue
        base = folder / job.item.id
        candidates = [base.with_name(base.name + suffix) for suffix in AUDIO_SUFFIXES]
        there = next((path for path in candidates if path.is_file()), None)
        if there is None:
            raise UsageError(f"--reference: {folder} holds no recording {job.item.id}.wav, .flac or the like")
        if job.out is not None and job.out.resolve() == there.resolve():
            raise UsageError(f"{job.out} is a reference itself; choose another place for the result")
        found[job.item.id] = there
    return found
