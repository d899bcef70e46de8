"""Tables of music, and of steering it: how it follows captions, how fast it is, how DITTO compares."""

from __future__ import annotations

from typing import Any

from cells import count_of, machine, results, table

MEASURES = {
    "family": "instrument family",
    "tempo": "tempo within 8 %",
    "tempo_octaves": "or its half or double",
    "key": "key",
    "mode": "major or minor",
}


def share(entry: dict[str, Any]) -> str:
    """A share in percent."""
    return f"{100 * entry['value']:.0f} %"


def melody_quality() -> str:
    """How music follows its caption, beside renderings, copies and chance."""
    found = results("quality_music")
    rows = []
    for name, row in found["sources"].items():
        rows.append([name, *(share(row["fits"][m]) for m in MEASURES), f"{row['frechet']:.1f}"])
    last = [row for name, row in found["sources"].items() if name.endswith(("step", "steps"))][-1]
    rows.append(["by chance", *(share(last["chance"][m]) for m in MEASURES), "-"])
    border, context = found["seams"], found["context"]
    note = (
        f"{found['items']} captions of held-out scores, {context['seconds']:g} s each, "
        f"{context.get('each', 1)} pieces made to each; chance: the same music against another caption's "
        f"facts. Frechet distance to {found['reference_items']} other "
        "held-out renderings in the autoencoder's latents. Where a round of chunks ends, music is more "
        f"sudden than at {100 * border['rank']:.0f} % of places (50 % if borders are like any other place, "
        f"standard error {100 * border['error']:.0f} %). Machine: {machine(context)}."
    )
    return "\n\n".join([table(["", *MEASURES.values(), "Frechet distance"], rows), note])


def melody_speed() -> str:
    """Where the time goes at each number of steps, and how many passes a piece takes."""
    found = results("speed_music")
    rows = [
        [
            count_of(row["steps"], "step"),
            f"{row['rtf']:.3f}",
            f"{row['rtf_of_runs'][0]:.3f} to {row['rtf_of_runs'][1]:.3f}",
            *(f"{row['stage_ms_per_second'][stage]:.0f}" for stage in ("lm", "diffusion", "decoder")),
            f"{row['first_block_ms']:.0f}",
        ]
        for row in found["speeds"]
    ]
    head = ["", "RTF", "over runs", "language model ms/s", "diffusion ms/s", "decoder ms/s", "first block ms"]
    passes = []
    for piece in found["passes"]:
        steps, ours = next(iter(piece["ours"].items()))
        passes.append(
            [
                f"{piece['seconds']:g} s",
                f"{ours['all']} ({ours['lm']} + {ours['diffusion']}, {count_of(int(steps), 'step')})",
                str(piece["published_chunkwise"]),
                str(piece["musiclm"]),
            ]
        )
    context = found["context"]
    return "\n\n".join(
        [
            table(head, rows),
            table(["forward passes for", "audiogen", "MeLoDy as published", "MusicLM"], passes),
            f"Batch 1. Machine: {machine(context)}.",
        ]
    )


def ditto() -> str:
    """Every control: error without steering and with it, by each method, and the time to the same error."""
    found = results("quality_ditto")
    rows = []
    for control_name, control in found["controls"].items():
        for method, row in control["methods"].items():
            first = method == "ditto1"
            faster = "-"
            if method == "ditto2" and "same_error" in control:
                faster = f"{control['same_error']['times_as_fast']['value']:.2g}x"
            rows.append(
                [
                    control_name,
                    {"ditto1": "DITTO", "ditto2": "DITTO-2"}[method],
                    str(control.get("baseline_targets" if first else "targets", control["targets"])),
                    str(control["baseline_search_steps" if first else "search_steps"]),
                    control["unit"],
                    f"{row['unsteered']['value']:.3g}",
                    f"{row['error']['value']:.3g}",
                    f"{row['seconds']['value']:.1f}",
                    faster,
                    f"{row['frechet_unsteered']:.1f}",
                    f"{row['frechet']:.1f}",
                ]
            )
    head = [
        "control",
        "method",
        "targets",
        "steps of Adam",
        "error in",
        "unsteered",
        "steered",
        "seconds",
        "to the same error",
    ]
    head += ["Frechet distance, unsteered", "steered"]
    context = found["context"]
    note = (
        f"Pieces of {context['seconds']:g} s, means over targets taken of held-out renderings or drawn. "
        "DITTO-2 optimises through one call of the network and is heard through "
        f"{context['decode_steps']}, DITTO through {context['baseline_steps']} steps of DDIM, which it "
        "recomputes. To the same error: how many times as fast DITTO-2 gets to the larger of the best errors "
        "of both. The fewer the targets, the larger any Frechet distance, with steering and without. "
        f"Machine: {machine(context)}."
    )
    return "\n\n".join([table(head, rows), note])
