"""`audiogen prepare voices`, `codebook` and `tokens`: speech of many speakers for voice conversion."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audiogen.cli.terminal import progress, say

if TYPE_CHECKING:
    from audiogen.data.clips import Clip
    from audiogen.data.voices import Voice
    from audiogen.systems.phonetic_encoder import PhoneticContent

Voices = Annotated[Path, typer.Option("--voices", exists=True, dir_okay=False, help="A voices.safetensors.")]


def voices(
    source: Annotated[
        Path | None,
        typer.Option(
            "--source",
            exists=True,
            file_okay=False,
            help="Your own speakers, SPEAKER/CLIP.wav as in VCTK and LibriTTS, instead of the default ones.",
        ),
    ] = None,
    ivr: Annotated[
        Path | None,
        typer.Option("--ivr", exists=True, file_okay=False, help="The ivr folder; else it is fetched."),
    ] = None,
    voice: Annotated[
        list[str] | None,
        typer.Option(
            "--voice",
            metavar="NAME",
            help="A synthetic reader, espeak:en-us+f3@60 or flite:slt; may be given repeatedly.",
        ),
    ] = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option("--held-out", metavar="SPEAKER", help="Never trained on; may be given repeatedly."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder to write to; it is made if missing.")] = Path(
        "data/voices"
    ),
    minutes: Annotated[
        float, typer.Option("--minutes", min=0.1, help="Of each recorded speaker and language, at most.")
    ] = 7.0,
    synthetic_minutes: Annotated[
        float, typer.Option("--synthetic-minutes", min=0.1, help="Of each synthetic reader.")
    ] = 2.2,
    wordnet: Annotated[
        Path | None,
        typer.Option(
            "--wordnet", exists=True, file_okay=False, help="WordNet's database; else it is fetched."
        ),
    ] = None,
    sentences: Annotated[
        Path | None,
        typer.Option(
            "--sentences", exists=True, dir_okay=False, help="Readers read these lines instead of WordNet's."
        ),
    ] = None,
    tests: Annotated[
        int, typer.Option("--tests", min=1, help="Sentences that every reader reads for evaluation alone.")
    ] = 8,
    language: Annotated[
        str, typer.Option("--language", help="Of --source; English texts are aligned with their sound.")
    ] = "en",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of every draw.")] = 0,
) -> None:
    """Speech of many speakers at 16 kHz: the telephone prompts, and 24 synthetic readers of English.

    Writes voices.safetensors (one file for `data.path`) and test/ with the clips kept for evaluation. With
    --source, prompts and readers join only where --ivr and --voice ask for them. Each voice is kept in
    parts/, from where a further call goes on. Needs the program `flite` for its voices. Licence
    of the prompts: CC-BY-SA 3.0.
    """
    import torch

    from audiogen.data import ivr as prompts
    from audiogen.data import voices as recipe
    from audiogen.metrics.speaker import speaker_embedding

    torch.set_num_threads(1)  # the steps are too small to share
    out.mkdir(parents=True, exist_ok=True)
    found: list[Voice] = []
    if source is not None:
        found += _recorded(recipe.list_speakers(source, language), minutes, seed)
    if source is None or ivr is not None:
        found += _recorded(prompts.list_clips(ivr or prompts.fetch(out / "source", say=say)), minutes, seed)
    names = voice if voice is not None else [*recipe.FLITE, *recipe.ESPEAK] if source is None else []
    if names:
        lines = _sentences(out, wordnet, sentences, seed)
        found += _synthetic(names, lines, tests, synthetic_minutes, seed)
    if held_out is None:
        present = {v.speaker for v in found}
        held_out = [name for name in recipe.HELD_OUT if name in present]
    facts = {"licence": "CC-BY-SA 3.0", "attribution": prompts.ATTRIBUTION} if source is None else {}
    path = recipe.build_voices(
        out, found, held_out=held_out, embed=speaker_embedding, metadata=facts, progress=progress
    )
    speakers = len({v.speaker for v in found})
    say(f"{speakers} speakers, {len(held_out)} held out ({', '.join(held_out)}) -> {path}")


def _recorded(clips: list[Clip], minutes: float, seed: int) -> list[Voice]:
    """Recorded voices, of which the same prompts are kept for testing."""
    from audiogen.data.voices import by_voice, held_out_names, recorded_voice
    from audiogen.spectral import MelSpec

    tests, rate = held_out_names(clips, seed), MelSpec().sample_rate
    return [recorded_voice(members, tests, minutes, rate, seed, progress) for members in by_voice(clips)]


def _synthetic(names: list[str], lines: list[str], tests: int, minutes: float, seed: int) -> list[Voice]:
    """Synthetic readers, each of sentences in an order of its own after those that all read."""
    from audiogen.data.synthetic import choose
    from audiogen.data.voices import synthetic_voice
    from audiogen.spectral import MelSpec

    own, rate = lines[tests:], MelSpec().sample_rate
    if not own:
        raise typer.BadParameter(f"{len(lines)} sentences are no more than --tests", param_hint="--tests")
    return [
        synthetic_voice(name, choose(own, len(own), seed + k), lines[:tests], minutes, rate)
        for k, name in enumerate(names, 1)
    ]


def _sentences(out: Path, wordnet: Path | None, sentences: Path | None, seed: int) -> list[str]:
    """What readers read, in an order drawn by the seed: the lines of a file, or WordNet's examples."""
    from audiogen.data.synthetic import choose, example_sentences, fetch

    if sentences is not None:
        lines = [line.strip() for line in sentences.read_text(encoding="utf-8").splitlines()]
        found = sorted({line for line in lines if line})
    else:
        found = example_sentences(wordnet if wordnet is not None else fetch(out / "wordnet", say=say))
    return choose(found, len(found), seed)


