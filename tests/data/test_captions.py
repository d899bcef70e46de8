"""Captions tell what the MIDI plays, and nothing else."""

import random

import pytest

from audiogen.data import arrangement, captions
from audiogen.data.arrangement import ANY, CAPTIONED, INSTRUMENTS
from audiogen.data.scores import Note, Score
from audiogen.text.keys import PROFILES, best_key, correlation, spoken

SCALE = (0, 2, 4, 5, 7, 9, 11, 12, 7, 4, 0)
MELODY = tuple(Note(float(n), 1.0, 60 + step) for n, step in enumerate(SCALE))
BASS = (Note(0, 4, 48), Note(4, 4, 43), Note(8, 3, 48))
TUNE = Score("tune", (MELODY, BASS), (0.0, 4.0, 8.0), 0, "major", 100.0)


def facts(names=("acoustic grand piano",), families=("piano",), notes=MELODY, bpm=60.0, **more):
    chosen = {"seconds": 11.0, "dynamics": "p", "articulation": "legato", **more}
    return captions.facts_of(names, families, notes, bpm, **chosen)


@pytest.mark.parametrize("tonic", range(12))
@pytest.mark.parametrize("mode", PROFILES)
def test_a_profile_is_its_own_key(tonic, mode):
    assert best_key([PROFILES[mode][(k - tonic) % 12] for k in range(12)]) == (tonic, mode)


def test_keys_in_words():
    assert [spoken(t, "minor") for t in (0, 1, 6, 10)] == [
        "C minor",
        "D flat minor",
        "F sharp minor",
        "B flat minor",
    ]
    assert correlation([1, 2, 3], [2, 4, 6]) == pytest.approx(1)
    assert correlation([1, 1, 1], [2, 4, 6]) == 0
    with pytest.raises(ValueError, match="3 weights"):
        best_key([1, 2, 3])


def test_facts_of_a_scale_on_the_piano():
    found = facts()
    assert (found["family"], found["key"], found["mode"], found["tonic"]) == ("piano", "C major", "major", 0)
    assert (found["tempo"], found["loudness"], found["density"]) == ("very slow", "soft", "sparse")
    assert found["notes_per_s"] == 1.0
    assert set(found["moods"]) == set(captions.MOODS[("major", "slow", False)])


@pytest.mark.parametrize(
    ("bpm", "word"), [(65, "very slow"), (66, "slow"), (100, "mid-tempo"), (120, "fast"), (180, "very fast")]
)
def test_a_tempo_has_a_word(bpm, word):
    assert facts(bpm=bpm)["tempo"] == word


def test_moods_are_told_for_every_mode_pace_and_loudness():
    for pace in ("slow", "mid-tempo", "fast"):
        for mode in PROFILES:
            for loud in (False, True):
                assert len(captions.MOODS[(mode, pace, loud)]) == 3
    words = [word for moods in captions.MOODS.values() for word in moods]
    assert len(set(words)) == len(words)  # a word says what key and tempo it stands for


def test_players_are_called_as_one_would():
    def players(names, families):
        found = facts(names, families)
        return {captions.players_of(found, random.Random(n)) for n in range(30)}

    assert players(["acoustic guitar (nylon)"] * 3, ["guitar"] * 3) == {"solo guitar", "solo acoustic guitar"}
    assert players(["violin", "cello"], ["strings", "strings"]) == {"string ensemble"}
    assert players(["flute", "oboe"], ["pipe", "reed"]) == {"woodwind ensemble"}
    assert players(["flute", "cello", "drums"], ["pipe", "strings", "drums"]) == {"flute, cello and drums"}
    assert facts(["flute", "cello"], ["pipe", "strings"])["family"] == captions.MIXED
    assert players(["lead 1 (square)", "lead 2 (sawtooth)"], ["synth"] * 2) == {"synth ensemble"}


def test_captions_say_the_facts_in_different_words():
    found = facts(bpm=72.4)
    lines = captions.captions_of(found, random.Random(0))
    assert len(set(lines)) == 4
    assert lines[0] in ("slow solo piano in C major", "slow solo acoustic grand piano in C major")
    assert all("piano" in line for line in lines)
    assert lines == captions.captions_of(found, random.Random(0))


def test_every_instrument_has_a_family_that_is_told():
    assert {i.family for i in INSTRUMENTS} <= set(captions.FAMILIES)


def test_a_taste_for_one_family_gives_each_as_often_without_drums():
    drawn = [
        arrangement.arrange(TUNE, random.Random(n), 20, CAPTIONED)[1]["about"]["family"] for n in range(400)
    ]
    families = {name for name in drawn if name != captions.MIXED}
    assert len(families) >= 10
    counts = [drawn.count(name) for name in sorted(families) if name != "bass"]
    assert min(counts) > 0.3 * max(counts)
    free = [arrangement.arrange(TUNE, random.Random(n), 20, ANY)[1]["about"]["family"] for n in range(200)]
    assert free.count(captions.MIXED) > 2 * drawn.count(captions.MIXED) / 2 > 0


def test_the_key_that_is_told_is_that_of_what_sounds():
    for seed in range(12):
        _, found = arrangement.arrange(TUNE, random.Random(seed), 20, CAPTIONED)
        about = found["about"]
        if found["ensemble"] != "solo":
            assert (about["tonic"], about["mode"]) == (found["transposition"] % 12, "major")
        assert about["bpm"] == found["tempo_bpm"]
        assert about["instruments"] == list(dict.fromkeys(found["instruments"]))
