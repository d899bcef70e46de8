"""Conversions between what networks predict and clean data."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch

from audiogen.sampling.mean_paths import OUVE
from audiogen.sampling.paths import Coefficients, StraightLine, VarianceExploding, VPCosine, VPLinear
from audiogen.sampling.prediction import (
    EDM,
    X0,
    AngleV,
    Eps,
    Score,
    Velocity,
    conversion,
    convert,
    denoiser,
    from_x0,
    to_x0,
)

KINDS = [X0(), Eps(), AngleV(), Score(), Velocity(), EDM(), EDM(1.0), EDM(0.7, 0.02)]
SHAPES = [(3, 4), (3, 2, 4), (3, 2, 2, 4), (3, 2, 1, 2, 4)]
TIMES = torch.tensor([0.05, 0.5, 0.9], dtype=torch.float64)


def outputs(c, data, noise, y):
    """What every kind is by its definition, for known data and noise; c broadcasts against them."""
    z = data + c.sigma / c.alpha * noise
    expected = {
        X0(): data,
        Eps(): noise,
        AngleV(): c.alpha * noise - c.sigma * data,
        Score(): -noise / c.sigma,
        Velocity(): c.dalpha * data + c.dmu * y + c.dsigma * noise,
    }
    for kind in KINDS[5:]:  # Karras et al. 2022, Table 1; Song et al. 2023, appendix C
        sd, level, above = kind.sigma_data, c.sigma / c.alpha, c.sigma / c.alpha - kind.sigma_min
        c_skip, c_out = sd**2 / (above**2 + sd**2), above * sd / torch.sqrt(level**2 + sd**2)
        expected[kind] = (data - c_skip * z) / c_out
    return expected


@pytest.fixture
def random_path():
    """Stands for a path: independent random coefficients for each of three items at every time."""
    uniform = torch.rand(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 0.8 + 0.3
    c = Coefficients(uniform[0], uniform[1], uniform[2], -uniform[3], uniform[4], uniform[5])
    return SimpleNamespace(at=lambda t: c)


def per_item(c, ndim):
    return Coefficients(*(v.reshape(-1, *(1,) * (ndim - 1)) for v in c))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("is_complex", [False, True])
def test_every_kind_converts_to_every_kind(shape, is_complex, randn, random_path):
    """Known data and noise, coefficients that are random for every item: all outputs are known."""
    draw = (lambda: torch.complex(randn(*shape), randn(*shape))) if is_complex else (lambda: randn(*shape))
    data, noise, y = draw(), draw(), draw()
    c = per_item(random_path.at(None), len(shape))
    x = c.alpha * data + c.mu * y + c.sigma * noise
    expected = outputs(c, data, noise, y)
    for source, target in itertools.product(KINDS, KINDS):
        out = convert(expected[source], x, TIMES, random_path, source, target, y=y)
        assert out.dtype == x.dtype
        assert torch.allclose(out, expected[target], rtol=1e-12, atol=1e-12), (source, target)


def test_every_kind_converts_in_single_precision(randn, random_path):
    data, noise, y = randn(3, 2, 5), randn(3, 2, 5), randn(3, 2, 5)
    c = per_item(random_path.at(None), 3)
    x = (c.alpha * data + c.mu * y + c.sigma * noise).float()
    expected = outputs(c, data, noise, y)
    for source, target in itertools.product(KINDS, KINDS):
        out = convert(expected[source].float(), x, TIMES, random_path, source, target, y=y.float())
        assert out.dtype == torch.float32
        scale = 1 + expected[source].abs().max() + expected[target].abs().max()
        assert (out - expected[target]).abs().max() < 1e-5 * scale, (source, target)


@pytest.mark.parametrize(("first", "second"), list(itertools.product(KINDS, KINDS)), ids=str)
def test_every_pair_of_kinds_round_trips(first, second, randn, mean_path):
    """first -> second -> first, and the same through the data, with a time per item and a mean."""
    x, y, out = randn(3, 2, 4), randn(3, 2, 4), randn(3, 2, 4)
    direct = convert(out, x, TIMES, mean_path, first, second, y=y)
    data = to_x0(first, out, x, TIMES, mean_path, y=y)
    scale = 1 + max(float(v.abs().max()) for v in (data, direct))
    assert torch.allclose(
        from_x0(second, data, x, TIMES, mean_path, y=y), direct, rtol=0, atol=1e-12 * scale**2
    )
    back = convert(direct, x, TIMES, mean_path, second, first, y=y)
    # through a kind that is weak at one end of the path, round-off grows with the scale of what it carries
    assert (back - out).abs().max() < 1e-12 * scale**2


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_no_mean_is_a_mean_of_zero(kind, randn):
    x, out = randn(3, 2, 4), randn(3, 2, 4)
    zero = torch.zeros_like(x)
    assert torch.equal(to_x0(kind, out, x, TIMES, OUVE()), to_x0(kind, out, x, TIMES, OUVE(), y=zero))
    assert torch.equal(from_x0(kind, out, x, TIMES, OUVE()), from_x0(kind, out, x, TIMES, OUVE(), y=zero))


def test_data_need_no_conversion():
    """Weights of the data itself are 0 and 1 at both ends of a path too."""
    for t in (0.0, 0.3, 1.0):
        c = VPCosine().at(t)
        for weights in (X0().to_x0(c), conversion(X0(), X0(), c)):
            assert [float(w) for w in weights] == [0.0, 1.0]


def test_conversion_of_nothing_returns_the_output_itself(randn):
    """Also where the kind is not defined, as noise at pure noise."""
    out = randn(3, 5)
    assert torch.equal(convert(out, randn(3, 5), 1.0, VPCosine(), Eps(), Eps()), out)


def test_direct_conversion_needs_no_data(randn):
    """Close to pure noise a velocity determines the noise exactly, but the data only to sigma / alpha."""
    data, noise, t = randn(2, 5), randn(2, 5), 1 - 1e-13
    x = StraightLine().add_noise(data, noise, t)
    out = convert(noise - data, x, t, StraightLine(), Velocity(), Eps())
    assert torch.allclose(out, noise, rtol=0, atol=1e-12)
    # small noise: angle and velocity both hold the data, and the weights are of order one
    weights = torch.stack(conversion(Velocity(), AngleV(), StraightLine().at(1e-9)))
    assert torch.allclose(weights, torch.tensor([1.0, 1.0], dtype=torch.float64), rtol=0, atol=1e-8)


def test_boundary_form_returns_the_state_at_its_smallest_noise(randn):
    """Whatever the network says (Song et al. 2023, section 3), on a path with alpha = 1 and another."""
    kind, x = EDM(0.5, 0.002), randn(2, 5)
    for path in (VarianceExploding(), VPLinear()):
        t = path.t_of_lam(-torch.tensor(0.002, dtype=torch.float64).log())
        for out in (randn(2, 5), 1e3 * randn(2, 5)):
            assert torch.allclose(to_x0(kind, out, x, t, path), x / path.alpha(t), rtol=0, atol=1e-10)


def test_boundary_form_without_smallest_noise_is_edm(randn):
    """At a noise far above sigma_min both agree to sigma_min / sigma."""
    x, out = 80 * randn(2, 5), randn(2, 5)
    plain, boundary = (to_x0(kind, out, x, 80.0, VarianceExploding()) for kind in (EDM(), EDM(0.5, 0.002)))
    gap = (plain - boundary).abs().max()
    assert 0 < gap < 1e-4


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


@pytest.mark.parametrize("kind", [X0(), AngleV(), Velocity(), EDM(), EDM(0.5, 0.002)], ids=str)
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


def test_labels_may_be_a_plans_tensor_with_rows_that_call_nothing():
    nan = float("nan")
    denoiser(lambda x, t: x, Eps(), VPCosine(), labels=torch.tensor([0.9, nan, 0.5], dtype=torch.float64))
    with pytest.raises(ValueError, match=r"t = \[1.0\]"):
        denoiser(lambda x, t: x, Eps(), VPCosine(), labels=torch.tensor([1.0, nan], dtype=torch.float64))
    with pytest.raises(ValueError, match="one time per row"):
        denoiser(lambda x, t: x, Eps(), VPCosine(), labels=torch.zeros(3, 2))


@pytest.mark.parametrize("parameters", [(0.0, 0.0), (-0.5, 0.0), (0.5, -0.1)])
def test_edm_parameters_out_of_range_are_refused(parameters):
    with pytest.raises(ValueError, match="sigma_data > 0 and sigma_min >= 0"):
        EDM(*parameters)


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
