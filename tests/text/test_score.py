"""Songs: lyrics to syllables, notes to tokens, and phrases on the grid of frames."""

import json
import random

import pytest

from audiogen.text.lyrics import share_out
from audiogen.text.phonemes import format_ipa, parse_ipa
from audiogen.text.score import (
    CUT_S,
    LEAD_S,
    LONGEST_PHRASE_S,
    TRAIL_S,
    Note,
    Score,
    carrier,
    note_number,
    phrases,
    score_tokens,
)
from audiogen.text.score_file import read_score

RATE = 62.5
A = parse_ipa("ma")[0]


def ipa(text):
    return parse_ipa(text)[0]


def song(*notes):
    """A score of (MIDI or None, seconds[, phones]) with "ma" on every note; "~" is a slur."""
    made = []
    for midi, seconds, *phones in notes:
        slur = phones == ["~"]
        sounds = () if slur or midi is None else ipa(phones[0]) if phones else A
        made.append(Note(midi, seconds, sounds, slur))
    return Score(tuple(made))


def write(folder, notes, **more):
    path = folder / "song.json"
    path.write_text(json.dumps({"notes": notes, **more}), encoding="utf-8")
    return path


def symbols(score):
    return "".join(token.symbol for token in score_tokens(score))


@pytest.mark.parametrize(
    ("name", "midi"),
    [("C4", 60), ("c4", 60), ("A4", 69), ("C#4", 61), ("Db4", 61), ("B♭3", 58), ("C-1", 0), ("G9", 127)],
)
def test_pitch_names(name, midi):
    assert note_number(name) == midi


@pytest.mark.parametrize("name", ["", "H4", "C", "C#", "60", "C4x", "4C"])
def test_what_is_no_pitch(name):
    with pytest.raises(ValueError, match="no pitch; write C4"):
        note_number(name)


@pytest.mark.parametrize(
    ("phones", "held"),
    [
        ("stɑː", "ɑ"),  # the vowel
        ("laɪt", "a"),  # the first half of a diphthong
        ("bjuːti", "u"),  # the long vowel
        ("n̩", "n̩"),  # a syllabic consonant with its sign
        ("mɑ̃", "ɑ̃"),  # a nasal vowel with its sign
        ("ʃː", "ʃ"),  # a hiss
        ("hm", "m"),
    ],
)
def test_what_carries_a_note(phones, held):
    phones = ipa(phones)
    assert "".join(phone.symbol for phone in phones[slice(*carrier(phones))]) == "".join(
        phone.symbol for phone in ipa(held)
    )


@pytest.mark.parametrize(
    ("word", "count", "expected"),
    [
        ("twɪŋkəl", 2, ["twɪŋ", "kəl"]),
        ("hoʊli", 2, ["hoʊ", "li"]),
        ("faɪɚ", 2, ["faɪ", "ɚ"]),  # three vowels in a row are parted after the diphthong
        ("aɪdiə", 3, ["aɪ", "di", "ə"]),
        ("ˈhɛvən", 1, ["hɛvən"]),
        ("ˈɛvəɹi", 2, ["ɛvə", "ɹi"]),  # too many vowels: the weak one joins the syllable before
        ("lɪtl̩", 2, ["lɪ", "tl̩"]),
        ("stɑː", 3, ["stɑ", "", ""]),  # too few: the rest is a melisma
        ("hmm", 1, ["hmm"]),
        ("ɛkstɹə", 2, ["ɛks", "tɹə"]),
    ],
)
def test_a_word_is_shared_out_by_its_vowels(word, count, expected):
    shares = share_out(ipa(word), count)
    assert ["".join(p.symbol for p in share) for share in shares] == [
        "".join(p.symbol for p in ipa(text)) for text in expected
    ]
    assert sum(shares, ()) == ipa(word)


def test_tokens_of_a_syllable_on_two_notes():
    """The vowel is repeated; what comes before it has the first note, what follows it the last."""
    score = song((None, 0.2), (60, 0.5, "stɑːɹ"), (62, 0.25, "~"), (64, 1.0), (None, 0.1))
    found = [
        (t.symbol, t.note, t.seconds, t.slur, t.leads, t.word, bool(t.long)) for t in score_tokens(score)
    ]
    assert found == [
        (",", 0, 0.2, 0, True, -1, False),
        ("s", 60, 0.5, 0, False, 0, False),
        ("t", 60, 0.5, 0, False, 0, False),
        ("ɑ", 60, 0.5, 0, True, 0, True),
        ("ɑ", 62, 0.25, 1, True, 0, True),
        ("ɹ", 62, 0.25, 1, False, 0, False),
        ("m", 64, 1.0, 0, False, 1, False),
        ("a", 64, 1.0, 0, True, 1, False),
        (".", 0, 0.1, 0, True, -1, False),
    ]


