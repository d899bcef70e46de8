import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from fake_enhancer import FakeEnhancer, fake_pesq, register

from audiogen import hub
from audiogen.cli import NOTHING_TO_DO, OK, SOME_FAILED, USAGE, main
from audiogen.systems.storm import StoRM


@pytest.fixture(autouse=True)
def model(tmp_path, monkeypatch):
    """An empty folder with a model, m.safetensors, that halves everything."""
    register(monkeypatch)
    monkeypatch.chdir(tmp_path)
    hub.save(FakeEnhancer(0.5), "m.safetensors")


@pytest.fixture
def calls(monkeypatch):
    """Seeds of every call of the model."""
    seen, inner = [], FakeEnhancer.enhance

    def spy(self, wav, seeds, options, timer, *, offset=0):
        seen.append((tuple(seeds), options))
        return inner(self, wav, seeds, options, timer, offset=offset)

    monkeypatch.setattr(FakeEnhancer, "enhance", spy)
    return seen


def enhance(*words):
    model = [] if "--model" in words else ["--model", "m.safetensors"]
    return main(["enhance", *map(str, words), *model, "--device", "cpu", "--threads", "1"])


def write(path, samples=9000, channels=1, rate=16000, seed=0):
    """A recording without an offset -> (samples, channels)."""
    wav = np.random.default_rng(seed).uniform(-0.5, 0.5, (samples, channels))
    wav -= wav.mean(0)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wav, rate)
    return wav


@pytest.mark.parametrize(
    ("name", "rate", "channels"), [("a.wav", 16000, 1), ("a.flac", 16000, 2), ("a.wav", 48000, 3)]
)
def test_a_recording_keeps_its_rate_channels_length_and_format(name, rate, channels, capsys):
    wav = write(name, 7001, channels, rate)
    assert enhance(name, "--out-dir", "out") == OK
    assert [path.name for path in Path("out").iterdir()] == [name]
    info = soundfile.info(f"out/{name}")
    assert (info.samplerate, info.channels, info.frames) == (rate, channels, 7001)
    if rate == 16000:
        assert np.allclose(soundfile.read(f"out/{name}", always_2d=True)[0], wav / 2, atol=1e-4)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "RTF" in captured.err


def test_folders_are_mirrored_and_searched(capsys):
    for name in ("in/a.wav", "in/deep/er/b.ogg", "in/deep/c.flac", "in/.hidden/d.wav", "alone.wav"):
        write(name)
    Path("in/notes.txt").write_text("no audio")
    assert enhance("in", "alone.wav", "--out-dir", "out", "--report", "r.json", "-q") == OK
    found = sorted(path.relative_to("out").as_posix() for path in Path("out").rglob("*.*"))
    assert found == ["a.wav", "alone.wav", "deep/c.flac", "deep/er/b.wav"]
    report = json.loads(Path("r.json").read_text())
    assert [item["id"] for item in report["items"]] == ["a", "deep/c", "deep/er/b", "alone"]
    first = report["items"][0]
    assert first["audio_seconds"] == pytest.approx(9000 / 16000)
    assert first["nfe"] == report["context"]["nfe"] == 5
    assert first["stages"]["acoustic"] > 0
    assert first["stages"]["io"] > 0
    assert report["context"]["model_sha256"] == hub.sha256("m.safetensors")
    assert capsys.readouterr().err == ""


def test_a_manifest_names_recordings_ids_and_places():
    for name in ("lists/x.wav", "y.wav", "lists/z.wav"):
        write(name)
    lines = ["# three", "", "x.wav", json.dumps({"audio": "y.wav", "id": "why"})]
    lines.append(json.dumps({"audio": "z.wav", "out": "sub/zed.flac"}))
    Path("lists/m.txt").write_text("\n".join(lines))
    assert enhance("--manifest", "lists/m.txt", "--out-dir", "out") == OK
    found = sorted(path.relative_to("out").as_posix() for path in Path("out").rglob("*.*"))
    assert found == ["sub/zed.flac", "why.wav", "x.wav"]


def test_bad_recordings_do_not_end_the_run(capsys):
    write("in/a.wav")
    Path("in/b.wav").write_bytes(b"no sound")
    soundfile.write("in/c.wav", np.full(300, np.nan), 16000, subtype="FLOAT")
    soundfile.write("in/d.wav", np.zeros(0), 16000)
    write("in/e.wav")
    Path("m.txt").write_text("nowhere.wav\n{}\n")
    words = ["in", "--manifest", "m.txt", "--out-dir", "out"]
    assert enhance(*words, "--report", "r.json") == SOME_FAILED
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.wav", "d.wav", "e.wav"]
    assert soundfile.info("out/d.wav").frames == 0
    err = capsys.readouterr().err
    assert "4 of 7 recordings failed: b, c, nowhere, 0002" in err
    assert "sample 0 (0.000 s) of channel 0 is nan" in err
    assert 'line 2: no "audio"' in err
    errors = [item.get("error") for item in json.loads(Path("r.json").read_text())["items"]]
    assert [error is not None for error in errors] == [False, True, True, False, False, True, True]
    assert enhance(*words, "--fail-fast") == SOME_FAILED
    assert "1 of 7 recordings failed: b" in capsys.readouterr().err


