"""From a drawing to a curve to values, and back into a picture."""

import math

import numpy as np
import pytest

from audiogen.demo.curves import COLOURS, LEVELS, SHAPES, curves_picture, drawn, points, samples, shape


def test_levels_become_points_from_the_start_to_the_end():
    curve = points([0.0, 0.5, 1.0], 4.0, -40.0, -20.0)
    assert curve == [(0.0, -40.0), (2.0, -30.0), (4.0, -20.0)]


def test_values_run_straight_between_points_and_stay_level_outside():
    """As numpy's interpolation has it."""
    curve = points(shape("swell"), 6.0, -45.0, -10.0)
    at = [-1.0, 0.0, 0.37, 2.5, 5.99, 6.0, 9.0]
    seconds, values = zip(*curve, strict=True)
    assert samples(curve, at) == pytest.approx(np.interp(at, seconds, values))


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_drawings(name):
    levels = shape(name)
    assert drawn(levels) == levels
    assert len(levels) == LEVELS


def test_rising_rises_and_a_swell_comes_back():
    assert shape("rising") == sorted(shape("rising"))
    swell = shape("swell")
    assert swell == pytest.approx(swell[::-1])
    assert max(swell) == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (None, "draw"),
        ([], "draw"),
        ([0.5] * (LEVELS - 1), "draw"),
        ("0.5", "draw"),
        ([0.5] * (LEVELS - 1) + [1.5], "anew"),
        ([0.5] * (LEVELS - 1) + [math.nan], "anew"),
    ],
)
def test_what_is_no_drawing_is_refused_with_a_remedy(value, remedy):
    with pytest.raises(ValueError, match=remedy):
        drawn(value)


def test_a_curve_stands_in_the_picture_where_its_values_are():
    """The highest third of the range is above the middle, the lowest below; beyond the range, at the edge."""
    image = curves_picture(
        [("high", [(0.0, 0.9), (5.0, 0.9)]), ("low", [(0.0, -7.0), (5.0, -7.0)])], 0.0, 1.0, "dB"
    )
    column = [image.getpixel((image.width // 2, y)) for y in range(image.height - 26)]
    high, low = column.index(COLOURS[0]), column.index(COLOURS[1])
    assert high < image.height / 3
    assert low > 0.8 * (image.height - 26)
