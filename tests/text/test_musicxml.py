"""MusicXML: by hand what a page of music means, and music21's files as it understands them itself."""

import random
import zipfile

import pytest

from audiogen.text.musicxml import read_musicxml
from audiogen.text.score_file import read_score


def page(*measures, before="", root="score-partwise"):
    parts = "".join(f'<measure number="{k}">{text}</measure>' for k, text in enumerate(measures, 1))
    return (
        f'<?xml version="1.0"?><!DOCTYPE {root} PUBLIC "-//Recordare//DTD MusicXML 4.0 Partwise//EN" '
        f'"http://www.musicxml.org/dtds/partwise.dtd"><{root} version="4.0">{before}'
        f'<part id="P2">{parts}</part></{root}>'
    )


def note(pitch, duration, lyric="", syllabic="single", more="", tail="", voice=1):
    """A note such as "C#4", or a rest for ""."""
    step = f"<step>{pitch[:1]}</step>"
    alter = f"<alter>{pitch.count('#') - pitch.count('b')}</alter>" if len(pitch) > 2 else ""
    what = f"<pitch>{step}{alter}<octave>{pitch[-1:]}</octave></pitch>" if pitch else "<rest/>"
    sung = f"<lyric><syllabic>{syllabic}</syllabic><text>{lyric}</text></lyric>" if lyric else ""
    return f"<note>{more}{what}<duration>{duration}</duration>{tail}<voice>{voice}</voice>{sung}</note>"


def tempo(value):
    return f'<direction><sound tempo="{value}"/></direction>'


DIVISIONS = "<attributes><divisions>4</divisions></attributes>"


@pytest.fixture
def read(tmp_path):
    """Text -> [(MIDI, seconds, lyric)] and the language."""

    def reader(text, name="song.musicxml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        written, language = read_musicxml(tmp_path / name)
        return [(n.midi, round(n.seconds, 6), n.lyric) for n in written], language

    return reader


def test_a_page(read):
    """Divisions, a change of tempo, a tie over the bar, a melisma, rests and syllables."""
    first = (
        DIVISIONS + tempo(60) + note("C4", 4, "Glo", "begin") + note("D4", 2) + note("Eb4", 6, "ri", "middle")
    )
    second = note("F#4", 4, "a", "end", tail='<tie type="start"/>') + note("", 8) + note("G3", 4, "A-men")
    third = tempo(120) + note("A4", 4, "Tied", tail='<tie type="start"/>')
    fourth = note("A4", 8, tail='<tie type="stop"/><tie type="start"/>')
    fifth = note("A4", 4, tail='<tie type="stop"/>') + note("A4", 4, "not")
    found, language = read(page(first, second, third, fourth, fifth))
    assert found == [
        (60, 1.0, "Glo-"),
        (62, 0.5, ""),
        (63, 1.5, "ri-"),
        (66, 1.0, "a"),
        (None, 2.0, ""),
        (55, 1.0, "A-men"),
        (69, 2.0, "Tied"),
        (69, 0.5, "not"),
    ]
    assert language is None


def test_the_tempo_changes_within_a_note(read):
    """Half a note at 60, half at 120: the change stands in another voice's time."""
    text = (
        DIVISIONS
        + tempo(60)
        + note("C4", 8, "long")
        + "<backup><duration>4</duration></backup>"
        + tempo(120)
        + "<forward><duration>4</duration></forward>"
    )
    assert read(page(text))[0] == [(60, 1.5, "long")]


def test_one_voice_of_one_part(read):
    """Voices below, accompaniment, chords, grace and cue notes are not sung; gaps of the voice are rests."""
    grace = "<note><grace/><pitch><step>B</step><octave>4</octave></pitch><voice>1</voice></note>"
    chord = note("E4", 4, more="<chord/>")
    cue = note("B4", 4, more="<cue/>")
    text = (
        DIVISIONS
        + note("C4", 4, "one")
        + chord
        + grace
        + "<forward><duration>4</duration></forward>"
        + note("D4", 4, "two")
        + cue
        + "<backup><duration>16</duration></backup>"
        + note("C3", 16, "low", voice=2)
    )
    piano = '<part id="P1"><measure number="1">' + tempo(60) + note("C2", 4) + "</measure></part>"
    found, _ = read(page(text, note("E4", 4, "three"), before=piano))
    assert found == [
        (60, 1.0, "one"),
        (None, 1.0, ""),
        (62, 1.0, "two"),
        (None, 1.0, ""),
        (64, 1.0, "three"),
    ]


def test_transposing_parts_verses_elisions_and_language(read):
    attributes = (
        "<attributes><divisions>1</divisions><transpose><chromatic>-2</chromatic>"
        "<octave-change>-1</octave-change></transpose></attributes>"
    )
    verses = (
        '<note><pitch><step>D</step><octave>5</octave></pitch><duration>1</duration><lyric number="2">'
        '<text>second</text></lyric><lyric number="1" xml:lang="it"><syllabic>end</syllabic><text>ri</text>'
        "<elision>‿</elision><syllabic>begin</syllabic><text>a</text></lyric></note>"
    )
    assert read(page(attributes + verses)) == ([(60, 0.5, "ri a-")], "it")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<score-partwise>", "no MusicXML"),
        (page(note("C4", 4, "a"), root="score-timewise"), "export it as score-partwise"),
        (page(note("C4", 4)), "no part has lyrics"),
        (page(note("C4", 4, "a"), note("X4", 4, "b")), "measure 2: pitch 'X' is none of C, D"),
        (
            page("<note><unpitched/><duration>1</duration><lyric><text>a</text></lyric></note>"),
            "measure 1: a",
        ),
        (page(note("C4", "x", "a")), "measure 1: "),
        (page(DIVISIONS.replace("4", "0") + note("C4", 4, "a")), "measure 1: "),
        (page(tempo(0) + note("C4", 4, "a")), "measure 1: tempo 0 is not above 0"),
        (
            page(
                note("C4", 4, "a"),
                note("C4", 4, "b") + "<backup><duration>2</duration></backup>" + note("C4", 4),
            ),
            "measure 2: two notes",
        ),
    ],
)
def test_faults_name_the_measure(read, text, message):
    with pytest.raises(ValueError, match=message):
        read(text)


