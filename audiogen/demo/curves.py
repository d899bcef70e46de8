"""Curves drawn by hand: levels from 0, the bottom of the drawing, to 1, its top, at equal distances."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw, ImageFont

from audiogen.demo.pictures import BACKGROUND, LINES, TEXT

LEVELS = 64  # that the drawing has
SHAPES: dict[str, Callable[[float], float]] = {  # level at a share of the length
    "rising": lambda x: 0.15 + 0.75 * x,
    "falling": lambda x: 0.9 - 0.75 * x,
    "swell": lambda x: 0.2 + 0.7 * math.sin(math.pi * x) ** 2,
    "drop": lambda x: 0.85 if abs(x - 0.5) > 0.15 else 0.15,
}
COLOURS = ((252, 190, 60), (120, 128, 145), (110, 168, 254))
SIZE, EDGE = (640, 220), (52, 10, 10, 26)  # of the picture; left, top, right, bottom

Points = Sequence[tuple[float, float]]
"""(second, value) of a curve, seconds rising."""


def shape(name: str) -> list[float]:
    """The levels of one of SHAPES."""
    return [SHAPES[name](k / (LEVELS - 1)) for k in range(LEVELS)]


def drawn(value: object) -> list[float]:
    """What the drawing holds -> its levels. Raises ValueError for what no drawing gives."""
    if not isinstance(value, list) or len(value) != LEVELS:
        raise ValueError("nothing is drawn; draw a curve, or press one of the shapes")
    levels = [float(level) for level in value]
    if not all(0 <= level <= 1 for level in levels):
        raise ValueError("the drawing leaves its frame; draw it anew, or press one of the shapes")
    return levels


def points(levels: Sequence[float], seconds: float, low: float, high: float) -> list[tuple[float, float]]:
    """Levels over a length -> points between which the curve runs straight, from 0 to `seconds`.

    low, high: values of the levels 0 and 1.
    """
    last = len(levels) - 1
    return [(seconds * k / last, low + (high - low) * level) for k, level in enumerate(levels)]


def samples(curve: Points, at: Sequence[float]) -> list[float]:
    """Values of the curve at moments; before its first point and after its last it stays level."""
    found = []
    for moment in at:
        right = next((k for k, (second, _) in enumerate(curve) if second >= moment), len(curve))
        if right in (0, len(curve)):
            found.append(curve[0 if right == 0 else -1][1])
            continue
        (a, low), (b, high) = curve[right - 1], curve[right]
        found.append(low + (high - low) * (moment - a) / (b - a))
    return found


def curves_picture(curves: Sequence[tuple[str, Points]], low: float, high: float, unit: str) -> Image.Image:
    """Curves over one another, each with its name; what lies beyond low and high is drawn at the edge."""
    canvas = Image.new("RGB", SIZE, BACKGROUND)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(15)
    left, top, right, bottom = EDGE[0], EDGE[1], SIZE[0] - EDGE[2], SIZE[1] - EDGE[3]
    end = max((second for _, curve in curves for second, _ in curve), default=1.0) or 1.0

    def place(second: float, value: float) -> tuple[float, float]:
        share = min(1.0, max(0.0, (value - low) / (high - low)))
        return left + second / end * (right - left), bottom - share * (bottom - top)

    draw.rectangle([(left, top), (right, bottom)], outline=LINES)
    for value in (low, (low + high) / 2, high):
        draw.text(
            (left - 6, min(max(place(0, value)[1], top + 7), bottom - 7)), f"{value:g}", TEXT, font, "rm"
        )
    x = left
    for (name, curve), colour in zip(curves, COLOURS, strict=False):
        draw.line([place(*point) for point in curve], colour, 3)
        draw.text((x, SIZE[1] - 6), name, colour, font, "ls")
        x += int(draw.textlength(name, font)) + 18
    draw.text((right, SIZE[1] - 6), f"{unit}, over {end:.0f} s", TEXT, font, "rs")
    return canvas
