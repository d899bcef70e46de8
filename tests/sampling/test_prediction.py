"""Conversions between what networks predict and clean data."""

from __future__ import annotations

import itertools

import pytest
import torch

from audiogen.sampling.paths import StraightLine, VPCosine, VPLinear
from audiogen.sampling.prediction import EDM, X0, AngleV, Eps, Score, Velocity, denoiser, from_x0, to_x0

KINDS = [X0(), Eps(), AngleV(), Score(), Velocity(), EDM(), EDM(1.0)]
SHAPES = [(3, 4), (3, 2, 4), (3, 2, 2, 4), (3, 2, 1, 2, 4)]
TIMES = torch.tensor([0.05, 0.5, 0.9], dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("first", "second"), list(itertools.product(KINDS, KINDS)), ids=str)
def test_every_pair_of_kinds_round_trips(first, second, shape, randn, mean_path):
    """first -> data -> second -> data -> first, with a time per item and a mean."""
    x, y, out = randn(*shape), randn(*shape), randn(*shape)
    data = to_x0(first, out, x, TIMES, mean_path, y=y)
    other = from_x0(second, data, x, TIMES, mean_path, y=y)
    back = from_x0(first, to_x0(second, other, x, TIMES, mean_path, y=y), x, TIMES, mean_path, y=y)
    # through a kind that is weak at one end of the path, round-off grows with the scale of what it carries
    scale = 1 + max(float(v.abs().max()) for v in (data, other))
    assert (back - out).abs().max() < 1e-12 * scale**2


def test_float32_round_trip(randn):
    x, data = randn(3, 2, 5).float(), randn(3, 2, 5).float()
    for kind in KINDS:
        back = to_x0(kind, from_x0(kind, data, x, TIMES, VPCosine()), x, TIMES, VPCosine())
        assert back.dtype == torch.float32
        assert (back - data).abs().max() < 1e-5


def test_outputs_have_their_meaning(randn, mean_path):
    """With data, noise and mean known, every kind's output is known from its definition."""
    data, noise, y = randn(3, 2, 5), randn(3, 2, 5), randn(3, 2, 5)
    x = mean_path.add_noise(data, noise, TIMES, y=y)
    c = type(mean_path.at(TIMES))(*(v[:, None, None] for v in mean_path.at(TIMES)))
    expected = {
        X0(): data,
        Eps(): noise,
        AngleV(): c.alpha * noise - c.sigma * data,
        Score(): -noise / c.sigma,
        Velocity(): c.dalpha * data + c.dmu * y + c.dsigma * noise,
    }
    for kind, out in expected.items():
        assert torch.allclose(from_x0(kind, data, x, TIMES, mean_path, y=y), out, rtol=1e-10, atol=1e-10)
        assert torch.allclose(to_x0(kind, out, x, TIMES, mean_path, y=y), data, rtol=1e-10, atol=1e-10)


def test_velocity_on_the_straight_line_is_noise_minus_data(randn):
    data, noise = randn(3, 5), randn(3, 5)
    x = StraightLine().add_noise(data, noise, TIMES)
    assert torch.allclose(to_x0(Velocity(), noise - data, x, TIMES, StraightLine()), data)


def test_edm_matches_its_table(randn):
    """Karras et al. 2022, Table 1, on the exploding-variance image z = x / alpha of a VP path."""
    path, sd = VPLinear(), 0.7
    x, out = randn(3, 5), randn(3, 5)
    scale, noise = path.alpha(TIMES)[:, None], (path.sigma(TIMES) / path.alpha(TIMES))[:, None]
    skip, gain = sd**2 / (noise**2 + sd**2), noise * sd / torch.sqrt(noise**2 + sd**2)
    assert torch.allclose(to_x0(EDM(sd), out, x, TIMES, path), skip * x / scale + gain * out)
    c_in = 1 / torch.sqrt(noise**2 + sd**2)
    assert torch.allclose(EDM(sd).input_scale(path.at(TIMES))[:, None] * x, c_in * x / scale)


def test_edm_with_unit_data_is_minus_angle_v(randn):
    x, out = randn(3, 5), randn(3, 5)
    plain, angle = (to_x0(kind, o, x, TIMES, VPCosine()) for kind, o in ((EDM(1.0), out), (AngleV(), -out)))
    assert torch.allclose(plain, angle, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", [X0(), AngleV(), Velocity(), EDM()], ids=str)
def test_pure_noise_is_fine_for_most_kinds(kind, randn):
    x, out = randn(2, 5), randn(2, 5)
    assert to_x0(kind, out, x, 1.0, VPCosine()).isfinite().all()
    net = denoiser(lambda x, t: out, kind, VPCosine(), labels=(1.0, 0.5))
    assert torch.equal(net(x, torch.ones(2)), to_x0(kind, out, x, 1.0, VPCosine()))


@pytest.mark.parametrize("kind", [Eps(), Score()], ids=str)
def test_noise_prediction_at_pure_noise_is_refused(kind):
    with pytest.raises(ValueError, match=r"t = \[1.0\].*predict x0 or v"):
        denoiser(lambda x, t: x, kind, VPCosine(), labels=(1.0, 0.5))
    denoiser(lambda x, t: x, kind, VPCosine(), labels=(0.9, 0.5))


def test_a_float_time_keeps_its_digits(randn):
    x, out = randn(2, 5), randn(2, 5)
    per_item = torch.full((2,), 0.3, dtype=torch.float64)
    assert torch.equal(
        to_x0(AngleV(), out, x, 0.3, VPCosine()), to_x0(AngleV(), out, x, per_item, VPCosine())
    )


def test_network_precision_does_not_lower_the_state(randn):
    x, out = randn(2, 5).float(), randn(2, 5).bfloat16()
    d = to_x0(AngleV(), out, x, 0.5, VPCosine())
    assert torch.equal(d, to_x0(AngleV(), out.float(), x, 0.5, VPCosine()))