def test_faults_of_lyrics_name_the_measure(tmp_path):
    path = tmp_path / "song.xml"
    path.write_text(page(note("", 4), note("C4", 4) + note("C4", 4, "a")), encoding="utf-8")
    with pytest.raises(ValueError, match=r"song\.xml: measure 2: a note without a lyric begins the song"):
        read_score(path)
    path.write_text(page(note("C4", 400, "a")), encoding="utf-8")
    with pytest.raises(ValueError, match="measure 1: a note of 200 s"):
        read_score(path)


def test_compressed_files(read, tmp_path):
    plain = read(page(note("C4", 4, "a")))[0]
    container = '<container><rootfiles><rootfile full-path="inner/a.musicxml"/></rootfiles></container>'
    with zipfile.ZipFile(tmp_path / "song.mxl", "w") as archive:
        archive.writestr("META-INF/container.xml", container)
        archive.writestr("inner/a.musicxml", page(note("C4", 4, "a")))
    written, _ = read_musicxml(tmp_path / "song.mxl")
    assert [(n.midi, n.seconds, n.lyric) for n in written] == plain
    with zipfile.ZipFile(tmp_path / "bad.mxl", "w") as archive:
        archive.writestr("META-INF/container.xml", container)
    with pytest.raises(ValueError, match="no 'inner/a.musicxml' in this compressed score"):
        read_musicxml(tmp_path / "bad.mxl")


def rests_joined(notes):
    """(MIDI, seconds) with neighbouring rests as one, for a bar line parts them, and none at the end."""
    joined = []
    for midi, seconds in notes:
        if midi is None and joined and joined[-1][0] is None:
            joined[-1] = (None, joined[-1][1] + seconds)
        else:
            joined.append((midi, seconds))
    return joined[:-1] if joined[-1][0] is None else joined


def test_music21_agrees(tmp_path):
    """A random song with changes of tempo: pitches, times and syllables as music21 has them."""
    import music21

    rng = random.Random(0)
    part, expected = music21.stream.Part(), []
    seconds_a_quarter = 0.5
    for number in range(40):
        if number % 10 == 0:
            bpm = rng.choice((72, 90, 132))
            part.append(music21.tempo.MetronomeMark(number=bpm))
            seconds_a_quarter = 60 / bpm
        length = rng.choice((0.25, 0.5, 1.0, 1.5, 3.0, 5.0))
        if number and rng.random() < 0.2:
            part.append(music21.note.Rest(quarterLength=length))
            expected.append((None, length * seconds_a_quarter))
            continue
        sung = music21.note.Note(rng.randint(50, 80), quarterLength=length)
        sung.lyric = "la"
        part.append(sung)
        expected.append((sung.pitch.midi, length * seconds_a_quarter))
    path = part.write("musicxml", tmp_path / "song.musicxml")
    found = read_score(path).notes
    ours, theirs = rests_joined((n.midi, n.seconds) for n in found), rests_joined(expected)
    assert [midi for midi, _ in ours] == [midi for midi, _ in theirs]
    assert [s for _, s in ours] == pytest.approx([s for _, s in theirs], abs=1e-6)
    assert {note.lyric for note in found if note.midi} == {"la"}
