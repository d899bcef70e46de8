"""What happens when many ask: waiting, batches, refusals, keys, limits, leaving, the end."""

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import fake_system
import httpx
import numpy as np
import openai
import pytest
from fake_system import FakeSpeech
from prometheus_client.parser import text_string_to_metric_families
from serving import PATIENCE_S, Gate, serving, until

from audiogen.speech import SpeechOptions, synthesize

TEXTS = [f"This is the text number {n}. It has two sentences!" for n in range(6)]


class GatedSpeech(FakeSpeech):
    """Waits at its gate before every call and every chunk; `batches` has the texts of each call."""

    def __init__(self):
        super().__init__()
        self.gate, self.batches = Gate(), []

    def synthesize_sentences(self, sentences, seeds, speakers, options, timer):
        self.gate.wait()
        self.batches.append([sentence.text for sentence in sentences])
        return super().synthesize_sentences(sentences, seeds, speakers, options, timer)

    def stream_sentence(self, sentence, seed, speaker, options, timer, sizes):
        audio = self._tone(sentence, seed, speaker, options)
        for start in range(0, audio.wav.shape[-1], 200):
            self.gate.wait()
            piece = audio.wav[:, start : start + 200]
            yield type(audio)(piece, audio.sample_rate), start + 200 >= audio.wav.shape[-1]


@pytest.fixture
def system():
    return GatedSpeech()


def post(server, text, **more):
    with server.http() as http:
        body = {"input": text, "voice": "anna", "response_format": "pcm", "stream": False, **more}
        return http.post("/v1/audio/speech", json=body)


def alone(*asked):
    """What each request gives from a server that has no other."""
    with serving({"fake": FakeSpeech()}) as server:
        return [post(server, **one).content for one in asked]


def metrics(server):
    with server.http() as http:
        families = text_string_to_metric_families(http.get("/metrics").text)
    return {(sample.name, *sample.labels.values()): sample.value for f in families for sample in f.samples}


def test_what_waits_is_spoken_together_and_sounds_as_alone(system):
    """Of seven requests the first is at work; five of the others are alike and go together, four at most.

    A call is of four sentences. Groups begin in the order they came and take turns, so that the second call
    of the four comes last.
    """
    asked = [{"text": text, "seed": n} for n, text in enumerate(TEXTS)]
    asked.insert(3, {"text": "This one is faster.", "speed": 2.0})
    with serving({"fake": system}, batch=4) as server, ThreadPoolExecutor(8) as pool:
        answers = []
        for number, one in enumerate(asked):
            answers.append(pool.submit(post, server, **one))
            until(lambda number=number: server.queue()["fake"] == number + 1)
            if number == 0:
                until(lambda: system.gate.steps == 1)
        system.gate.open(100)
        found = [answer.result().content for answer in answers]
    sizes = [len(batch) for batch in system.batches]
    assert sizes == [2, 4, 1, 2, 4]
    assert system.batches[2] == ["This one is faster."]
    assert len(set(found)) == len(asked)
    assert found == alone(*asked)


def test_a_short_text_does_not_wait_for_a_long_one(system):
    """It comes after the long one has begun, and is all there while that is at its fifth chunk at most."""
    with serving({"fake": system}) as server, server.http() as http:
        system.gate.open(2)
        body = {"input": 20 * "long words " + ".", "response_format": "wav"}
        with http.stream("POST", "/v1/audio/speech", json=body):
            until(lambda: system.gate.steps == 3)
            with ThreadPoolExecutor(1) as pool:
                short = pool.submit(post, server, "short")
                until(lambda: server.queue()["fake"] == 2)
                system.gate.open(2)
                assert short.result().status_code == 200
            assert system.batches == [["short"]]
            assert system.gate.steps <= 5
            system.gate.open(1000)


