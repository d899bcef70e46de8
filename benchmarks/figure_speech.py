"""Draws what the shipped voice says of one sentence: waveform, mel spectrogram, and when each word is heard.

    python benchmarks/figure_speech.py [--figure docs/figures/speech.png]

The same seed gives the same audio, so the picture is made again bit for bit where the weights are the same.
"""

from __future__ import annotations

import argparse
from io import BytesIO
from pathlib import Path

import torch

import audiogen
from audiogen.audio import Audio
from audiogen.spectral import MelSpec, mel_spectrogram

FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "speech.png"
SENTENCE = "Your call is important to us. Please stay on the line."
BLUE, GREY = "#3b6ea5", "#5f6b76"


def speak() -> Audio:
    """The sentence by the default voice, 2 steps."""
    return audiogen.load("prodiff").synthesize(SENTENCE, num_steps=2, seed=0)


def draw(audio: Audio, to: Path) -> None:
    """Write the picture: words and waveform above, log-mel spectrogram below."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from PIL import Image

    spec = MelSpec()
    mel = mel_spectrogram(audio.wav[:1], spec)[0].clamp(min=-9)
    seconds, peak = audio.wav.shape[-1] / audio.sample_rate, float(audio.wav.abs().max())
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(10, 4), sharex=True, layout="constrained", height_ratios=(2, 3)
    )
    top.plot(torch.arange(audio.wav.shape[-1]) / audio.sample_rate, audio.wav[0], color=BLUE, linewidth=0.4)
    top.set(ylim=(-1.1 * peak, 1.7 * peak), yticks=[], ylabel="waveform")
    bottom.imshow(
        mel, origin="lower", aspect="auto", cmap="magma", extent=(0, seconds, 0, spec.n_mels), rasterized=True
    )
    bottom.set(xlim=(0, seconds), yticks=[], ylabel=f"{spec.n_mels} mel bins", xlabel="seconds")
    words = [timing for timing in audio.timings if timing.kind == "word"]
    for number, word in enumerate(words):
        top.axvspan(word.start_s, word.end_s, color=GREY, alpha=0.10 + 0.12 * (number % 2), linewidth=0)
        top.text((word.start_s + word.end_s) / 2, 1.35 * peak, word.text, ha="center", va="center")
    for side in ("top", "right", "left"):
        top.spines[side].set_visible(False)
    drawn = BytesIO()
    figure.savefig(drawn, dpi=100)
    plt.close(figure)
    Image.open(drawn).convert("RGB").quantize(128).save(to, optimize=True)  # a third of the bytes


def main() -> None:
    """Speak and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--figure", type=Path, default=FIGURE, help="the picture to write")
    draw(speak(), parser.parse_args().figure)


if __name__ == "__main__":
    main()
