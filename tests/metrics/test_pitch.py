"""Pitch errors of tones whose pitch is known."""

import math

import numpy as np
import pytest
import torch

from audiogen.metrics.pitch import f0_contour, periodicity, periodicity_errors, pitch_errors

NAN = math.nan


def diagonal(length):
    return np.stack([np.arange(length)] * 2, axis=1)


def tone(f0_hz, seconds=0.6):
    """A buzz with six partials, (T,) at 16 kHz."""
    t = torch.arange(round(16000 * seconds)) / 16000
    return sum(torch.sin(2 * math.pi * k * f0_hz * t) / k for k in range(1, 7)) * 0.1


def test_identical_contours_have_no_error():
    f0 = np.array([NAN, 200.0, 210.0, 190.0, NAN])
    errors = pitch_errors(f0, f0, diagonal(5))
    assert (errors.rmse_cents, errors.rmse_hz, errors.voicing_error) == (0, 0, 0)
    assert errors.correlation == pytest.approx(1.0)


def test_a_tone_three_semitones_higher_is_300_cents_off():
    low, high = f0_contour(tone(200.0)), f0_contour(tone(200.0 * 2 ** (3 / 12)))
    assert len(low) == 61
    errors = pitch_errors(low, high, diagonal(61))
    assert errors.voiced > 40
    assert errors.rmse_cents == pytest.approx(300, abs=15)
    assert errors.rmse_hz == pytest.approx(200 * (2 ** (3 / 12) - 1), rel=0.05)


def test_silence_has_no_pitch():
    assert np.isnan(f0_contour(torch.zeros(4000))).all()


def test_an_octave_is_1200_cents_and_voicing_differs_where_one_is_silent():
    errors = pitch_errors(np.array([100.0, 100.0, NAN, NAN]), np.array([200.0, NAN, 150.0, NAN]), diagonal(4))
    assert errors.rmse_cents == pytest.approx(1200)
    assert errors.rmse_hz == pytest.approx(100)
    assert (errors.voiced, errors.unequal, errors.voicing_error) == (1, 2, 0.5)
    assert math.isnan(errors.correlation)


def test_correlation_is_pearsons_in_cents():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(100, 300, size=(2, 50))
    errors = pitch_errors(a, b, diagonal(50))
    assert errors.correlation == pytest.approx(np.corrcoef(np.log2(a), np.log2(b))[0, 1])


def test_errors_follow_the_path():
    path = np.array([[0, 0], [0, 1], [1, 2]])
    errors = pitch_errors(np.array([100.0, 200.0]), np.array([100.0, 100.0, 200.0]), path)
    assert errors.rmse_cents == 0
    assert errors.cells == 3


def test_nothing_voiced_is_nan_not_zero():
    errors = pitch_errors(np.array([NAN]), np.array([NAN]), diagonal(1))
    assert math.isnan(errors.rmse_cents)
    assert math.isnan(errors.rmse_hz)
    assert errors.voicing_error == 0


def test_a_tone_is_periodic_and_noise_is_not():
    t = torch.arange(16000) / 16000
    assert periodicity(torch.sin(2 * torch.pi * 200 * t))[20:-20].min() > 0.8
    noise = torch.randn(16000, generator=torch.Generator().manual_seed(0))
    assert periodicity(noise).mean() < 0.2


def test_periodicity_errors_count_frames():
    rmse, f1 = periodicity_errors(np.array([1.0, 1.0, 1.0, 0.0]), np.array([1.0, 0.0, 1.0, 0.0]))
    assert rmse == pytest.approx(0.5)
    assert f1 == pytest.approx(4 / 5)  # two hits, one miss
    assert periodicity_errors(np.zeros(3), np.zeros(5)) == (0.0, 1.0)
