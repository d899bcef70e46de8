"""The tab that says what a recording says in another voice, and recordings to try it on."""

from __future__ import annotations

from pathlib import Path

import torch

from audiogen.audio import Audio, AudioReader, read_audio
from audiogen.conversion import ConvertOptions, convert_blocks
from audiogen.demo.account import Account
from audiogen.demo.files import folder
from audiogen.demo.models import CONVERT, SPEAK, Shelf, Tell, label, silent
from audiogen.demo.speak import Words, at_once
from audiogen.report import StageTimer

SAID = "I would like to change my appointment, if that is possible."
REFERENCE = "This is how I sound when I read a longer sentence, with a pause, and then go on."
MOST_SECONDS = 60.0  # the command line has no limit


def examples(shelf: Shelf, tell: Tell = silent) -> tuple[Path, Path]:
    """Files with a sentence of one voice and another of the next, made once.

    Raises ValueError where no model speaks.
    """
    names = shelf.names(SPEAK)
    if not names:
        raise ValueError("the example needs a model that speaks, and none is installed; load two recordings")
    speakers = shelf.hparams(names[0]).get("speakers") or [0]
    paths = folder() / "said.wav", folder() / "voice.wav"
    for path, text, speaker in zip(paths, (SAID, REFERENCE), (speakers[0], speakers[-1]), strict=True):
        if not path.exists():
            at_once(shelf, Words(text, names[0], speaker), tell)[0].save(path)
    return paths


def read(path: str, what: str) -> Audio:
    """A whole recording. Raises ValueError for one that is too long and what reading raises."""
    audio = Audio(read_audio(path), AudioReader(path).sample_rate)
    if audio.seconds > MOST_SECONDS:
        raise ValueError(
            f"the {what} has {audio.seconds:.0f} s, and the demo takes {MOST_SECONDS:.0f} s: cut it, or use "
            "`audiogen convert`, which takes any length"
        )
    return audio


def convert(
    shelf: Shelf,
    said: str,
    voice: str,
    model: str,
    options: ConvertOptions,
    seed: int,
    tell: Tell = silent,
) -> tuple[Audio, Audio, Account]:
    """Files with what to say and with a voice -> the first as it was, in that voice, and the cost.

    The cost is that of the conversion; of the voice, which many conversions share, it is a fact. Raises
    ValueError for recordings that are too long, silent or damaged, and what the system raises.
    """
    source, reference = read(said, "recording to convert"), read(voice, "recording of the voice")
    system = shelf.get(CONVERT, model, tell)
    evaluations = system.nfe(options)
    tell(0.8, "listening to the voice")
    listening, timer = StageTimer(system.device), StageTimer(system.device)
    with listening.stage("voice"):
        known = system.voice([reference])
    tell(0.9, f"converting {source.seconds:.1f} s")
    blocks = list(convert_blocks(system, source, known, options=options, seed=seed, timer=timer))
    after = Audio(torch.cat(blocks, dim=-1), system.sample_rate)
    facts = {
        "model": label(model),
        "evaluations": evaluations,
        "seed": seed,
        "voice learnt in": f"{listening.seconds['voice']:.2f} s",
    }
    return source, after, Account(after.seconds, sum(timer.seconds.values()), None, facts)
