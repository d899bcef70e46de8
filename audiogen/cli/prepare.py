"""`audiogen prepare`: corpora to manifests and compact tensor files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiogen.cli.prepare_enhancement import enhancement, pairs, voicebank
from audiogen.cli.prepare_music import latents, music
from audiogen.cli.prepare_voices import codebook, tokens, voices
from audiogen.cli.terminal import progress as _progress
from audiogen.cli.terminal import say as _say

if TYPE_CHECKING:
    from audiogen.data.clips import Clip

prepare = typer.Typer(no_args_is_help=True, help="Turn a corpus into what `audiogen fit` trains on.")

prepare.command()(enhancement)
prepare.command()(voicebank)
prepare.command()(pairs)
prepare.command()(voices)
prepare.command()(codebook)
prepare.command()(tokens)
prepare.command()(music)
prepare.command()(latents)

CORES = os.cpu_count() or 1
Out = Annotated[Path, typer.Option("--out", help="Folder to write to; it is made if missing.")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes for pitch extraction.")]
Also = Annotated[
    list[str] | None,
    typer.Option(
        "--also",
        metavar="NAME=DIR",
        help="A further voice of the acoustic model, a folder in LJSpeech's layout; may be given repeatedly.",
    ),
]
HeldOut = Annotated[
    float, typer.Option("--held-out", min=0.0, max=0.5, help="Share of prompts kept for testing.")
]


@prepare.command()
def ivr(
    source: Annotated[
        Path | None,
        typer.Option(
            "--source", exists=True, file_okay=False, help="Folder with en/, es/, ...; else it is fetched."
        ),
    ] = None,
    out: Out = Path("data/ivr"),
    workers: Workers = CORES,
    held_out: HeldOut = 0.05,
    also: Also = None,
) -> None:
    """Asterisk telephone prompts, 16 kHz: English with texts for voices, all four languages for vocoders.

    Writes audio.safetensors (vocoder), speech.safetensors (acoustic model), cuts.jsonl.gz (Lhotse) and
    heldout.csv. Without --source the recordings are fetched from the public origin into OUT/source. Licence:
    CC-BY-SA 3.0.
    """
    from audiogen.data.ivr import ATTRIBUTION, fetch, list_clips

    _say("reading the ivr prompts (CC-BY-SA 3.0)")
    clips = list_clips(source if source is not None else fetch(out / "source", say=_say))
    facts = {"licence": "CC-BY-SA 3.0", "attribution": ATTRIBUTION}
    _prepare(clips, out, "en", "en-us", held_out, workers, facts, _further_voices(also or [], "en"))


@prepare.command()
def ljspeech(
    source: Annotated[
        Path,
        typer.Option("--source", exists=True, file_okay=False, help="Folder with metadata.csv and wavs/."),
    ],
    out: Out = Path("data/ljspeech"),
    language: Annotated[str, typer.Option("--language", help="espeak-ng code of the texts.")] = "en-us",
    speaker: Annotated[str, typer.Option("--speaker", help="Name of the voice.")] = "linda",
    workers: Workers = CORES,
    held_out: HeldOut = 0.05,
    also: Also = None,
) -> None:
    """LJSpeech at 16 kHz, or any single-voice folder in its layout.

    The layout: metadata.csv with lines `id|text|normalised text`, and wavs/ID.wav.

    Writes the same files as `prepare ivr`. LJSpeech itself is in the public domain
    (keithito.com/LJ-Speech-Dataset).
    """
    from audiogen.data.ljspeech import list_clips

    clips = list_clips(source, speaker, language)
    further = _further_voices(also or [], language)
    _prepare(clips, out, language, language, held_out, workers, {}, further)


@prepare.command()
def flite(
    out: Out = Path("data/slt"),
    voice: Annotated[str, typer.Option("--voice", help="A voice that `flite -lv` lists.")] = "slt",
    count: Annotated[int, typer.Option("--count", min=1, help="Number of sentences.")] = 1600,
    wordnet: Annotated[
        Path | None,
        typer.Option(
            "--wordnet", exists=True, file_okay=False, help="WordNet's database; else it is fetched."
        ),
    ] = None,
    sentences: Annotated[
        Path | None,
        typer.Option(
            "--sentences", exists=True, dir_okay=False, help="Read these lines instead of WordNet's."
        ),
    ] = None,
) -> None:
    """A synthetic second voice: WordNet's example sentences read by flite, in LJSpeech's layout.

    Give the folder to another recipe as `--also NAME=DIR`: sounds that its recordings lack are learnt from
    this voice. Needs the program `flite`. 1600 sentences are 66 minutes and take one.
    """
    from audiogen.data.synthetic import choose, example_sentences, fetch, read_aloud

    if sentences is not None:
        lines = [line.strip() for line in sentences.read_text(encoding="utf-8").splitlines()]
        texts = [line for line in lines if line][:count]
    else:
        folder = wordnet if wordnet is not None else fetch(out / "wordnet", say=_say)
        texts = choose(example_sentences(folder), count)
    read_aloud(texts, out, voice, _bar_of("reading aloud"))
    _say(f"{len(texts)} sentences by {voice} -> {out}")


@prepare.command()
def opencpop(
    source: Annotated[
        Path, typer.Option("--source", exists=True, file_okay=False, help="Folder with segments/.")
    ],
    out: Out = Path("data/opencpop"),
    sample_rate: Annotated[
        int, typer.Option("--sample-rate", help="16000, or 24000 for the front end of vocos-24k-music.")
    ] = 16000,
    workers: Workers = CORES,
) -> None:
    """Songs: Opencpop, or any folder in its layout, for a singing model and its vocoder.

    The layout: segments/wavs/ID.wav, segments/train.txt, segments/test.txt and segments/transcriptions.txt
    with lines `id|text|phonemes|notes|note durations|phoneme durations|slurs`.

    Writes speech.safetensors (acoustic model) and audio.safetensors (vocoder). Opencpop itself is for
    research alone; ask for it at wenet.org.cn/opencpop.
    """
    from audiogen.data import opencpop as recipe
    from audiogen.data.pack import pack_waveforms

    if sample_rate not in recipe.FRONT_ENDS:
        known = ", ".join(map(str, recipe.FRONT_ENDS))
        raise typer.BadParameter(f"{sample_rate} has no front end; use {known}", param_hint="--sample-rate")
    spec = recipe.FRONT_ENDS[sample_rate]
    segments = recipe.list_segments(source)
    out.mkdir(parents=True, exist_ok=True)
    pieces = recipe.build_songs(
        out / "speech.safetensors",
        segments,
        spec=spec,
        metadata={},
        workers=workers,
        progress=_progress,
        say=_say,
    )
    pack_waveforms(
        out / "audio.safetensors",
        [segment.clip for segment in segments],
        {segment.clip.id for segment in segments if segment.test},
        sample_rate,
        {},
        _progress,
        f0_spec=spec,
        f0_range=recipe.F0_RANGE_HZ,
        workers=workers,
    )
    minutes = sum(piece.end_s - piece.start_s for piece in pieces) / 60
    _say(f"{len(pieces)} segments, {minutes:.1f} minutes, {sum(s.test for s in segments)} held out -> {out}")


def _further_voices(choices: Sequence[str], language: str) -> list[Clip]:
    """The clips of every NAME=DIR."""
    from audiogen.data.ljspeech import list_clips

    clips: list[Clip] = []
    for choice in choices:
        name, equals, folder = choice.partition("=")
        if not (name and equals and Path(folder).is_dir()):
            problem = f"{choice!r} is not NAME=DIR with an existing folder"
            raise typer.BadParameter(problem, param_hint="--also")
        clips += list_clips(Path(folder), name, language)
    return clips


def _prepare(
    clips: Sequence[Clip],
    out: Path,
    corpus_language: str,
    language: str,
    fraction: float,
    workers: int,
    metadata: dict[str, Any],
    further: Sequence[Clip] = (),
) -> None:
    """Split by prompt, then write every file. further: clips of other voices, for training alone."""
    import torch

    from audiogen.data.manifests import write_cuts, write_heldout
    from audiogen.data.mels import MelData
    from audiogen.data.pack import pack_waveforms
    from audiogen.data.speech import build_speech
    from audiogen.data.splits import held_out_prompts, near_duplicates, words_of
    from audiogen.spectral import MelSpec

    torch.set_num_threads(1)  # the steps of an alignment are too small to share
    out.mkdir(parents=True, exist_ok=True)
    spec = MelSpec()
    spoken = [clip for clip in clips if clip.text and clip.language == corpus_language]
    test, kept_out = held_out_prompts({clip.id: clip.text or "" for clip in spoken}, fraction)
    names = {name.rpartition("/")[2] for name in kept_out}
    # a prompt is held out in every language: the translations share its melody
    held_out = {clip.id for clip in clips if clip.id.rpartition("/")[2] in names}
    pack_waveforms(
        out / "audio.safetensors",
        clips,
        held_out,
        spec.sample_rate,
        metadata,
        _progress,
        f0_spec=spec,
        workers=workers,
    )
    tested = [words_of(clip.text or "") for clip in spoken if clip.id in test]
    further = [c for c in further if not any(near_duplicates(words_of(c.text or ""), t) for t in tested)]
    pieces = build_speech(
        out / "speech.safetensors",
        [*spoken, *further],
        spec=spec,
        language=language,
        test_ids=test,
        held_out=held_out,
        metadata=metadata,
        workers=workers,
        progress=_progress,
        say=_say,
    )
    write_cuts(out / "cuts.jsonl.gz", pieces, language)
    write_heldout(out / "heldout.csv", spoken, test)
    data = MelData(str(out / "speech.safetensors"))
    data.setup("fit")
    minutes = sum(piece.end_s - piece.start_s for piece in pieces) / 60
    _say(
        f"{len(pieces)} pieces, {minutes:.1f} minutes, {len(test)} prompts held out, "
        f"{100 * data.padding_waste():.1f} % padding in batches of {data.max_frames} frames -> {out}"
    )


def _bar_of(description: str) -> Any:
    """A progress bar for things with a length."""
    return lambda items: _progress(items, description, len(items))
