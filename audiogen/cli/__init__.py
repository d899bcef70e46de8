"""The `audiogen` command: a table of verbs, each imported only when it is called."""

from __future__ import annotations

import contextlib
import os
import sys
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup

from audiogen.memory import keep_freed

SETTINGS: dict[str, Any] = {  # markdown, because square brackets vanish from help in rich's own markup
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": "markdown",
}
OK, SOME_FAILED, USAGE, NOTHING_TO_DO, INTERRUPTED = 0, 1, 2, 3, 130


class Verb(NamedTuple):
    """Where a verb lives ("module:function or Typer app") and its line in `audiogen --help`."""

    home: str
    help: str
    panel: str = "Use a model"


LIGHTNING = "audiogen.cli.fit:run"  # reads every word after the verb itself, --help too
EVERY_WORD = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}
TRAIN = "Train a model (LightningCLI; `audiogen fit --help` lists its options)"
LOOK = "See what there is"
VERBS = {
    "tts": Verb(
        "audiogen.cli.tts:tts", "Speak a text, or every line of a manifest; report the real-time factor."
    ),
    "sing": Verb("audiogen.cli.sing:sing", "Sing scores (MusicXML, JSON) with a model of your own."),
    "normalize": Verb(
        "audiogen.cli.normalize:normalize", "Show the words and phones that a text is spoken as."
    ),
    "enhance": Verb(
        "audiogen.cli.enhance:enhance", "Take the noise out of recordings; report before and after."
    ),
    "convert": Verb("audiogen.cli.convert:convert", "Say what recordings say in another voice."),
    "voice": Verb("audiogen.cli.voice:app", "Make voice files for convert of recordings of a speaker."),
    "music": Verb("audiogen.cli.music:music", "Make music of words, of any length, as it is heard."),
    "edit": Verb("audiogen.cli.edit:edit", "Make or change music after curves, tunes, forms, recordings."),
    "serve": Verb("audiogen.cli.serve:serve", "Answer HTTP requests: OpenAI's speech API and more."),
    "demo": Verb("audiogen.cli.demo:demo", "Show a page to try every installed model on, in the browser."),
    "vocode": Verb("audiogen.cli.vocode:vocode", "Turn mels, or recordings through mels, into audio."),
    "import-vocoder": Verb(
        "audiogen.cli.import_vocoder:import_vocoder", "Make a model of an official vocoder release."
    ),
    "evaluate": Verb(
        "audiogen.cli.evaluate:evaluate", "Measure quality: error rates, distances to recordings."
    ),
    "list": Verb("audiogen.cli.list_models:list_models", "List the models on this machine.", LOOK),
    "info": Verb("audiogen.cli.info:info", "Tell what a model is, without loading it.", LOOK),
    "benchmark": Verb("audiogen.cli.benchmark:benchmark", "Measure how fast a model is, fairly.", LOOK),
    "doctor": Verb("audiogen.cli.doctor:doctor", "Check the installation.", LOOK),
    "prepare": Verb("audiogen.cli.prepare:prepare", "Turn a corpus into training data.", TRAIN),
    "fit": Verb(LIGHTNING, "Train: audiogen fit -c configs/NAME.yaml", TRAIN),
    "export": Verb("audiogen.cli.export:export", "Make a model to share of a checkpoint.", TRAIN),
    "validate": Verb(LIGHTNING, "Run the validation of a checkpoint.", TRAIN),
    "test": Verb(LIGHTNING, "Run the test of a checkpoint.", TRAIN),
    "predict": Verb(LIGHTNING, "Run the predictions of a checkpoint.", TRAIN),
}


class LazyGroup(TyperGroup):
    """Shows stubs in the help and imports a verb when it is about to run."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        """Replace the stub of the verb in args[0] by the real command."""
        if args and args[0] in VERBS:
            self.commands[args[0]] = import_verb(args[0])
        return super().resolve_command(ctx, args)


def import_verb(name: str) -> Any:
    """The command of a verb, made from its function or Typer app."""
    module, _, attribute = VERBS[name].home.partition(":")
    verb = getattr(import_module(module), attribute)
    if isinstance(verb, typer.Typer):
        group = typer.main.get_group(verb)
        group.name = name
        return group
    single = typer.Typer(**SETTINGS)
    if VERBS[name].home == LIGHTNING:
        single.command(name, context_settings=EVERY_WORD, add_help_option=False)(verb)
    else:
        single.command(name)(verb)
    return typer.main.get_command(single)


def _dashes(option: str) -> str:
    """`--out_dir` and `--out-dir` are one option."""
    return option.replace("_", "-")


def _version(show: bool) -> None:
    if not show:
        return
    from audiogen import __version__

    typer.echo(f"audiogen {__version__}")
    raise typer.Exit


def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Fast generative audio: speech, cleaner recordings, other voices and music, with honest timing.

    Exit codes: 0 all is well, 1 some items failed, 2 wrong use, 3 nothing to do, 130 interrupted.
    """


def build_app() -> typer.Typer:
    """The Typer app with a stub for every verb."""
    app = typer.Typer(
        cls=LazyGroup,
        no_args_is_help=True,
        context_settings={"token_normalize_func": _dashes},
        **{**SETTINGS, "add_completion": True},
    )
    app.callback()(_root)
    for name, verb in VERBS.items():
        app.command(name, help=verb.help, rich_help_panel=verb.panel)(_stub)
    return app


def _stub() -> None:
    raise AssertionError("LazyGroup replaces every stub before it runs")


def main(argv: list[str] | None = None) -> int:
    """Run one command -> its exit code.

    A ValueError or OSError of a verb is the user's to mend: its message goes to stderr and the code is 2.
    Training verbs keep their tracebacks.
    """
    argv = sys.argv[1:] if argv is None else argv
    keep_freed()
    try:
        build_app()(args=argv, prog_name="audiogen")
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        return stop.code if isinstance(stop.code, int) else SOME_FAILED if stop.code else OK
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        close_stdout()
        return OK
    except (ValueError, OSError) as error:
        if argv and argv[0] in VERBS and VERBS[argv[0]].home == LIGHTNING:
            raise
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    return OK


def close_stdout() -> None:
    """Send what is left for a reader that has gone to nowhere, so that no flush at exit complains."""
    with contextlib.suppress(OSError), open(os.devnull, "wb") as null:  # a captured stdout has no descriptor
        os.dup2(null.fileno(), sys.stdout.fileno())
