import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from audiogen.text import phonemes
from audiogen.text.phonemes import UnknownLanguage, align_words, format_ipa, parse_ipa, phonemize
from audiogen.text.symbols import IDS, Phone


def ipa(text, language="en-us"):
    return [format_ipa(phones) for phones in phonemize(text.split(), language)]


def test_a_diphthong_is_two_phones_of_one_stress():
    phones, unknown = parse_ipa("ɡ_ˌoʊ_ɪ_ŋ")
    assert phones == (Phone("ɡ"), Phone("o", 1), Phone("ʊ", 1), Phone("ɪ"), Phone("ŋ"))
    assert unknown == ()


def test_an_affricate_is_two_phones_and_ties_vanish():
    assert parse_ipa("tʃ")[0] == parse_ipa("t͡ʃ")[0] == parse_ipa("ʧ")[0] == (Phone("t"), Phone("ʃ"))


def test_length_is_a_feature_and_covers_modifiers():
    assert parse_ipa("ˈɑ̃ːt")[0] == (Phone("ɑ", 2, 1), Phone("\u0303", 2, 1), Phone("t"))


def test_a_stress_mark_before_the_syllable_covers_it_to_the_end_of_its_vowels():
    assert [phone.stress for phone in parse_ipa("həˈloʊtɪ")[0]] == [0, 0, 2, 2, 2, 0, 0]


def test_a_full_stop_ends_a_stress():
    assert [phone.stress for phone in parse_ipa("ˈi.ɪ")[0]] == [2, 0]


def test_accents_may_be_composed_but_the_cedilla_is_a_letter():
    assert parse_ipa("ã")[0] == parse_ipa("a\u0303")[0]
    assert parse_ipa("ç")[0] == parse_ipa("c\u0327")[0] == (Phone("ç"),)


def test_what_is_no_ipa_is_named():
    assert parse_ipa("a☺b") == ((Phone("a"), Phone("b")), ("☺",))
    assert parse_ipa("a, b!") == ((Phone("a"), Phone("b")), (",", "!"))


@pytest.mark.parametrize(
    "text", ["həlˈoʊ", "ɡˌoʊ.ɪŋ", "ˈɑ̃ːt", "ˌɛfbˌiːˈaɪ", "bˈʌʔn̩", "ni2χˈɑu2", "prʲivʲˈet", "a.i"]
)
def test_formatted_phones_read_back_as_themselves(text):
    phones = parse_ipa(text)[0]
    assert parse_ipa(format_ipa(phones))[0] == phones


def test_words_keep_their_phones_apart():
    assert ipa("in the middle of a house") == ["ɪn", "ðə", "mˈɪdəl", "əv", "ə", "hˈaʊs"]


def test_function_words_are_reduced_in_a_phrase():
    assert ipa("the apple to eat")[0] == "ðɪ"
    assert ipa("go to")[1] == "tuː"


def test_letters_are_named_and_the_first_one_is_no_article():
    assert ipa("A T and T") == ["ˈeɪ", "tˈiː", "ænd", "tˈiː"]
    assert ipa("a cat") == ["ɐ", "kˈæt"]


def test_a_word_of_several_chunks_stays_one_word():
    assert ipa("the iPhone of a friend in the car") == [
        "ðɪ",
        "ˈaɪfˈoʊn",
        "əv",
        "ə",
        "fɹˈɛnd",
        "ɪn",
        "ðə",
        "kˈɑːɹ",
    ]


def test_alignment_shares_out_joined_and_split_chunks():
    assert align_words(["ɪn", "ðə", "aɪ fˈoʊn"], ["ɪ_n_ð_ə", "aɪ", "f_ˈoʊ_n"]) == ["ɪ_n", "ð_ə", "aɪ f_ˈoʊ_n"]
    assert align_words(["a", "b"], ["a", "b"]) == ["a", "b"]
    assert align_words(["a", ""], ["a"]) == ["a", ""]
    assert align_words(["a", "b"], []) == ["a", "b"]
    assert align_words([], []) == []


def test_flags_of_another_language_are_removed():
    assert ipa("le week-end", "fr-fr") == ["lə", "wˈiːkˈɛnd"]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("de", "Straße Mädchen schön"),
        ("fr-fr", "un bon vin blanc"),
        ("es", "perro llamar niño"),
        ("it", "gli gnocchi"),
        ("cmn", "你好 世界"),
        ("ru", "привет мир"),
        ("ar", "مرحبا"),
        ("hi", "नमस्ते"),
        ("ja", "こんにちは"),
        ("vi", "xin chào"),
    ],
)
def test_any_language_maps_to_the_token_table(language, text):
    for phones in phonemize(text.split(), language):
        assert phones
        assert all(phone.symbol in IDS for phone in phones)


def test_an_unknown_language_is_refused_with_the_known_ones():
    with pytest.raises(UnknownLanguage, match=r"'xx'.*en-us"):
        phonemize(["hi"], "xx")


def test_what_espeak_cannot_speak_has_no_phones():
    assert phonemize(["☺☺", "hi"], "en-us")[1] != ()
    assert phonemize([], "en-us") == []


TEXT = "the cat sat on a mat of an old house and I am going to read it record online Meeting live use"
WORDS = TEXT.split()


def test_threads_and_order_do_not_change_the_phones():
    rng = random.Random(0)
    languages = ["en-us", "en-gb", "de", "fr-fr"]
    phrases = [(tuple(rng.choices(WORDS, k=5)), rng.choice(languages)) for _ in range(60)]
    serial = [phonemize(*phrase) for phrase in phrases]
    phonemes._phonemize.cache_clear()
    phonemes._transcribe.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        parallel = list(pool.map(lambda phrase: phonemize(*phrase), reversed(phrases)))
    assert parallel[::-1] == serial
