import pytest

from audiogen.text.frontend import TextFrontEnd
from audiogen.text.lexicon import read_lexicon
from audiogen.text.phonemes import format_ipa


def write(tmp_path, text):
    path = tmp_path / "words.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_tabs_spaces_comments_and_blank_lines(tmp_path):
    lexicon = read_lexicon(write(tmp_path, "# names\n\nNguyen\tnwˈin\nSQL  sˈiːkwəl\n"))
    assert len(lexicon) == 2
    assert format_ipa(lexicon.get("Nguyen")) == "nwˈin"
    assert format_ipa(lexicon.get("sql")) == "sˈiːkwəl"
    assert lexicon.get("other") is None


def test_the_written_case_comes_first(tmp_path):
    lexicon = read_lexicon(write(tmp_path, "polish\tpˈɑlɪʃ\nPolish\tpˈoʊlɪʃ\n"))
    assert format_ipa(lexicon.get("polish")) == "pˈɑlɪʃ"
    assert format_ipa(lexicon.get("Polish")) == "pˈoʊlɪʃ"


@pytest.mark.parametrize("line", ["word", "word phones", "two words\tabc", "word\t☺", "word\tˈ"])
def test_a_bad_line_is_named(tmp_path, line):
    with pytest.raises(ValueError, match=r"words\.txt, line 2"):
        read_lexicon(write(tmp_path, f"good\ta\n{line}\n"))


def test_a_missing_or_binary_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="cannot read the lexicon"):
        read_lexicon(tmp_path / "none.txt")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(ValueError, match="UTF-8"):
        read_lexicon(tmp_path / "binary")


def test_its_words_win_over_rules_and_espeak(tmp_path):
    front_end = TextFrontEnd("en-us", write(tmp_path, "SQL\tsˈiːkwəl\nhouse\thaʊz\nC++\tsˈiː\n$5\tfˈaɪv\n"))
    (sentence,) = front_end("The SQL of the House’s house in C++ for $5.")
    phones = dict(zip([word.text for word in sentence.words], sentence.word_phones(), strict=True))
    assert phones["SQL"] == "sˈiːkwəl"
    assert phones["house"] == "haʊz"
    assert phones["C++"] == "sˈiː"
    assert phones["$5"] == "fˈaɪv"
    assert phones["House's"] != "haʊz"


def test_its_words_are_found_before_a_hyphen(tmp_path):
    front_end = TextFrontEnd("en-us", write(tmp_path, "SQL\tsˈiːkwəl\n"))
    (sentence,) = front_end("NoSQL, SQL-based (SQL).")
    assert [word.text for word in sentence.words] == ["NoSQL", "SQL", "based", "SQL"]