def codebook(
    checkpoint: Annotated[Path, typer.Argument(help="A phonetic encoder, of `audiogen fit` or released.")],
    voices: Voices = Path("data/voices/voices.safetensors"),
    out: Annotated[Path, typer.Option("--out", help="The released encoder, a .safetensors file.")] = Path(
        "data/voices/phonetic_encoder.safetensors"
    ),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the clusters' start.")] = 0,
) -> None:
    """Give a trained phonetic encoder its codebook: k-means over its features of the training clips.

    Writes the encoder with the codebook as a file that `audiogen.load` takes.
    """
    from audiogen import hub
    from audiogen.data.voice_tokens import open_voices, training_mels

    encoder = _phonetic(checkpoint)
    mels = training_mels(open_voices(voices, encoder.mel_spec))
    say(f"clustering {sum(mel.shape[1] for mel in mels)} frames into {encoder.vocabulary} tokens")
    encoder.fit_codebook(mels, seed=seed)
    hub.save(encoder, out)
    say(f"encoder with its codebook -> {out}")


def tokens(
    encoder: Annotated[
        Path,
        typer.Argument(help="A phonetic encoder of `audiogen prepare codebook`, or the word recogniser."),
    ],
    voices: Voices = Path("data/voices/voices.safetensors"),
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="File to write; else the tokens join VOICES, phones go to phones.safetensors by it."
        ),
    ] = None,
    guess: Annotated[
        Path | None,
        typer.Option(
            "--guess",
            metavar="ENCODER",
            help="With recogniser: phonetic encoder by which speakers without any known phone are told.",
        ),
    ] = None,
) -> None:
    """Add what is said to a file of voices: the content tokens of each clip, for a converter to train on.

    For a converter that hears with the recogniser the tokens are the phones that VOICES knows; clips of which
    none is known are left out.
    """
    import torch

    from audiogen import hub
    from audiogen.content import RECOGNISER
    from audiogen.data.voice_tokens import add_phones, add_tokens, open_voices

    if str(encoder) == RECOGNISER:
        guide = None if guess is None else _phonetic(guess)
        out = out or voices.with_name("phones.safetensors")
        count = add_phones(open_voices(voices), out, guide and guide.phones, progress)
        say(f"phones of {count} clips -> {out}")
        return
    model = _phonetic(encoder)
    facts = {
        "content_sha256": hub.sha256(encoder),
        "content_rate": model.frame_rate,
        "vocabulary": model.vocabulary,
    }

    def encode(mel: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = model.encode_mel(mel[None], torch.tensor([mel.shape[1]])).tokens[0]
        return found

    store = open_voices(voices, model.mel_spec)
    add_tokens(store, out or voices, encode, model.codebook, facts, progress)
    say(f"tokens of {len(store['mel'])} clips -> {out or voices}")


def _phonetic(path: Path) -> PhoneticContent:
    """The phonetic encoder of a file, in eval mode. Raises UnknownModel for another system."""
    from audiogen import hub
    from audiogen.systems.phonetic_encoder import PhoneticContent
    from audiogen.weights import UnknownModel

    system = hub.load(path)
    if not isinstance(system, PhoneticContent):
        raise UnknownModel(f"{path} is no phonetic encoder; train one with configs/phonetic_encoder.yaml")
    return system
