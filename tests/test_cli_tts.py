import io
import json
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from fake_system import SAMPLES_PER_TOKEN, FakeSpeech, front_end
from fake_workplace import expected, files, frames, stdin, tts, workplace  # noqa: F401 (a fixture)

from audiogen.audio import Timing
from audiogen.cli import OK, SOME_FAILED, USAGE, run
from audiogen.cli.output import to_srt
from audiogen.speech import SpeechItem, SpeechOptions, join, speak

pytestmark = pytest.mark.usefixtures("workplace")


def test_text_becomes_a_file_and_a_table(capsys):
    assert tts("hello there", "-o", "a.wav") == OK
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "RTF" in captured.err
    wav, rate = soundfile.read("a.wav")
    assert rate == 16000
    np.testing.assert_allclose(wav, expected(SpeechItem("0", "hello there")), atol=1e-4)
    assert files() == ["a.wav"]


def test_options_reach_the_system():
    assert tts("abc", "-o", "a.wav", "--speed", 2, "--seed", 5, "--speaker", "bert", "--steps", 4) == OK
    wav, _ = soundfile.read("a.wav")
    np.testing.assert_allclose(wav, expected(SpeechItem("0", "abc", 5, "bert"), speed=2.0), atol=1e-4)


@pytest.mark.parametrize("option", ["--pitch", "--energy"])
def test_pitch_and_energy_reach_the_system(option, monkeypatch):
    seen = []
    original = FakeSpeech.synthesize_sentences

    def spy(self, sentences, seeds, speakers, options, timer):
        seen.append(options)
        return original(self, sentences, seeds, speakers, options, timer)

    monkeypatch.setattr(FakeSpeech, "synthesize_sentences", spy)
    assert tts("abc", "-o", "a.wav", option, "-2.5") == OK
    assert getattr(seen[0], option.lstrip("-")) == -2.5


def test_plain_manifest_names_files_by_line_and_skips_blanks_and_comments():
    Path("m.txt").write_text("one\n\n# not me\r\n  two  \n", encoding="utf-8")
    assert tts("--manifest", "m.txt", "--out_dir", "o") == OK
    assert files() == ["m.txt", "o/0001.wav", "o/0004.wav"]


