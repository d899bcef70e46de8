"""Recordings through the server: enhanced, converted; and music, which is streamed."""

import io
from concurrent.futures import ThreadPoolExecutor

import fake_content
import fake_music
import httpx
import numpy as np
import pytest
import soundfile
import torch
from fake_enhancer import FakeEnhancer
from fake_system import FakeSpeech
from serving import Gate, serving, until
from test_stablevc import embed, small, speech

from audiogen import hub
from audiogen.audio import Audio, soft_limit
from audiogen.conversion import ConvertOptions, convert_audio
from audiogen.enhancement import EnhanceOptions, enhance_audio
from audiogen.music import generate
from audiogen.speech import stable_seed

GAIN = 0.5


def recording(rate=16000, channels=1, seconds=1.3, seed=0):
    """Noise with a click in the middle of each channel, by which one sees that nothing moved."""
    rng = np.random.default_rng(seed)
    wav = 0.05 * rng.standard_normal((round(seconds * rate), channels))
    wav[len(wav) // 2] = 0.9
    return wav.astype("float32")


def encoded(wav, rate, format="WAV", subtype="FLOAT"):
    file = io.BytesIO()
    soundfile.write(file, wav, rate, format=format, subtype=subtype)
    return file.getvalue()


def enhance(server, data, name="noisy.wav", **fields):
    with server.http() as http:
        return http.post("/v1/audio/enhancements", files={"file": (name, data)}, data=fields)


@pytest.fixture(scope="module")
def enhancer():
    with serving({"fake": FakeEnhancer(gain=GAIN)}, seconds=5.0) as running:
        yield running


@pytest.mark.parametrize("format", ["wav", "flac"])
@pytest.mark.parametrize(("rate", "channels", "seconds"), [(16000, 1, 1.3), (44100, 2, 0.7), (8000, 6, 0.5)])
def test_rate_channels_length_and_place_are_kept(enhancer, rate, channels, seconds, format):
    wav = recording(rate, channels, seconds)
    answer = enhance(enhancer, encoded(wav, rate), response_format=format)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == f"audio/{format}"
    assert int(answer.headers["content-length"]) == len(answer.content)
    clean, clean_rate = soundfile.read(io.BytesIO(answer.content), always_2d=True)
    assert (clean_rate, clean.shape) == (rate, wav.shape)
    assert (np.abs(clean).argmax(0) == len(wav) // 2).all()
    assert np.corrcoef(clean.ravel(), wav.ravel())[0, 1] > (0.99 if rate == 16000 else 0.5)


def test_it_is_what_the_library_gives(enhancer):
    """In pieces of ten seconds, with the seed and the options that are asked for."""
    system = FakeEnhancer(noise=0.5)
    wav = recording(seconds=12.0)
    with serving({"fake": system}) as server:
        answer = enhance(server, encoded(wav, 16000), quality="fast", steps="3", seed="7")
    found = soundfile.read(io.BytesIO(answer.content), dtype="int16")[0]
    options = EnhanceOptions("fast", 3)
    wanted = enhance_audio(system, Audio(torch.from_numpy(wav.T), 16000), options, seed=7).wav[0]
    assert np.abs(found - 32768 * wanted.double().numpy()).max() <= 1
    assert {seeds for _, seeds, _ in system.calls} == {(7,)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": b"no audio at all"}, "cannot read noisy.wav as audio"),
        ({"quality": "superb"}, "unknown quality 'superb'; use one of fast, balanced, best"),
        ({"steps": "101"}, "at most 100"),
        ({"steps": "many"}, "steps: "),
        ({"response_format": "mp3"}, "unknown response_format 'mp3'; use wav, flac"),
        ({"qualty": "best"}, "unknown field 'qualty'; use file, model, quality"),
    ],
)
def test_what_is_wrong_is_told(enhancer, change, message):
    data = change.pop("data", None) or encoded(recording(), 16000)
    answer = enhance(enhancer, data, **change)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]
    assert "/tmp" not in answer.text


def test_what_is_missing_or_too_long_or_damaged_is_told(enhancer):
    with enhancer.http() as http:
        answer = http.post("/v1/audio/enhancements", data={"seed": "1"})
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "file"
    answer = enhance(enhancer, encoded(np.zeros((5 * 8000 + 1, 1), "float32"), 8000))
    assert answer.status_code == 413
    assert "longer than 5 s" in answer.json()["error"]["message"]
    answer = enhance(enhancer, encoded(np.full((99, 1), np.nan, "float32"), 8000))
    assert answer.status_code == 400
    assert "is damaged" in answer.json()["error"]["message"]
    answer = enhance(enhancer, encoded(np.zeros((99, 9), "float32"), 8000), response_format="flac")
    assert "flac holds 8 channels, not 9" in answer.json()["error"]["message"]