def random_song(seed, count=300):
    rng = random.Random(seed)
    notes, sings = [], False
    for _ in range(count):
        kind = rng.random()
        if kind < 0.15:
            notes.append((None, rng.choice((0.05, 0.2, 0.29, 0.31, 0.8, 3.0)) * rng.uniform(0.99, 1.01)))
        else:
            slurs = ["~"] if kind < 0.3 and sings else []
            notes.append((rng.randint(50, 80), rng.uniform(0.03, 0.9), *slurs))
        sings = notes[-1][0] is not None
    return song((60, 0.1), *notes)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rate", [62.5, 24000 / 256])
def test_phrases_fill_the_song_without_drift(seed, rate):
    """Every leading token lies within half a frame of its note's time, even after minutes."""
    score = random_song(seed)
    times, at = [], 0.0
    for note in score.notes:
        if note.midi is not None:
            times.append(at)
        at += note.seconds
    found, start = [], 0
    for phrase in phrases(score, rate):
        leaders = [token for token in phrase.tokens if token.leads]
        assert len(phrase.bounds) == len(leaders) + 1 if phrase.words else phrase.bounds == ()
        found += [start + b for t, b in zip(leaders, phrase.bounds, strict=False) if t.note]
        silence = phrase.pause_s * rate
        assert silence == pytest.approx(round(silence))
        start += (phrase.bounds[-1] if phrase.bounds else 0) + round(silence)
    assert start == round(score.seconds * rate)
    assert len(found) == len(times)
    assert max(abs(frame - time * rate) for frame, time in zip(found, times, strict=True)) <= 0.5 + 1e-6


def test_phrases_hold_the_tokens_of_the_song():
    score = random_song(1)
    sung = [
        (t.symbol, t.note, t.slur, t.seconds) for p in phrases(score, RATE) for t in p.tokens if t.word >= 0
    ]
    assert sung == [(t.symbol, t.note, t.slur, t.seconds) for t in score_tokens(score) if t.word >= 0]


def test_a_long_rest_cuts_and_is_mostly_silence():
    before, first, second = phrases(song((None, 2.0), (60, 1.0), (None, 4.0), (60, 1.0), (None, 3.0)), 100)
    assert (before.words, before.tokens[0].leads, before.pause_s) == ((), False, 2 - LEAD_S)
    assert first.bounds == (0, 25, 125, 175)
    assert first.pause_s == 4 - TRAIL_S - LEAD_S
    assert second.bounds == first.bounds
    assert second.pause_s == 3 - TRAIL_S
    assert second.gap_s == 0  # no natural gap beside what the score says
    (whole,) = phrases(song((60, 1.0), (None, 0.9 * CUT_S), (60, 1.0)), 100)
    assert whole.pause_s == 0


