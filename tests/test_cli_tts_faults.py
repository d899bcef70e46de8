import contextlib
import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fake_system import FakeSpeech, FakeVocoder
from fake_workplace import files, tts, workplace  # noqa: F401 (a fixture)

from audiogen import hub
from audiogen.audio import AudioWriter
from audiogen.cli import INTERRUPTED, NOTHING_TO_DO, OK, SOME_FAILED, USAGE, main

pytestmark = pytest.mark.usefixtures("workplace")


def test_one_bad_item_does_not_end_the_run(capsys):
    Path("m.jsonl").write_text(
        """{"text": "good"}
        {broken
        {"id": "x"}
        {"text": "poison", "id": "p"}
        {"text": "!"}
        {"text": "ab", "speaker": "carl"}
        {"text": "ab", "seed": "x"}
        {"text": "fine", "id": "z"}"""
    )
    assert tts("--manifest", "m.jsonl", "--out-dir", "o") == SOME_FAILED
    assert files() == ["m.jsonl", "o/0001.wav", "o/z.wav"]
    err = capsys.readouterr().err
    assert "error: item p: RuntimeError: poisoned" in err
    assert "line 2" in err
    assert "unknown speaker 'carl'" in err
    assert "6 of 8 items failed" in err


def test_fail_fast_stops_at_the_first_bad_item():
    Path("m.txt").write_text("one\n!bad\nthree\n")
    assert tts("--manifest", "m.txt", "--out-dir", "o", "--fail-fast", "--batch-size", 1) == SOME_FAILED
    assert files() == ["m.txt", "o/0001.wav"]


def test_item_that_fails_half_way_leaves_no_file():
    Path("m.txt").write_text("good/good/poison\nfine\n")
    assert tts("--manifest", "m.txt", "--out-dir", "o", "--batch-size", 1) == SOME_FAILED
    assert files() == ["m.txt", "o/0002.wav"]


@pytest.mark.parametrize("identity", ["../up", "a/b", "..", "a\\\\b", "", "/etc/x", "x" * 300])
def test_ids_cannot_leave_the_folder(identity, tmp_path):
    Path("m.jsonl").write_text(f'{{"text": "ab", "id": "{identity}"}}\n{{"text": "ab", "id": "fine"}}\n')
    code = tts("--manifest", "m.jsonl", "--out-dir", "o")
    assert all(name.startswith("o/") for name in files() if name != "m.jsonl")
    assert not [path for path in tmp_path.rglob("*.wav") if path.parent != Path.cwd() / "o"]
    assert Path("o/fine.wav").exists()
    assert code == (OK if identity == ".." else SOME_FAILED)


@pytest.mark.parametrize("out", ["../up.wav", "/tmp/up.wav", "a/../../up.wav"])
def test_own_files_cannot_leave_the_folder(out):
    Path("m.jsonl").write_text(f'{{"text": "ab", "out": "{out}"}}\n')
    assert tts("--manifest", "m.jsonl", "--out-dir", "o") == SOME_FAILED
    assert files() == ["m.jsonl"]


def test_quiet_keeps_errors_and_lost_characters(capsys):
    Path("m.txt").write_text("ab~\n!bad\n")
    assert tts("--manifest", "m.txt", "--out-dir", "o", "--quiet") == SOME_FAILED
    err = capsys.readouterr().err
    assert "RTF" not in err
    assert "cannot speak ~" in err
    assert "nothing to say" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["", "-o", "a.wav"], "empty"),
        ([" \n", "-o", "a.wav"], "empty"),
        (["!?!", "-o", "a.wav"], "nothing to say"),
        (["!?!", "--out-dir", "."], "nothing to say"),
        (["ab", "-o", "a.wav", "--model", "nobody"], "known: prodiff, voc"),
        (["ab", "-o", "a.wav", "--model", "voc"], "does not speak"),
        (["ab", "-o", "a.wav", "--vocoder", "nobody"], "unknown model 'nobody'"),
        (["ab", "-o", "a.wav", "--steps", "3"], "1, 2, 4"),
        (["ab", "-o", "a.wav", "--steps", "0"], "steps 0"),
        (["ab", "-o", "a.wav", "--speed", "0"], "speed 0"),
        (["ab", "-o", "a.wav", "--speaker", "carl"], "anna, bert"),
        (["ab", "-o", "a.wav", "--threads", "0"], "threads"),
        (["ab", "-o", "a.xyz"], "unknown audio format 'xyz'"),
        (["ab", "-o", "a.wav", "--format", "xyz"], "unknown audio format 'xyz'"),
        (["ab", "-o", "-", "--format", "flac"], "WAV or PCM only"),
        (["ab", "-o", "-", "--timestamps", "json"], "beside an audio file"),
        (["ab", "-o", "a.wav", "--timestamps", "t.txt"], "t.txt"),
        (["ab", "-o", "a.wav", "--out-dir", "o"], "choose one"),
        (["ab", "-o", "a.wav", "--manifest", "m.txt"], "choose one"),
        (["ab"], "no place"),
        (["--manifest", "missing.txt", "--out-dir", "o"], "missing.txt"),
        (["--manifest", "two.txt", "-o", "a.wav"], "--out-dir"),
        (["--manifest", "two.txt", "--out-dir", "o", "--timestamps", "t.json"], "2 items"),
        (["--manifest", "twins.csv", "--out-dir", "o"], "'a' occurs twice"),
        (["--manifest", "same.jsonl"], "'x.wav' occurs twice"),
        (["--manifest", "latin.txt", "--out-dir", "o"], "latin.txt"),
        (["ab", "-o", "two.txt/a.wav"], "cannot write in two.txt"),
        (["ab", "--out-dir", "two.txt/o"], "cannot write in"),
        (["ab", "-o", "a.wav", "--report", "two.txt/r.json"], "cannot write in"),
        (["ab", "-o", "a.wav", "--no-such-option"], "no-such-option"),
    ],
)
def test_wrong_use_ends_with_2_and_a_remedy_and_no_file(words, message, capsys):
    Path("two.txt").write_text("one\ntwo\n")
    Path("twins.csv").write_text("a|one\na|two\n")
    Path("same.jsonl").write_text('{"text": "a", "out": "x.wav"}\n{"text": "b", "out": "x.wav"}\n')
    Path("latin.txt").write_bytes(b"caf\xe9\n")
    before = files()
    assert tts(*words) == USAGE
    captured = capsys.readouterr()
    assert message in " ".join(captured.err.split())
    assert captured.out == ""
    assert files() == before