def test_a_fault_in_a_batch_is_one_requests(system):
    with serving({"fake": system}) as server, ThreadPoolExecutor(8) as pool:
        first = pool.submit(post, server, "one")
        until(lambda: system.gate.steps == 1)
        others = [pool.submit(post, server, text) for text in ("two", "poison", "???", "five")]
        until(lambda: server.queue()["fake"] == 5)
        system.gate.open(100)
        codes = [answer.result().status_code for answer in (first, *others)]
    assert codes == [200, 200, 500, 400, 200]
    assert [others[3].result().content] == alone({"text": "five"})


def test_more_than_may_wait_are_told_to_come_again(system):
    with serving({"fake": system}, queue=2) as server, ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(post, server, text) for text in TEXTS[:2]]
        until(lambda: server.queue()["fake"] == 2)
        refused = post(server, TEXTS[2])
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        with pytest.raises(openai.RateLimitError), server.openai() as client:
            client.audio.speech.create(model="fake", input="hello", voice="anna")
        system.gate.open(100)
        assert [answer.result().status_code for answer in answers] == [200, 200]
        assert post(server, TEXTS[2]).status_code == 200


def test_who_leaves_a_stream_stops_the_work_and_makes_room(system):
    """The model is not asked for the chunks that nobody would hear, most of some 180."""
    with serving({"fake": system}, queue=1) as server, server.http() as http:
        body = {"input": 20 * "long words " + ".", "response_format": "wav"}
        system.gate.open(3)
        with http.stream("POST", "/v1/audio/speech", json=body) as answer:
            parts = answer.iter_raw()
            next(parts)
            until(lambda: system.gate.steps == 4)
        until(lambda: metrics(server).get(("audiogen_requests_total", "/v1/audio/speech", "200")) == 1)

        def stopped():
            system.gate.open()
            return server.queue()["fake"] == 0

        until(stopped)
        assert system.gate.steps < 50
        system.gate.open(1000)
        assert post(server, "next").status_code == 200


def test_who_leaves_the_queue_is_never_spoken(system):
    with serving({"fake": system}, queue=2) as server, ThreadPoolExecutor(8) as pool:
        first = pool.submit(post, server, "first")
        until(lambda: system.gate.steps == 1)
        with server.http() as http, pytest.raises(httpx.ReadTimeout):
            http.post("/v1/audio/speech", json={"input": "second", "stream": False}, timeout=0.2)
        until(lambda: server.queue()["fake"] == 1)
        third = pool.submit(post, server, "third")
        until(lambda: server.queue()["fake"] == 2)
        system.gate.open(100)
        assert (first.result().status_code, third.result().status_code) == (200, 200)
    assert system.batches == [["first"], ["third"]]


def test_what_takes_too_long_is_given_up(system):
    with serving({"fake": system}, request_s=1.0) as server:
        answer = post(server, "hello")
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "timeout"
        system.gate.open(100)
        until(lambda: server.queue()["fake"] == 0)


def test_who_does_not_read_is_given_up(monkeypatch):
    """An answer of some 20 MB is more than what the sockets hold."""
    monkeypatch.setattr(fake_system, "SAMPLES_PER_FRAME", 2000)
    with serving({"fake": FakeSpeech()}, request_s=3.0, text=10**6) as server:
        content = {"input": 1000 * "Some words here. ", "response_format": "wav", "speed": 0.25}
        body = json.dumps(content).encode()
        head = f"POST /v1/audio/speech HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":")[-1]))) as client:
            client.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
            until(lambda: metrics(server).get(("audiogen_requests_total", "/v1/audio/speech", "200")) == 1)
        until(lambda: server.queue()["fake"] == 0)


def test_only_who_has_the_key_may_ask():
    with serving({"fake": FakeSpeech()}, api_key="sésame") as server:
        paths = ("/v1/models", "/metrics", "/v1/audio/speech", "/openapi.json", "/none")
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic sésame".encode()}):
            for path in paths:
                answer = httpx.get(server.url + path, headers=headers)
                assert answer.status_code == 401
                assert answer.json()["error"]["code"] == "invalid_api_key"
        right = {"Authorization": "Bearer sésame".encode()}
        assert httpx.get(f"{server.url}/v1/models", headers=right).status_code == 200
        assert httpx.get(f"{server.url}/health").status_code == 200


