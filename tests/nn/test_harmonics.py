"""Intonations found in harmonic sounds whose pitch is known."""

import math

import pytest
import torch

from audiogen.nn.harmonics import harmonic_contrast, intonation_evidence

RATE, FFT, HOP = 16000, 1024, 256


def voice(curve, mean_hz):
    """A buzz of ten harmonics whose pitch is mean_hz times 2^curve, a value a frame -> (1, T)."""
    smooth = torch.nn.functional.interpolate(
        curve[None, None], size=(len(curve) - 1) * HOP, mode="linear", align_corners=True
    )[0, 0]
    phase = 2 * math.pi * torch.cumsum(mean_hz * torch.exp2(smooth.double()) / RATE, 0)
    return sum(torch.sin(h * phase) / h for h in range(1, 11)).float()[None]


def test_harmonics_stand_out_at_the_pitch_and_not_beside_it():
    level = torch.zeros(1, 129, 3)
    level[0, 10::10] = 3.0  # harmonics of 10 bins, valleys at 5 beside them
    f0 = torch.tensor([10.0, 9.0, 20.0, 5.0]).mul(25)[None, :, None].expand(1, 4, 3)
    found = harmonic_contrast(level, f0, bin_hz=25.0)
    assert torch.allclose(found[:, 0], torch.full((1, 3), math.tanh(1.5)))
    assert torch.allclose(
        found[:, 2], torch.zeros(1, 3), atol=1e-5
    )  # an octave above every valley is a harmonic
    assert (found[:, 1] < 0.5).all()
    assert (found[:, 3] < 0.5).all()


@pytest.mark.parametrize("mean_hz", [95.0, 160.0, 240.0])
def test_the_intonation_that_is_there_is_found_at_any_mean(mean_hz):
    time = torch.arange(80) / 80
    rising, falling, flat = 0.5 * (time - 0.5), 0.5 * (0.5 - time), torch.zeros(80)
    curves = torch.stack([rising, falling, flat])[None]
    wav, weight = voice(rising, mean_hz), torch.ones(1, 80)
    right, wrong, level = intonation_evidence(wav, curves, weight, RATE, FFT, HOP)[0].tolist()
    assert right > level + 0.1
    assert level > wrong - 0.05
    assert right > 0.4


def test_frames_without_weight_do_not_count_and_gradients_lead_to_the_curve():
    time = torch.arange(80) / 80
    curve = 0.4 * torch.sin(2 * math.pi * time)
    wav, weight = voice(curve, 150.0), torch.ones(1, 80)
    weight[:, 40:] = 0
    curves = torch.stack([curve, torch.where(time < 0.5, curve, -curve)])[None]
    both = intonation_evidence(wav, curves, weight, RATE, FFT, HOP)[0]
    assert both[0].item() == pytest.approx(both[1].item(), abs=1e-6)
    noise = torch.randn(1, 79 * HOP, generator=torch.Generator().manual_seed(0), requires_grad=True)
    optimizer = torch.optim.Adam([noise], lr=0.02)
    found = []
    for _ in range(30):
        evidence = intonation_evidence(noise, curves[:, :1], torch.ones(1, 80), RATE, FFT, HOP).sum()
        optimizer.zero_grad()
        (-evidence).backward()
        optimizer.step()
        found.append(evidence.item())
    assert found[-1] > found[0] + 0.2
