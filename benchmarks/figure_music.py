"""Pictures of music to held-out captions: the rendering, the autoencoder's copy, and MeLoDy's own.

    python benchmarks/figure_music.py --model melody --music data/music

Log-mel spectrograms of the first seconds, for held-out pieces of one family each, drawn by `--seed`. They go
into the folder of the model as spectrogram_NUMBER.png.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from cells import count_of
from quality_music import MUSIC, chosen, cut
from quality_tts import stacked

from audiogen import hub
from audiogen.data.coded_music import PreparedMusic
from audiogen.music import MusicOptions, generate
from audiogen.spectral import MelSpec
from audiogen.weights import locate


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="melody")
    parser.add_argument("--music", type=Path, default=MUSIC, help="folder of `audiogen prepare music`")
    parser.add_argument("--items", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--steps", default="1,4")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder of the pictures; default: the model's")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Make the music and draw it."""
    args = parse(words)
    system, music = hub.load(args.model), PreparedMusic(args.music)
    folder = args.out if args.out is not None else locate(args.model).parent
    folder.mkdir(parents=True, exist_ok=True)
    rate = music.sample_rate
    spec = MelSpec(rate, f_max=rate / 2)
    wanted, _ = chosen(music, args.items, args.seed)
    for number, index in enumerate(wanted, 1):
        caption = music.lines[index]["captions"][0]
        real = cut(music.wav(index), rate, args.seconds)
        with torch.inference_mode():
            copy = system.coder.decode(system.coder.encode(real[None, None]))[0, 0, : len(real)]
        wavs = {"rendering": real, "copy by the autoencoder": copy}
        for steps in map(int, args.steps.split(",")):
            options = MusicOptions(steps)
            made = generate(system, caption, args.seconds, [args.seed], options)[0, 0]
            wavs[count_of(steps, "step")] = made
        stacked(caption, wavs, spec, folder / f"spectrogram_{number}.png")


if __name__ == "__main__":
    main()
