import io
import json
from pathlib import Path

import fake_content
import numpy as np
import pytest
import soundfile
import torch
from test_stablevc import SMALL, embed, small, speech

from audiogen import hub
from audiogen.cli import NOTHING_TO_DO, OK, SOME_FAILED, USAGE, main


@pytest.fixture(autouse=True)
def model(tmp_path, monkeypatch):
    """An empty folder with a converter, its content encoder and two recordings."""
    fake_content.register(monkeypatch)
    monkeypatch.setattr("audiogen.systems.stablevc.speaker_embedding", embed)
    monkeypatch.chdir(tmp_path)
    hub.save(fake_content.FakeContent(12), "content.safetensors")
    hub.save(small(content="content.safetensors", vocoder="griffin-lim"), "m.safetensors")
    write("anna.wav", 0.8, seed=11, f0=220)
    write("a.wav", 0.9)


def write(path, seconds=0.9, **more):
    audio = speech(seconds, **more)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio.wav.T.numpy(), audio.sample_rate)
    return audio


def convert(*words, voice=("--timbre", "anna.wav")):
    model = [] if "--model" in words else ["--model", "m.safetensors"]
    steps = [] if "--steps" in words else ["--steps", "2"]
    return main(["convert", *map(str, words), *voice, *model, *steps, "--device", "cpu", "--threads", "1"])


