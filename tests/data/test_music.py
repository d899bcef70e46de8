"""Arranged and rendered scores: which notes are played, what is held out, how a rendering goes on."""

from __future__ import annotations

import io
import json
import math
import random
import shutil

import mido
import music21
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audiogen.audio import write_audio
from audiogen.cli import OK, USAGE, main
from audiogen.data import arrangement, music, scores
from audiogen.data.arrangement import INSTRUMENTS, Passage, Style
from audiogen.data.scores import Note, Score
from audiogen.data.store import DataError, Ragged
from audiogen.data.waveforms import WaveformData

PIANO = INSTRUMENTS[0]
UPPER = (Note(0, 1, 60), Note(1, 1, 64), Note(2, 2, 67), Note(4, 4, 60))
LOWER = (Note(0, 4, 48), Note(4, 4, 43))
TINY = Score("tiny", (UPPER, LOWER), (0.0, 4.0), 0, "major", 120.0)


def played(midi):
    """(seconds, channel, pitch) of every note that starts, and the file's length in seconds."""
    file, now, notes = mido.MidiFile(file=io.BytesIO(midi)), 0.0, []
    for message in file:
        now += message.time
        if message.type == "note_on":
            notes.append((round(now, 3), message.channel, message.note))
    return sorted(notes), now


def style(**changes):
    choices = {
        "parts": (0, 1),
        "instruments": (PIANO, PIANO),
        "transposition": 0,
        "bpm": 120.0,
        "dynamics": "mf",
        "articulation": "legato",
        "swell": 0.0,
        "drums": False,
    }
    return Style(**{**choices, **changes})


@pytest.mark.parametrize(("transposition", "bpm"), [(0, 120.0), (-5, 60.0), (6, 90.0)])
def test_transposition_and_tempo_move_every_note_alike(transposition, bpm):
    """A quarter note lasts 60 / bpm seconds; an end is left for the last sounds."""
    midi = arrangement.to_midi(
        TINY, Passage(0, 8), style(transposition=transposition, bpm=bpm), random.Random(0)
    )
    notes, seconds = played(midi)
    expected = sorted(
        (n.start * 60 / bpm, c, n.pitch + transposition) for c, p in enumerate(TINY.parts) for n in p
    )
    assert [note[1:] for note in notes] == [note[1:] for note in expected]
    assert [note[0] for note in notes] == pytest.approx([note[0] for note in expected], abs=2e-3)
    assert seconds == pytest.approx(8 * 60 / bpm + arrangement.TAIL_S, abs=2e-3)


def test_a_passage_is_timed_from_its_start_and_ends_in_time():
    midi = arrangement.to_midi(TINY, Passage(4, 2), style(parts=(1,), instruments=(PIANO,)), random.Random(0))
    assert played(midi)[0] == [(0.0, 0, 43)]
    stops = [m for m in mido.MidiFile(file=io.BytesIO(midi)).tracks[1] if m.type == "note_off"]
    assert [m.time for m in stops] == [2 * arrangement.TICKS]  # cut short, where the score holds four


def test_articulation_and_dynamics_are_lengths_and_velocities():
    def last_note(**changes):
        midi = arrangement.to_midi(TINY, Passage(0, 8), style(**changes), random.Random(0))
        on, off = [m for m in mido.MidiFile(file=io.BytesIO(midi)).tracks[1] if m.type.startswith("note")][
            -2:
        ]
        return off.time, on.velocity

    assert last_note(articulation="staccato")[0] == 2 * arrangement.TICKS
    assert last_note()[0] == 4 * arrangement.TICKS
    assert last_note(dynamics="ff")[1] - last_note(dynamics="p")[1] == 108 - 46


def test_the_beat_has_kick_and_snare_in_turn_from_every_bar():
    """Two bars of three quarters: kick, snare, kick; and six hi-hats each."""
    notes = arrangement.drum_notes([3.0, 6.0], Passage(3.0, 6.0))
    drums = [(n.start, n.pitch) for n in notes if n.pitch != arrangement.HAT]
    kick, snare = arrangement.KICK, arrangement.SNARE
    assert drums == [(0, kick), (1, snare), (2, kick), (3, kick), (4, snare), (5, kick)]
    assert [n.start for n in notes if n.pitch == arrangement.HAT] == [i / 2 for i in range(12)]


