"""A real server in a thread: uvicorn on a free port of the loopback, and clients of it."""

import contextlib
import threading
import time

import httpx
import uvicorn
from openai import OpenAI

from audiogen.server.app import create_app
from audiogen.server.limits import Limits

PATIENCE_S = 30  # until a test that hangs fails


class Serving:
    """A running server of an app. url: where it is."""

    def __init__(self, app, api_key=None):
        self.api_key = api_key
        config = uvicorn.Config(app, port=0, log_level="critical", timeout_graceful_shutdown=PATIENCE_S)
        self.server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self.server.run)
        self._thread.start()
        until(lambda: self.server.started)
        self.url = f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"

    def stop(self):
        self.server.should_exit = True

    def join(self):
        self._thread.join()

    def openai(self):
        key = self.api_key or "none is asked for"
        return OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=PATIENCE_S)

    def http(self):
        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        return httpx.Client(base_url=self.url, timeout=PATIENCE_S, headers=headers)

    def queue(self):
        """How many requests wait or are at work, by model."""
        return httpx.get(f"{self.url}/health", timeout=PATIENCE_S).json()["queue"]


@contextlib.contextmanager
def serving(systems, *, api_key=None, **limits):
    """A server of systems for the length of a block."""
    app = create_app(systems, limits=Limits(**limits), api_key=api_key)
    running = Serving(app, api_key)
    try:
        yield running
    finally:
        running.stop()
        running.join()


def until(condition, patience_s=PATIENCE_S):
    """Wait for something to become true."""
    give_up = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < give_up, "it did not happen"
        time.sleep(0.005)


class Gate:
    """Lets a fake system go on one step at a time; `steps` counts those it began."""

    def __init__(self):
        self.steps = 0
        self._allowed = threading.Semaphore(0)

    def wait(self):
        self.steps += 1
        assert self._allowed.acquire(timeout=PATIENCE_S), "the gate stayed closed"

    def open(self, steps=1):
        self._allowed.release(steps)
