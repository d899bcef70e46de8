"""Mel-cepstral distortion of signals whose distance is known."""

import math

import numpy as np
import pytest
import torch

from audiogen.metrics.cepstral import (
    NUM_COEFFICIENTS,
    cepstra,
    frame_distortion,
    mel_cepstra,
    mel_cepstral_distortion,
    warp,
)

UNIT_DB = 10 / math.log(10) * math.sqrt(2)


def noise_bursts(seed):
    """Noise whose level and colour move, (8000,)."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(8000, generator=generator)
    smooth = torch.nn.functional.avg_pool1d(noise[None], 8, 1, 4)[0, :8000]
    mix = torch.linspace(0, 1, 8000)
    return 0.1 * (mix * noise + (1 - mix) * smooth)


def test_identical_signals_have_no_distortion():
    a = mel_cepstra(noise_bursts(0))
    assert a.shape == (NUM_COEFFICIENTS, 51)
    assert mel_cepstral_distortion(a, a).mean_db == 0


def test_level_is_not_distortion():
    wav = noise_bursts(0)
    assert mel_cepstral_distortion(mel_cepstra(wav), mel_cepstra(0.1 * wav)).mean_db < 1e-3


def test_constant_cepstral_offset_gives_the_formula():
    a = np.random.default_rng(0).normal(size=(13, 40))
    offset = np.zeros((13, 1))
    offset[3], offset[7] = 0.3, 0.4
    assert frame_distortion(a, a + offset) == pytest.approx(UNIT_DB * 0.5)


def test_distortion_is_the_rms_difference_of_the_spectra_in_db():
    bands = np.arange(80)[:, None]
    ripple = 0.2 * np.cos(math.pi * 4 * (bands + 0.5) / 80)  # nepers; 4 half-waves: all of it in c4
    flat = np.full((80, 1), -3.0)
    rms_db = 20 / math.log(10) * math.sqrt(np.square(ripple).mean())
    assert frame_distortion(cepstra(flat), cepstra(flat + ripple)) == pytest.approx(rms_db)


def test_warping_undoes_a_change_of_tempo():
    a = np.random.default_rng(1).normal(size=(13, 30))
    assert mel_cepstral_distortion(a, np.repeat(a, 2, axis=1)).mean_db == 0


def test_warping_path_is_the_cheapest_of_all():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 4)), rng.normal(size=(2, 5))

    def cheapest(i, j):
        here = np.linalg.norm(a[:, i] - b[:, j])
        before = [cheapest(i - di, j - dj) for di, dj in ((1, 1), (1, 0), (0, 1)) if i >= di and j >= dj]
        return here + (min(before) if before else 0)

    path = warp(a, b)
    assert (path[0] == 0).all()
    assert path[-1].tolist() == [3, 4]
    assert sum(np.linalg.norm(a[:, i] - b[:, j]) for i, j in path) == pytest.approx(cheapest(3, 4))


def test_noise_far_below_the_peak_is_not_compared():
    wav = noise_bursts(0)
    wav[4000:] = 0
    hiss = wav + 1e-6 * torch.randn(8000, generator=torch.Generator().manual_seed(3))
    assert mel_cepstral_distortion(mel_cepstra(wav), mel_cepstra(hiss)).mean_db < 0.1
