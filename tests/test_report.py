import io
import json

import pytest
import torch
from rich.console import Console

from audiogen.report import ItemReport, Report, StageTimer, machine_context, percentile, rtf, totals


def item(name, audio, compute, warm=True, **more):
    return ItemReport(
        name, audio, 2, {"text": 0.0, "acoustic": compute, "vocoder": 0.0, "io": 0.0}, warm, **more
    )


def test_rtf_of_a_corpus_is_sum_over_sum():
    """Ratios 1.0 and 0.1 have the mean 0.55; the truth is (1 + 1) / (1 + 10)."""
    sums = totals([item("short", 1.0, 1.0), item("long", 10.0, 1.0)])
    assert sums["rtf"] == pytest.approx(2 / 11)
    assert sums["rtfx"] == pytest.approx(11 / 2)
    assert (sums["items"], sums["audio_seconds"], sums["compute_seconds"]) == (2, 11.0, 2.0)


def test_rtf_without_audio_is_none_and_null_in_json(tmp_path):
    assert rtf(1.0, 0.0) is None
    report = Report({}, [item("mute", 0.0, 1.0)])
    report.save(tmp_path / "r.json")
    entry = json.loads((tmp_path / "r.json").read_text())
    assert entry["items"][0]["rtf"] is None
    assert entry["summary"]["rtf"] is None
    assert entry["summary"]["p50"] is None


def test_percentiles_interpolate_linearly():
    assert percentile([float(k) for k in range(101)], 95) == pytest.approx(95)
    assert percentile([1.0, 2.0], 50) == pytest.approx(1.5)
    assert percentile([3.0], 95) == 3.0
    assert percentile([], 50) is None


def test_cold_has_the_first_call_and_the_load_and_warm_the_rest():
    items = [item("a", 2.0, 1.0, warm=False), item("b", 4.0, 0.5), item("c", 4.0, 0.5)]
    summary = Report({"load_seconds": 3.0}, items).summary()
    assert summary["compute_seconds"] == 2.0
    assert (summary["cold"]["items"], summary["cold"]["compute_seconds"]) == (1, 4.0)
    assert (summary["warm"]["items"], summary["warm"]["rtf"]) == (2, 1.0 / 8.0)


def test_failed_items_are_listed_and_kept_out_of_the_sums():
    content = Report({}, [item("good", 1.0, 1.0), item("bad", 0.5, 9.0, error="boom")]).to_dict()
    assert content["items"][1]["error"] == "boom"
    assert "error" not in content["items"][0]
    assert content["summary"]["compute_seconds"] == 1.0
    assert (content["summary"]["items"], content["summary"]["failed"]) == (1, 1)


def test_report_has_the_fields_that_are_promised():
    content = Report({"threads": 1}, [item("a", 1.0, 1.0)], first_item_seconds=0.5).to_dict()
    assert set(content) == {"context", "items", "summary"}
    assert set(content["items"][0]) == {"id", "audio_seconds", "compute_seconds", "rtf", "nfe", "stages"}
    assert set(content["items"][0]["stages"]) == {"text", "acoustic", "vocoder", "io"}
    promised = {
        "items",
        "audio_seconds",
        "compute_seconds",
        "rtf",
        "rtfx",
        "p50",
        "p95",
        "first_item_seconds",
    }
    assert promised <= set(content["summary"])


def test_timer_adds_up_also_when_the_stage_fails(monkeypatch):
    clock = iter([0.0, 1.0, 10.0, 12.0, 20.0, 24.0])
    monkeypatch.setattr(StageTimer, "_now", lambda self: next(clock))
    timer = StageTimer()
    for _ in range(2):
        with timer.stage("acoustic"):
            pass
    with pytest.raises(RuntimeError), timer.stage("vocoder"):
        raise RuntimeError
    assert timer.seconds == {"acoustic": 3.0, "vocoder": 4.0}


def test_timer_waits_for_cuda_on_both_sides(monkeypatch):
    waits = []
    monkeypatch.setattr(torch.cuda, "synchronize", waits.append)
    with StageTimer("cuda:1").stage("acoustic"):
        assert waits == ["cuda:1"]
    assert waits == ["cuda:1", "cuda:1"]


def test_context_tells_the_threads_really_used():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert machine_context()["threads"] == 1
    finally:
        torch.set_num_threads(before)
    assert json.dumps(machine_context())


def test_table_shows_items_sums_and_states_both_ratios():
    report = Report({"load_seconds": 1.0}, [item(f"id{k}", 10.0, 1.0, warm=k > 0) for k in range(30)])
    text = io.StringIO()
    report.print_table(Console(file=text, width=160))
    assert "id19" in text.getvalue()
    assert "id20" not in text.getvalue()
    assert "... 10 more" in text.getvalue()
    row = next(line for line in text.getvalue().splitlines() if "all 30" in line)
    assert "0.1000" in row
    assert "10.0" in row
