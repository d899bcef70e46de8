"""Every command and program of docs/server.md runs against servers started as it says."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from serving import Serving, until

from audiogen.cli import OK, main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line for kind, text in BLOCKS if kind == "bash" for line in text.splitlines()]
SERVERS = [line for line in COMMANDS if "audiogen serve" in line]
PROGRAMS = [text for kind, text in BLOCKS if kind == "py"]
KEY = "Bearer secret"
LEFT = ['pip install ".[serve]"']  # a test cannot install itself


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def environment(folder):
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def at(url, text):
    return re.sub(r"(http://)?localhost:8000", url, text)


def run(command, folder, url):
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", at(url, command)],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def answers(process, url):
    assert process.poll() is None, "the server ended"
    try:
        return httpx.get(f"{url}/health").json()["status"] == "ok"
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with a noisy recording and a program `aplay` that keeps what it hears."""
    folder = tmp_path_factory.mktemp("docs")
    soundfile.write(folder / "noisy.wav", 0.1 * np.random.default_rng(0).standard_normal(9000), 44100)
    (folder / "aplay").write_text("#!/bin/sh\ncat > heard.wav\n")
    (folder / "aplay").chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def server(workplace):
    """The first server of the page, a process on a port of its own -> its URL."""
    port = free_port()
    command = SERVERS[0].replace("audiogen", f"exec {sys.executable} -m audiogen") + f" --port {port}"
    process = subprocess.Popen(["bash", "-c", command], cwd=workplace, env=environment(workplace))
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: answers(process, url), 300)  # it imports much and loads two models
        yield url
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="the program curl is not installed")


def frames(path):
    return soundfile.info(path).frames


@needs_curl
@pytest.mark.parametrize(
    "command", [line for line in COMMANDS if line.startswith("curl") and KEY not in line]
)
def test_a_request_of_the_page_is_answered(server, workplace, command):
    run(command, workplace, server)
    name = "heard.wav" if "aplay" in command else command.rpartition(" ")[2]
    assert frames(workplace / name) > 8000


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_of_the_page_runs(server, workplace, program, monkeypatch, capsys):
    monkeypatch.chdir(workplace)
    exec(compile(at(server, program), "server.md", "exec"), {})
    if "write_to_file" in program:
        assert frames("good_morning.wav") > 8000
    else:
        sent = [int(line.split()[0]) for line in capsys.readouterr().out.splitlines()]
        assert sum(sent) > 24000
        assert len(sent) > 1


@needs_curl
def test_the_server_with_a_key_is_what_the_page_says(workplace, monkeypatch):
    """The second server runs in this process, and opens no door to others."""
    key, *words = shlex.split(SERVERS[1])
    monkeypatch.setenv(*key.split("="))
    apps = []
    monkeypatch.setattr("uvicorn.run", lambda app, **options: apps.append((app, options["host"])))
    assert main(words[1:]) == OK
    ((app, host),) = apps
    assert host == "0.0.0.0"
    server = Serving(app)
    try:
        models, metrics = (run(command, workplace, server.url) for command in COMMANDS if KEY in command)
        refused = run(COMMANDS[-1].partition(" -H")[0], workplace, server.url)
    finally:
        server.stop()
        server.join()
    assert '"id":"prodiff"' in models
    assert 'audiogen_queue_length{model="storm"} 0.0' in metrics
    assert "invalid_api_key" in refused
    names = set(re.findall(r"^\| `(audiogen_\w+)`", PAGE, re.MULTILINE))
    assert len(names) == 6
    assert names <= set(re.findall(r"# TYPE (\w+)", metrics))


def test_no_command_is_left_out():
    run = [line for line in COMMANDS if line.startswith("curl")]
    assert sorted(COMMANDS) == sorted([*LEFT, *SERVERS, *run])
    assert len(SERVERS) == 2