@given(
    st.sampled_from(INSTRUMENTS),
    st.lists(st.integers(min_value=12, max_value=120), min_size=1, max_size=8),
)
def test_every_instrument_plays_in_its_range_and_the_same_pitch_classes(instrument, pitches):
    fitted = arrangement.fit_range(pitches, instrument)
    assert all(instrument.low <= pitch <= instrument.high for pitch in fitted)
    assert [p % 12 for p in fitted] == [p % 12 for p in pitches]
    if all(instrument.low <= pitch <= instrument.high for pitch in pitches):
        assert fitted == pitches


def test_the_instruments_are_different_general_midi_programs():
    programs = [instrument.program for instrument in INSTRUMENTS]
    assert len(set(programs)) == len(programs)
    assert all(0 <= program < 128 for program in programs)
    assert all(arrangement.of_families([f]) for f in (*arrangement.ALONE, *arrangement.TOGETHER, "bass"))


def test_an_arrangement_is_drawn_by_its_seed():
    first, facts = arrangement.arrange(TINY, random.Random("0/1"), 20)
    assert (first, facts) == arrangement.arrange(TINY, random.Random("0/1"), 20)
    assert len({arrangement.arrange(TINY, random.Random(f"0/{n}"), 20)[0] for n in range(20)}) == 20


def test_the_facts_of_an_arrangement_are_what_its_midi_plays():
    for seed in range(40):
        midi, facts = arrangement.arrange(TINY, random.Random(seed), 20)
        notes, seconds = played(midi)
        file = mido.MidiFile(file=io.BytesIO(midi))
        assert seconds <= 20.01
        assert -5 <= facts["transposition"] <= 6
        assert facts["key"] == f"{arrangement.KEYS[facts['transposition'] % 12]} major"
        tonic_triad = {(n + facts["transposition"]) % 12 for n in (0, 4, 7)}
        assert {pitch % 12 for _, channel, pitch in notes if channel != 9} <= tonic_triad
        names = {i.program: i.name for i in INSTRUMENTS}
        programs = [m.program for m in file if m.type == "program_change" and m.channel != 9]
        drums = ["drums"] if any(channel == 9 for _, channel, _ in notes) else []
        assert [names[p] for p in programs] + drums == facts["instruments"]
        assert 60e6 / next(m.tempo for m in file if m.type == "set_tempo") == pytest.approx(
            facts["tempo_bpm"], rel=1e-4
        )


def test_a_passage_starts_at_a_bar_and_is_heard():
    late = Score(
        "late", ((Note(40, 1, 60), Note(58, 6, 60)),), tuple(4.0 * n for n in range(16)), 0, "major", 60
    )
    starts = {arrangement.choose_passage(late, 8, random.Random(n)).start for n in range(50)}
    assert starts == {40.0, 56.0}  # half of it at most is silent before the first note
    assert arrangement.choose_passage(TINY, 100, random.Random(0)) == Passage(0, 8)  # all there is


def test_the_first_beat_is_counted_from_the_bar():
    """Bars of four from the second quarter on; passages that begin at a bar, half a beat after and before."""
    score = Score("late", ((Note(1, 1, 60),),), (0.0, 1.5, 5.5), 0, "major", 60)
    first = {start: arrangement.first_beat(score, Passage(start, 8)) for start in (1.5, 2.0, 5.25)}
    assert first == {1.5: 0.0, 2.0: 0.5, 5.25: 0.25}
    _, facts = arrangement.arrange(TINY, random.Random(0), 20)
    assert facts["about"]["first_beat_s"] == 0.0  # every bar begins with a beat


def test_a_stream_becomes_plain_notes():
    """Ties join, grace notes and chord symbols are left out, chords are notes, a clarinet sounds lower."""
    clarinet = music21.converter.parse("tinynotation: 4/4 c'2 d'2~ d'4 e'2.")
    clarinet.insert(0, music21.instrument.Clarinet())
    chords = music21.stream.Part()
    chords.insert(0, music21.harmony.ChordSymbol("Am"))
    chords.append(music21.note.Note("C3").getGrace())
    chords.append(music21.chord.Chord(["C3", "G3"], quarterLength=8))
    score = music21.stream.Score([clarinet, chords])
    score.atSoundingPitch = clarinet.atSoundingPitch = False  # as read from MusicXML
    score.insert(0, music21.tempo.MetronomeMark(referent="half", number=30))
    result = scores.from_stream("tiny", score)
    assert result.parts == (
        (Note(0, 2, 70), Note(2, 3, 72), Note(5, 3, 74)),
        (Note(0, 8, 48), Note(0, 8, 55)),
    )
    assert result.bars == (0, 4)
    assert result.bpm == 60
    assert result.end == 8
    assert result.opening == (2, 2)
    with pytest.raises(DataError, match="no notes"):
        scores.from_stream("empty", music21.stream.Score([music21.stream.Part()]))


