"""How music follows its caption, and how near it is to real renderings: MeLoDy at each number of steps.

    python benchmarks/quality_music.py --model models/melody --music data/music

Captions are those of held-out scores (the test split) whose instruments are of one family. What is heard is
compared with the facts of the caption by `audiogen.metrics.music`: family (a classifier fitted to training
renderings), tempo, key. Captions tell tempi in words, which leave more than 8 % open; at the model's own
number of steps music is also made to captions that add the beats a minute. Ceiling: the renderings
themselves. Chance: the same music against the facts of the other captions. The Frechet distance is over means
and deviations of 5 s of the autoencoder's latents, from all other held-out renderings; its floor is that of
the renderings and of their copies by the autoencoder. Seams: how sudden music is where a round of chunks
ends, among all its places.
Writes results/quality_music.json.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from cells import count_of
from torch import Tensor

from audiogen import hub
from audiogen.data.captions import MIXED
from audiogen.data.coded_music import PreparedMusic
from audiogen.files import write_text
from audiogen.metrics.bootstrap import ratio_interval
from audiogen.metrics.music import WINDOW_S, FamilyClassifier, adherence, frechet_distance, moments
from audiogen.music import MusicOptions, generate
from audiogen.report import machine_context
from audiogen.speech import stable_seed

HERE = Path(__file__).parent
MUSIC = HERE.parent / "data" / "music"
MEASURES = ("family", "tempo", "tempo_octaves", "key", "tonic", "mode")


def chosen(music: PreparedMusic, items: int, seed: int) -> tuple[list[int], list[int]]:
    """Numbers of the held-out items to ask for, of one family each, and of the others, as reference."""
    splits = music.splits()
    held_out = [n for n, split in enumerate(splits) if split != "train"]
    plain = [n for n in held_out if splits[n] == "test" and music.lines[n]["about"].get("family") != MIXED]
    random.Random(f"quality/{seed}").shuffle(plain)
    wanted = sorted(plain[:items])
    return wanted, [n for n in held_out if n not in set(wanted)]


def classifier_of(music: PreparedMusic, seconds: float, most: int) -> FamilyClassifier:
    """Fitted to training renderings of one family each, `most` at most."""
    known = [n for n in music.training() if music.lines[n]["about"].get("family", MIXED) != MIXED]
    known = random.Random("families").sample(known, min(most, len(known)))
    wavs = [cut(music.wav(n), music.sample_rate, seconds) for n in known]
    return FamilyClassifier.fit(wavs, [music.lines[n]["about"]["family"] for n in known], music.sample_rate)


def cut(wav: Tensor, sample_rate: int, seconds: float) -> Tensor:
    """The first seconds of wav (T,)."""
    return wav[: round(seconds * sample_rate)]


@torch.inference_mode()
def points(coder: Any, wavs: Sequence[Tensor]) -> Tensor:
    """What the Frechet distance compares: moments of the latents of recordings (T,)."""
    windows = round(WINDOW_S * coder.frame_rate)
    return torch.cat([moments(coder.encode(wav[None, None])[0], windows) for wav in wavs])


def agreement(found: Sequence[Mapping[str, bool]]) -> dict[str, dict[str, Any]]:
    """Share of items that fit, of every measure, with its 95 % interval."""
    shares = {}
    for name in MEASURES:
        values = [float(item[name]) for item in found]
        shares[name] = asdict(ratio_interval(values, [1.0] * len(values)))
    return shares


def account(
    wavs: Sequence[Tensor], facts: Sequence[Mapping[str, Any]], rate: int, classifier: FamilyClassifier
) -> dict[str, Any]:
    """How recordings fit their facts, and by chance those of the next caption that has others."""
    own = [adherence(wav, rate, told, classifier) for wav, told in zip(wavs, facts, strict=True)]
    turned = [*facts[len(facts) // 2 :], *facts[: len(facts) // 2]]
    other = [adherence(wav, rate, told, classifier) for wav, told in zip(wavs, turned, strict=True)]
    return {"fits": agreement(own), "chance": agreement(other)}


def made(
    system: Any, captions: Sequence[str], seconds: float, steps: int, args: argparse.Namespace
) -> list[Tensor]:
    """The system's music of captions (T,), a batch at a time; a seed for each."""
    options = MusicOptions(
        steps, args.guidance, args.temperature, top_p=args.top_p, lm_guidance=args.lm_guidance
    )
    wavs: list[Tensor] = []
    for first in range(0, len(captions), args.batch_size):
        some = captions[first : first + args.batch_size]
        seeds = [stable_seed(args.seed, first + n) for n in range(len(some))]
        wavs += generate(system, some, seconds, seeds, options)[:, 0].cpu()
    return wavs


def flux(wav: Tensor, n_fft: int = 1024) -> Tensor:
    """Rise of log-magnitudes from frame to frame of wav (T,), a quarter of a frame apart, mean over bins."""
    hop = n_fft // 4
    spectrum = torch.stft(wav, n_fft, hop, window=torch.hann_window(n_fft), return_complex=True)
    levels = spectrum.abs().clamp(min=1e-3).log()
    return (levels[:, 1:] - levels[:, :-1]).clamp(min=0).mean(0)


