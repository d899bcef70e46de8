"""POST /v1/audio/speech, asked by OpenAI's own client and by bare HTTP."""

import base64
import inspect
import io
import json
import re
from concurrent.futures import ThreadPoolExecutor

import fake_system
import httpx
import numpy as np
import openai
import pytest
import soundfile
from fake_system import FakeSpeech
from openai.types.audio import speech_create_params
from serving import Gate, serving, until

import audiogen
from audiogen.audio import STREAM_FORMATS
from audiogen.server.speech import OPENAI_VOICES
from audiogen.speech import SpeechOptions, synthesize

TEXT = "Good morning to all of you. The second sentence follows at once! Is this the third?"
RATE = 16000


@pytest.fixture(scope="module")
def server():
    with serving({"fake": FakeSpeech()}, text=200) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with server.openai() as client:
        yield client


def expected(text=TEXT, *, seed=0, speaker=0, **options):
    """What `audiogen tts` gives for the same text, 16 bits a sample."""
    audio = synthesize(FakeSpeech(), text, SpeechOptions(**options), seed=seed, speaker=speaker)
    return np.floor(audio.wav[0].double().numpy() * 32768 + 0.5).clip(-32768, 32767)


def samples(data):
    wav, rate = soundfile.read(io.BytesIO(data), dtype="int16")
    assert rate == RATE
    return wav


def same(found, wanted):
    return len(found) == len(wanted) and np.abs(found - wanted).max() <= 1


@pytest.mark.parametrize("stream", [True, False])
def test_wav_is_what_the_library_gives(client, stream):
    """Seed, steps, speed and speaker arrive; streamed or whole."""
    more = {"seed": 5, "steps": 4, "stream": stream}
    answer = client.audio.speech.create(
        model="fake", input=TEXT, voice="bert", response_format="wav", speed=2.0, extra_body=more
    )
    assert answer.response.headers["content-type"] == "audio/wav"
    assert ("content-length" in answer.response.headers) != stream
    assert same(samples(answer.content), expected(seed=5, speaker="bert", speed=2.0, num_steps=4))
    assert not same(samples(answer.content), expected(seed=6, speaker="bert", speed=2.0, num_steps=4))


def test_instructions_and_the_names_of_openai_change_nothing(client):
    for model, voice in (("tts-1", "alloy"), ("gpt-4o-mini-tts", {"id": "anna"}), ("fake", "0")):
        answer = client.audio.speech.create(
            model=model, input=TEXT, voice=voice, response_format="wav", instructions="Whisper."
        )
        assert same(samples(answer.content), expected())


def test_all_voices_that_openais_client_names_are_known():
    source = inspect.getsource(speech_create_params)
    (names,) = re.findall(r'"alloy"[^\]]*', source)[:1]
    assert set(re.findall(r'"(\w+)"', names)) <= set(OPENAI_VOICES)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("format", STREAM_FORMATS)
