"""`audiogen tts --stream`: the audio of the plain command, written while it is made."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fake_system import FakeSpeech
from fake_workplace import expected, files, stdin, tts, workplace  # noqa: F401 (a fixture)

from audiogen.cli import OK, SOME_FAILED, USAGE, output
from audiogen.cli.run import Session
from audiogen.speech import SpeechItem

pytestmark = pytest.mark.usefixtures("workplace")
TEXT = "abcdefgh</ij kl/m"
HEADER = 44


@pytest.mark.parametrize("words", [["-o", "-"], []])
def test_stream_has_the_samples_of_the_file(words, capfdbinary):
    assert tts(TEXT, "-o", "a.wav", "--seed", 4) == OK
    capfdbinary.readouterr()
    assert tts(TEXT, "--stream", *words, "--seed", 4) == OK
    out = capfdbinary.readouterr().out
    assert out[:4] == b"RIFF"
    assert out[4:8] == b"\xff\xff\xff\xff"
    samples, rate = soundfile.read("a.wav", dtype="int16")
    assert out[HEADER:] == samples.astype("<i2").tobytes()
    again, rate_again = soundfile.read(io.BytesIO(out), dtype="int16")
    assert rate_again == rate
    assert np.array_equal(again, samples)


def test_raw_samples_have_no_header_and_stderr_tells_their_format(capfdbinary):
    assert tts(TEXT, "--stream", "--format", "pcm") == OK
    captured = capfdbinary.readouterr()
    assert b"16000 Hz, 1 channel, 16 bit" in captured.err
    samples = np.frombuffer(captured.out, "<i2") / 32768
    np.testing.assert_allclose(samples, expected(SpeechItem("0", TEXT)), atol=1e-4)
    assert tts(TEXT, "-o", "a.pcm") == OK
    assert Path("a.pcm").read_bytes() == captured.out
    assert tts(TEXT, "-o", "-", "--format", "PCM", "--quiet") == OK
    captured_again = capfdbinary.readouterr()
    assert captured_again.out == captured.out
    assert b"16000 Hz" not in captured_again.err


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_a_streamed_file_is_complete_when_it_appears(name):
    assert tts(TEXT, "--stream", "-o", name, "--timestamps", "json") == OK
    assert tts(TEXT, "-o", f"b.{name}", "--timestamps", "json") == OK
    assert files() == sorted(["a.json", name, "b.a.json", f"b.{name}"])
    assert np.array_equal(soundfile.read(name)[0], soundfile.read(f"b.{name}")[0])
    streamed, plain = (json.loads(Path(path).read_text()) for path in ("a.json", "b.a.json"))
    assert streamed == plain


def test_standard_input_is_streamed_to_standard_output(monkeypatch, capfdbinary):
    stdin(monkeypatch, "abc/de")
    assert tts("--stream", "-", "--quiet") == OK
    samples = np.frombuffer(capfdbinary.readouterr().out[HEADER:], "<i2") / 32768
    np.testing.assert_allclose(samples, expected(SpeechItem("0", "abc/de")), atol=1e-4)


def test_a_chunk_is_written_before_the_next_is_made(monkeypatch, capfdbinary):
    events = []
    original = FakeSpeech.stream_sentence

    def made(self, *arguments):
        for chunk in original(self, *arguments):
            events.append("made")
            yield chunk

    def write(self, wav, plain=output.StdoutPcm.write):
        events.append("written")
        plain(self, wav)

    monkeypatch.setattr(FakeSpeech, "stream_sentence", made)
    monkeypatch.setattr(output.StdoutPcm, "write", write)
    assert tts(TEXT, "--stream", "--quiet") == OK
    assert len(events) > 8
    assert events == ["made", "written"] * (len(events) // 2)


def test_report_and_table_tell_how_the_chunks_came(capfdbinary):
    assert tts(TEXT, "--stream", "--report", "r.json") == OK
    content = json.loads(Path("r.json").read_text())
    (item,) = content["items"]
    for numbers in (item, content["summary"]):
        assert numbers["first_chunk_ms"] > 0
        assert numbers["chunk_p95_ms"] > 0
        assert numbers["chunks"] > 4
        assert isinstance(numbers["underruns"], int)
    assert content["context"]["batch_size"] == 1
    assert item["audio_seconds"] == pytest.approx(len(expected(SpeechItem("0", TEXT))) / 16000)
    assert item["compute_seconds"] == pytest.approx(sum(item["stages"].values()))
    err = capfdbinary.readouterr().err.decode()
    assert "first chunk ms" in err
    assert "underruns" in err
    assert tts(TEXT, "-o", "a.wav", "--report", "r.json") == OK
    assert "first_chunk_ms" not in Path("r.json").read_text()
    assert "underruns" not in capfdbinary.readouterr().err.decode()


def test_an_error_half_way_is_told_and_leaves_no_file(capfdbinary):
    assert tts("good/poison", "--stream", "-o", "a.wav") == SOME_FAILED
    assert "error: item 0: RuntimeError: poisoned" in capfdbinary.readouterr().err.decode()
    assert files() == []
    assert tts("good/poison", "--stream") == SOME_FAILED
    assert len(capfdbinary.readouterr().out) > HEADER


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--manifest", "m.txt", "--stream"], "leave it out to speak a --manifest"),
        (["ab", "--stream", "--out-dir", "o"], "one output"),
        (["ab", "--stream", "--format", "mp3"], "WAV or PCM only"),
        (["!?", "--stream"], "nothing to say"),
        (["ab", "--stream", "--steps", "3"], "1, 2, 4"),
    ],
)
def test_wrong_use_ends_with_2_and_no_audio(words, message, capfdbinary):
    Path("m.txt").write_text("one\ntwo\n")
    assert tts(*words) == USAGE
    captured = capfdbinary.readouterr()
    assert message in " ".join(captured.err.decode().split())
    assert captured.out == b""
    assert files() == ["m.txt"]


def test_a_terminal_is_no_place_for_samples(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert tts("ab", "--stream") == USAGE
    assert "pipe it into a player" in capsys.readouterr().err


def test_closed_pipe_ends_quietly_and_stops_the_model(monkeypatch, capsys):
    calls = []
    original = FakeSpeech.synthesize_sentences
    monkeypatch.setattr(FakeSpeech, "synthesize_sentences", lambda *a: calls.append(1) or original(*a))
    reader, writer = os.pipe()
    os.close(reader)
    with contextlib.suppress(BrokenPipeError), open(writer, "wb", buffering=0) as pipe:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(pipe))
        assert tts("/".join(["abcdefgh"] * 50), "--stream", "--quiet") == OK
    assert capsys.readouterr().err == ""
    assert len(calls) == 1


def test_reader_of_a_real_process_may_leave(tmp_path):
    """`audiogen tts --stream ... | head -c 1000`: no traceback, and no work for who has left."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from fake_system import FakeSpeech, front_end\n"
        "from audiogen import hub; from audiogen.cli import main, run\n"
        "run.TextFrontEnd = lambda *_: front_end; hub.load = lambda *_, **__: FakeSpeech()\n"
        "hub.provenance = lambda *_: {}\n"
        "sys.exit(main(['tts', '/'.join(['abcdefghij'] * 600), '--stream', '--quiet']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert len(process.stdout.read(1000)) == 1000
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == OK


def test_interrupt_closes_the_stream(monkeypatch, capfdbinary):
    closed = []
    original = FakeSpeech.stream_sentence

    def watched(self, *arguments):
        try:
            yield from original(self, *arguments)
        finally:
            closed.append(True)

    def interrupted(self, job, pieces, item, timer):
        next(pieces)
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeSpeech, "stream_sentence", watched)
    monkeypatch.setattr(Session, "_write", interrupted)
    assert tts(TEXT, "--stream", "--quiet") == 130
    assert closed == [True]