@pytest.mark.parametrize("wav", [np.zeros((100, 1), "float32"), np.zeros((0, 1), "float32")])
def test_silence_and_nothing_stay(enhancer, wav):
    answer = enhance(enhancer, encoded(wav, 16000))
    assert np.array_equal(soundfile.read(io.BytesIO(answer.content), always_2d=True)[0], wav)


def test_files_are_of_one_request_each_and_go(tmp_path, monkeypatch):
    """While two requests wait their uploads lie apart; afterwards nothing is left, even of a bad one."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    system, gate = FakeEnhancer(gain=GAIN), Gate()
    original = system.enhance
    system.enhance = lambda *args, **more: (gate.wait(), original(*args, **more))[1]
    sent = [recording(seed=seed) for seed in range(2)]
    with serving({"fake": system}) as server, ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(enhance, server, encoded(wav, 16000)) for wav in sent]
        until(lambda: server.queue()["fake"] == 2)
        assert len(list(tmp_path.glob("audiogen-*/upload"))) == 2
        assert enhance(server, b"no audio").status_code == 400
        gate.open(10)
        for wav, answer in zip(sent, answers, strict=True):
            clean = soundfile.read(io.BytesIO(answer.result().content), always_2d=True)[0]
            assert np.corrcoef(clean.ravel(), wav.ravel())[0, 1] > 0.99
        until(lambda: server.queue()["fake"] == 0)
    assert list(tmp_path.iterdir()) == []


def test_who_leaves_an_enhancement_stops_it_and_leaves_no_file(tmp_path, monkeypatch):
    """Of a recording of five chunks the last ones are never begun."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    system, gate = FakeEnhancer(), Gate()
    original = system.enhance
    system.enhance = lambda *args, **more: (gate.wait(), original(*args, **more))[1]
    with serving({"fake": system}) as server:
        sent = {"files": {"file": ("a.wav", encoded(recording(seconds=45.0), 16000))}, "timeout": 1.0}
        with server.http() as http, pytest.raises(httpx.ReadTimeout):
            http.post("/v1/audio/enhancements", **sent)
        until(lambda: gate.steps == 1)
        gate.open(2)  # the first chunk is heard when the second is there
        until(lambda: server.queue()["fake"] == 0)
        assert gate.steps <= 2
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def converter(tmp_path_factory):
    """A server with a tiny converter of random weights -> it, and the system."""
    folder = tmp_path_factory.mktemp("converter")
    with pytest.MonkeyPatch.context() as patch:
        fake_content.register(patch)
        patch.setattr("audiogen.systems.stablevc.speaker_embedding", embed)
        patch.chdir(folder)
        hub.save(fake_content.FakeContent(12), "content.safetensors")
        hub.save(small(content="content.safetensors", vocoder="griffin-lim"), "m.safetensors")
        system = hub.load("m.safetensors")
        with serving({"vc": system}) as server:
            yield server, system


def upload(audio):
    return encoded(audio.wav.T.numpy(), audio.sample_rate)


def convert(server, files, **fields):
    with server.http() as http:
        return http.post("/v1/audio/conversions", files=files, data={"steps": "2", **fields})


def test_a_recording_in_the_voice_of_references_or_of_a_voice_file(converter, tmp_path):
    """Streamed, what the library gives for the same references; a voice file of them is as good."""
    server, system = converter
    source = speech(0.9)
    references = [speech(0.8, seed=11, f0=220), speech(0.6, seed=12, f0=230)]
    system.voice(references).save(tmp_path / "anna.voice")
    options = ConvertOptions(num_steps=2, keep_duration=True)
    wanted = convert_audio(system, source, system.voice(references), options=options, seed=3).wav[0]
    file = ("file", ("a.wav", upload(source)))
    given = [("reference", (f"{n}.wav", upload(audio))) for n, audio in enumerate(references)]
    for voice in (given, [("voice", ("anna.voice", (tmp_path / "anna.voice").read_bytes()))]):
        answer = convert(server, [file, *voice], keep_duration="true", seed="3")
        assert answer.status_code == 200, answer.text
        found, rate = soundfile.read(io.BytesIO(answer.content), dtype="int16")
        assert rate == system.sample_rate
        assert len(found) == len(wanted)
        assert np.abs(found - 32768 * wanted.double().numpy()).max() <= 2


