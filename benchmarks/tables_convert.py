"""The table of the voice converter: whose voice, how well understood, whose intonation, how fast."""

from __future__ import annotations

from cells import machine, results, table, value


def stablevc_quality() -> str:
    """Every number of steps by each solver, and the style of a third speaker."""
    found = results("quality_convert")
    rows = []
    for entry in found["conditions"]:
        told = entry["summary"]
        rtf = told["rtf"]["value"] if isinstance(told["rtf"], dict) else told["rtf"]
        rows.append(
            [
                entry["condition"],
                str(entry["nfe"]),
                value(told, "to_target", ".2f"),
                value(told, "to_source", ".2f"),
                value(told, "nearer", ".0f", 100) + " %",
                value(told, "cepstrum_nearer", ".0f", 100) + " %",
                value(told, "cer", ".2f"),
                value(told, "source_cer", ".2f"),
                value(told, "f0_style", ".2f"),
                value(told, "f0_source", ".2f"),
                f"{rtf:.2f}",
            ]
        )
    head = ["", "evaluations", "likeness to target", "to source", "nearer to target"]
    head += ["by mean cepstra", "CER", "of the source", "F0 correlation with style", "with source", "RTF"]
    context = found["context"]
    note = f"{context['pairs']} conversions. Machine: {machine(context)}."
    return "\n\n".join([table(head, rows), note])
