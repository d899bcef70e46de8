"""`audiogen music` on a tiny system of random weights."""

import io
import json
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from fake_music import FRAMES, TOKENS, music_system, register

from audiogen import hub
from audiogen.cli import NOTHING_TO_DO, OK, SOME_FAILED, USAGE, main
from audiogen.music import generate
from audiogen.speech import stable_seed
from audiogen.systems.melody import MeLoDy

RATE = 24000
SECONDS = FRAMES * 128 / RATE  # of a chunk
LENGTH = 5 * SECONDS


@pytest.fixture(autouse=True)
def system(tmp_path, monkeypatch):
    """An empty folder with a model, m.safetensors."""
    register(monkeypatch)
    monkeypatch.chdir(tmp_path)
    made = music_system()
    hub.save(made, "m.safetensors")
    return made


def music(*words, seconds=LENGTH):
    model = [] if "--model" in words else ["--model", "m.safetensors"]
    return main(
        ["music", *map(str, words), *model, "--seconds", str(seconds), "--device", "cpu", "--threads", "1"]
    )


def closed():
    raise OSError


def read(path):
    return soundfile.read(path, dtype="float32")[0]


def test_one_caption_becomes_a_file_and_the_system_gives_the_same(system, capsys):
    assert music("slow piano", "-o", "a.wav", "--report", "r.json") == OK
    wav = read("a.wav")
    assert len(wav) == round(LENGTH * RATE)
    expected = generate(system, "slow piano", LENGTH, [stable_seed(0, "0")])[0, 0].clamp(-1, 1)
    assert np.abs(wav - expected.numpy()).max() < 0.06  # soft limit near full scale, 16 bits
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "diffusion" in captured.err
    report = json.loads(Path("r.json").read_text())
    (item,) = report["items"]
    assert set(item["stages"]) == {"lm", "diffusion", "decoder", "io"}
    assert all(seconds > 0 for seconds in item["stages"].values())
    assert item["audio_seconds"] == pytest.approx(LENGTH)
    assert report["context"]["lm_passes"] == 2 * 5 * TOKENS  # guidance
    assert report["context"]["diffusion_passes"] == 2 * 2 * 2  # rounds, steps, guidance
    assert item["nfe"] == 2 * 5 * TOKENS + 8
    assert report["context"]["model_sha256"] == hub.sha256("m.safetensors")


def test_options_reach_the_models(monkeypatch):
    seen, sample = [], MeLoDy.sample

    def spy(self, *args, **options):
        seen.append(options)
        return sample(self, *args, **options)

    monkeypatch.setattr(MeLoDy, "sample", spy)
    words = ("--steps", 3, "--guidance", 1, "--opening", 1, "--advance", 2, "-q")
    assert music("slow piano", "-o", "a.wav", *words) == OK
    assert [(o["num_steps"], o["guidance"]) for o in seen] == [(3, 1.0)] * 3
    assert [o["first_frame"] for o in seen] == [0, 0, FRAMES]
    a = read("a.wav")
    for more in (("--seed", 1), ("--temperature", 0), ("--top-k", 2), ("--top-p", 0.3), ("--lm-guidance", 2)):
        assert music("slow piano", "-o", "b.wav", *words, *more) == OK
        assert not np.array_equal(a, read("b.wav")), more


def test_items_of_a_manifest_are_the_same_in_any_batch():
    Path("m.jsonl").write_text(
        "\n".join(
            json.dumps({"id": n, "text": t}) for n, t in (("a", "piano"), ("b", "flute"), ("c", "slow"))
        )
    )
    for batch in (1, 3):
        assert music("--manifest", "m.jsonl", "--out-dir", f"out{batch}", "--batch-size", batch, "-q") == OK
    for name in "abc":
        alone, together = (read(f"out{batch}/{name}.wav") for batch in (1, 3))
        assert np.abs(alone - together).max() < 2e-3
    assert not np.allclose(read("out1/a.wav"), read("out1/b.wav"), atol=1e-2)


def test_a_run_goes_on_where_it_stopped(capsys):
    Path("m.txt").write_text("piano\nflute\n")
    words = ("--manifest", "m.txt", "--out-dir", "out", "--skip-existing")
    assert music(*words) == OK
    Path("out/0001.wav").unlink()
    before = Path("out/0002.wav").stat().st_mtime_ns
    assert music(*words) == OK
    assert Path("out/0001.wav").exists()
    assert Path("out/0002.wav").stat().st_mtime_ns == before
    capsys.readouterr()
    assert music(*words) == OK
    assert "all 2 files exist" in capsys.readouterr().err


def test_stream_is_what_a_file_holds(capsysbinary):
    assert music("slow piano", "-o", "a.wav", "-q") == OK
    assert music("slow piano", "--stream", "-q", "--report", "r.json") == OK
    heard = soundfile.read(io.BytesIO(capsysbinary.readouterr().out), dtype="float32")[0]
    assert np.array_equal(heard, read("a.wav"))
    assert json.loads(Path("r.json").read_text())["items"][0]["chunks"] == 2


