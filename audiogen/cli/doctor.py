"""`audiogen doctor`: is everything there that a person's first command needs?"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import typer

from audiogen.cli import options

FINE, NOTE, BROKEN = "ok", "note", "broken"


class Finding(NamedTuple):
    """What was looked at, how it is (FINE, NOTE for what may be missing, BROKEN), and what helps."""

    what: str
    state: str
    text: str


Check = Callable[[], Iterator[Finding]]


def doctor(as_json: options.AsJson = False) -> None:
    """Check the installation, and say how to mend what is broken.

    `audiogen doctor`

    Exit codes: 0 all is well, 1 something needed is broken.
    """
    from audiogen.cli import OK, SOME_FAILED

    findings = []
    for check in CHECKS:
        for finding in examined(check):
            findings.append(finding)
            if not as_json:
                typer.echo(f"{finding.state:<7} {finding.what}: {finding.text}")
    if as_json:
        typer.echo(json.dumps([finding._asdict() for finding in findings], indent=2, ensure_ascii=False))
    broken = sum(finding.state == BROKEN for finding in findings)
    if broken and not as_json:
        typer.echo(f"{broken} of {len(findings)} things are broken")
    raise typer.Exit(SOME_FAILED if broken else OK)


def examined(check: Check) -> Iterator[Finding]:
    """What a check finds; one that fails altogether has found something broken."""
    try:
        yield from check()
    except Exception as error:
        name = check.__name__.removeprefix("check_")
        yield Finding(name, BROKEN, f"{type(error).__name__}: {error}")


def check_python() -> Iterator[Finding]:
    """The interpreter."""
    yield Finding("python", FINE, f"{'.'.join(map(str, sys.version_info[:3]))} ({sys.executable})")


def check_torch() -> Iterator[Finding]:
    """Torch and torchaudio load, and belong together."""
    import torch

    yield Finding("torch", FINE, f"{torch.__version__}, {torch.get_num_threads()} threads")
    import torchaudio

    yield fitting_versions(torch.__version__, torchaudio.__version__)


def fitting_versions(torch_version: str, torchaudio_version: str) -> Finding:
    """Each torchaudio is built for the torch of its own minor version."""
    wanted = ".".join(torch_version.split(".")[:2])
    if ".".join(torchaudio_version.split(".")[:2]) == wanted:
        return Finding("torchaudio", FINE, torchaudio_version)
    remedy = f"pip install 'torchaudio=={wanted}.*'"
    return Finding(
        "torchaudio", BROKEN, f"{torchaudio_version} does not belong to torch {torch_version}; {remedy}"
    )


def check_packages() -> Iterator[Finding]:
    """What pyproject asks for: needed packages, then the extras."""
    try:
        requirements = metadata.requires("audiogen") or []
    except metadata.PackageNotFoundError:
        yield Finding("packages", NOTE, "audiogen itself is not installed; pip install -e .")
        return
    yield from missing_packages(requirements)


def missing_packages(requirements: list[str]) -> Iterator[Finding]:
    """Requirements in the words of a package's metadata -> a finding for the core and for each extra."""
    absent: dict[str, list[str]] = {"": []}
    for requirement in requirements:
        name, extra = required(requirement)
        absent.setdefault(extra, [])
        if not installed(name):
            absent[extra].append(name)
    for extra, names in absent.items():
        what = f"extra {extra}" if extra else "packages"
        remedy = f"pip install 'audiogen[{extra}]'" if extra else f"pip install {' '.join(names)}"
        state = NOTE if extra else BROKEN
        if names:
            yield Finding(what, state, f"{', '.join(names)} missing; {remedy}")
        else:
            yield Finding(what, FINE, "all there")


def required(requirement: str) -> tuple[str, str]:
    """'ray[data]>=2; extra == "ray"' -> ("ray", "ray"); the extra of a needed package is ""."""
    name, _, condition = requirement.partition(";")
    extra = re.search(r"extra == ['\"]([^'\"]+)", condition)
    return re.split(r"[\[<>=!~ (]", name.strip())[0], extra[1] if extra else ""


def installed(name: str) -> bool:
    """Whether there is such a distribution."""
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def check_espeak() -> Iterator[Finding]:
    """A word becomes phones."""
    from audiogen.text.frontend import TextFrontEnd

    (sentence,) = TextFrontEnd("en-us")("Hello.")
    yield Finding("espeak-ng", FINE, f"Hello is {''.join(token.symbol for token in sentence.tokens)}")


def check_weights() -> Iterator[Finding]:
    """The models that are here are those of their cards."""
    from audiogen.cli.list_models import short
    from audiogen.cli.shelf import digest, read_model
    from audiogen.weights import known_models

    names = known_models()
    if not names:
        yield Finding("models", NOTE, "none is installed; give --model PATH")
    for name in names:
        what = f"model {name}"
        try:
            model = read_model(name)
        except ValueError as error:
            yield Finding(what, BROKEN, str(error))
            continue
        if model.card_sha256 not in (None, digest(model.path)):
            yield Finding(what, BROKEN, f"{model.path} is not what its card says (SHA-256); fetch it again")
        else:
            yield Finding(
                what, FINE, f"{model.bytes / 1e6:.1f} MB, {short(model.licence or 'no licence known')}"
            )


def check_audio() -> Iterator[Finding]:
    """Every format can be written and read."""
    import torch

    from audiogen.audio import FORMATS, HEADERLESS, read_audio, write_audio

    tone = 0.5 * torch.sin(torch.arange(16000) / 10)[None]
    with tempfile.TemporaryDirectory() as folder:
        for name in (name for name in FORMATS if name != HEADERLESS):
            path = Path(folder) / f"tone.{name}"
            write_audio(path, tone, 16000)
            if float(read_audio(path).abs().max()) < 0.2:
                raise ValueError(f"{name} comes back silent; pip install -U soundfile")
    yield Finding("audio files", FINE, ", ".join(FORMATS))


def check_machine() -> Iterator[Finding]:
    """Cores, threads, load and GPU."""
    from audiogen.report import machine_context

    facts = machine_context()
    threads, cores = facts["threads"], facts["cores"]
    if threads > cores:
        remedy = "more threads than cores are slow; --threads or OMP_NUM_THREADS sets them"
        yield Finding("threads", NOTE, f"{threads} on {cores} cores; {remedy}")
    else:
        yield Finding("threads", FINE, f"{threads} on {cores} cores of {facts['cpu']}")
    if facts["noisy"]:
        load = facts["load_average"]
        yield Finding("load", NOTE, f"{load:.1f}: the machine is busy, timings will mean little")
    import torch

    if torch.cuda.is_available():
        yield Finding("cuda", FINE, torch.cuda.get_device_name())
    elif torch.version.cuda is not None:
        yield Finding("cuda", NOTE, f"torch is built for CUDA {torch.version.cuda}, but no GPU is found")
    else:
        yield Finding("cuda", NOTE, "none: this torch is for CPUs")


def check_folders() -> Iterator[Finding]:
    """Temporary files, and what is compiled, can be kept."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    for what, folder in (("temporary folder", Path(tempfile.gettempdir())), ("cache", cache)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            remedy = "set TMPDIR" if what != "cache" else "set XDG_CACHE_HOME"
            yield Finding(what, BROKEN, f"cannot write in {folder} ({error.strerror}); {remedy}")
        else:
            yield Finding(what, FINE, str(folder))


CHECKS: tuple[Check, ...] = (
    check_python,
    check_torch,
    check_packages,
    check_espeak,
    check_weights,
    check_audio,
    check_machine,
    check_folders,
)