def seams(wavs: Sequence[Tensor], rounds: Sequence[int], chunk: int) -> dict[str, float]:
    """How sudden music is within 20 ms of the borders of its rounds, among all places of that width.

    rounds: chunks of each, chunk: samples of one. rank: mean share of places that are less sudden, 0.5 where
    borders are like any other; error: its standard error if they are; borders: how many.
    """
    borders = [chunk * sum(rounds[: n + 1]) // 256 for n in range(len(rounds) - 1)]
    ranks = []
    for wav in wavs:
        widest = F.max_pool1d(flux(wav)[None], 5, 1, 2)[0]
        ranks += [
            float((widest < widest[border]).float().mean()) for border in borders if border < len(widest)
        ]
    return {
        "rank": sum(ranks) / len(ranks),
        "error": (12 * len(ranks)) ** -0.5,
        "borders": float(len(ranks)),
    }


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="melody")
    parser.add_argument("--music", type=Path, default=MUSIC, help="folder of `audiogen prepare music`")
    parser.add_argument("--steps", default="1,2,4,10")
    parser.add_argument("--items", type=int, default=60)
    parser.add_argument("--each", type=int, default=1, help="pieces made to each caption")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument(
        "--long", type=float, default=60.0, help="seconds of pieces whose borders are watched"
    )
    parser.add_argument("--long-items", type=int, default=5, help="number of those pieces")
    parser.add_argument("--guidance", type=float, help="default: the model's")
    parser.add_argument("--temperature", type=float, default=MusicOptions.temperature)
    parser.add_argument("--top-p", type=float, default=MusicOptions.top_p)
    parser.add_argument("--lm-guidance", type=float, default=MusicOptions.lm_guidance)
    parser.add_argument("--known", type=int, default=400, help="renderings that the classifier is fitted to")
    parser.add_argument("--batch-size", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "quality_music.json")
    return parser.parse_args(words)


def measure(system: Any, music: PreparedMusic, args: argparse.Namespace) -> dict[str, Any]:
    """Every source of music: renderings, their copies, and the system at each number of steps."""
    wanted, others = chosen(music, args.items, args.seed)
    rate, coder = music.sample_rate, system.coder
    facts = [music.lines[n]["about"] for n in wanted]
    captions = [music.lines[n]["captions"][0] for n in wanted]
    classifier = classifier_of(music, args.seconds, args.known)
    real = [cut(music.wav(n), rate, args.seconds) for n in wanted]
    reference = points(coder, [cut(music.wav(n), rate, args.seconds) for n in others])
    sources = {"renderings": real}
    with torch.inference_mode():
        copies = [coder.decode(coder.encode(wav[None, None]))[0, 0] for wav in real]
    sources["copies by the autoencoder"] = [copy[: len(wav)] for copy, wav in zip(copies, real, strict=True)]
    asked = [caption for caption in captions for _ in range(args.each)]
    for steps in map(int, args.steps.split(",")):
        sources[count_of(steps, "step")] = made(system, asked, args.seconds, steps, args)
    default, _ = system.diffusion.settled(None, None)
    exact = [
        f"{caption}, {fact['bpm']:.0f} bpm"
        for caption, fact in zip(captions, facts, strict=True)
        for _ in range(args.each)
    ]
    sources[f"{count_of(default, 'step')}, told beats a minute"] = made(
        system, exact, args.seconds, default, args
    )
    rows = {}
    for name, wavs in sources.items():
        told_of = [fact for fact in facts for _ in range(len(wavs) // len(facts))]
        rows[name] = account(wavs, told_of, rate, classifier)
        rows[name]["frechet"] = frechet_distance(points(coder, wavs), reference)
        told = ", ".join(f"{m} {100 * rows[name]['fits'][m]['value']:.0f} %" for m in MEASURES)
        print(f"{name}: {told}, Frechet distance {rows[name]['frechet']:.2f}")
    rounds = system.plan(args.long, MusicOptions())
    long = made(system, captions[: args.long_items], args.long, steps, args)
    border = seams(long, rounds, system.chunk_samples)
    print(f"borders of rounds are more sudden than {100 * border['rank']:.0f} % of places, chance 50 %")
    return {
        "items": len(wanted),
        "reference_items": len(others),
        "captions": captions,
        "sources": rows,
        "seams": {"seconds": args.long, "steps": steps, **border},
    }


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print and save."""
    args = parse(words)
    torch.set_num_threads(args.threads)
    system = hub.load(args.model, args.device)
    found = measure(system, PreparedMusic(args.music), args)
    settings = ("seconds", "guidance", "temperature", "top_p", "lm_guidance", "seed", "known", "each")
    context = {
        **machine_context(args.device),
        **{key: Path(value).name for key, value in hub.provenance(args.model).items()},
        **{name: getattr(args, name) for name in settings},
    }
    args.out.parent.mkdir(exist_ok=True)
    write_text(args.out, json.dumps({"context": context, **found}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
