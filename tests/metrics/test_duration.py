"""Trimming of silence."""

import pytest
import torch

from audiogen.metrics.duration import trim_silence


@pytest.mark.parametrize(("before", "after"), [(0, 0), (1600, 4800), (4800, 0)])
def test_silence_at_the_ends_is_cut_to_within_a_frame(before, after):
    noise = torch.randn(8000, generator=torch.Generator().manual_seed(0))
    trimmed = trim_silence(torch.cat([torch.zeros(before), noise, torch.zeros(after)]))
    assert abs(len(trimmed) - 8000) <= 800


def test_a_pause_inside_stays():
    noise = torch.randn(3200, generator=torch.Generator().manual_seed(0))
    assert len(trim_silence(torch.cat([noise, torch.zeros(8000), noise]))) == 14400


def test_forty_db_is_the_border():
    noise = torch.randn(8000, generator=torch.Generator().manual_seed(0))
    quiet = noise.clone()
    quiet[4000:] *= 10 ** (-34 / 20)
    faint = noise.clone()
    faint[4000:] *= 10 ** (-46 / 20)
    assert len(trim_silence(quiet)) > 7800
    assert len(trim_silence(faint)) < 4400


def test_silence_and_a_short_click_come_back_whole():
    assert len(trim_silence(torch.zeros(100))) == 100
    assert len(trim_silence(torch.ones(5))) == 5
