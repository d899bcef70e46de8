"""`audiogen prepare music` and `audiogen prepare latents`: what vocoders of music and MeLoDy train on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audiogen.cli.terminal import progress as _progress
from audiogen.cli.terminal import say as _say

if TYPE_CHECKING:
    from audiogen.data.coded_music import PreparedMusic

CORES = os.cpu_count() or 1


def music(
    out: Annotated[Path, typer.Option("--out", help="Folder to write to; it is made if missing.")] = Path(
        "data/music"
    ),
    source: Annotated[
        Path | None,
        typer.Option(
            "--source",
            exists=True,
            file_okay=False,
            help="Your own recordings with captions.csv (`file,caption`) or NAME.txt beside them, instead.",
        ),
    ] = None,
    minutes: Annotated[
        float, typer.Option("--minutes", min=0.1, help="About how much; short scores give a little less.")
    ] = 60.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the choice and arrangement.")] = 0,
    soundfont: Annotated[
        Path | None, typer.Option("--soundfont", help="A General MIDI bank, .sf2; else FluidR3 GM.")
    ] = None,
    held_out: Annotated[
        float, typer.Option("--held-out", min=0.0, max=0.5, help="Share of scores kept for testing.")
    ] = 0.05,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that render.")] = CORES,
    captioned: Annotated[
        bool,
        typer.Option("--captioned", help="Mostly one family of instruments a piece: what captions teach."),
    ] = False,
) -> None:
    """Music at 24 kHz for a vocoder or MeLoDy: public-domain scores in new arrangements, by fluidsynth.

    Writes audio.safetensors and manifest.jsonl, whose lines tell the score, instruments, key and tempo of
    every piece, with captions, and keeps the pieces as FLAC. A further call goes on from those that are
    there; what was held out stays so where it adds scores (--minutes). Needs the extra `music` of this
    package, and `apt install fluidsynth fluid-soundfont-gm`.

    With --source the same files are made of recordings of your own, cut into pieces of 20 seconds.
    """
    out.mkdir(parents=True, exist_ok=True)
    if source is not None:
        _own_recordings(source, out, held_out, seed)
        return
    from audiogen.data import music as recipe
    from audiogen.data.arrangement import ANY, CAPTIONED
    from audiogen.data.pack import pack_waveforms

    bank = soundfont if soundfont is not None else recipe.BANK
    taste = CAPTIONED if captioned else ANY
    pieces = recipe.render_all(out, minutes, seed, bank, workers, _progress, taste)
    manifest = out / "manifest.jsonl"
    held_out_scores = recipe.held_out_scores(pieces, held_out, seed, recipe.known_lines(manifest))
    ids = {piece["id"] for piece in pieces if piece["score"] in held_out_scores}
    clips = recipe.clips_of(out, pieces)
    facts = recipe.terms(bank)
    pack_waveforms(out / "audio.safetensors", clips, ids, recipe.SAMPLE_RATE, facts, _progress)
    recipe.write_manifest(manifest, pieces, held_out_scores)
    seconds = sum(piece["seconds"] for piece in pieces)
    _say(
        f"{len(pieces)} pieces of {len({piece['score'] for piece in pieces})} scores, {seconds / 60:.1f} "
        f"minutes, {len(held_out_scores)} scores held out -> {out}"
    )


def latents(
    autoencoder: Annotated[
        str, typer.Option("--autoencoder", help="Checkpoint or weights of an autoencoder of music.")
    ],
    source: Annotated[
        Path,
        typer.Option("--source", exists=True, file_okay=False, help="Folder of `audiogen prepare music`."),
    ] = Path("data/music"),
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; else latents.safetensors in the source.")
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            "--tokenizer",
            help="Weights of a tokenizer; where there are none, one is fitted to the training items and "
            "written there. Else tokenizer.safetensors beside the output.",
        ),
    ] = None,
    vocabulary: Annotated[
        int, typer.Option("--vocabulary", min=2, max=32768, help="Tokens of a tokenizer that is fitted.")
    ] = 512,
    variants: Annotated[
        int,
        typer.Option(
            "--variants",
            min=0,
            help="Token sequences in other keys and tempi of every rendering, for the language model.",
        ),
    ] = 0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the fitted tokenizer.")] = 0,
) -> None:
    """Prepared music as latents and semantic tokens with captions: what MeLoDy trains on, in one file."""
    from audiogen import hub
    from audiogen.data.coded_music import PreparedMusic, encode_music, spread
    from audiogen.data.store import Ragged

    target = out if out is not None else source / "latents.safetensors"
    words = tokenizer if tokenizer is not None else target.parent / "tokenizer.safetensors"
    prepared = PreparedMusic(source)
    system = hub.load(autoencoder)
    coder = getattr(system, "generator", system)
    if not (hasattr(coder, "encode") and hasattr(coder, "latents")):
        raise typer.BadParameter(
            f"{autoencoder} is no autoencoder; train one with configs/melody_vae.yaml",
            param_hint="--autoencoder",
        )
    if not words.is_file():
        _fit_tokenizer(prepared, words, vocabulary, seed)
    metadata = encode_music(target, prepared, coder, hub.load(words), _progress, variants)
    far = spread(list(Ragged(target)["latents"]))
    varied = f" and {found} variants" if (found := len(metadata["variant_facts"])) else ""
    _say(
        f"{len(metadata['ids'])} pieces, {metadata['splits'].count('train')} to train on{varied}; "
        f"channels' means within {far['mean']:.2f}, deviations {far['least_deviation']:.2f} to "
        f"{far['largest_deviation']:.2f} -> {target}, {words}"
    )


def _fit_tokenizer(prepared: PreparedMusic, path: Path, vocabulary: int, seed: int) -> None:
    """Fit the shipped kind of tokenizer to the training items."""
    from audiogen import hub
    from audiogen.semantic import ChromaTokenizer

    items = prepared.training()
    recordings = (prepared.wav(n) for n in _progress(items, "listening", len(items)))
    fitted = ChromaTokenizer(prepared.sample_rate, vocabulary=vocabulary).fit(recordings, seed)
    hub.save(fitted, path)


def _own_recordings(source: Path, out: Path, held_out: float, seed: int) -> None:
    """The files of `music` from a folder with captions."""
    from audiogen.data.captioned import list_recordings, pack_recordings
    from audiogen.data.music import write_lines

    recordings = list_recordings(source)
    lines = pack_recordings(out / "audio.safetensors", recordings, source, held_out, seed, _progress)
    write_lines(out / "manifest.jsonl", lines)
    seconds = sum(line["seconds"] for line in lines)
    tested = len({line["recording"] for line in lines if line["split"] == "test"})
    _say(
        f"{len(lines)} pieces of {len(recordings)} recordings, {seconds / 60:.1f} minutes, "
        f"{tested} recordings held out -> {out}"
    )