def test_a_run_goes_on_where_it_was_broken_off(calls, capsys):
    for name in ("in/a.wav", "in/b.wav"):
        write(name)
    assert enhance("in/a.wav", "--out-dir", "out") == OK
    before = Path("out/a.wav").stat().st_mtime_ns
    assert enhance("in", "--out-dir", "out", "--skip-existing") == OK
    assert len(calls) == 2
    assert Path("out/a.wav").stat().st_mtime_ns == before
    assert enhance("in", "--out-dir", "out", "--skip-existing", "--model", "nobody") == OK
    assert "all 2 files exist already" in capsys.readouterr().err


def test_an_interrupted_run_keeps_what_is_finished(monkeypatch, capsys):
    for name in ("in/a.wav", "in/b.wav"):
        write(name)
    inner = FakeEnhancer.enhance

    def stop_at_second(self, *words, **options):
        if Path("out/a.wav").exists():
            raise KeyboardInterrupt
        return inner(self, *words, **options)

    monkeypatch.setattr(FakeEnhancer, "enhance", stop_at_second)
    assert enhance("in", "--out-dir", "out") == 130
    assert [path.name for path in Path("out").iterdir()] == ["a.wav"]
    assert "interrupted: 1 of 2 recordings are finished" in capsys.readouterr().err


def test_options_reach_the_model(calls):
    write("a.wav", 40000)
    words = [
        "--quality",
        "fast",
        "--steps",
        "3",
        "--warm-start",
        "0.5",
        "--seed",
        "7",
        "--chunk-seconds",
        "1",
    ]
    assert enhance("a.wav", "-o", "b.wav", *words, "--report", "r.json") == OK
    assert len(calls) == 3
    assert {seeds for seeds, _ in calls} == {(7,)}
    options = calls[0][1]
    assert (options.quality, options.num_steps, options.warm_start) == ("fast", 3, 0.5)
    context = json.loads(Path("r.json").read_text())["context"]
    assert (context["quality"], context["steps"], context["nfe"], context["seed"]) == ("fast", 3, 4, 7)


def test_the_same_seed_gives_the_same_file_in_any_company():
    hub.save(FakeEnhancer(0.5, noise=3.0), "n.safetensors")
    for name in ("in/a.wav", "in/b.wav"):
        write(name, seed=len(name))
    assert enhance("in", "--out-dir", "many", "--model", "n.safetensors") == OK
    assert enhance("in/b.wav", "-o", "one.wav", "--model", "n.safetensors") == OK
    assert enhance("in/b.wav", "-o", "other.wav", "--model", "n.safetensors", "--seed", "1") == OK
    assert Path("many/b.wav").read_bytes() == Path("one.wav").read_bytes()
    assert Path("other.wav").read_bytes() != Path("one.wav").read_bytes()


def test_standard_output_has_the_audio_and_nothing_else(capfdbinary):
    wav = write("a.wav", 5000, 2)
    assert enhance("a.wav", "-o", "-", "-q") == OK
    captured = capfdbinary.readouterr()
    read, rate = soundfile.read(io.BytesIO(captured.out))
    assert rate == 16000
    assert np.allclose(read, wav / 2, atol=1e-4)
    assert captured.err == b""


@pytest.fixture
def scorers(monkeypatch):
    """The calls of a PESQ that is 1 + the correlation."""
    return fake_pesq(monkeypatch)


def test_references_are_compared_with_before_and_after(scorers, capsys):
    for name in ("a", "sub/b"):
        wav = write(f"clean/{name}.flac", 24000)[:, 0]
        noise = np.random.default_rng(9).standard_normal(24000) * wav.std() / 2
        Path(f"in/{name}.wav").parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(f"in/{name}.wav", wav + noise, 16000, subtype="FLOAT")
    assert enhance("in", "--out-dir", "out", "--reference", "clean", "--report", "r.json") == OK
    report = json.loads(Path("r.json").read_text())
    for item in report["items"]:
        before, after = item["before"], item["after"]
        assert before["si_sdr_db"] == pytest.approx(6.02, abs=0.1)  # noise of half the standard deviation
        assert after["si_sdr_db"] == pytest.approx(before["si_sdr_db"], abs=0.1)  # halving changes no ratio
        assert before["pesq_wb"] == pytest.approx(1 + 1 / np.sqrt(1.25), abs=0.01)
        assert 0 < before["estoi"] < 1
    assert report["summary"]["after"]["pesq_wb"] == pytest.approx(
        np.mean([item["after"]["pesq_wb"] for item in report["items"]])
    )
    assert scorers == [(16000, 24000, "wb")] * 4
    assert "SI-SDR dB" in capsys.readouterr().err


