"""Pinyin to phones, against the IPA of reference grammars (Lee and Zee 2003, with oʊ, ʊŋ for ou, ong)."""

import pytest

from audiogen.text.phonemes import parse_ipa
from audiogen.text.pinyin import FINALS, INITIALS, phones_of, syllable


@pytest.mark.parametrize(
    ("pinyin", "ipa"),
    [
        ("ma", "ma"), ("gan", "kan"), ("kan", "kʰan"), ("zhong", "ʈʂʊŋ"), ("chi", "ʈʂʰɨ"), ("si", "sɨ"),
        ("ri", "ʐɨ"), ("ji", "tɕi"), ("xia", "ɕja"), ("qian", "tɕʰjɛn"), ("liu", "ljoʊ"), ("gui", "kweɪ"),
        ("dun", "twən"), ("jun", "tɕyn"), ("xue", "ɕɥɛ"), ("quan", "tɕʰɥɛn"), ("lü", "ly"), ("nv3", "ny"),
        ("lǜ", "ly"), ("hǎo", "xaʊ"), ("yi", "ji"), ("yan", "jɛn"), ("ye", "jɛ"), ("yu", "ɥy"),
        ("yue", "ɥɛ"), ("yuan", "ɥɛn"), ("yun", "ɥyn"), ("wo", "wo"), ("wei", "weɪ"), ("er", "ɚ"),
        ("ai", "aɪ"), ("Wang", "wɑŋ"), ("xiong", "ɕjʊŋ"),
    ],
)  # fmt: skip
def test_syllables(pinyin, ipa):
    assert syllable(pinyin) == parse_ipa(ipa)[0]


@pytest.mark.parametrize("text", ["好", "b", "hello", "zh", "", "xq"])
def test_what_is_no_syllable(text):
    with pytest.raises(ValueError, match=r"note 3: .*pinyin"):
        syllable(text, "note 3")


def test_every_label_of_opencpop_has_phones():
    """The inventory of DiffSinger's recipe for Opencpop."""
    labels = (
        "a ai an ang ao b c ch d e ei en eng er f g h i ia ian iang iao ie in ing iong iu j k l m n o ong "
        "ou p q r s sh t u ua uai uan uang ui un uo v van ve vn w x y z zh"
    )
    assert set(labels.split()) <= {*INITIALS, *FINALS}
    for initial in ("", *INITIALS):
        for final in FINALS:
            first, second = phones_of(initial, final)
            assert bool(first) == bool(initial)
            assert second
