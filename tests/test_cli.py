import sys
import types

import pytest
import typer

from audiogen import cli
from audiogen.cli import OK, USAGE, VERBS, Verb, main


def plant(monkeypatch, home, **contents):
    """A module of the test's own in place of one that a verb would import."""
    module = types.ModuleType(home)
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, home, module)


def test_help_lists_every_verb(capsys):
    assert main(["--help"]) == OK
    out = capsys.readouterr().out
    for name, verb in VERBS.items():
        assert name in out
        assert verb.help.split(".")[0].split(":")[0] in " ".join(out.replace("│", " ").split())


def test_version(capsys):
    assert main(["--version"]) == OK
    assert capsys.readouterr().out.startswith("audiogen ")


def test_no_verb_shows_the_help(capsys):
    assert main([]) == USAGE
    captured = capsys.readouterr()
    assert "tts" in captured.out + captured.err


@pytest.mark.parametrize("words", [["ttts"], ["--bogus"], ["tts", "--bogus"]])
def test_wrong_use_ends_with_2(words, capsys):
    assert main(words) == USAGE
    assert capsys.readouterr().out == ""


def test_misspelt_verb_gets_a_suggestion(capsys):
    main(["ttts"])
    assert "tts" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["fit", "validate", "test", "predict"])
def test_training_verbs_hand_over_every_word(verb, monkeypatch):
    received = []
    plant(monkeypatch, "audiogen.training.cli", main=received.append)
    words = [
        "-c",
        "a.yaml",
        "--trainer.max_steps=3",
        "--model.hidden",
        "8",
        "--print_config",
        "pos",
        "-c",
        "b.yaml",
    ]
    assert main([verb, *words]) == OK
    assert main([verb, "--help"]) == OK
    assert received == [[verb, *words], [verb, "--help"]]


def test_faults_of_training_keep_their_traceback(monkeypatch):
    def fail(argv):
        raise ValueError("loss is NaN")

    plant(monkeypatch, "audiogen.training.cli", main=fail)
    with pytest.raises(ValueError, match="loss is NaN"):
        main(["fit"])


@pytest.mark.parametrize(("raised", "code"), [(2, USAGE), (None, OK), ("words", cli.SOME_FAILED)])
def test_exit_code_of_the_training_command_line_is_ours(raised, code, monkeypatch, capsys):
    def refuse(argv):
        raise SystemExit(raised)

    plant(monkeypatch, "audiogen.training.cli", main=refuse)
    assert main(["fit", "--trainer.bogus", "1"]) == code
    assert ("words" in capsys.readouterr().err) == (raised == "words")


@pytest.mark.parametrize("error", [ValueError("no such thing"), FileNotFoundError("no such thing")])
def test_users_errors_are_one_line_and_2(error, monkeypatch, capsys):
    def fail(text: str) -> None:
        raise error

    plant(monkeypatch, "planted", verb=fail)
    monkeypatch.setitem(VERBS, "normalize", Verb("planted:verb", "help"))
    assert main(["normalize", "text"]) == USAGE
    assert capsys.readouterr().err == "error: no such thing\n"


def test_other_errors_are_bugs_and_show_themselves(monkeypatch):
    def fail() -> None:
        raise ZeroDivisionError

    plant(monkeypatch, "planted", verb=fail)
    monkeypatch.setitem(VERBS, "normalize", Verb("planted:verb", "help"))
    with pytest.raises(ZeroDivisionError):
        main(["normalize"])


def test_interrupt_ends_with_130(monkeypatch):
    def interrupt() -> None:
        raise KeyboardInterrupt

    plant(monkeypatch, "planted", verb=interrupt)
    monkeypatch.setitem(VERBS, "normalize", Verb("planted:verb", "help"))
    assert main(["normalize"]) == cli.INTERRUPTED


def test_verb_may_be_an_app_with_verbs_of_its_own(monkeypatch):
    app, seen = typer.Typer(), []

    @app.command()
    def one(out_dir: str = "") -> None:
        seen.append(out_dir)

    plant(monkeypatch, "planted", app=app)
    monkeypatch.setitem(VERBS, "evaluate", Verb("planted:app", "help"))
    assert main(["evaluate", "one", "--out-dir", "x"]) == OK
    assert main(["evaluate", "one", "--out_dir", "y"]) == OK
    assert seen == ["x", "y"]


def test_every_verb_leads_to_something_that_can_be_called():
    for name in VERBS:
        assert cli.import_verb(name).name == name
