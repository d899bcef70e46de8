"""`audiogen prepare enhancement`, `voicebank` and `pairs`: noisy speech to learn from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from audiogen.cli.terminal import progress, say

Source = Annotated[Path, typer.Option("--source", exists=True, file_okay=False, help="Folder of the corpus.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of every draw.")]


def enhancement(
    noise: Annotated[
        Path,
        typer.Option(
            "--noise",
            exists=True,
            file_okay=False,
            help="Noise as in ESC-50: CLASS/FOLD-CLIP-TAKE.ogg, or its flat folder audio/.",
        ),
    ],
    speech: Annotated[
        Path | None,
        typer.Option(
            "--speech",
            exists=True,
            file_okay=False,
            help="The ivr folder with en/, es/, ...; else it is fetched.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder to write to; it is made if missing.")] = Path(
        "data/enhancement"
    ),
    test_speaker: Annotated[
        str, typer.Option("--test-speaker", help="The voice that only the test set has.")
    ] = "carlo",
    test_fold: Annotated[
        int, typer.Option("--test-fold", help="The fold of the noise that only the test set has.")
    ] = 4,
    rooms: Annotated[
        int, typer.Option("--rooms", min=0, help="Simulated rooms (extra `rooms`); 0 is none.")
    ] = 100,
    repeats: Annotated[
        int, typer.Option("--repeats", min=1, help="Test items of each class of noise at each level.")
    ] = 1,
    reader_minutes: Annotated[
        float,
        typer.Option(
            "--reader-minutes",
            min=0.0,
            help="Minutes of the English prompts read by each of 24 synthetic voices, to learn from.",
        ),
    ] = 0.0,
    generated: Annotated[
        int,
        typer.Option(
            "--generated",
            min=0,
            help="Generated noises of each kind (coloured, gusts, hum, babble), to learn from.",
        ),
    ] = 0,
    seed: Seed = 0,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that simulate rooms.")] = 1,
) -> None:
    """Telephone prompts, noise and rooms, 16 kHz, to be mixed while a model trains; and a fixed test set.

    Writes mixtures.safetensors (one file for `data.path`) and test/ with clean/, noisy/ and manifest.jsonl,
    mixtures at -5 to 15 dB of a voice, noise and rooms that training does not hear. Synthetic voices need the
    program `flite`; what is read and generated lies in readers/ and generated/. Licences: the prompts
    CC-BY-SA 3.0, ESC-10 CC-BY 3.0.
    """
    from audiogen.data import ivr
    from audiogen.data.enhancement import SAMPLE_RATE, Corpus, build
    from audiogen.data.more_noisy_speech import READERS, generate_noises, read_prompts
    from audiogen.data.noises import list_noises

    out.mkdir(parents=True, exist_ok=True)
    clips = ivr.list_clips(speech if speech is not None else ivr.fetch(out / "source", say=say))
    noises = list_noises(noise)
    corpus = Corpus(clips, noises, test_speaker, test_fold)  # which may refuse them
    if reader_minutes:
        texts = [clip.text for clip in clips if clip.text]
        if not texts:
            raise typer.BadParameter(
                "the prompts have no English texts to read; leave it at 0", param_hint="--reader-minutes"
            )
        read = read_prompts(READERS, texts, out / "readers", reader_minutes, SAMPLE_RATE, seed, progress)
        corpus = replace(corpus, clips=[*clips, *read])
    if generated:
        talkers = [clip for clip in corpus.clips if clip.speaker != test_speaker]
        made = list_noises(generate_noises(out / "generated", generated, talkers, SAMPLE_RATE, seed))
        corpus = replace(corpus, noises=[*noises, *made])
    facts = {"licence": "CC-BY-SA 3.0 (speech), that of the noise", "attribution": ivr.ATTRIBUTION}
    entries = build(
        out,
        corpus,
        rooms=rooms,
        repeats=repeats,
        seed=seed,
        metadata=facts,
        workers=workers,
        progress=progress,
    )
    minutes = sum(entry["seconds"] for entry in entries) / 60
    say(f"mixtures.safetensors and {len(entries)} test mixtures, {minutes:.1f} minutes -> {out}")


def voicebank(
    source: Source,
    out: Annotated[Path, typer.Option("--out", help="Folder to write to; it is made if missing.")] = Path(
        "data/voicebank"
    ),
) -> None:
    """VoiceBank-DEMAND at 16 kHz: the training pairs, mixed already, in one file.

    Two speakers validate, p226 and p287. The test set stays where it is: `audiogen evaluate enhance
    --noisy SOURCE/noisy_testset_wav --clean SOURCE/clean_testset_wav`. Licence: CC-BY 4.0.
    """
    from audiogen.data.pairs import voicebank as read

    facts = {
        "licence": "CC-BY 4.0",
        "attribution": "VoiceBank-DEMAND, C. Valentini-Botinhao, 10.7488/ds/2117",
    }
    _pack(*read(source), out, facts)


def pairs(
    source: Source,
    out: Annotated[Path, typer.Option("--out", help="Folder to write to; it is made if missing.")] = Path(
        "data/pairs"
    ),
    validation_share: Annotated[
        float,
        typer.Option("--validation-share", min=0.0, max=0.5, help="Of the pairs, without train/ and valid/."),
    ] = 0.05,
    seed: Seed = 0,
) -> None:
    """Pairs of recordings with equal names in clean/ and noisy/, at 16 kHz, in one file.

    Either SOURCE/clean and SOURCE/noisy, or the same two folders in SOURCE/train and SOURCE/valid, as the
    usual scripts lay out WSJ0-CHiME3.
    """
    from audiogen.data.pairs import pair_folders

    _pack(*pair_folders(source, validation_share, seed), out, {})


def _pack(found: list[Any], splits: list[str], out: Path, facts: dict[str, Any]) -> None:
    """Write OUT/mixtures.safetensors of pairs and say how much it holds."""
    from audiogen.data.enhancement import SAMPLE_RATE
    from audiogen.data.pairs import pack_pairs

    out.mkdir(parents=True, exist_ok=True)
    seconds = pack_pairs(out / "mixtures.safetensors", found, splits, SAMPLE_RATE, facts, progress)
    kept = splits.count("validation")
    say(f"{len(found)} pairs, {seconds / 60:.1f} minutes, {kept} of them to validate -> {out}")
