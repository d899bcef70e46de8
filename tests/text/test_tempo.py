"""Tempi in words."""

import pytest

from audiogen.data.captions import TEMPI, below
from audiogen.text.tempo import TEMPOS, TYPICAL, told_bpm


@pytest.mark.parametrize(
    ("caption", "bpm"),
    [
        ("calm music for solo piano in C major, slow, 71 bpm, soft", 71),
        ("brass at 128.5 BPM", 128.5),
        ("Very slow string ensemble", TYPICAL["very slow"]),
        ("slow solo choir in D minor", TYPICAL["slow"]),
        ("flute, very quick", TYPICAL["very fast"]),
        ("up-tempo guitar", TYPICAL["fast"]),
        ("played at a moderate tempo", TYPICAL["mid-tempo"]),
        ("a breakfast of slowness in C major", None),
        ("solo piano", None),
        ("piano at 5000 bpm", None),
    ],
)
def test_what_a_caption_asks_for(caption, bpm):
    assert told_bpm(caption) == bpm


def test_what_is_typical_of_words_is_called_so():
    assert {name: below(bpm, TEMPI) for name, bpm in TYPICAL.items()} == {name: name for name in TEMPOS}
    for name, wordings in TEMPOS.items():
        assert {told_bpm(words) for words in wordings} == {TYPICAL[name]}
