"""What the tables of README and the pages are made of: results of benchmarks, numbers and cells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
MODELS = ROOT / "models"


def results(name: str) -> Any:
    """The JSON a benchmark wrote."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def machine(context: dict[str, Any]) -> str:
    """Where numbers come from, in words."""
    cpu = f"{context['cpu']} with {context['vectors']}" if "vectors" in context else context["cpu"]
    return f"{cpu}, {context['threads']} threads, torch {context['versions']['torch']}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def value(summary: dict[str, Any], name: str, form: str, scale: float = 1.0, interval: bool = False) -> str:
    """One measured number, with its interval if wanted; a dash where there is none."""
    if name not in summary or summary[name]["value"] is None:
        return "-"
    entry = summary[name]
    text = format(scale * entry["value"], form)
    if interval:
        text += f" ({scale * entry['low']:{form}} to {scale * entry['high']:{form}})"
    return text


def count_of(number: int, what: str) -> str:
    """1 step, 2 steps."""
    return f"{number} {what}" + ("" if number == 1 else "s")