def test_openais_client_sends_the_key():
    with serving({"fake": FakeSpeech()}, api_key="secret") as server, server.openai() as client:
        assert client.models.list().data[0].id == "fake"
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="guess").models.list()


def test_too_large_a_request_is_refused_said_or_unsaid():
    with serving({"fake": FakeSpeech()}, upload_mb=0.001) as server, server.http() as http:
        large = b'{"input": "' + 2000 * b"a" + b'"}'
        headers = {"content-type": "application/json"}
        for content in (large, iter([large[:900], large[900:]])):  # an iterator is sent without its length
            answer = http.post("/v1/audio/speech", content=content, headers=headers)
            assert answer.status_code == 413
            assert answer.json()["error"]["code"] == "request_too_large"


def test_the_end_waits_for_what_is_at_work(system):
    with serving({"fake": system}) as server, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, server, TEXTS[0])
        until(lambda: system.gate.steps == 1)
        server.stop()
        until(lambda: refuses(server))
        system.gate.open(100)
        assert [answer.result().content] == alone({"text": TEXTS[0]})
        server.join()


def refuses(server):
    try:
        httpx.get(f"{server.url}/health", timeout=PATIENCE_S)
    except (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError):
        return True  # the last two: it had queued at a socket that was closed since
    return False


def test_no_thread_of_a_model_is_left():
    with serving({"one": FakeSpeech(), "two": FakeSpeech()}):
        assert {t.name for t in threading.enumerate()} >= {"audiogen one", "audiogen two"}
    assert not {t.name for t in threading.enumerate()} & {"audiogen one", "audiogen two"}


def test_the_metrics_count():
    with serving({"fake": FakeSpeech()}) as server, server.http() as http:
        assert post(server, TEXTS[0]).status_code == 200
        assert post(server, TEXTS[1], stream=True).status_code == 200
        assert post(server, "").status_code == 400
        http.get("/one")
        http.get("/two")
        until(lambda: metrics(server)["audiogen_first_audio_seconds_count", "fake"] == 2)
        found = metrics(server)
    spoken = sum(synthesize(FakeSpeech(), text, SpeechOptions()).seconds for text in TEXTS[:2])
    assert found["audiogen_requests_total", "/v1/audio/speech", "200"] == 2
    assert found["audiogen_requests_total", "/v1/audio/speech", "400"] == 1
    assert found["audiogen_requests_total", "other", "404"] == 2
    assert found["audiogen_audio_seconds_total", "fake"] == pytest.approx(spoken)
    compute = found["audiogen_compute_seconds_total", "fake"]
    assert found["audiogen_real_time_factor", "fake"] == pytest.approx(compute / spoken)
    assert found["audiogen_queue_length", "fake"] == 0
    assert found["audiogen_first_audio_seconds_sum", "fake"] > 0


def test_a_fault_of_a_route_is_told_and_counted():
    system = FakeSpeech()
    system.step_counts = None  # which no system has
    with serving({"fake": system}) as server:
        answer = post(server, "hello", steps=2)
        assert answer.status_code == 500
        assert answer.json()["error"]["type"] == "server_error"
        until(lambda: metrics(server).get(("audiogen_requests_total", "/v1/audio/speech", "500")) == 1)


@pytest.mark.parametrize("limits", [{"queue": 0}, {"seconds": -1.0}, {"text": 0}])
def test_limits_that_let_nothing_through_are_refused(limits):
    with pytest.raises(ValueError, match=f"for {next(iter(limits))} lets nothing through"):
        serving({}, **limits).__enter__()


def test_an_empty_key_and_a_system_without_use_are_refused():
    with pytest.raises(ValueError, match="the API key is empty"):
        serving({}, api_key=" ").__enter__()
    with pytest.raises(ValueError, match="'odd' cannot be served"):
        serving({"odd": np.zeros(1)}).__enter__()
