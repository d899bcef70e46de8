"""Whole evaluations with a system, a recogniser and recordings whose numbers are known."""

import json

import pytest
import torch

from audiogen.audio import write_audio
from audiogen.cli import main
from audiogen.metrics.evaluation import (
    EvalItem,
    ManifestError,
    copy_synthesis,
    evaluate,
    read_manifest,
    recording,
    speech,
    spoken_text,
)
from audiogen.speech import stable_seed


@pytest.fixture
def items(tmp_path, tone):
    write_audio(tmp_path / "a.wav", tone(200.0, 0.4)[None], 16000)
    write_audio(tmp_path / "b.wav", tone(200.0, 0.5)[None], 16000)
    return [EvalItem("a", "hello there", tmp_path / "a.wav"), EvalItem("b", "good day", tmp_path / "b.wav")]


def hears_hello(wav):
    return "hello there"


def test_recordings_are_their_own_ceiling(items):
    summary = evaluate(items, [recording()], hears_hello).summary("recording")
    assert summary["mcd_db"].value == 0
    assert summary["f0_rmse_cents"].value == 0
    assert summary["voicing_error"].value == 0
    assert (summary["duration_error"].value, summary["duration_ratio"].value) == (0, 1)
    assert "acoustic_ms" not in summary


def test_known_shift_in_pitch_and_length_is_found(items, system, front_end):
    result = evaluate(items, [speech(system, front_end, num_steps=1)], hears_hello)
    summary = result.summary("1 step")
    assert summary["f0_rmse_cents"].value == pytest.approx(400, abs=20)
    assert summary["duration_ratio"].value == pytest.approx(0.8 / 0.9, abs=0.03)
    assert summary["duration_error"].value == pytest.approx(0.1 / 0.9, abs=0.03)
    assert summary["mcd_db"].value > 0
    assert summary["acoustic_ms"].value > 0


def test_corpus_cer_is_a_ratio_of_sums(items):
    result = evaluate(items, [recording()], hears_hello)
    edits = [score.text.edits for score in result.scores["recording"]]
    assert edits[0] == 0
    assert result.summary("recording")["cer"].value == pytest.approx(edits[1] / len("hello theregood day"))


def test_difference_of_a_condition_with_itself_is_exactly_zero(items, system, front_end):
    same = [speech(system, front_end, num_steps=n, name=name) for n, name in ((1, "x"), (1, "y"), (4, "z"))]
    result = evaluate(items, same, hears_hello)
    zero = result.difference("x", "y", "f0_rmse_cents")
    assert (zero.low, zero.value, zero.high) == (0, 0, 0)
    assert result.difference("x", "z", "f0_rmse_cents").value == pytest.approx(300, abs=20)


def test_copy_synthesis_keeps_pitch_and_length(items, system):
    summary = evaluate(items, [copy_synthesis(system.vocoder)], hears_hello).summary("copy-synthesis")
    assert summary["f0_rmse_cents"].value < 30
    assert summary["duration_ratio"].value == pytest.approx(1, abs=0.12)  # 64 ms windows smear the ends


def test_speech_is_seeded_as_the_command_line_seeds_it(system, front_end):
    speech(system, front_end, num_steps=4, seed=3).render(EvalItem("a", "one|two"))
    item_seed = stable_seed(3, "a")
    assert system.calls == [(4, (stable_seed(item_seed, 0),)), (4, (stable_seed(item_seed, 1),))]


def test_a_failing_item_is_reported_and_the_rest_go_on(system, front_end):
    told = []
    result = evaluate(
        [EvalItem("bad", "mute"), EvalItem("good", "hello there")],
        [speech(system, front_end)],
        hears_hello,
        on_score=lambda condition, score: told.append((condition, score.id, score.error)),
    )
    assert told == [("2 steps", "bad", "cannot say mute"), ("2 steps", "good", None)]
    assert result.failed == 1
    assert result.summary("2 steps")["cer"].items == 1


def test_items_without_recordings_have_no_distances(system, front_end):
    items = [EvalItem("a", "hello there")]
    result = evaluate(items, [recording(), speech(system, front_end)], hears_hello)
    assert result.scores["recording"] == []
    assert set(result.summary("2 steps")) == {"cer", "text_ms", "acoustic_ms", "vocoder_ms"}
    json.dumps(result.to_dict(), allow_nan=False)


