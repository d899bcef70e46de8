"""The tab that takes noise out of recordings, and a noisy recording to try it on."""

from __future__ import annotations

from pathlib import Path

import torch

from audiogen.audio import Audio, AudioReader, read_audio
from audiogen.demo.account import Account
from audiogen.demo.files import folder
from audiogen.demo.models import ENHANCE, SPEAK, Shelf, Tell, label, silent
from audiogen.demo.speak import Words, at_once
from audiogen.enhancement import EnhancementSystem, EnhanceOptions, check_options, enhance_blocks
from audiogen.report import StageTimer

SENTENCE = "The meeting has been moved to half past ten. Please bring the blue folder."
LEVELS_DB = (10.0, 3.0)  # of the speech above the noise, in the examples
MOST_SECONDS = 120.0  # the command line has no limit
SLOPE = 0.9  # of the example's noise, which rumbles as rooms do


def noisy(speech: Audio, level_db: float, seed: int = 0) -> Audio:
    """Speech in noise that lies `level_db` below it; falling towards high frequencies, with peaks below 1."""
    generator = torch.Generator().manual_seed(seed)
    white = torch.randn(speech.wav.shape, generator=generator)
    spectrum = torch.fft.rfft(white)
    spectrum = spectrum / (1 + torch.arange(spectrum.shape[-1]) / spectrum.shape[-1] * 50) ** SLOPE
    noise = torch.fft.irfft(spectrum, white.shape[-1])
    gain = speech.wav.square().mean().sqrt() / noise.square().mean().sqrt() / 10 ** (level_db / 20)
    mixed = speech.wav + gain * noise
    return Audio(mixed * (0.9 / mixed.abs().max().clamp(min=0.9)), speech.sample_rate)


def example(shelf: Shelf, level_db: float, tell: Tell = silent) -> Path:
    """A file with a sentence of the first speaking model in noise, made once.

    Raises ValueError where no model speaks.
    """
    names = shelf.names(SPEAK)
    if not names:
        raise ValueError("the example needs a model that speaks, and none is installed; load a recording")
    path = folder() / f"noisy-{level_db:g}dB.wav"
    if not path.exists():
        speech, _ = at_once(shelf, Words(SENTENCE, names[0]), tell)
        noisy(speech, level_db).save(path)
    return path


def enhance(
    shelf: Shelf, path: str, model: str, options: EnhanceOptions, seed: int, tell: Tell = silent
) -> tuple[Audio, Audio, Account]:
    """A recording -> as it was, enhanced, and the cost.

    Raises ValueError for one that is too long and what reading and the system raise.
    """
    source = AudioReader(path)
    before = Audio(read_audio(path), source.sample_rate)
    if before.seconds > MOST_SECONDS:
        raise ValueError(
            f"the recording has {before.seconds:.0f} s, and the demo takes {MOST_SECONDS:.0f} s: cut it, or "
            "use `audiogen enhance`, which takes any length"
        )
    system = shelf.get(ENHANCE, model, tell)
    tell(0.8, f"enhancing {before.seconds:.1f} s")
    evaluations = check_options(system, options)
    timer = StageTimer(getattr(system, "device", "cpu"))
    blocks = list(enhance_blocks(system, source, options, seed=seed, timer=timer))
    after = Audio(torch.cat(blocks, dim=-1), source.sample_rate)
    facts = {"model": label(model), "quality": options.quality, "evaluations": evaluations, "seed": seed}
    return before, after, Account(before.seconds, sum(timer.seconds.values()), None, facts)


def qualities(system: EnhancementSystem) -> list[tuple[str, str]]:
    """(label, name) of the presets that differ in cost, cheapest first; one alone where none differs."""
    costs = {name: system.nfe(EnhanceOptions(name)) for name in system.presets}
    if len(set(costs.values())) == 1:
        costs = {"balanced": costs["balanced"]}
    ordered = sorted(costs.items(), key=lambda item: item[1])
    return [(f"{name}, {n} evaluation{'s' if n > 1 else ''}", name) for name, n in ordered]
