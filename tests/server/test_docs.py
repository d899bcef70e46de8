"""Every command and program of docs/server.md runs against servers started as it says."""

import os
import re
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
from serving import until

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


class Started:
    """A server of the page, on a port of its own."""

    def __init__(self, line, folder):
        self.port, self.folder = free_port(), folder
        self.path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        command = line.replace("audiogen", f"exec {sys.executable} -m audiogen") + f" --port {self.port}"
        self.process = subprocess.Popen(["bash", "-c", command], cwd=folder, env=self.environment())
        try:
            until(self.answers, 120)  # it loads two models
        except BaseException:
            self.process.kill()
            raise

    def environment(self):
        return {
            **os.environ,
            "PATH": self.path,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "AUDIOGEN_DEVICE": "cpu",
        }

    def answers(self):
        assert self.process.poll() is None, "the server ended"
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/health").json()["status"] == "ok"
        except httpx.TransportError:
            return False

    def here(self, text):
        return text.replace("localhost:8000", f"127.0.0.1:{self.port}")

    def run(self, command):
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", self.here(command)],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def end(self, how):
        self.process.send_signal(how)
        return self.process.wait(60)


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
    started = Started(SERVERS[0], workplace)
    yield started
    assert started.end(signal.SIGINT) == 0


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="the program curl is not installed")


def frames(path):
    return soundfile.info(path).frames


@needs_curl
@pytest.mark.parametrize(
    "command", [line for line in COMMANDS if line.startswith("curl") and KEY not in line]
)
def test_a_request_of_the_page_is_answered(server, workplace, command):
    server.run(command)
    name = "heard.wav" if "aplay" in command else command.rpartition(" ")[2]
    assert frames(workplace / name) > 8000


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_of_the_page_runs(server, workplace, program, monkeypatch, capsys):
    monkeypatch.chdir(workplace)
    exec(compile(server.here(program), "server.md", "exec"), {})
    if "write_to_file" in program:
        assert frames("good_morning.wav") > 8000
    else:
        sent = [int(line.split()[0]) for line in capsys.readouterr().out.splitlines()]
        assert sum(sent) > 24000
        assert len(sent) > 1


@needs_curl
def test_the_server_with_a_key_is_what_the_page_says(workplace):
    (line,) = SERVERS[1:]
    server = Started(line.replace("0.0.0.0", "127.0.0.1"), workplace)  # a test opens no door
    try:
        outputs = [server.run(command) for command in COMMANDS if KEY in command]
        assert '"id":"prodiff"' in outputs[0]
        assert 'audiogen_queue_length{model="storm"} 0.0' in outputs[1]
        assert "invalid_api_key" in server.run(COMMANDS[-1].partition(" -H")[0])
        names = set(re.findall(r"^\| `(audiogen_\w+)`", PAGE, re.MULTILINE))
        assert names <= set(re.findall(r"(audiogen_\w+?)(?=[{ ]|$)", outputs[1]))
    finally:
        assert server.end(signal.SIGTERM) == -signal.SIGTERM  # as whoever sent it expects, after the end


def test_no_command_is_left_out():
    run = [line for line in COMMANDS if line.startswith("curl")]
    assert sorted(COMMANDS) == sorted([*LEFT, *SERVERS, *run])
    assert len(SERVERS) == 2
