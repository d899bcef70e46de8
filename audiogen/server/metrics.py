"""What Prometheus reads: requests, queues, audio made, and the time that took."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from audiogen.report import rtf

FIRST_AUDIO_S = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6)


class Metrics:
    """The numbers of one server, counted from its start."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "audiogen_requests", "Requests answered.", ["route", "status"], registry=self.registry
        )
        self._queue = Gauge(
            "audiogen_queue_length", "Requests that wait or are at work.", ["model"], registry=self.registry
        )
        self._audio = Counter(
            "audiogen_audio_seconds", "Seconds of audio made.", ["model"], registry=self.registry
        )
        self._compute = Counter(
            "audiogen_compute_seconds", "Seconds a model was at work.", ["model"], registry=self.registry
        )
        self._first = Histogram(
            "audiogen_first_audio_seconds",
            "From a request to its first audio, waiting included.",
            ["model"],
            buckets=FIRST_AUDIO_S,
            registry=self.registry,
        )
        self._rtf = Gauge(
            "audiogen_real_time_factor",
            "Seconds of compute a second of audio since the start; smaller is faster.",
            ["model"],
            registry=self.registry,
        )
        self._sums: dict[str, tuple[float, float]] = {}

    def watch_queue(self, model: str, length: Callable[[], float]) -> None:
        """Ask for the length of a model's queue whenever somebody reads."""
        self._queue.labels(model).set_function(length)

    def answered(self, route: str, status: int) -> None:
        """Count a request."""
        self._requests.labels(route, str(status)).inc()

    def heard_first(self, model: str, seconds: float) -> None:
        """Note how long a request waited for its first audio."""
        self._first.labels(model).observe(seconds)

    def worked(self, model: str, compute_seconds: float, audio_seconds: float) -> None:
        """Add to what a model has done; of one model to be called by one thread."""
        self._compute.labels(model).inc(compute_seconds)
        self._audio.labels(model).inc(audio_seconds)
        compute, audio = self._sums.get(model, (0.0, 0.0))
        self._sums[model] = (compute + compute_seconds, audio + audio_seconds)
        if (factor := rtf(*self._sums[model])) is not None:
            self._rtf.labels(model).set(factor)

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self.registry)
