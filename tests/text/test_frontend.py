import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from audiogen.text.frontend import MAX_SPOKEN, NothingToSay, TextFrontEnd, Token
from audiogen.text.phonemes import UnknownLanguage
from audiogen.text.symbols import IDS, MARKS, SYMBOLS


@pytest.fixture(scope="module")
def front_end():
    return TextFrontEnd("en-us")


def written(sentence):
    return "".join(token.symbol for token in sentence.tokens)


def spoken(sentences):
    return [[word.text for word in sentence.words] for sentence in sentences]


def test_known_answer(front_end):
    (sentence,) = front_end("Hello, world")
    assert sentence.tokens == (
        Token("h", 0, 0, 0),
        Token("ə", 0, 0, 0),
        Token("l", 0, 0, 0),
        Token("o", 2, 0, 0),
        Token("ʊ", 2, 0, 0),
        Token(",", 0, 0, -1),
        Token("w", 0, 0, 1),
        Token("ɜ", 2, 1, 1),
        Token("l", 0, 0, 1),
        Token("d", 0, 0, 1),
        Token(".", 0, 0, -1),
    )
    assert [SYMBOLS[i] for i in sentence.ids()] == [token.symbol for token in sentence.tokens]
    assert sentence.stresses() == [0, 0, 0, 2, 2, 0, 0, 2, 0, 0, 0]
    assert sentence.longs() == [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]
    assert sentence.word_phones() == ["həlˈoʊ", "wˈɜːld"]


def test_a_boundary_or_a_mark_stands_between_words_and_a_mark_at_the_end(front_end):
    for text in ["one two", "one, two", "one (two) three!", 'so: "yes" - no', "wait... what?!", "a -- b,"]:
        for sentence in front_end(text):
            between = [token for token in sentence.tokens if token.word < 0]
            assert len(between) == len(sentence.words)
            assert between[-1].symbol in MARKS
            assert all(token.symbol == " " or token.symbol in MARKS for token in between)
            assert [token.word for token in sentence.tokens if token.word >= 0] == sorted(
                token.word for token in sentence.tokens if token.word >= 0
            )


def test_of_neighbouring_marks_the_strongest_stays(front_end):
    assert written(front_end("no?!")[0]).endswith("?")
    assert "—" in written(front_end("go, -- now")[0])
    assert written(front_end("(yes).")[0]).endswith(".")


def test_words_know_their_place_in_the_whole_text(front_end):
    text = "First one. It costs $5 — “really”?"
    for sentence in front_end(text):
        for word in sentence.words:
            assert text[word.start : word.end] == word.source
    assert [(w.text, w.source) for w in front_end(text)[1].words[2:4]] == [("five", "$5"), ("dollars", "$5")]


def test_sentences_are_split(front_end):
    sentences = front_end("Dr. Smith paid. He left at 5 p.m. Then it rained.")
    assert [s.text for s in sentences] == ["Dr. Smith paid.", "He left at 5 p.m.", "Then it rained."]


def test_a_pause_ends_a_piece(front_end):
    sentences = front_end("One [pause:0.5s] two. Three [pause: 250ms][pause:1s] four")
    assert [s.pause_s for s in sentences] == [0.5, 0.0, 1.25, 0.0]
    assert spoken(sentences) == [["One"], ["two"], ["Three"], ["four"]]


def test_a_pause_at_the_start_is_a_sentence_without_words(front_end):
    silence, sentence = front_end("[pause:1s] Hi.")
    assert (silence.words, written(silence), silence.pause_s) == ((), ".", 1.0)
    assert spoken([sentence]) == [["Hi"]]


@pytest.mark.parametrize(
    "pause", ["[pause]", "[pause:]", "[pause:1m]", "[pause:-1s]", "[pause:9999s]", "[pause:abc]"]
)
def test_a_bad_pause_is_named(front_end, pause):
    with pytest.raises(ValueError, match=r"is no pause; write \[pause:0\.5s\]"):
        front_end(f"Hi {pause} there")


def test_phones_in_the_text(front_end):
    (sentence,) = front_end("Say [[təˈmɑː.toʊ ☺naʊ]] please.")
    assert sentence.word_phones()[1:3] == ["təˈmɑːtoʊ", "naʊ"]
    assert sentence.words[1].source == "[[təˈmɑː.toʊ ☺naʊ]]"
    assert sentence.dropped == ("☺",)


def test_a_full_stop_among_phones_ends_no_sentence(front_end):
    assert len(front_end("One [[aɪ. Bɪ]] two.")) == 1


