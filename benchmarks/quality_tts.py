"""How good `audiogen tts` is at each number of steps, beside recordings and their copies through vocoders.

    python benchmarks/quality_tts.py

Three lists: everyday sentences, whose words are mostly not in the recordings; sentences with many words that
are in no training text at all; and prompts kept out of training with their recordings
(`data/ivr/heldout.csv`, from `audiogen prepare ivr`). The measures are those of `audiogen evaluate tts`. Also
draws spectrograms of the first prompts into the model's folder.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiogen import hub
from audiogen.cli.evaluate import parse_steps, run, show, table, tts_conditions
from audiogen.files import write_text
from audiogen.metrics.evaluation import Condition, EvalItem, copy_synthesis, read_manifest, recording
from audiogen.metrics.scores import Evaluation, interval_dicts
from audiogen.report import machine_context
from audiogen.spectral import MelSpec, mel_spectrogram
from audiogen.text.frontend import TextFrontEnd
from audiogen.vocoders.griffin_lim import GriffinLim

HERE = Path(__file__).parent
KEPT = ("id", "heard", "rates", "error")
COMPARED = ("cer", "mcd_db", "f0_rmse_cents", "duration_error", "acoustic_ms")


def conditions(system: Any, steps: Sequence[int], seed: int) -> list[Condition]:
    """Recordings, their copies by Griffin-Lim and the model's vocoder, then the model at each step count."""
    copies = [copy_synthesis(GriffinLim(system.mel_spec), "copy by Griffin-Lim")]
    copies.append(copy_synthesis(system.vocoder, "copy by the vocoder"))
    speaking = tts_conditions(system, TextFrontEnd(system.language), list(steps), seed, recordings=False)
    return [recording(), *copies, *speaking]


def account(result: Evaluation) -> dict[str, Any]:
    """Every condition's summary, paired differences between step counts, and what was heard of each item."""
    spoken = [name for name in result.scores if name.endswith(("step", "steps"))]
    differences = {
        f"{one} - {other}": interval_dicts(
            {m: interval for m in COMPARED if (interval := result.difference(one, other, m)) is not None}
        )
        for other, one in combinations(spoken, 2)
    }
    entries = [
        {
            "condition": entry["condition"],
            "summary": entry["summary"],
            "items": [{key: item[key] for key in KEPT if key in item} for item in entry["items"]],
        }
        for entry in result.to_dict()
    ]
    return {"conditions": entries, "differences": differences}


def picture(item: EvalItem, chosen: Sequence[Condition], path: Path) -> None:
    """Draw one item's log-mel spectrogram under each condition, one above the other, as a small PNG."""
    stacked(item.text, {c.name: c.render(item).wav for c in chosen}, MelSpec(), path)


def stacked(title: str, wavs: Mapping[str, Tensor], spec: MelSpec, path: Path) -> None:
    """Draw log-mel spectrograms of recordings (T,), one above the other, as a small PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    mels = [mel_spectrogram(wav[None], spec)[0] for wav in wavs.values()]
    longest = max(mel.shape[1] for mel in mels) / spec.frame_rate
    figure = Figure(figsize=(8, 1.3 * len(mels)), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(mels), 1, sharex=True)
    for axes, name, mel in zip(rows, wavs, mels, strict=True):
        seconds = mel.shape[1] / spec.frame_rate
        axes.imshow(
            mel,
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=-9,
            vmax=1,
            extent=(0, seconds, 0, spec.n_mels),
        )
        axes.set(xlim=(0, longest), yticks=[], ylabel=name.replace(" by ", "\nby "))
    rows[-1].set_xlabel("seconds")
    rows[0].set_title(title, fontsize=9, wrap=True)
    figure.canvas.draw()
    pixels = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")
    pixels.quantize(32).save(path, optimize=True)


def measure(
    lists: Mapping[str, list[EvalItem]],
    sources: list[Condition],
    seed: int,
    content: dict[str, Any],
) -> None:
    """Measure every list, print its table, and put its account into `content`."""
    for name, listed in lists.items():
        result = run(listed, sources, seed)
        show(table(result, name))
        content[name] = account(result)


def draw(items: Sequence[EvalItem], chosen: Sequence[Condition], count: int, folder: Path) -> None:
    """Pictures of the first `count` items with recordings."""
    for item in [item for item in items if item.audio][:count]:
        picture(item, chosen, folder / f"spectrogram_{item.id.replace('/', '_')}.png")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="prodiff")
    parser.add_argument("--steps", default="4,2,1")
    parser.add_argument("--everyday", type=Path, default=HERE / "everyday_sentences.csv")
    parser.add_argument("--unseen", type=Path, default=HERE / "unseen_sentences.csv")
    parser.add_argument("--heldout", type=Path, default=HERE.parent / "data" / "ivr" / "heldout.csv")
    parser.add_argument("--limit", type=int, help="use only the first items of each list")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pictures", type=int, default=2, help="how many prompts to draw")
    parser.add_argument("--picture-dir", type=Path, default=HERE.parent / "models" / "prodiff")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "quality_tts.json")
    return parser.parse_args()


def main() -> None:
    """Measure, print, save and draw."""
    args = parse()
    torch.set_num_threads(args.threads)
    system = hub.load(args.model)
    sources = conditions(system, parse_steps(args.steps) or [], args.seed)
    lists = {"everyday": args.everyday, "unseen": args.unseen, "heldout": args.heldout}
    items = {name: read_manifest(path)[: args.limit] for name, path in lists.items()}
    origin = {key: Path(value).name for key, value in hub.provenance(args.model).items()}
    content: dict[str, Any] = {"context": {**machine_context(), **origin, "seed": args.seed}}
    measure(items, sources, args.seed, content)
    args.out.parent.mkdir(exist_ok=True)
    write_text(args.out, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    chosen = [source for source in sources if source.name != "copy by Griffin-Lim"]
    draw(items["heldout"], chosen, args.pictures, args.picture_dir)


if __name__ == "__main__":
    main()
