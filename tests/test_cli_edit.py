"""`audiogen edit` on a tiny system of random weights, and the files that it reads."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from fake_music import music_system, register

from audiogen import hub
from audiogen.cli import OK, USAGE, edit_run, main
from audiogen.controls import Note
from audiogen.controls.requests import parse_seconds, parse_span, read_curve, read_melody, read_moments
from audiogen.systems.ditto import steer

RATE = 24000
WINDOW = 4 * 12 * 128 / RATE  # seconds


@pytest.fixture(autouse=True)
def system(tmp_path, monkeypatch):
    """An empty folder with a model, a curve, a tune and a recording."""
    register(monkeypatch)
    monkeypatch.chdir(tmp_path)
    made = music_system()
    hub.save(made, "m.safetensors")
    Path("curve.csv").write_text("second,dB\n# a swell\n0,-40\n0.2,-20\n")
    write_midi("tune.mid", [(67, 0.1), (None, 0.05), (72, 0.1)])
    generator = torch.Generator().manual_seed(0)
    soundfile.write("song.wav", (0.2 * torch.rand(round(WINDOW * RATE), generator=generator)).numpy(), RATE)
    return made


def write_midi(path, notes):
    """Pitches or rests, and their seconds, as a file of one track."""
    import mido

    file, track = mido.MidiFile(), mido.MidiTrack()
    file.tracks.append(track)
    track.append(mido.MetaMessage("set_tempo", tempo=500000))
    waited = 0
    for pitch, seconds in notes:
        ticks = round(seconds * 960)
        if pitch is None:
            waited += ticks
            continue
        track.append(mido.Message("note_on", note=pitch, velocity=80, time=waited))
        track.append(mido.Message("note_off", note=pitch, velocity=0, time=ticks))
        waited = 0
    file.save(path)


def write_tone(path):
    """An A of half a second."""
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE // 2) / RATE), RATE)


def edit(*words, steps=4):
    fixed = ("--model", "m.safetensors", "--device", "cpu", "--threads", 1, "--search-steps", steps)
    return main(["edit", *map(str, (*words, *fixed))])


def read(path):
    return soundfile.read(path, dtype="float32")[0]


def report():
    return json.loads(Path("r.json").read_text())


def names():
    return [control["name"] for control in report()["items"][0]["controls"]]


def test_a_curve_and_a_tune_are_followed_and_told_of(system, capsys):
    words = ("slow piano", "--intensity", "curve.csv", "--melody", "tune.mid", "--lr", 0.2, "-o", "a.wav")
    assert edit(*words, "--report", "r.json", "--unsteered", "plain.wav", steps=8) == OK
    assert len(read("a.wav")) == len(read("plain.wav")) == round(WINDOW * RATE)
    assert not np.array_equal(read("a.wav"), read("plain.wav"))
    (item,) = report()["items"]
    assert names() == ["intensity", "melody"]
    assert item["search"]["stopped"] == "steps"
    assert min(item["search"]["losses"]) < item["search"]["losses"][0]
    assert len(item["search"]["losses"]) == 8
    assert item["stages"]["steer"] > 0
    assert report()["context"]["method"] == "ditto2"
    told = capsys.readouterr().err
    assert "before" in told
    assert "dB^2" in told
    assert "not distilled" in told


def test_every_wish_reaches_its_control():
    write_tone("tone.wav")
    words = (
        "piano",
        "--dynamics",
        "curve.csv",
        "--structure",
        "AB",
        "--tempo",
        200,
        "--tilt=-4",
        "--text",
        "flute",
        "--loop",
    )
    words += (
        "--overlap",
        "0.05s",
        "--match",
        "tone.wav",
        "--match-what",
        "timbre,intensity,dynamics,melody,structure",
    )
    Path("beats.csv").write_text("0.05\n0.15\n")
    assert edit(*words, "--onsets", "beats.csv", "-o", "a.wav", "--report", "r.json", steps=2) == OK
    assert names() == [
        "dynamics",
        "structure",
        "loop",
        "tempo",
        "onsets",
        "tilt",
        "text",
        "match",
        "intensity",
        "dynamics",
        "melody",
        "structure",
    ]
    assert len(read("a.wav")) == round((WINDOW - 0.05) * RATE)


def test_a_hole_in_a_recording_is_filled_and_the_rest_stays():
    assert edit("--source", "song.wav", "--inpaint", "0.1s:0.15s", "-o", "a.wav", "--report", "r.json") == OK
    song, made = read("song.wav"), read("a.wav")
    assert len(made) == len(song)
    assert np.abs(made[: round(0.06 * RATE)] - song[: round(0.06 * RATE)]).max() < 1e-4
    assert np.abs(made[round(0.2 * RATE) :] - song[round(0.2 * RATE) :]).max() < 1e-4
    assert np.abs(made - song)[round(0.1 * RATE) : round(0.15 * RATE)].max() > 1e-2
    assert names() == ["inpaint"]


def test_music_goes_on_and_a_recording_is_changed():
    assert edit("piano", "--continue", "song.wav", "--overlap", "0.1", "-o", "a.wav") == OK
    assert len(read("a.wav")) == round((2 * WINDOW - 0.1) * RATE)
    assert np.abs(read("a.wav")[:5000] - read("song.wav")[:5000]).max() < 1e-4
    assert edit("--source", "song.wav", "--tilt=-3", "--inversion-steps", 4, "-o", "b.wav") == OK
    assert len(read("b.wav")) == len(read("song.wav"))


def test_options_of_the_search_reach_it(monkeypatch):
    seen = []

    def spy(system, prompt, controls, options, **more):
        seen.append((options, controls))
        return steer(system, prompt, controls, options, **more)

    monkeypatch.setattr(edit_run, "steer", spy)
    words = ("--budget", "90s", "--restarts", 2, "--decode-steps", 2, "--surrogate", 2, "--polish", 1)
    words += ("--lr", 0.1, "--no-shell", "--early-stop", "--seed", 9, "--guidance", 1, "--seconds", 0.1)
    words += ("--ignore", "0:0.05", "--weight", "tilt=3", "-q")
    assert edit("piano", "--tilt=-4", *words, "-o", "a.wav", steps=2) == OK
    options, (tilt,) = seen[0]
    assert (options.budget_s, options.restarts, options.decode_steps, options.surrogate) == (90.0, 2, 2, 2)
    assert (options.polish, options.lr, options.shell, options.early_stop) == (1, 0.1, False, True)
    assert (options.seed, options.guidance, options.seconds, options.steps) == (9, 1.0, 0.1, 2)
    assert (tilt.weight, tilt.ignore) == (3.0, ((0.0, 0.05),))
    assert len(read("a.wav")) == round(0.1 * RATE)
    more = ("--baseline", "ditto1", "--baseline-steps", 2, "--memory", "reversible", "--seconds", 0.1)
    assert edit("piano", "--tilt=-4", *more, "-q", "-o", "b.wav", steps=2) == OK
    options = seen[1][0]
    assert (options.method, options.baseline_steps, options.memory) == ("ditto1", 2, "reversible")


def test_an_interruption_keeps_the_best_so_far(monkeypatch):
    """Ctrl-C in the third step."""

    def spy(*args, progress, **more):
        def watch(now):
            progress(now)
            if now.step == 3:
                os.kill(os.getpid(), signal.SIGINT)

        return steer(*args, progress=watch, **more)

    monkeypatch.setattr(edit_run, "steer", spy)
    before = signal.getsignal(signal.SIGINT)
    assert edit("piano", "--tilt=-4", "-o", "a.wav", "--report", "r.json", steps=50) == OK
    (item,) = report()["items"]
    assert item["search"]["stopped"] == "cancelled"
    assert item["search"]["steps"] == 3
    assert len(read("a.wav")) > 0
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("piano",), "nothing is wished for"),
        (("--tilt=-4",), "described by nothing"),
        (("piano", "--inpaint", "1:2"), "give it with --source"),
        (("piano", "--continue", "song.wav", "--loop"), "leave out --source and --loop"),
        (("piano", "--tilt=-4", "--ignore", "5s"), "not START:END"),
        (("piano", "--tilt=-4", "--budget", "soon"), "--budget 'soon' is no positive number"),
        (("piano", "--tilt=-4", "--weight", "tilt"), "not WISH=FACTOR"),
        (("piano", "--tilt=-4", "--weight", "melody=2"), "weighs nothing"),
        (("piano", "--structure", "A"), "two letters"),
        (("piano", "--tempo", "1000"), "30 to 300"),
        (("piano", "--match", "song.wav", "--match-what", "colour"), "use timbre, intensity"),
        (("piano", "--intensity", "none.csv"), "none.csv"),
        (("piano", "--melody", "curve.csv"), "no MIDI file"),
        (("piano", "--tilt=-4", "--seconds", "60"), "0.26 s or less"),
        (("piano", "--tilt=-4", "--baseline", "doodl"), "use ditto2 or ditto1"),
        (("piano", "--tilt=-4", "--restarts", "0"), "restarts must be 1"),
    ],
)
def test_faults_are_named_and_leave_no_file(words, message, capsys):
    assert edit(*words, "-o", "a.wav") == USAGE
    assert message in capsys.readouterr().err
    assert not Path("a.wav").exists()


def test_curves_are_read_as_they_are_written():
    Path("c.csv").write_text("time, level\n0, -30\n\n1.5,\n# loud\n2,-12.5\n")
    assert read_curve("c.csv") == [(0.0, -30.0), (1.5, None), (2.0, -12.5)]
    for text, message in (("0,-3\n1;2\n", "line 2: '1;2' is no point"), ("second,dB\n", "holds no points")):
        Path("c.csv").write_text(text)
        with pytest.raises(ValueError, match=message):
            read_curve("c.csv")
    Path("c.csv").write_text("seconds\n0.5,x\n1\n")
    assert read_moments("c.csv") == [0.5, 1.0]
    Path("c.csv").write_text("0.5\nlater\n")
    with pytest.raises(ValueError, match="line 2: 'later' is no second"):
        read_moments("c.csv")
    Path("c.csv").write_text("\n")
    with pytest.raises(ValueError, match="no moments"):
        read_moments("c.csv")


def test_a_tune_is_read_in_seconds():
    found = read_melody("tune.mid")
    assert [note.pitch for note in found] == [67, 72]
    expected = [Note(0, 0.1, 67), Note(0.15, 0.25, 72)]
    for note, wanted in zip(found, expected, strict=True):
        assert note == pytest.approx(wanted, abs=2e-3)
    write_midi("empty.mid", [])
    with pytest.raises(ValueError, match="no notes"):
        read_melody("empty.mid")


def test_seconds_and_spans():
    assert parse_span("4s:6.5s") == parse_span("4:6.5") == (4.0, 6.5)
    assert parse_seconds("10s", "it") == parse_seconds("10", "it") == 10.0
    for text in ("6:4", "4", "a:b", "-1:2"):
        with pytest.raises(ValueError, match="START:END"):
            parse_span(text)
    with pytest.raises(ValueError, match="it '0s'"):
        parse_seconds("0s", "it")