def test_missing_scorers_are_named_with_their_remedy(monkeypatch, capsys):
    write("a.wav")
    write("clean/a.wav")
    monkeypatch.setattr("audiogen.metrics.enhancement.find_spec", lambda name: None)
    assert enhance("a.wav", "--out-dir", "out", "--reference", "clean") == USAGE
    assert "pip install 'audiogen[eval,pesq]'" in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_reference_of_another_length_fails_its_item_alone(scorers, capsys):
    write("in/a.wav", 24000)
    write("in/b.wav", 24000)
    write("clean/a.wav", 12000)
    write("clean/b.wav", 24010)
    assert enhance("in", "--out-dir", "out", "--reference", "clean") == SOME_FAILED
    assert "1.50 s and its reference" in capsys.readouterr().err
    assert len(list(Path("out").iterdir())) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no recording was given"),
        (["a.wav"], "no place for the results"),
        (["a.wav", "b.wav", "-o", "c.wav"], "use --out-dir"),
        (["a.wav", "-o", "c.wav", "--out-dir", "out"], "choose one"),
        (["a.wav", "--out-dir", "."], "is an input itself"),
        (["a.wav", "-o", "./a.wav"], "is an input itself"),
        (["a.wav", "sub/a.wav", "--out-dir", "out"], "occurs twice"),
        (["a.wav", "-o", "c.xyz"], "unknown audio format"),
        (["a.wav", "-o", "-", "--format", "flac"], "standard output takes WAV only"),
        (["a.wav", "-o", "-", "--reference", "sub"], "--reference compares"),
        (["b.wav", "--out-dir", "out", "--reference", "sub"], "holds no recording b"),
        (["a.wav", "--out-dir", "sub", "--reference", "sub"], "is a reference itself"),
        (["a.wav", "-o", "c.wav", "--quality", "perfect"], "use one of fast, balanced, best"),
        (["a.wav", "-o", "c.wav", "--steps", "-1"], "use 0 or more"),
        (["a.wav", "-o", "c.wav", "--steps", "101"], "at most 100"),
        (["a.wav", "-o", "c.wav", "--warm-start", "2"], "warm_start 2.0 is out of range"),
        (["a.wav", "-o", "c.wav", "--model", "nobody"], "unknown model 'nobody'"),
        (
            ["a.wav", "-o", "c.wav", "--model", "p.safetensors", "--steps", "4"],
            "a predictor that no diffusion",
        ),
        (["a.wav", "-o", "c.wav", "--model", "s.safetensors"], "does not enhance"),
        (["nowhere.wav", "-o", "c.wav"], "no such audio file"),
        (["--manifest", "nowhere.txt", "--out-dir", "out"], "cannot read manifest"),
    ],
)
def test_wrong_use_is_told(words, message, capsys, monkeypatch, scorers):
    import fake_system

    fake_system.register(monkeypatch)
    hub.save(fake_system.FakeSpeech(), "s.safetensors")
    net = {"fine": 8, "channels": 12, "hidden": 12, "blocks": 1}
    hub.save(StoRM(predictor="alone", predictor_net=net), "p.safetensors")
    for name in ("a.wav", "b.wav", "sub/a.wav"):
        write(name)
    assert enhance(*words) == USAGE
    assert message in capsys.readouterr().err
    assert not Path("c.wav").exists()


def test_an_empty_folder_is_nothing_to_do(capsys):
    Path("in").mkdir()
    assert enhance("in", "--out-dir", "out") == NOTHING_TO_DO
    assert "no recordings" in capsys.readouterr().err


def test_a_loud_model_never_wraps():
    hub.save(FakeEnhancer(3.0), "loud.safetensors")
    write("a.wav")
    assert enhance("a.wav", "-o", "b.wav", "--model", "loud.safetensors") == OK
    (before, _), (after, _) = (soundfile.read(name) for name in ("a.wav", "b.wav"))
    assert np.array_equal(np.sign(before[abs(before) > 0.01]), np.sign(after[abs(before) > 0.01]))
    assert torch.tensor(after).abs().max() > 0.95