def test_a_chorale_is_read_from_the_corpus():
    """BWV 66.6, in F sharp minor, has 4 parts of 36 quarters and begins with an upbeat."""
    score = scores.read_score("bach/bwv66.6")
    assert (len(score.parts), score.end, score.mode) == (4, 36, "minor")
    assert arrangement.KEYS[score.tonic] == "F#"
    assert score.bars[:3] == (0, 1, 5)
    with pytest.raises(DataError, match="no score 'bach/bwv0'"):
        scores.read_score("bach/bwv0")


def test_a_score_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "broken.xml").write_text("<score-partwise><part")
    monkeypatch.setattr(scores, "corpus_folder", lambda: tmp_path)
    with pytest.raises(DataError, match="could not read the score broken"):
        scores.read_score("broken")
    with pytest.raises(DataError, match="install music21 again"):
        scores.list_scores(0)


def test_only_free_scores_are_listed_works_and_chorales_in_turn():
    names = scores.list_scores(0)
    assert {name.partition("/")[0] for name in names[1::2]} == {"bach"}
    assert not {name.partition("/")[0] for name in names} & {
        "palestrina",
        "josquin",
        "essenFolksong",
        "demos",
    }
    assert "bach" not in {name.partition("/")[0] for name in names[::2]}
    assert scores.UNCLEAR.isdisjoint(names)
    assert len(set(names[1::2])) == len(names) // 2 > 300
    assert names == scores.list_scores(0) != scores.list_scores(1)


def test_more_minutes_keep_the_first_items():
    few, many = music.items_of(2, 0), music.items_of(30, 0)
    assert sorted(n for numbers in few.values() for n in numbers) == list(range(6))
    for name, numbers in few.items():
        assert many[name][: len(numbers)] == numbers


def test_a_piece_is_cut_faded_and_has_its_level():
    wav = music.finish(torch.sin(torch.arange(30 * 24000) / 7), -6)
    assert len(wav) == 20 * 24000
    assert 20 * math.log10(wav.abs().max()) == pytest.approx(-6, abs=0.01)
    assert wav[-1] == 0
    with pytest.raises(DataError, match="silence"):
        music.finish(torch.zeros(24000), -6)
    with pytest.raises(DataError, match="silence"):
        music.finish(torch.zeros(0), -6)