def test_corrupt_weights_end_with_2(capsys):
    Path("bad.safetensors").write_bytes(b"\x00" * 100)
    assert tts("ab", "-o", "a.wav", "--model", "bad.safetensors") == USAGE
    assert "corrupt" in capsys.readouterr().err


def test_another_mel_front_end_ends_with_2(capsys):
    hub.save(FakeVocoder({"hop_length": 128}), "other.safetensors")
    assert tts("ab", "-o", "a.wav", "--vocoder", "other.safetensors") == USAGE
    assert "hop_length: 256 != 128" in capsys.readouterr().err


def test_missing_cuda_ends_with_2_only_when_asked_for(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert main(["tts", "ab", "-o", "a.wav", "--device", "cuda"]) == USAGE
    assert "cuda" in capsys.readouterr().err
    monkeypatch.setenv("AUDIOGEN_DEVICE", "cuda")
    assert main(["tts", "ab", "-o", "a.wav"]) == USAGE
    assert tts("ab", "-o", "a.wav") == OK


def test_full_disk_is_the_items_error(monkeypatch, capsys):
    original = AudioWriter.write

    def write(self, wav):
        if self.path.name == "0002.wav":
            raise OSError(errno.ENOSPC, "No space left on device")
        original(self, wav)

    monkeypatch.setattr(AudioWriter, "write", write)
    Path("m.txt").write_text("one\ntwo\nthree\n")
    assert tts("--manifest", "m.txt", "--out-dir", "o") == SOME_FAILED
    assert "No space left" in capsys.readouterr().err
    assert files() == ["m.txt", "o/0001.wav", "o/0003.wav"]


@pytest.mark.parametrize("content", ["", "\n# only a comment\n\n"])
def test_nothing_to_do_ends_with_3(content, monkeypatch, capsys):
    Path("m.txt").write_text(content)
    assert tts("--manifest", "m.txt", "--out-dir", "o") == NOTHING_TO_DO
    assert tts("-o", "a.wav") == NOTHING_TO_DO
    assert "nothing to do" in capsys.readouterr().err
    assert files() == ["m.txt"]


def test_interrupt_keeps_what_is_finished_and_can_be_resumed(monkeypatch, capsys):
    original = FakeSpeech.synthesize_sentences
    Path("m.txt").write_text("one\ntwo/stop\nthree\n")

    def interrupted(self, sentences, *rest):
        if "stop" in sentences[0].text:
            raise KeyboardInterrupt
        return original(self, sentences, *rest)

    words = ["--manifest", "m.txt", "--out-dir", "o", "--batch-size", 1, "--report", "r.json"]
    monkeypatch.setattr(FakeSpeech, "synthesize_sentences", interrupted)
    assert tts(*words) == INTERRUPTED
    assert "1 of 3 items are finished" in capsys.readouterr().err
    assert files() == ["m.txt", "o/0001.wav", "r.json"]
    monkeypatch.setattr(FakeSpeech, "synthesize_sentences", original)
    assert tts(*words, "--skip-existing") == OK
    assert files() == ["m.txt", "o/0001.wav", "o/0002.wav", "o/0003.wav", "r.json"]


def test_closed_pipe_ends_quietly(monkeypatch, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    with contextlib.suppress(BrokenPipeError), open(writer, "wb", buffering=0) as pipe:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(pipe))
        assert tts("abc/de", "-o", "-", "--quiet") == OK
    assert capsys.readouterr().err == ""


def test_closed_pipe_of_a_real_process_leaves_no_trace(tmp_path):
    """`audiogen tts ... | head -c 1`: no traceback, not even from the interpreter's last flush."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from fake_system import FakeSpeech, front_end\n"
        "from audiogen import hub; from audiogen.cli import main, run\n"
        "run.TextFrontEnd = lambda *_: front_end; hub.load = lambda *_, **__: FakeSpeech()\n"
        "hub.provenance = lambda *_: {}\n"
        "sys.exit(main(['tts', '/'.join(['abcdefghij'] * 300), '-o', '-', '--quiet', '--batch-size', '1']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert process.stdout.read(1) == b"R"
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == OK