def test_conversions_that_cannot_be_are_told(converter):
    server, _ = converter
    file, voice = ("file", ("a.wav", upload(speech(0.9)))), ("voice", ("x.voice", b"nothing"))
    reference = ("reference", ("b.wav", upload(speech(0.8))))
    for files, message in (
        ([file], "whose voice?"),
        ([file, voice, reference], "whose voice?"),
        ([file, voice], "the voice file is no voice"),
        ([file, ("reference", ("b.wav", b"nothing"))], "cannot read b.wav as audio"),
    ):
        answer = convert(server, files)
        assert answer.status_code == 400
        assert message in answer.json()["error"]["message"]
        assert "/tmp" not in answer.text
    answer = convert(server, [file, reference], tempo="9")
    assert answer.json()["error"]["param"] == "tempo"


@pytest.fixture(scope="module")
def musician():
    """A server with a tiny music system of random weights -> it, and the system."""
    with pytest.MonkeyPatch.context() as patch:
        fake_music.register(patch)
        system = fake_music.music_system()
        with serving({"melody": system}, seconds=2.0) as server:
            yield server, system


def test_music_is_what_the_library_gives(musician):
    server, system = musician
    with server.http() as http:
        body = {"prompt": "slow piano", "seconds": 0.3, "seed": 4, "steps": 3, "response_format": "wav"}
        answer = http.post("/v1/audio/music", json=body)
    assert "content-length" not in answer.headers
    found, rate = soundfile.read(io.BytesIO(answer.content))
    assert rate == system.sample_rate
    from audiogen.music import MusicOptions

    made = generate(system, "slow piano", 0.3, [stable_seed(4, "0")], MusicOptions(num_steps=3))[0, 0]
    assert np.abs(found - soft_limit(made).numpy()).max() < 1e-3


def test_music_is_heard_while_it_is_made(musician, monkeypatch):
    server, system = musician
    gate, original = Gate(), system.stream

    def gated(*args, **more):
        for block in original(*args, **more):
            gate.wait()
            yield block

    monkeypatch.setattr(system, "stream", gated)
    gate.open()
    body = {"prompt": "slow piano", "seconds": 1.0, "response_format": "wav"}
    with server.http() as http, http.stream("POST", "/v1/audio/music", json=body) as answer:
        parts = answer.iter_raw()
        assert len(next(parts)) > 44
        assert gate.steps <= 2
        gate.open(1000)
        assert len(b"".join(parts)) > 0
    assert gate.steps > 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": " "}, "prompt is empty"),
        ({"prompt": 5000 * "x"}, "prompt has 5000 characters, more than 4096"),
        ({"seconds": 2.5}, "seconds 2.5 are more than the 2"),
        ({"seconds": 0}, "seconds: "),
        ({"steps": 0}, "steps"),
        ({"response_format": "aac"}, "aac is not available"),
    ],
)
def test_music_that_cannot_be_is_told(musician, change, message):
    with musician[0].http() as http:
        answer = http.post("/v1/audio/music", json={"prompt": "piano", "seconds": 0.3, **change})
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "kind", "remedy"),
    [
        ("enhancements", "enhancement", "--model storm"),
        ("conversions", "conversion", "--model stablevc"),
        ("music", "music", "--model melody"),
    ],
)
def test_a_task_without_a_model_names_the_remedy(path, kind, remedy):
    sent = {"json": {"prompt": "x"}} if path == "music" else {"files": {"file": ("a.wav", b"")}}
    with serving({"fake": FakeSpeech()}) as server, server.http() as http:
        answer = http.post(f"/v1/audio/{path}", **sent)
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert error["code"] == "model_not_found"
    assert f"no model for {kind} is loaded" in error["message"]
    assert remedy in error["message"]


def test_the_shipped_enhancer_answers():
    import audiogen

    wav = recording(22050, 2, 0.6)
    with serving({"storm": audiogen.load("storm")}) as server:
        answer = enhance(server, encoded(wav, 22050))
    clean, rate = soundfile.read(io.BytesIO(answer.content), always_2d=True)
    assert (rate, clean.shape) == (22050, wav.shape)