def test_what_cannot_be_spoken_is_reported(front_end):
    sentences = front_end("Hi ☺. 你好 there* now 👍")
    assert [s.dropped for s in sentences] == [("☺",), ("你", "好", "*", "👍")]
    assert spoken(sentences) == [["Hi"], ["there", "now"]]


def test_dropped_characters_after_the_last_word_are_reported(front_end):
    assert front_end("Hi. ☺☺")[-1].dropped == ("☺", "☺")
    assert front_end("☺ [pause:1s] Hi.")[-1].dropped == ("☺",)


@pytest.mark.parametrize("text", ["", "   \n", "...", "?!", "☺", "你好", "[pause:1s]", "“”", "\u200b"])
def test_nothing_to_say(front_end, text):
    with pytest.raises(NothingToSay, match="give a text with letters or digits"):
        front_end(text)


def test_a_language_as_people_write_it():
    assert TextFrontEnd("EN").language == "en-us"
    assert TextFrontEnd("fr_FR").language == "fr-fr"
    with pytest.raises(UnknownLanguage, match="'klingon'"):
        TextFrontEnd("klingon")


@pytest.mark.parametrize(
    ("language", "text", "words", "phones"),
    [
        ("de", "Der Zug fährt um 5:30 Uhr.", "Der Zug fährt um fünf Uhr dreißig", "tsˈuːk"),
        ("fr", "Il a 21 ans.", "Il a vingt et un ans", "il"),
        ("es", "¿Tienes 2 perros?", "Tienes dos perros", "pˈeros"),
        ("it", "Gli amici, perché?", "Gli amici perché", "ʎɪ"),
    ],
)
def test_other_languages(language, text, words, phones):
    (sentence,) = TextFrontEnd(language)(text)
    assert [word.text for word in sentence.words] == words.split()
    assert phones in sentence.word_phones()
    assert sentence.dropped == ()


def test_without_normalizing_espeak_reads_the_digits():
    (sentence,) = TextFrontEnd("en-us", normalize=False)("Press 5.")
    assert [word.text for word in sentence.words] == ["Press", "5"]
    assert sentence.word_phones()[1] == "fˈaɪv"


@pytest.mark.parametrize(
    "text",
    [
        "x" * 10_000,
        "1" * 10_000,
        "9" * 5000 + "/" + "9" * 5000,
        "word " * 3000,
        "a, " * 3000,
        "[[" + "a" * 10_000 + "]]",
    ],
)
def test_long_texts_come_in_pieces_of_bounded_length(front_end, text):
    sentences = front_end(text)
    assert len(sentences) > 10
    assert max(len(s.tokens) for s in sentences) <= MAX_SPOKEN + 1
    assert all(s.words for s in sentences)


def test_a_long_sentence_is_cut_after_a_mark(front_end):
    text = " ".join(["some quite ordinary words in a row,"] * 20)
    sentences = front_end(text)
    assert all(s.text.endswith(",") for s in sentences)
    assert sum(len(s.words) for s in sentences) == 140


CHARACTERS = "aA bß1,.!?;:-—'’\"(){}[]<>#$%&*+/=@\\^_`|~€£°½²₂…“”☺你é\u0301\u00a0\u200b\n\t\x00٣हि👍🏽"


@pytest.mark.parametrize("seed", range(10))
def test_any_text_is_spoken_or_refused_with_reason(front_end, seed):
    rng = random.Random(seed)
    for _ in range(40):
        text = "".join(rng.choices(CHARACTERS, k=rng.randint(1, 40)))
        try:
            sentences = front_end(text)
        except NothingToSay:
            continue
        assert all(token.symbol in IDS for s in sentences for token in s.tokens)
        assert all(s.tokens[-1].symbol in MARKS for s in sentences)
        reported = [char for s in sentences for char in s.dropped]
        assert reported.count("☺") == text.count("☺")
        assert reported.count("你") == text.count("你")


def test_threads_give_the_same_sentences_as_one(front_end):
    texts = [f"Number {i} of the {i % 7} lines, read by a friend in the house." for i in range(40)]
    german = TextFrontEnd("de")
    serial = [front_end(text) for text in texts]
    fresh = [text.replace("read", "written") for text in texts]
    with ThreadPoolExecutor(8) as pool:
        parallel = list(pool.map(front_end, texts + fresh))
        list(pool.map(german, ["Hallo Welt, wie geht es dir?"] * 20))
    assert parallel[:40] == serial
    assert parallel[40:] == [front_end(text) for text in fresh]
