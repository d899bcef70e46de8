import io
import json

from audiogen.cli import main


def test_shows_words_phones_and_source(capsys):
    assert main(["normalize", "It costs $5. Hi ☺!"]) == 0
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines() if line.startswith("  ")]
    assert [line[0] for line in lines] == ["It", "costs", "five", "dollars", "Hi"]
    assert lines[3] == ["dollars", "dˈɑːlɚz", "($5)"]
    assert "cannot speak ☺" in err


def test_json_holds_everything(capsys):
    assert main(["normalize", "--json", "Hi [pause:0.5s] you ☺"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["language"] == "en-us"
    first, second = data["sentences"]
    assert first["words"] == [{"text": "Hi", "source": "Hi", "start": 0, "end": 2, "phones": "hˈaɪ"}]
    assert first["tokens"] == ["h", "a", "ɪ", "."]
    assert (first["pause_s"], second["dropped"]) == (0.5, ["☺"])


def test_language_lexicon_and_standard_input(capsys, monkeypatch, tmp_path):
    lexicon = tmp_path / "words.txt"
    lexicon.write_text("Zug\ttɛst\n", encoding="utf-8")
    monkeypatch.setattr("sys.stdin", io.StringIO("Der Zug.\n"))
    assert main(["normalize", "-", "--language", "de", "--lexicon", str(lexicon)]) == 0
    assert "Zug  tɛst" in capsys.readouterr().out


def test_errors_name_the_value(capsys):
    assert main(["normalize", "☺"]) == 2
    assert "nothing to say in '☺'" in capsys.readouterr().err
    assert main(["normalize", "hi", "--language", "xx"]) == 2
    assert "'xx'" in capsys.readouterr().err


def test_a_broken_character_does_not_break_the_report(capsys):
    assert main(["normalize", "hi \udcff"]) == 0
    assert "cannot speak" in capsys.readouterr().err
