"""The arithmetic of benchmarks/speed_stream.py, with voices whose times are known."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import speed_stream  # noqa: E402

from audiogen.audio import Audio  # noqa: E402
from audiogen.report import PlayOut  # noqa: E402
from audiogen.speech import Piece  # noqa: E402


def spoken(seconds, audio_seconds, first, gaps, underruns=0):
    return speed_stream.Spoken(seconds, audio_seconds, PlayOut(None, first, gaps, underruns))


def test_summary_takes_medians_over_runs_then_over_texts():
    laps = [
        [spoken(1.0, 4.0, 0.01, [0.1]), spoken(3.0, 6.0, 0.04, [0.1])],
        [spoken(1.0, 4.0, 0.02, [0.1]), spoken(2.0, 6.0, 0.05, [0.1], 1)],
        [spoken(9.0, 4.0, 0.90, [0.1]), spoken(1.0, 6.0, 0.06, [0.1])],
    ]
    row = speed_stream.summary(laps)
    assert row["first_chunk_ms"] == pytest.approx((20 + 50) / 2)
    assert row["chunk_p95_ms"] == pytest.approx(100)
    assert (row["underruns"], row["chunks"]) == (1, 12)
    assert (row["compute_seconds"], row["rtf"], row["rtfx"]) == (
        3.0,
        pytest.approx(0.3),
        pytest.approx(10 / 3),
    )


def test_race_takes_turns():
    calls = []

    class Voice:
        def stream(self, text):
            calls.append(f"stream {text}")
            return text

        def whole(self, text):
            calls.append(f"whole {text}")
            return text

    laps = speed_stream.race(Voice(), ["a", "b"], 2)
    assert laps == {"stream": [["a", "b"]] * 2, "whole": [["a", "b"]] * 2}
    assert calls == [
        *("stream a", "whole a", "whole b", "stream b"),
        *("whole a", "stream a", "stream b", "whole b"),
    ]


def test_listening_sums_the_audio_and_raises_an_error():
    pieces = [Piece(0, Audio(torch.zeros(1, 8000), 16000), False) for _ in range(3)]
    heard = speed_stream.listen(pieces)
    assert heard.audio_seconds == pytest.approx(1.5)
    assert len(heard.play_out.gaps) == 2
    with pytest.raises(ValueError, match="lost"):
        speed_stream.listen([*pieces, Piece(0, None, True, ValueError("lost"))])