def test_numbers_are_expected_as_words():
    assert spoken_text("I have 2 cats.") == "I have two cats"


def test_manifests_of_both_forms_say_the_same(tmp_path, items):
    bars = tmp_path / "list.csv"
    bars.write_text("id|text|audio\na|hello there|a.wav\n\nc|no sound\n")
    lines = tmp_path / "list.jsonl"
    entries = [{"id": "a", "text": "hello there", "audio": "a.wav"}, {"id": "c", "text": "no sound"}]
    lines.write_text("\n".join(map(json.dumps, entries)))
    assert read_manifest(bars) == read_manifest(lines) == [items[0], EvalItem("c", "no sound")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no items"),
        ("just a text", "not of the form"),
        ("a|x\na|y", "line 2: id 'a' occurs twice"),
        ("a|x|nowhere.wav", "no recording nowhere.wav"),
        ("|x", "empty"),
        ('{"text": "x"}', "has no id and text"),
    ],
)
def test_a_bad_manifest_is_refused_with_its_line(tmp_path, content, message):
    path = tmp_path / "list.csv"
    path.write_text(content)
    with pytest.raises(ManifestError, match=message):
        read_manifest(path)


def test_a_missing_manifest_is_refused(tmp_path):
    with pytest.raises(ManifestError, match="cannot read manifest"):
        read_manifest(tmp_path / "none.csv")


@pytest.fixture
def command(monkeypatch, tmp_path, system, items):
    """Run `audiogen evaluate tts` on two recordings with the stub system -> exit code."""
    monkeypatch.setattr("audiogen.hub.load", lambda model: system)
    monkeypatch.setattr("audiogen.hub.provenance", lambda model: {"model": model})
    monkeypatch.setattr("audiogen.metrics.intelligibility.Recogniser", lambda: hears_hello)
    manifest = tmp_path / "list.csv"
    manifest.write_text("a|hello there|a.wav\nb|good day|b.wav\n")
    return lambda *options: main(["evaluate", "tts", "--manifest", str(manifest), *options])


def test_command_writes_a_table_and_every_number(command, tmp_path, capsys):
    report = tmp_path / "out.json"
    assert command("--steps", "4,1", "--report", str(report), "--seed", "5") == 0
    printed = capsys.readouterr().out
    for word in ("recording", "copy-synthesis", "4 steps", "1 step", "CER", "MCD"):
        assert word in printed
    content = json.loads(report.read_text())
    assert content["context"]["model"] == "prodiff"
    assert content["context"]["seed"] == 5
    assert content["context"]["cores"] >= 1
    entry = content["conditions"][-1]
    assert entry["condition"] == "1 step"
    assert [item["id"] for item in entry["items"]] == ["a", "b"]
    assert entry["summary"]["cer"]["items"] == 2
    assert entry["items"][0]["rates"]["cer"] == 0


def test_command_takes_limits_and_threads_and_leaves_ceilings_out(command, tmp_path, capsys):
    before = torch.get_num_threads()
    report = tmp_path / "out.json"
    try:
        assert command("--limit", "1", "--no-recordings", "--threads", "1", "--report", str(report)) == 0
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    (entry,) = json.loads(report.read_text())["conditions"]
    assert entry["condition"] == "2 steps"
    assert len(entry["items"]) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--steps", "two"), "no list of step counts"),
        (("--steps", "3"), "cannot speak in 3 steps"),
        (("--report", "/nowhere/at/all.json"), "make it first"),
    ],
)
def test_command_refuses_what_it_cannot_do(command, capsys, options, message):
    assert command(*options) == 2
    assert message in capsys.readouterr().err


def test_command_exits_with_1_when_an_item_fails(command, monkeypatch, system, capsys):
    def fails(*arguments):
        raise ValueError("cannot say this")

    monkeypatch.setattr(system, "synthesize_sentences", fails)
    assert command("--no-recordings") == 1
    captured = capsys.readouterr()
    assert "error: item a, 2 steps: cannot say this" in captured.err
    assert "2 failed" in captured.out
