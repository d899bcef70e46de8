"""Pictures of sound: where a tone stands, what silence looks like, axes."""

import math

import numpy as np
import pytest
import torch

from audiogen.demo.pictures import (
    COLOURS,
    GAP,
    LEFT,
    MEL_HEIGHT,
    TOP,
    WAVE,
    WAVE_HEIGHT,
    WIDTH,
    coloured,
    distance_db,
    envelope,
    front_end,
    mel_picture,
    mel_row,
    picture,
    tick_seconds,
)


def tone(hz, seconds=1.0, rate=16000, gain=0.5):
    return gain * torch.sin(2 * math.pi * hz * torch.arange(round(seconds * rate)) / rate)


@pytest.mark.parametrize("hz", [300, 1000, 3000, 6000])
def test_a_tone_is_brightest_in_its_own_row(hz):
    """By the mel scale: row of the picture = height x place among the bands, from below."""
    rows = np.asarray(mel_picture(tone(hz), 16000).convert("L"), dtype=float).mean(1)
    spec = front_end(16000, 16000)
    expected = (1 - mel_row(hz, spec) / (spec.n_mels - 1)) * (MEL_HEIGHT - 1)
    assert abs(int(rows.argmax()) - expected) < 4


def test_rows_of_frequencies_invert_the_filters():
    """A filter's own centre stands in its own row; frequencies rise with the rows."""
    spec = front_end(24000, 24000)
    rows = [mel_row(hz, spec) for hz in range(100, 12000, 100)]
    assert all(a <= b for a, b in zip(rows, rows[1:], strict=False))
    assert mel_row(0, spec) == 0
    assert mel_row(1e6, spec) == spec.n_mels - 1


def test_envelope_holds_every_sample():
    wav = torch.randn(1000, generator=torch.manual_seed(0))
    low, high = envelope(wav, 7)
    assert float(low.min()) == float(wav.min())
    assert float(high.max()) == float(wav.max())
    low, high = envelope(wav[:3], 9)  # fewer samples than columns
    assert torch.equal(low, high)
    assert set(low.tolist()) == set(wav[:3].tolist())


def test_the_waveform_is_as_high_as_the_sound_is_loud():
    """Half of full scale fills half of the height, in the whole width."""
    image = picture(tone(1500, gain=0.5)[None], 16000)  # two periods a column
    for x in (LEFT + 5, LEFT + WIDTH // 2, LEFT + WIDTH - 5):
        column = [image.getpixel((x, TOP + y)) for y in range(WAVE_HEIGHT)]
        assert sum(pixel == WAVE for pixel in column) == pytest.approx(WAVE_HEIGHT / 2, abs=3)


def test_silence_is_dark_and_nothing_is_a_picture_too():
    for samples in (0, 1, 100, 16000):
        image = picture(torch.zeros(2, samples), 16000)
        assert image.width == LEFT + WIDTH + TOP
    quiet = picture(torch.cat((tone(1000), torch.zeros(16000)))[None], 16000)
    y = TOP + WAVE_HEIGHT + GAP + MEL_HEIGHT // 2
    assert quiet.getpixel((LEFT + WIDTH - 20, y)) == tuple(COLOURS[0].int().tolist())


def test_colours_run_from_the_first_to_the_last():
    levels = torch.tensor([-1.0, 0.0, 1.0, 2.0, 1 / (len(COLOURS) - 1)])
    found = coloured(levels)
    assert torch.equal(found[[0, 1]].float(), COLOURS[[0, 0]])
    assert torch.equal(found[[2, 3]].float(), COLOURS[[-1, -1]])
    assert torch.equal(found[4].float(), COLOURS[1])


@pytest.mark.parametrize("seconds", [0.05, 1.0, 7.3, 61.0, 600.0])
def test_ticks_are_few_and_within(seconds):
    ticks = tick_seconds(seconds)
    assert ticks[0] == 0
    assert ticks[-1] <= seconds + 1e-6
    assert len(ticks) <= 10


def test_a_gain_is_its_decibels_apart():
    wav = 0.1 * torch.randn(1, 16000, generator=torch.manual_seed(1))
    assert distance_db(wav, wav, 16000) == 0
    assert distance_db(wav, 2 * wav, 16000) == pytest.approx(20 * math.log10(2), abs=0.05)
    assert distance_db(wav, wav[:, 1:], 16000) is None