def test_jsonl_manifest_takes_id_speaker_seed_and_out():
    lines = [
        {"text": "ab", "id": "näme 1", "speaker": 1, "seed": 9, "audio_filepath": "ignored"},
        {"text": "abc", "out": "deep/own.flac"},
        {"text": "abcd", "id": 7},
    ]
    Path("m.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert tts("--manifest", "m.jsonl", "--out-dir", "o") == OK
    assert files() == ["m.jsonl", "o/7.wav", "o/deep/own.flac", "o/näme 1.wav"]
    wav, _ = soundfile.read("o/näme 1.wav")
    np.testing.assert_allclose(wav, expected(SpeechItem("näme 1", "ab", 9, 1)), atol=1e-4)


def test_jsonl_items_may_all_bring_their_own_files():
    Path("m.jsonl").write_text('{"text": "ab", "out": "x/a.wav"}\n{"text": "ab", "out": "b.wav"}\n')
    assert tts("--manifest", "m.jsonl") == OK
    assert files() == ["b.wav", "m.jsonl", "x/a.wav"]


def test_csv_manifest_has_id_and_text():
    Path("m.csv").write_text("id|text\nLJ001|ab|normalised\nLJ002|abc\n")
    assert tts("--manifest", "m.csv", "--out-dir", "o") == OK
    assert files() == ["m.csv", "o/LJ001.wav", "o/LJ002.wav"]
    assert frames("o/LJ001.wav") == 3 * SAMPLES_PER_TOKEN


def test_item_sounds_the_same_alone_and_in_any_batch():
    Path("m.csv").write_text("a|one/two\nb|three\nc|four/five\n")
    Path("one.csv").write_text("c|four/five\n")
    assert tts("--manifest", "m.csv", "--out-dir", "o1", "--batch-size", 1) == OK
    assert tts("--manifest", "m.csv", "--out-dir", "o8", "--batch-size", 8) == OK
    assert tts("--manifest", "one.csv", "--out-dir", "alone") == OK
    for name in ("a.wav", "b.wav", "c.wav"):
        assert Path("o1", name).read_bytes() == Path("o8", name).read_bytes()
    assert Path("alone/c.wav").read_bytes() == Path("o1/c.wav").read_bytes()


@pytest.mark.parametrize("words", [["-", "-o", "a.wav"], ["-o", "a.wav"]])
def test_standard_input_is_one_text_for_one_file(words, monkeypatch):
    stdin(monkeypatch, "one\ntwo")
    assert tts(*words) == OK
    assert frames("a.wav") == 7 * SAMPLES_PER_TOKEN


def test_standard_input_is_a_manifest_for_a_folder(monkeypatch):
    stdin(monkeypatch, "one\ntwo\n")
    assert tts("-", "--out-dir", "o") == OK
    stdin(monkeypatch, '{"text": "ab", "id": "j"}\n')
    assert tts("--manifest", "-", "--out-dir", "o") == OK
    assert files() == ["o/0001.wav", "o/0002.wav", "o/j.wav"]


def test_standard_output_has_the_audio_and_nothing_else(capfdbinary):
    assert tts("abc~", "-o", "-") == OK
    captured = capfdbinary.readouterr()
    assert b"cannot speak ~" in captured.err
    wav, rate = soundfile.read(io.BytesIO(captured.out))
    assert rate == 16000
    np.testing.assert_allclose(wav, expected(SpeechItem("0", "abc")), atol=1e-4)
    assert int.from_bytes(captured.out[4:8], "little") == len(captured.out) - 8


def test_long_standard_output_streams_with_an_open_header(capfdbinary):
    assert tts("abc/de", "-o", "-", "--quiet") == OK
    out = capfdbinary.readouterr().out
    assert out[4:8] == b"\xff\xff\xff\xff"
    samples = np.frombuffer(out[44:], "<i2")
    np.testing.assert_allclose(samples / 32768, expected(SpeechItem("0", "abc/de")), atol=1e-4)


def test_overshoot_is_clamped_and_never_wraps(monkeypatch, capfdbinary):
    original = FakeSpeech._tone

    def loud(self, *args):
        audio = original(self, *args)
        audio.wav.mul_(3)
        return audio

    monkeypatch.setattr(FakeSpeech, "_tone", torch.no_grad()(loud))
    assert tts("abc", "-o", "-", "--quiet") == OK
    samples = np.frombuffer(capfdbinary.readouterr().out[44:], "<i2").astype(int)
    assert samples.max() == 32767
    assert abs(np.diff(samples)).max() < 32767


@pytest.mark.parametrize("name", ["flac", "ogg", "mp3"])
def test_format_names_the_files(name):
    assert tts("abc", "--out-dir", "o", "--format", name) == OK
    assert soundfile.info(f"o/0.{name}").format.lower().startswith(name[:2])


def test_report_accounts_for_every_item():
    Path("m.txt").write_text("one/two\nthree\n!bad\nfour\n")
    assert (
        tts("--manifest", "m.txt", "--out-dir", "o", "--report", "r/r.json", "--batch-size", 2) == SOME_FAILED
    )
    content = json.loads(Path("r/r.json").read_text())
    assert [item["id"] for item in content["items"]] == ["0001", "0002", "0003", "0004"]
    assert "nothing to say" in content["items"][2]["error"]
    first = content["items"][0]
    assert first["audio_seconds"] == pytest.approx(frames("o/0001.wav") / 16000)
    assert first["compute_seconds"] == pytest.approx(sum(first["stages"].values()))
    assert min(first["stages"].values()) >= 0
    assert first["stages"]["io"] > 0
    assert first["nfe"] == 2
    summary, context = content["summary"], content["context"]
    assert (summary["items"], summary["failed"]) == (3, 1)
    assert summary["cold"]["items"] == 1
    assert summary["warm"]["items"] == 2
    assert summary["first_item_seconds"] > 0
    assert summary["cold"]["compute_seconds"] > context["load_seconds"] > 0
    assert context["threads"] == torch.get_num_threads()
    assert (context["steps"], context["batch_size"], context["dtype"], context["device"]) == (
        2,
        2,
        "float32",
        "cpu",
    )
    assert len(context["model_sha256"]) == 64
    assert {"cpu", "cores", "versions", "seed", "load_average"} <= set(context)


def test_threads_are_set_and_reported(monkeypatch):
    monkeypatch.setenv("AUDIOGEN_THREADS", "2")
    assert tts("ab", "-o", "a.wav", "--report", "r.json") == OK
    assert json.loads(Path("r.json").read_text())["context"]["threads"] == 2
    assert tts("ab", "-o", "a.wav", "--report", "r.json", "--threads", 1) == OK
    assert json.loads(Path("r.json").read_text())["context"]["threads"] == 1


def test_skip_existing_speaks_only_what_is_missing(capsys):
    Path("m.csv").write_text("a|one\nb|two\n")
    Path("o").mkdir()
    Path("o/a.wav").write_bytes(b"mine")
    assert tts("--manifest", "m.csv", "--out-dir", "o", "--skip-existing") == OK
    assert Path("o/a.wav").read_bytes() == b"mine"
    assert frames("o/b.wav") == 4 * SAMPLES_PER_TOKEN
    capsys.readouterr()
    assert tts("--manifest", "m.csv", "--out-dir", "o", "--skip-existing") == OK
    assert "exist already" in capsys.readouterr().err


def test_timestamps_as_json_and_srt():
    assert tts("one two/three", "-o", "a.wav", "--timestamps", "t.json") == OK
    content = json.loads(Path("t.json").read_text())
    assert [word["text"] for word in content["words"]] == ["one", "two", "three"]
    assert content["words"][2]["start_s"] == pytest.approx(7 * SAMPLES_PER_TOKEN / 16000 + 0.25)
    assert content["phones"][0]["start_s"] == 0
    assert content["audio_seconds"] == pytest.approx(frames("a.wav") / 16000, abs=1e-4)
    Path("m.csv").write_text("a|one two\nb|two\n")
    assert tts("--manifest", "m.csv", "--out-dir", "o", "--timestamps", "srt") == OK
    assert files() == ["a.wav", "m.csv", "o/a.srt", "o/a.wav", "o/b.srt", "o/b.wav", "t.json"]
    assert Path("o/a.srt").read_text().startswith("1\n00:00:00,000 --> 00:00:00,044\none\n\n2\n")


def test_srt_clock_carries_over():
    assert "01:01:01,000 --> 02:00:00,000" in to_srt([Timing("a", 3660.9996, 7200, "word")])


def test_long_text_streams_in_bounded_memory(monkeypatch):
    """Of the 500 sentences of 20 000 letters, no more than two batches are alive at any time."""
    alive, most = weakref.WeakSet(), 0
    original = FakeSpeech._tone

    def watched(self, *args):
        nonlocal most
        audio = original(self, *args)
        alive.add(audio.wav)
        most = max(most, len(alive))
        return audio

    monkeypatch.setattr(FakeSpeech, "_tone", watched)
    assert tts("/".join(["a" * 40] * 500), "-o", "a.wav", "--quiet", "--batch-size", 4) == OK
    assert frames("a.wav") == 500 * 41 * SAMPLES_PER_TOKEN + 499 * 4000
    assert most <= 8


def test_texts_may_be_spoken_from_many_threads_at_once():
    system, wavs = FakeSpeech(), {}

    def work(k):
        item = SpeechItem(str(k), f"text {k}/two")
        pieces = speak(system, [item], SpeechOptions(), front_end=front_end)
        wavs[k] = join([piece.audio for piece in pieces]).wav[0].numpy()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(8):
        np.testing.assert_array_equal(wavs[k], expected(SpeechItem(str(k), f"text {k}/two")))


def test_real_front_end_with_language_and_lexicon(monkeypatch, capsys):
    from audiogen.text.frontend import TextFrontEnd

    monkeypatch.setattr(run, "TextFrontEnd", TextFrontEnd)
    Path("lexicon.txt").write_text("audiogen\tˈɔːdiəʊdʒɛn\n")
    assert tts("Audiogen, bitte!", "-o", "a.wav", "--language", "de", "--lexicon", "lexicon.txt") == OK
    assert frames("a.wav") > 5 * SAMPLES_PER_TOKEN
    assert "this voice learned en-us; sounds of de may be off" in capsys.readouterr().err
    assert tts("hello", "-o", "b.wav", "--language", "klingon-x") == USAGE
    assert tts("hello", "-o", "b.wav", "--lexicon", "missing.txt") == USAGE