def test_without_rests_a_phrase_is_cut_between_syllables():
    notes = [(60, 0.9), (62, 0.6, "~")] * 40  # a minute in one breath
    found = phrases(song(*notes), RATE)
    assert all(phrase.bounds[-1] <= LONGEST_PHRASE_S * RATE for phrase in found)
    assert all(phrase.bounds[-1] >= LONGEST_PHRASE_S * RATE / 3 for phrase in found)
    assert not any(phrase.tokens[0].slur for phrase in found)
    assert sum(phrase.bounds[-1] for phrase in found) == 60 * RATE


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Note(0, 1.0, A), "out of range; use MIDI 1 to 127"),
        (lambda: Note(60, 0.0, A), "more than 0"),
        (lambda: Note(60, 31.0, A), "at most 30 s"),
        (lambda: Note(None, 601.0), "a rest of 601 s"),
        (lambda: Note(None, 1.0, A), "a rest has neither phones"),
        (lambda: Note(60, 1.0), "needs phones"),
        (lambda: Note(60, 1.0, A, slur=True), "not both"),
        (lambda: song((None, 1.0)), "no note to sing"),
        (lambda: song((60, 0.05)), "at least 0.1 s"),
        (lambda: song((None, 1.0), (60, 1.0, "~")), "note 2 is slurred"),
        (lambda: song((120, 1.0)).transposed(8), "note 128"),
        (lambda: song((60, 1.0)).at_speed(5), "0.25 to 4"),
    ],
)
def test_what_cannot_be_sung(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_transposition_and_speed():
    score = song((None, 1.0), (60, 0.5), (62, 0.5, "~"))
    changed = score.transposed(-12).at_speed(2)
    assert [note.midi for note in changed.notes] == [None, 48, 50]
    assert changed.seconds == score.seconds / 2
    assert changed.transposed(12).at_speed(0.5) == score


def test_json(tmp_path):
    path = write(
        tmp_path,
        [
            {"midi": None, "beats": 1},
            {"midi": "C4", "seconds": 0.5, "lyric": "Twin-"},
            {"midi": 60, "beats": 2, "lyric": "kle,"},
            {"midi": "G4", "beats": 1, "phones": "s t ɑː"},
            {"midi": 65, "beats": 0.5, "slur": True},
        ],
        tempo=90,
    )
    score = read_score(path)
    assert [note.midi for note in score.notes] == [None, 60, 60, 67, 65]
    assert [note.seconds for note in score.notes] == pytest.approx([2 / 3, 0.5, 4 / 3, 2 / 3, 1 / 3])
    assert [format_ipa(note.phones) for note in score.notes] == ["", "twˈɪŋ", "kəl", "stɑː", ""]
    assert [note.slur for note in score.notes] == [False] * 4 + [True]
    assert (score.title, score.language) == ("song", "en-us")
    assert [word.text for phrase in phrases(score, RATE) for word in phrase.words] == ["Twinkle,", "stɑː"]


def test_the_language_of_a_score(tmp_path):
    notes = [{"midi": 60, "seconds": 1, "lyric": "jan"}]
    english, german, mandarin = (
        "".join(p.symbol for p in read_score(write(tmp_path, notes, **more), "en").notes[0].phones)
        for more in ({}, {"language": "de"}, {"language": "cmn"})
    )
    assert english.startswith("dʒ")
    assert german == "jɑn"
    with pytest.raises(ValueError, match="pinyin"):
        read_score(write(tmp_path, [{"midi": 60, "seconds": 1, "lyric": "qqq"}], language="zh"))
    assert mandarin == "tɕan"


@pytest.mark.parametrize(
    ("notes", "message"),
    [
        ([{"seconds": 1}], 'note 1 has no "midi"'),
        ([{"midi": "H4", "seconds": 1, "lyric": "a"}], "note 1: 'H4' is no pitch"),
        ([{"midi": 60, "lyric": "a"}], 'note 1 needs either "seconds" or "beats"'),
        ([{"midi": 60, "seconds": 1, "beats": 1, "lyric": "a"}], "either"),
        ([{"midi": 60, "seconds": "1", "lyric": "a"}], "a number"),
        ([{"midi": 60, "seconds": 1}], "note 1 has nothing to sing"),
        ([{"midi": None, "seconds": 1, "lyric": "a"}], "note 1 is a rest"),
        ([{"midi": 60, "seconds": 1, "lyrics": "a"}], "note 1 has no 'lyrics'; it has beats, lyric"),
        ([{"midi": 60, "seconds": 1, "phones": "s t 7é!"}], "not IPA"),
        ([{"midi": 60, "seconds": 1, "slur": True}], "note 1: a note without a lyric begins the song"),
        ([{"midi": 60, "seconds": 1, "lyric": "a", "slur": True}], "note 1: a slurred note"),
        ([{"midi": 200, "seconds": 1, "lyric": "a"}], "note 1: note 200 is out of range"),
        ([{"midi": 60, "seconds": 99, "lyric": "a"}], "note 1: a note of 99 s"),
        ({"a": 1}, '"notes", a list'),
        ([], "no note to sing"),
    ],
)
def test_faults_of_json_name_the_note(tmp_path, notes, message):
    with pytest.raises(ValueError, match=message) as error:
        read_score(write(tmp_path, notes))
    assert "song.json" in str(error.value)


def test_files_that_are_no_score(tmp_path):
    with pytest.raises(ValueError, match=r"no score; use one of \.json, \.musicxml"):
        read_score(tmp_path / "song.mid")
    with pytest.raises(FileNotFoundError, match=r"no score at .*none\.json"):
        read_score(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ValueError, match="no JSON"):
        read_score(tmp_path / "bad.json")


def test_a_vowel_goes_on_after_a_rest(tmp_path):
    """A note without a lyric after a rest sings the vowel before the rest once more."""
    notes = [
        {"midi": 60, "seconds": 1, "lyric": "lo"},
        {"midi": None, "seconds": 1},
        {"midi": 62, "seconds": 1, "slur": True},
    ]
    score = read_score(write(tmp_path, notes))
    assert not score.notes[2].slur
    assert symbols(Score(score.notes[2:])) == "o"  # of oʊ


def test_several_words_on_a_note(tmp_path):
    """Where words share a note, as in Italian song, their phones follow one another."""
    notes = [{"midi": 60, "seconds": 1, "lyric": "mi-"}, {"midi": 60, "seconds": 1, "lyric": "a e"}]
    score = read_score(write(tmp_path, notes, language="it"))
    assert symbols(score) == "mia" + "e"
    assert score.notes[1].phones[0].symbol == "a"