def test_every_format_decodes(client, format, stream):
    answer = client.audio.speech.create(
        model="fake", input=TEXT, voice="anna", response_format=format, extra_body={"stream": stream}
    )
    wanted = expected() / 32768
    if format == "pcm":  # 24 kHz, as OpenAI's
        heard = np.frombuffer(answer.content, "<i2") / 32768
        assert len(heard) == pytest.approx(1.5 * len(wanted), abs=2)
        heard = heard[: 3 * (len(heard) // 3)].reshape(-1, 3)[:, 0]  # every third is at every second sample
        np.testing.assert_allclose(heard[200:2000], wanted[::2][200:2000], atol=0.01)
        return
    with soundfile.SoundFile(io.BytesIO(answer.content)) as file:
        known = stream and format == "flac"  # soundfile cannot read to the end of an unknown length
        heard = file.read(len(wanted) - 1 if known else -1)
    assert len(heard) >= len(wanted) - 1
    power = np.mean(heard**2) * len(heard)
    assert power == pytest.approx(np.mean(wanted**2) * len(wanted), rel=0.1)
    assert np.abs(np.fft.rfft(heard[2500:5500])).argmax() == np.abs(np.fft.rfft(wanted[2500:5500])).argmax()


@pytest.mark.parametrize("format", STREAM_FORMATS)
def test_the_first_chunk_is_sent_before_the_second_is_made(format, monkeypatch):
    """The model makes its second chunk only after the client has the first: a deadlock if it is kept back."""
    monkeypatch.setattr(fake_system, "SAMPLES_PER_FRAME", 256)  # of the systems that ship
    system, gate = FakeSpeech(), Gate()
    original = system.stream_sentence

    def gated(*arguments):
        for chunk in original(*arguments):
            gate.wait()
            yield chunk

    system.stream_sentence = gated
    gate.open()
    with serving({"fake": system}) as server, server.openai() as client:
        asked = {"model": "fake", "input": 20 * "long words " + ".", "voice": "anna"}
        with client.audio.speech.with_streaming_response.create(**asked, response_format=format) as answer:
            parts = answer.iter_bytes()
            first = next(parts)
            assert gate.steps <= 2  # it waits for leave to make the second
            assert len(first) > 40
            gate.open(1000)
            rest = b"".join(parts)
    assert gate.steps > 2
    assert len(rest) > len(first)


def test_events_are_the_same_bytes(server, client):
    asked = {"model": "fake", "input": TEXT, "voice": "anna", "response_format": "pcm"}
    plain = client.audio.speech.create(**asked).content
    with server.http() as http:
        answer = http.post("/v1/audio/speech", json={**asked, "stream_format": "sse"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line]
    assert [event["type"] for event in events[:-1]] == ["speech.audio.delta"] * (len(events) - 1)
    assert len(events) > 3
    assert events[-1]["type"] == "speech.audio.done"
    assert b"".join(base64.b64decode(event["audio"]) for event in events[:-1]) == plain


def test_a_fault_half_way_is_an_event(server):
    text = "This is fine, and goes on for long enough to be a chunk. Here is poison."
    with server.http() as http:
        answer = http.post("/v1/audio/speech", json={"input": text, "stream_format": "sse"})
    assert answer.status_code == 200
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line]
    assert [event["type"] for event in events[-2:]] == ["speech.audio.delta", "error"]
    assert events[-1]["error"]["code"] == "internal_error"


WRONG = [
    ({"input": "  "}, "input is empty", "input"),
    ({"input": "x" * 201}, "input has 201 characters, more than 200", "input"),
    ({"input": "???"}, "nothing to say in", None),
    ({"response_format": "aac"}, "aac is not available", "response_format"),
    ({"response_format": "midi"}, "unknown response_format 'midi'; use mp3", "response_format"),
    ({"speed": 5}, "speed 5.0 is out of range; use 0.25 to 4", "speed"),
    ({"steps": 3}, "cannot speak in 3 steps; use one of 1, 2, 4", "steps"),
    ({"voice": "carl"}, "anna, bert", "voice"),
    ({"sped": 2}, "unknown field 'sped'", "sped"),
    ({"speed": "fast"}, "speed: ", "speed"),
    ({"stream_format": "smoke"}, "stream_format: ", "stream_format"),
]


@pytest.mark.parametrize(("change", "message", "param"), WRONG)
def test_what_is_wrong_is_told_in_openais_manner(server, change, message, param):
    with server.http() as http:
        answer = http.post("/v1/audio/speech", json={"input": "hello", "voice": "anna", **change})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert message in error["message"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param


def test_openais_client_raises_its_own_errors(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.speech.create(model="fake", input="", voice="anna")
    assert caught.value.param == "input"
    with pytest.raises(openai.NotFoundError) as caught:
        client.audio.speech.create(model="nobody", input="hello", voice="anna")
    assert caught.value.code == "model_not_found"
    assert "use fake" in caught.value.message


@pytest.mark.parametrize("stream", [True, False])
def test_a_fault_of_the_model_is_a_500_and_the_next_request_is_served(client, stream):
    more = {"stream": stream}
    with pytest.raises(openai.InternalServerError) as caught:
        client.audio.speech.create(model="fake", input="this is poison", voice="anna", extra_body=more)
    assert "poisoned" not in str(caught.value)  # what went wrong inside is for the log
    answer = client.audio.speech.create(
        model="fake", input=TEXT, voice="anna", response_format="wav", extra_body=more
    )
    assert same(samples(answer.content), expected())


def test_a_fault_half_way_breaks_the_stream_off(client):
    """A client can tell: the chunks end without the mark of the end."""
    text = "This is fine, and goes on for long enough to be a chunk. Here is poison."
    with pytest.raises((httpx.RemoteProtocolError, openai.APIConnectionError)):
        client.audio.speech.create(model="fake", input=text, voice="anna", response_format="wav")


def test_models_and_voices_are_listed(server, client):
    assert [model.id for model in client.models.list()] == ["fake"]
    assert client.models.retrieve("fake").owned_by == "audiogen"
    with pytest.raises(openai.NotFoundError, match="there are fake"):
        client.models.retrieve("other/one")
    with server.http() as http:
        voices = http.get("/v1/audio/voices").json()["voices"]
    assert [(voice["id"], voice["default"]) for voice in voices] == [("anna", True), ("bert", False)]


def test_other_addresses_and_methods_are_errors_of_the_same_form(server):
    with server.http() as http:
        answer = http.get("/v1/audio/nothing")
        assert answer.status_code == 404
        assert "there is no GET /v1/audio/nothing" in answer.json()["error"]["message"]
        assert http.get("/v1/audio/speech").status_code == 405
        answer = http.post("/v1/audio/speech", content="{", headers={"content-type": "application/json"})
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"


def test_the_shipped_voice_speaks():
    """prodiff through the server, streamed and batched, is prodiff through the library."""
    system = audiogen.load("prodiff")
    texts = ["Please stay on the line.", "Your call is important to us."]
    wanted = [
        synthesize(system, text, SpeechOptions(), seed=k).wav[0].numpy() for k, text in enumerate(texts)
    ]
    gate, sizes, original = Gate(), [], system.synthesize_sentences

    def gated(sentences, *arguments):
        sizes.append(len(sentences))
        if len(sizes) == 1:
            gate.wait()
        return original(sentences, *arguments)

    system.synthesize_sentences = gated
    with serving({"prodiff": system}) as server, server.openai() as client, ThreadPoolExecutor(4) as pool:

        def ask(text, **more):
            answer = client.audio.speech.create(
                model="prodiff", input=text, voice="alloy", response_format="wav", extra_body=more
            )
            return samples(answer.content)

        holding = pool.submit(ask, "One.", stream=False)
        until(lambda: gate.steps == 1)
        batched = [pool.submit(ask, text, seed=k, stream=False) for k, text in enumerate(texts)]
        until(lambda: server.queue()["prodiff"] == 3)
        gate.open()
        holding.result()
        found = [future.result() for future in batched]
        streamed = ask(texts[1], seed=1)
    assert sizes == [1, 2]
    for wav, alone in zip(found, wanted, strict=True):
        assert len(wav) == len(alone) > RATE
        assert np.abs(wav - 32768 * alone).max() < 20  # padded sums are rounded otherwise
    assert len(streamed) == len(wanted[1])
    assert np.abs(streamed - 32768 * wanted[1]).max() < 20
