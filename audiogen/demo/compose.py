"""The tab that makes music of words, streamed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from audiogen.audio import soft_limit
from audiogen.demo.account import Account
from audiogen.demo.models import COMPOSE, Shelf, Tell, label, silent
from audiogen.demo.pictures import picture
from audiogen.demo.player import Playback
from audiogen.music import MusicOptions
from audiogen.report import PlayOut, StageTimer
from audiogen.speech import stable_seed

USUAL_SECONDS = 10.0
MOST_SECONDS = 60.0  # the command line has no limit
EXAMPLES = ("slow solo piano in A minor", "fast violin, joyful", "calm strings")


def compose(
    shelf: Shelf,
    words: str,
    model: str,
    options: MusicOptions,
    seconds: float,
    seed: int,
    tell: Tell = silent,
) -> Iterator[tuple[Playback, Account]]:
    """Music, block by block -> what is heard and the cost, the same as of `audiogen music WORDS`.

    Raises ValueError for no words, and what the system raises for options that it cannot follow.
    """
    if not words.strip():
        raise ValueError("there are no words to make music of; write some, such as 'slow solo piano'")
    system = shelf.get(COMPOSE, model, tell)
    evaluations = system.passes(seconds, options).total
    facts = {"model": label(model), "passes": evaluations, "seed": seed}
    if options.num_steps is not None:
        facts["steps"] = options.num_steps
    if unknown := system.unknown_words(words):
        facts["unknown to this model"] = ", ".join(unknown)
    playback = Playback(system.sample_rate, f"music-seed{seed}")
    timer, play_out = StageTimer(getattr(system, "device", "cpu")), PlayOut()
    blocks = system.stream(words, [stable_seed(seed, "0")], options, seconds=seconds, timer=timer)
    for block in play_out.watch(blocks, lambda wav: wav.shape[-1] / system.sample_rate):
        playback.add(soft_limit(block[0].float().cpu()))
        cost = sum(timer.seconds.values())
        yield playback, Account(playback.seconds, cost, play_out.first_chunk_seconds, facts)


def frames(
    shelf: Shelf,
    words: str,
    model: str,
    options: MusicOptions,
    seconds: float,
    seed: int,
    tell: Tell = silent,
) -> Iterator[tuple[dict[str, Any], str, Any]]:
    """`compose` as the page takes it: player, figures, and at the end the picture."""
    playback, account = None, None
    for playback, account in compose(shelf, words, model, options, seconds, seed, tell):
        yield playback.value(), account.html(), gr.skip()
    if playback is not None and account is not None:
        drawn = picture(playback.wav, playback.sample_rate)
        yield playback.value(done=True), account.html(), drawn
