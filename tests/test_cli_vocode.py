import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from fake_system import register

from audiogen import hub
from audiogen.audio import read_audio, write_audio
from audiogen.cli import OK, SOME_FAILED, USAGE, main
from audiogen.spectral import MelSpec, mel_spectrogram
from audiogen.systems.vocoder import Vocoder
from audiogen.vocoders.griffin_lim import GriffinLim

SIZES = {"channels": 8, "rates": [4, 4], "kernels": [8, 8], "block_kernels": [3], "block_dilations": [[1, 2]]}
SPEC = {"sample_rate": 8000, "n_fft": 64, "win_length": 64, "hop_length": 16, "n_mels": 10, "f_max": 4000.0}


@pytest.fixture(autouse=True)
def vocoders(tmp_path, monkeypatch):
    """An empty folder with two tiny vocoders: v.safetensors (Vocos) and h.safetensors (HiFi-GAN)."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    vocos = Vocoder(SPEC, 8, 8, 1, n_fft=64)
    torch.nn.init.normal_(vocos.generator.head.weight, std=0.3)
    hub.save(vocos, "v.safetensors")
    hifigan = Vocoder({**SPEC, "center": False}, kind="hifigan", generator=SIZES)
    for parameter in hifigan.generator.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    hub.save(hifigan, "h.safetensors")


def vocode(*words):
    return main(["vocode", *map(str, words), "--device", "cpu", "--threads", "1"])


def sound(path):
    wav, rate = soundfile.read(path, dtype="float32")
    assert rate == 8000
    return torch.from_numpy(wav)


def mel_file(name="mel.npy", frames=40, kind=np.float32, lead=False):
    mel = np.random.default_rng(0).standard_normal((10, frames)).astype(kind)
    np.save(name, mel[None] if lead else mel)
    return torch.from_numpy(mel.astype(np.float32))[None]


def decoded(model, mel):
    with torch.inference_mode():
        return hub.load(model).decode(mel)[0, 0].clamp(-1, 1)


@pytest.mark.parametrize("model", ["v.safetensors", "h.safetensors"])
@pytest.mark.parametrize(("kind", "lead"), [(np.float32, False), (np.float64, True), (np.float16, False)])
def test_a_mel_becomes_audio(model, kind, lead, capsys):
    mel = mel_file(kind=kind, lead=lead)
    assert vocode("mel.npy", "-o", "a.wav", "--model", model) == OK
    expected = decoded(model, mel)
    assert expected.std() > 0.01
    assert torch.allclose(sound("a.wav"), expected, atol=1e-4)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "RTF" in captured.err


def test_a_recording_is_copied_through_the_vocoder_s_front_end():
    wav = torch.randn(2, 16000) * 0.1
    write_audio("in.flac", wav, 16000)
    assert vocode("in.flac", "-o", "a.wav", "--model", "h.safetensors") == OK
    mono = read_audio("in.flac", 8000).mean(0, keepdim=True)
    mel = mel_spectrogram(mono, MelSpec(**SPEC, center=False))
    assert torch.allclose(sound("a.wav"), decoded("h.safetensors", mel), atol=1e-4)
    assert len(sound("a.wav")) == 8000


@pytest.mark.parametrize("model", ["v.safetensors", "h.safetensors"])
@pytest.mark.parametrize("source", ["mel.npy", "in.wav"])
@pytest.mark.parametrize("frames", [2, 256, 700])
def test_a_stream_gives_the_same_audio_in_pieces_of_bounded_length(model, source, frames, monkeypatch):
    mel_file(frames=frames)
    write_audio("in.wav", torch.randn(1, max(frames * 16, 64)) * 0.1, 8000)
    assert vocode(source, "-o", "whole.wav", "--model", model) == OK
    seen, stream = [], Vocoder.stream

    def spy(self, state, mel, last=False):
        seen.append((mel.shape[-1], last))
        return stream(self, state, mel, last)

    monkeypatch.setattr(Vocoder, "stream", spy)
    monkeypatch.setattr(Vocoder, "decode", None)
    assert vocode(source, "-o", "stream.wav", "--model", model, "--stream") == OK
    assert torch.allclose(sound("stream.wav"), sound("whole.wav"), atol=1e-4)
    assert max(count for count, _ in seen) <= 256
    assert [last for _, last in seen] == [False] * (len(seen) - 1) + [True]


def test_many_inputs_go_to_a_folder_and_a_bad_one_does_not_end_the_run(capsys):
    mel_file("a.npy")
    np.save("b.npy", np.full((10, 30), np.nan, np.float32))
    write_audio("c.wav", torch.randn(1, 800) * 0.1, 8000)
    words = ["a.npy", "b.npy", "c.wav", "--out-dir", "out", "--format", "flac", "--model", "h.safetensors"]
    assert vocode(*words, "--report", "r.json") == SOME_FAILED
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.flac", "c.flac"]
    assert "1 of 3 inputs failed: b" in capsys.readouterr().err
    report = json.loads(Path("r.json").read_text())
    first, bad, last = report["items"]
    assert first["audio_seconds"] == pytest.approx(40 * 16 / 8000)
    assert first["rtf"] == pytest.approx(first["compute_seconds"] / first["audio_seconds"])
    assert "NaN or infinity" in bad["error"]
    assert last["stages"]["acoustic"] > 0
    assert report["context"]["model"] == "h.safetensors"
    assert report["context"]["model_sha256"] == hub.sha256("h.safetensors")
    assert vocode(*words, "--fail-fast") == SOME_FAILED
    assert "1 of 3 inputs failed" in capsys.readouterr().err


def test_an_input_whose_name_makes_no_file_name_fails_alone(capfdbinary):
    mel_file("a.npy")
    shutil.copy("a.npy", "b\\c.npy")
    words = ["a.npy", "b\\c.npy", "--out-dir", "out", "--model", "h.safetensors"]
    assert vocode(*words) == SOME_FAILED
    captured = capfdbinary.readouterr()
    assert captured.out == b""
    assert b"1 of 2 inputs failed: b\\c" in captured.err
    assert [path.name for path in Path("out").iterdir()] == ["a.wav"]


def test_standard_output_has_the_audio_and_nothing_else(capfdbinary):
    mel = mel_file(frames=300)
    assert vocode("mel.npy", "-o", "-", "--model", "h.safetensors", "--stream", "-q") == OK
    captured = capfdbinary.readouterr()
    wav, rate = soundfile.read(io.BytesIO(captured.out), dtype="float32")
    assert rate == 8000
    assert torch.allclose(torch.from_numpy(wav), decoded("h.safetensors", mel), atol=1e-4)
    assert captured.err == b""


def test_griffin_lim_needs_no_weights_and_does_not_stream(capsys):
    mel = np.random.default_rng(0).standard_normal((80, 12)).astype(np.float32)
    np.save("mel.npy", mel)
    assert vocode("mel.npy", "-o", "a.wav", "--model", "griffin-lim") == OK
    expected = GriffinLim(MelSpec()).decode(torch.from_numpy(mel)[None])[0, 0].clamp(-1, 1)
    assert np.allclose(soundfile.read("a.wav")[0], expected, atol=1e-4)
    assert vocode("mel.npy", "-o", "b.wav", "--model", "griffin-lim", "--stream") == USAGE
    assert "leave --stream out" in capsys.readouterr().err


BAD = {
    "bands": (np.zeros((12, 30), np.float32), "12 mel bands and the vocoder takes 10"),
    "turned": (np.zeros((30, 10), np.float32), r"(30, 10), not (10, frames); transpose it"),
    "nan": (np.full((10, 30), np.nan, np.float32), "NaN or infinity"),
    "empty": (np.zeros((10, 0), np.float32), "0 frames"),
    "one": (np.zeros((10, 1), np.float32), "1 frames; the vocoder makes audio of at least 2"),
    "flat": (np.zeros(30, np.float32), "float32 of shape (30,)"),
    "batch": (np.zeros((2, 10, 30), np.float32), "shape (2, 10, 30)"),
    "integers": (np.zeros((10, 30), np.int64), "int64"),
    "objects": (np.array([{}], object), "cannot read mel.npy as an array"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("stream", [[], ["--stream"]])
def test_a_mel_that_cannot_be_decoded_is_refused(name, stream, capsys):
    mel, message = BAD[name]
    np.save("mel.npy", mel, allow_pickle=True)
    assert vocode("mel.npy", "-o", "a.wav", "--model", "v.safetensors", *stream) == USAGE
    assert message in capsys.readouterr().err
    assert not list(Path().glob("*a.wav*"))


def test_nothing_is_left_of_a_stream_that_breaks_off():
    mel = np.zeros((10, 900), np.float32)
    mel[:, 800] = np.inf
    np.save("mel.npy", mel)
    assert vocode("mel.npy", "-o", "a.wav", "--model", "v.safetensors", "--stream") == USAGE
    assert not list(Path().glob("*a.wav*"))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such audio file"), (b"no sound", "convert it to WAV"), (b"", "convert it to WAV")],
)
def test_a_file_that_is_no_recording_is_refused(content, message, capsys):
    if content is not None:
        Path("in.wav").write_bytes(content)
    assert vocode("in.wav", "-o", "a.wav", "--model", "v.safetensors") == USAGE
    assert message in capsys.readouterr().err


def test_recordings_without_samples_or_with_nan_are_refused(capsys):
    soundfile.write("empty.wav", np.zeros(0), 8000)
    soundfile.write("nan.wav", np.full(900, np.nan, np.float32), 8000, subtype="FLOAT")
    for name, message in (("empty.wav", "empty.wav is empty"), ("nan.wav", "NaN or infinite samples")):
        assert vocode(name, "-o", "a.wav", "--model", "v.safetensors") == USAGE
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mel.npy"], "no place for the audio"),
        (["mel.npy", "mel.npy", "--out-dir", "o"], "occurs twice"),
        (["mel.npy", "x.npy", "-o", "a.wav"], "use --out-dir"),
        (["mel.npy", "-o", "a.xyz"], "unknown audio format"),
        (["mel.npy", "-o", "-", "--format", "mp3"], "standard output takes WAV only"),
        (["in.wav", "-o", "in.wav"], "is the input itself"),
        (["mel.npy", "-o", "a.wav", "--model", "nobody"], "unknown model 'nobody'"),
        (["mel.npy", "-o", "a.wav", "--model", "speech.safetensors"], "is no vocoder; use a vocoder such as"),
        (["nowhere.npy", "-o", "a.wav"], "no such mel file"),
    ],
)
def test_wrong_use_is_told(words, message, capsys, monkeypatch):
    from fake_system import FakeSpeech

    register(monkeypatch)
    hub.save(FakeSpeech(), "speech.safetensors")
    mel_file()
    words = words if "--model" in words else [*words, "--model", "v.safetensors"]
    assert vocode(*words) == USAGE
    assert message in capsys.readouterr().err
    assert not Path("a.wav").exists()