def test_an_endless_stream_ends_when_nobody_listens(monkeypatch):
    blocks = []

    class Closing(io.RawIOBase):
        def write(self, data):
            blocks.append(len(data))
            if len(blocks) > 5:
                raise BrokenPipeError
            return len(data)

    monkeypatch.setattr(
        "sys.stdout", types.SimpleNamespace(buffer=Closing(), isatty=lambda: False, fileno=closed)
    )
    assert music("slow piano", "--endless", "--format", "pcm", "-q") == OK
    assert sum(blocks) > 2 * LENGTH * RATE


def test_music_goes_on_from_a_recording():
    """At another rate and in two channels: what comes back first is the recording, averaged."""
    torch.manual_seed(0)
    wav = 0.05 * np.random.default_rng(0).standard_normal(round(3 * SECONDS * RATE)).astype("float32")
    soundfile.write("in.wav", np.stack([wav, -wav / 2], -1), RATE, subtype="FLOAT")
    assert music("slow piano", "--continue", "in.wav", "-o", "a.wav", "-q", seconds=2 * SECONDS) == OK
    made = read("a.wav")
    assert len(made) == len(wav) + round(2 * SECONDS * RATE)
    assert np.abs(made[: len(wav) - 800] - wav[:-800] / 4).max() < 1e-4


def test_words_change_on_the_way():
    changed = ("--change", f"{LENGTH - SECONDS}=flute in A minor", "--advance", 1, "-q")
    assert music("slow piano", "-o", "a.wav", *changed) == OK
    assert music("slow piano", "-o", "b.wav", "--advance", 1, "-q") == OK
    a, b = read("a.wav"), read("b.wav")
    border = round((LENGTH - SECONDS) * RATE)
    assert np.abs(a[: border - 1024] - b[: border - 1024]).max() < 1e-3
    assert not np.allclose(a[border:], b[border:], atol=1e-2)


def test_unknown_words_are_named(capsys):
    assert music("slow theremin", "-o", "a.wav", "--change", "0.1=a kazoo") == OK
    assert "item 0: words without meaning to this model: theremin, kazoo" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["piano", "-o", "a.wav", "--change", "soon=flute"], "is not SECOND=WORDS"),
        (["piano", "-o", "a.wav", "--change", "0=flute"], "different seconds above 0"),
        (["piano", "-o", "a.wav", "--opening", "9"], "opening of 9 chunks is too much"),
        (["piano", "-o", "a.wav", "--steps", "0"], "steps must be 1 or more"),
        (["piano", "-o", "a.wav", "--top-p", "0"], "top_p 0.0"),
        (["piano", "-o", "a.wav", "--continue", "short.wav"], "shorter than the 0.06 s"),
        (["piano", "-o", "a.wav", "--endless"], "--endless has no end"),
        (["--manifest", "m.txt", "--out-dir", "out", "--stream"], "--stream plays one item"),
        (["piano"], "no place for the audio"),
        (["piano", "-o", "a.wav", "--model", "vocos-16k"], "makes no music"),
    ],
)
def test_what_cannot_be_done_is_said(words, told, capsys):
    Path("m.txt").write_text("piano\n")
    soundfile.write("short.wav", np.zeros(100), RATE)
    assert music(*words) == USAGE
    assert told in capsys.readouterr().err
    assert not list(Path.cwd().glob("a.wav"))


def test_bad_lines_and_empty_manifests(capsys):
    Path("m.jsonl").write_text('{"id": "a", "text": "piano"}\n{"id": "b"}\n')
    assert music("--manifest", "m.jsonl", "--out-dir", "out") == SOME_FAILED
    assert [path.name for path in Path("out").iterdir()] == ["a.wav"]
    Path("empty.txt").write_text("\n# nothing\n")
    assert music("--manifest", "empty.txt", "--out-dir", "out") == NOTHING_TO_DO


def test_length_is_checked(capsys):
    assert music("piano", "-o", "a.wav", seconds=0) == USAGE
    assert "--seconds must be positive" in capsys.readouterr().err


def test_parts_become_a_whole(system):
    for name in ("lm", "diffusion", "autoencoder", "tokenizer"):
        hub.save(getattr(system, name), f"{name}.safetensors")
    words = [f"--part={name}={name}.safetensors" for name in ("lm", "autoencoder", "tokenizer")]
    assert (
        main(["export", "diffusion.safetensors", *words, "--set", "advance=1", "-o", "all.safetensors"]) == OK
    )
    made = hub.load("all.safetensors")
    assert made.advance == 1
    assert music("slow piano", "--model", "all.safetensors", "-o", "a.wav", "-q") == OK