@pytest.mark.parametrize(
    ("name", "rate", "channels"), [("b.wav", 16000, 1), ("b.flac", 44100, 2), ("b.wav", 8000, 1)]
)
def test_any_rate_and_channels_become_mono_at_the_models_rate(name, rate, channels, capsys):
    write(name, 1.1, rate=rate, channels=channels)
    assert convert(name, "--out-dir", "out", "--keep-duration") == OK
    info = soundfile.info(f"out/{name}")
    assert (info.samplerate, info.channels) == (16000, 1)
    assert info.frames == pytest.approx(17600, abs=2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "RTF" in captured.err


def test_folders_are_mirrored_and_the_report_says_all():
    for name in ("in/a.wav", "in/deep/b.flac"):
        write(name)
    words = ["in", "--out-dir", "out", "--report", "r.json", "-q", "--timbre-scale", "1.5"]
    assert convert(*words) == OK
    found = sorted(path.relative_to("out").as_posix() for path in Path("out").rglob("*.*"))
    assert found == ["a.wav", "deep/b.flac"]
    report = json.loads(Path("r.json").read_text())
    assert [item["id"] for item in report["items"]] == ["a", "deep/b"]
    assert report["items"][0]["nfe"] == report["context"]["nfe"] == 2
    assert report["context"]["timbre_scale"] == 1.5
    assert report["context"]["content_sha256"] == hub.sha256("content.safetensors")
    assert report["context"]["voice"] == ["anna.wav"]
    for stage in ("content", "prosody", "acoustic", "vocoder", "io"):
        assert report["items"][0]["stages"][stage] > 0
    assert report["summary"]["rtf"] > 0


def test_a_voice_file_is_as_good_as_its_recordings(capsys):
    write("anna/two.wav", 0.6, seed=12, f0=230)
    words = ["voice", "create", "anna.wav", "anna", "-o", "anna.voice", "--model", "m.safetensors"]
    assert main(words) == OK
    assert "a voice of 1.4 s, F0 22" in capsys.readouterr().err
    assert main(["voice", "show", "anna.voice", "--model", "m.safetensors"]) == OK
    assert "a voice of 1.4 s" in capsys.readouterr().out
    assert convert("a.wav", "-o", "one.wav", voice=("--timbre", "anna.wav", "--timbre", "anna")) == OK
    assert convert("a.wav", "-o", "two.wav", voice=("--voice", "anna.voice")) == OK
    assert Path("one.wav").read_bytes() == Path("two.wav").read_bytes()
    hub.save(small(seed=1, content="content.safetensors", vocoder="griffin-lim"), "n.safetensors")
    words = ["a.wav", "-o", "x.wav", "--model", "n.safetensors"]
    assert convert(*words, voice=("--voice", "anna.voice")) == USAGE
    assert "was made with the model" in capsys.readouterr().err


def test_styles_seeds_and_tempo_reach_the_model():
    write("style.wav", 1.0, seed=13, f0=300)
    options = {
        "plain": [],
        "style": ["--style", "style.wav"],
        "pitch": ["--style", "style.wav", "--pitch", "5"],
        "own": ["--style", "voice"],
        "seed": ["--seed", "1"],
        "guided": ["--style-scale", "2"],
        "euler": ["--solver", "euler", "--steps", "3"],
        "slow": ["--tempo", "0.5"],
    }
    for name, words in options.items():
        assert convert("a.wav", "-o", f"{name}.wav", *words, "--keep-duration", "-q") == OK
    assert len({Path(f"{name}.wav").read_bytes() for name in options}) == len(options)
    assert soundfile.info("slow.wav").frames > 1.6 * soundfile.info("plain.wav").frames
    assert convert("a.wav", "-o", "long.wav", "--seconds", "2.5") == OK
    assert soundfile.info("long.wav").frames == pytest.approx(40000, abs=256)


def test_the_same_seed_gives_the_same_file_in_any_company():
    for name in ("in/a.wav", "in/b.wav"):
        write(name, seed=len(name))
    assert convert("in", "--out-dir", "many") == OK
    assert convert("in/b.wav", "-o", "one.wav") == OK
    assert Path("many/b.wav").read_bytes() == Path("one.wav").read_bytes()


def test_bad_recordings_do_not_end_the_run(capsys):
    write("in/a.wav")
    Path("in/b.wav").write_bytes(b"no sound")
    soundfile.write("in/c.wav", np.full(3000, np.nan), 16000, subtype="FLOAT")
    soundfile.write("in/d.wav", np.zeros(9000), 16000)
    soundfile.write("in/e.wav", np.ones(50) * np.arange(50) / 50, 16000)
    assert convert("in", "--out-dir", "out", "--report", "r.json") == SOME_FAILED
    assert [path.name for path in Path("out").iterdir()] == ["a.wav"]
    err = capsys.readouterr().err
    assert "4 of 5 recordings failed: b, c, d, e" in err
    for message in (
        "cannot read",
        "sample 0 (0.000 s) is NaN",
        "the source is silent",
        "is too short: 0.003 s",
    ):
        assert message in err
    assert convert("in", "--out-dir", "out2", "--fail-fast") == SOME_FAILED
    assert "1 of 5 recordings failed: b" in capsys.readouterr().err


def test_a_run_goes_on_where_it_was_broken_off(capsys):
    write("in/b.wav")
    write("in/a.wav")
    assert convert("in/a.wav", "--out-dir", "out") == OK
    before = Path("out/a.wav").stat().st_mtime_ns
    assert convert("in", "--out-dir", "out", "--skip-existing") == OK
    assert Path("out/a.wav").stat().st_mtime_ns == before
    assert convert("in", "--out-dir", "out", "--skip-existing", "--model", "nobody") == OK
    assert "all 2 files exist already" in capsys.readouterr().err


def test_standard_output_has_the_audio_and_nothing_else(capfdbinary):
    assert convert("a.wav", "-o", "-", "-q", "--keep-duration") == OK
    captured = capfdbinary.readouterr()
    read, rate = soundfile.read(io.BytesIO(captured.out))
    assert (rate, len(read)) == (16000, 14400)
    assert captured.err == b""


@pytest.mark.parametrize(
    ("words", "voice", "message"),
    [
        (["a.wav", "-o", "c.wav"], [], "whose voice?"),
        (["a.wav", "-o", "c.wav"], ["--timbre", "a.wav", "--voice", "v.voice"], "whose voice?"),
        (["a.wav", "-o", "c.wav"], ["--voice", "nobody.voice"], "no voice at nobody.voice"),
        (["a.wav", "-o", "c.wav"], ["--voice", "a.wav"], "is no voice"),
        (["a.wav", "-o", "c.wav"], ["--timbre", "nobody.wav"], "no such audio file"),
        (["a.wav", "-o", "c.wav"], ["--timbre", "silent.wav"], "reference 1 is silent"),
        (["a.wav", "-o", "c.wav"], ["--timbre", "empty"], "empty holds no recordings"),
        (["a.wav", "-o", "c.wav", "--style", "nobody.wav"], None, "no such audio file"),
        (["a.wav", "-o", "c.wav", "--style", "silent.wav"], None, "the style reference is silent"),
        (["a.wav", "-o", "c.wav", "--style", "voice", "--pitch", "2"], None, "--pitch moves"),
        (["a.wav"], None, "no place for the results"),
        (["a.wav", "-o", "c.xyz"], None, "unknown audio format"),
        (["a.wav", "-o", "-", "--format", "flac"], None, "standard output takes WAV only"),
        (["a.wav", "-o", "c.wav", "--steps", "0"], None, "use 1 or more"),
        (["a.wav", "-o", "c.wav", "--solver", "rk4"], None, "unknown solver 'rk4'"),
        (["a.wav", "-o", "c.wav", "--tempo", "9"], None, "tempo 9.0 is out of range"),
        (["a.wav", "-o", "c.wav", "--seconds", "1", "--keep-duration"], None, "choose one"),
        (["a.wav", "-o", "c.wav", "--seconds", "0.01"], None, "do not fit into"),
        (["a.wav", "-o", "c.wav", "--model", "nobody"], None, "unknown model 'nobody'"),
        (["a.wav", "-o", "c.wav", "--model", "content.safetensors"], None, "does not convert"),
    ],
)
def test_wrong_use_is_told(words, voice, message, capsys):
    soundfile.write("silent.wav", np.zeros(9000), 16000)
    Path("empty").mkdir()
    given = ("--timbre", "anna.wav") if voice is None else voice
    assert convert(*words, voice=given) == USAGE
    assert message in capsys.readouterr().err
    assert not Path("c.wav").exists()


def test_an_empty_folder_is_nothing_to_do(capsys):
    Path("in").mkdir()
    assert convert("in", "--out-dir", "out") == NOTHING_TO_DO
    assert "no recordings" in capsys.readouterr().err


def test_a_content_encoder_that_does_not_fit_is_refused(capsys):
    content = fake_content.FakeContent(13)
    hub.save(content, "other.safetensors")
    hub.save(small(content="other.safetensors", vocoder="griffin-lim"), "n.safetensors")
    assert convert("a.wav", "-o", "c.wav", "--model", "n.safetensors") == USAGE
    assert "13 content tokens, the model knows 12" in capsys.readouterr().err
    hub.save(content, "content.safetensors")
    hub.save(small(content="vocos-16k", vocoder="griffin-lim"), "n.safetensors")
    assert convert("a.wav", "-o", "c.wav", "--model", "n.safetensors") == USAGE
    assert "is no content encoder" in capsys.readouterr().err


def test_a_system_converts_in_python_as_on_the_command_line():
    system = hub.load("m.safetensors")
    voice = system.voice([speech(0.8, seed=11, f0=220)])
    made = system.convert(speech(0.9), voice, style=speech(0.7, f0=250), options=None, seed=3)
    assert made.sample_rate == 16000
    assert bool(torch.isfinite(made.wav).all())
    assert system.hparams["vocabulary"] == SMALL["vocabulary"]