def test_all_settings_of_a_held_out_tune_are_held_out():
    facts = [{"score": f"s{n}", "opening": [n // 2, 1]} for n in range(20)]
    for seed in range(5):
        held = music.held_out_scores(facts, 0.05, seed)
        assert len(held) == 2
        assert len({int(name[1:]) // 2 for name in held}) == 1
    assert music.held_out_scores(facts, 0, 0) == set()
    assert len({frozenset(music.held_out_scores(facts, 0.05, seed)) for seed in range(20)}) > 3


def test_a_corpus_that_grows_keeps_its_split():
    facts = [{"score": f"s{n}", "opening": [n // 2, 1]} for n in range(40)]
    few = facts[:20]
    held = music.held_out_scores(few, 0.1, 3)
    lines = [{**item, "split": "test" if item["score"] in held else "train"} for item in few]
    assert music.held_out_scores(few, 0.5, 4, lines) == held
    more = music.held_out_scores(facts, 0.1, 3, lines)
    assert more & {item["score"] for item in few} == held
    assert len(more - held) == 4  # two of the twenty new scores, each with the other setting of its tune


@pytest.fixture
def fluidsynth(tmp_path, monkeypatch):
    """A program of that name that renders one recording, and a sound bank."""
    folder = tmp_path / "bin"
    folder.mkdir()
    wave = 0.3 * torch.sin(torch.arange(2 * 48000) / 20)
    write_audio(folder / "sound.wav", wave[None], 48000)
    program = folder / "fluidsynth"
    program.write_text(f'#!/bin/sh\necho "$@" >> {folder}/calls\ncp {folder}/sound.wav "$4"\n')
    program.chmod(0o755)
    (folder / "bank.sf2").touch()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def prepare(out, fluidsynth, *more):
    bank = fluidsynth / "bank.sf2"
    return main(
        ["prepare", "music", "--out", str(out), "--soundfont", str(bank), "--workers", "1", *map(str, more)]
    )


def calls(fluidsynth):
    return len((fluidsynth / "calls").read_text().splitlines())


@pytest.fixture
def few_scores(monkeypatch):
    monkeypatch.setattr(music, "list_scores", lambda seed: [f"bach/bwv{n}" for n in (253, 254, 255, 256)])


@pytest.mark.usefixtures("few_scores")
def test_no_held_out_score_is_heard_in_training(fluidsynth, tmp_path, capsys):
    assert prepare(tmp_path / "m", fluidsynth, "--minutes", 4, "--held-out", 0.3) == OK
    lines = [json.loads(line) for line in (tmp_path / "m" / "manifest.jsonl").read_text().splitlines()]
    assert len(lines) == calls(fluidsynth) == 12
    data = WaveformData(str(tmp_path / "m" / "audio.safetensors"), 24000)
    data.setup("fit")
    score = {line["id"]: line["score"] for line in lines}
    train, test = (
        {score[data.ids[i]] for i in items} for items in (data.training_items, data.validation_items)
    )
    assert len(test) == 1
    assert len(train) == 3
    assert train.isdisjoint(test)
    assert {line["score"] for line in lines if line["split"] == "test"} == test
    metadata = Ragged(tmp_path / "m" / "audio.safetensors").metadata
    assert "bank.sf2" in metadata["licence"]
    assert "Greentree" in metadata["attribution"]
    assert "12 pieces of 4 scores, 0.4 minutes, 1 scores held out" in capsys.readouterr().err
    for line in lines:
        peak = data.audio[data.ids.index(line["id"])].abs().max() / 32767
        assert 20 * math.log10(peak) == pytest.approx(line["level_db"], abs=0.01)
        assert line["seconds"] == 2


@pytest.mark.usefixtures("few_scores")
def test_more_minutes_keep_what_was_held_out(fluidsynth, tmp_path):
    def split(minutes, seed):
        assert (
            prepare(tmp_path / "m", fluidsynth, "--minutes", minutes, "--held-out", 0.4, "--seed", seed) == OK
        )
        lines = music.known_lines(tmp_path / "m" / "manifest.jsonl")
        return {line["score"]: line["split"] for line in lines}

    first = split(0.7, 0)
    both = split(4, 0)
    assert len(first) == 3
    assert len(both) == 4
    assert first.items() <= both.items()


@pytest.mark.usefixtures("few_scores")
def test_an_unfinished_rendering_goes_on(fluidsynth, tmp_path):
    out = tmp_path / "m"
    assert prepare(out, fluidsynth, "--minutes", 1) == OK
    manifest = (out / "manifest.jsonl").read_text()
    assert calls(fluidsynth) == 3
    (out / "renderings" / "0-00001.json").unlink()
    assert prepare(out, fluidsynth, "--minutes", 1) == OK
    assert calls(fluidsynth) == 4  # the missing one
    assert (out / "manifest.jsonl").read_text() == manifest
    shutil.copy(fluidsynth / "bank.sf2", fluidsynth / "other.sf2")
    assert prepare(out, fluidsynth, "--minutes", 1, "--soundfont", fluidsynth / "other.sf2") == OK
    assert calls(fluidsynth) == 7  # another bank sounds different


@pytest.mark.usefixtures("few_scores")
def test_a_failing_synthesiser_is_reported_with_the_score(fluidsynth, tmp_path, capsys):
    (fluidsynth / "fluidsynth").write_text('#!/bin/sh\necho "bad bank" >&2\nexit 1\n')
    assert prepare(tmp_path / "m", fluidsynth, "--minutes", 0.3) == USAGE
    assert "bach/bwv253 (item 0-00000): fluidsynth failed: bad bank" in capsys.readouterr().err
    assert list((tmp_path / "m" / "renderings").iterdir()) == []


def test_what_is_missing_is_named(fluidsynth, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"none\.sf2.*apt install fluid-soundfont-gm.*--soundfont"):
        music.synthesiser(tmp_path / "none.sf2")
    monkeypatch.setattr(scores, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install \"audiogen\[music\]\""):
        scores.list_scores(0)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="apt install fluidsynth fluid-soundfont-gm"):
        music.synthesiser(fluidsynth / "bank.sf2")


def test_the_default_banks_licence_is_told():
    assert music.terms(music.BANK)["licence"] == "scores: public domain; sounds: MIT"
    assert "Frank Wen" in music.terms(music.BANK)["attribution"]
