"""Noising paths: their defining identities, inverses and derivatives."""

from __future__ import annotations

import json
import math

import pytest
import torch
from scipy.integrate import quad

from audiogen.sampling.mean_paths import BBED, OUVE, SBVE, GradTTS, ShiftedPrior
from audiogen.sampling.paths import (
    GeometricVE,
    Path,
    StraightLine,
    SubVP,
    VarianceExploding,
    VPCosine,
    VPCosineShifted,
    VPLinear,
    append_dims,
    expand,
)
from audiogen.sampling.tabulated import Tabulated

# no knot of the table is a multiple of 0.01, where its derivatives jump
TABLE = Tabulated.from_betas(torch.linspace(0.002, 0.6, 17, dtype=torch.float64))
VP_PATHS = [VPLinear(), VPLinear(0.5, 10.0), VPCosine(), VPCosineShifted(), GradTTS(), TABLE]
BRIDGES = [BBED(), BBED(1.0, 0.3), SBVE(), SBVE(1.2, 1.1), SBVE(10.0, 1.1)]
NOISY_AT_0 = [GeometricVE(), GeometricVE(0.05, 0.5), StraightLine(0.1)]
PATHS = [
    *VP_PATHS,
    *BRIDGES,
    *NOISY_AT_0,
    SubVP(),
    SubVP(0.5, 10.0),
    VarianceExploding(),
    ShiftedPrior(),
    StraightLine(),
    OUVE(),
    OUVE(0.7, 0.1, 0.4),
]
TIMES = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
WIDE_TIMES = torch.cat(
    [
        torch.logspace(-6, -2.1, 20, dtype=torch.float64),
        TIMES,
        1 - torch.logspace(-2.1, -5, 9, dtype=torch.float64),
    ]
)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_derivatives_match_central_differences(path):
    step = 1e-6
    for f, exact in zip((path.alpha, path.mu, path.sigma), path.derivs(TIMES), strict=True):
        measured = (f(TIMES + step) - f(TIMES - step)) / (2 * step)
        assert torch.allclose(measured, exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_lambda_is_half_log_snr_and_inverts(path):
    lam = path.lam(WIDE_TIMES)
    direct = torch.log(path.alpha(WIDE_TIMES) / path.sigma(WIDE_TIMES))
    # near t = 1 the cosine's alpha is good to 1e-16, not to 16 digits
    assert torch.allclose(lam, direct, rtol=0, atol=1e-9)
    assert torch.allclose(path.lam(TIMES), direct[20:70], rtol=0, atol=1e-11)
    assert (path.t_of_lam(lam) - WIDE_TIMES).abs().max() < 1e-10
    assert (lam[1:] < lam[:-1]).all()


@pytest.mark.parametrize("path", VP_PATHS, ids=str)
def test_variance_preserving(path):
    assert (path.alpha(TIMES) ** 2 + path.sigma(TIMES) ** 2 - 1).abs().max() < 1e-14


@pytest.mark.parametrize(
    ("path", "drift", "diffusion"),
    [
        (VPLinear(), lambda t: -(0.1 + 19.9 * t) / 2, lambda t: 0.1 + 19.9 * t),
        (GradTTS(), lambda t: -(0.05 + 19.95 * t) / 2, lambda t: 0.05 + 19.95 * t),
        (
            VPCosine(),
            lambda t: -math.pi / 2 * torch.tan(math.pi * t / 2),
            lambda t: math.pi * torch.tan(math.pi * t / 2),
        ),
        (VarianceExploding(), torch.zeros_like, lambda t: 2 * t),
        (ShiftedPrior(), torch.zeros_like, lambda t: 2 * t),
        (GeometricVE(), torch.zeros_like, lambda t: 2 * math.log(5000) * (0.01 * 5000**t) ** 2),
        (
            SubVP(),
            lambda t: -(0.1 + 19.9 * t) / 2,
            lambda t: (0.1 + 19.9 * t) * (1 - torch.exp(-0.2 * t - 19.9 * t**2)),
        ),
        (StraightLine(), lambda t: -1 / (1 - t), lambda t: 2 * t / (1 - t)),
        (OUVE(), lambda t: -1.5 * torch.ones_like(t), lambda t: 2 * math.log(10) * 0.0025 * 100**t),
        (BBED(), lambda t: -1 / (1 - t), lambda t: 0.52 * 2.6 ** (2 * t)),
        (
            SBVE(),
            lambda t: -2 * math.log(2.6) * 2.6 ** (2 * t) / (2.6**2 - 2.6 ** (2 * t)),
            lambda t: 0.4 * 2.6 ** (2 * t),
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, Path) else None,
)
def test_drift_and_diffusion_are_those_of_the_papers(path, drift, diffusion):
    assert torch.allclose(path.drift(TIMES), drift(TIMES), rtol=1e-12, atol=0)
    assert torch.allclose(path.diffusion(TIMES), diffusion(TIMES), rtol=1e-12, atol=0)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_drift_and_diffusion_obey_their_definitions(path):
    """f = alpha' / alpha and g^2 = -2 sigma^2 lambda', by differences of log alpha and of lambda."""
    step = 1e-6
    dlog_alpha, dlam = (
        (f(TIMES + step) - f(TIMES - step)) / (2 * step) for f in (lambda t: path.alpha(t).log(), path.lam)
    )
    assert torch.allclose(path.drift(TIMES), dlog_alpha, rtol=1e-6, atol=1e-8)
    assert torch.allclose(path.diffusion(TIMES), -2 * path.sigma(TIMES) ** 2 * dlam, rtol=1e-5)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_variance_solves_the_equation_of_the_forward_process(path):
    """sigma(t)^2 = (alpha(t) / alpha(0))^2 sigma(0)^2 + Int_0^t (alpha(t) / alpha(s))^2 g(s)^2 ds."""
    for t in (0.03, 0.31, 0.77):
        kept = float(path.alpha(t)) ** 2
        # a table is smooth between its knots only
        inner = [n / 17 for n in range(1, 17) if n / 17 < t] if path is TABLE else None
        added, _ = quad(
            lambda s, kept=kept: kept / float(path.alpha(s)) ** 2 * float(path.diffusion(s)),
            0,
            t,
            epsabs=0,
            epsrel=1e-11,
            points=inner or None,
        )
        assert float(path.sigma(t)) ** 2 == pytest.approx(
            kept * float(path.sigma(0.0)) ** 2 + added, rel=1e-9
        )


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_data_end_is_exact(path):
    assert float(path.alpha(0.0)) == pytest.approx(1.0, abs=2e-16)
    assert float(path.mu(0.0)) == 0.0
    if path not in NOISY_AT_0:
        assert float(path.sigma(0.0)) == 0.0
        assert float(path.lam(0.0)) == math.inf
        assert float(path.t_of_lam(math.inf)) < 1e-200
        assert float(path.diffusion(0.0)) >= 0.0


@pytest.mark.parametrize("path", [GeometricVE(0.1, 2.0), StraightLine(0.1)], ids=str)
def test_smallest_noise_is_left_at_the_data(path):
    assert float(path.sigma(0.0)) == pytest.approx(0.1, rel=1e-15)
    assert float(path.t_of_lam(-math.log(0.1))) == pytest.approx(0.0, abs=1e-15)


def test_straight_line_with_smallest_noise_is_the_published_path():
    """Lipman et al. 2023, equation 20, at tau = 1 - t: mean tau x1, std 1 - (1 - sigma_min) tau."""
    path, tau = StraightLine(0.07), 1 - TIMES
    assert torch.equal(path.alpha(TIMES), tau)
    assert torch.allclose(path.sigma(TIMES), 1 - (1 - 0.07) * tau, rtol=1e-14)
    assert float(path.sigma(1.0)) == 1.0
    assert torch.equal(StraightLine().sigma(TIMES), TIMES)


@pytest.mark.parametrize("path", [VPCosine(), VPCosineShifted(), StraightLine(), StraightLine(0.1)], ids=str)
def test_noise_end_holds_no_data(path):
    assert float(path.alpha(1.0)) == 0.0
    assert float(path.sigma(1.0)) == pytest.approx(1.0, abs=1e-15)
    assert float(path.lam(1.0)) == -math.inf
    assert float(path.t_of_lam(-math.inf)) == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_path_is_usable_up_to_its_last_time(path):
    last = path.t_max
    assert last == (math.inf if isinstance(path, VarianceExploding) else 1.0)
    c = path.at(80.0 if last == math.inf else last)
    assert all(0 <= float(v) < math.inf for v in (c.alpha, c.mu, c.sigma))


def test_shifted_cosine_is_the_published_schedule():
    """Nichol and Dhariwal 2021, equation 17: alpha^2 = f(t) / f(0), f = cos^2((t + s) / (1 + s) pi / 2)."""
    published = (
        torch.cos((TIMES + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    )
    assert (VPCosineShifted().alpha(TIMES) ** 2 - published).abs().max() < 1e-15


def test_sub_vp_is_the_published_path():
    """Song et al. 2021, equation 29: mean e^{-B/2} x0, standard deviation 1 - e^{-B}."""
    log_kept = -0.1 * TIMES - 19.9 / 2 * TIMES**2
    assert torch.allclose(SubVP().alpha(TIMES), torch.exp(log_kept / 2), rtol=1e-13)
    assert torch.allclose(SubVP().sigma(TIMES), 1 - torch.exp(log_kept), rtol=1e-11)


def test_geometric_noise_spans_its_range():
    path = GeometricVE(0.02, 30.0)
    assert float(path.sigma(1.0)) == pytest.approx(30.0, rel=1e-14)
    assert float(path.sigma(0.5)) == pytest.approx(math.sqrt(0.02 * 30.0), rel=1e-14)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_results_are_float64_of_the_shape_of_the_times(path):
    for t in (0.3, torch.tensor(0.3), torch.full((4,), 0.3), torch.full((2, 3), 0.3, dtype=torch.bfloat16)):
        for value in (*path.at(t), path.lam(t), path.t_of_lam(t), path.drift(t), path.diffusion(t)):
            assert value.dtype == torch.float64
            assert value.shape == torch.as_tensor(t).shape


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_parameters_are_plain_and_rebuild_the_path(path):
    rebuilt = type(path)(**json.loads(json.dumps(vars(path), allow_nan=False)))
    assert rebuilt == path
    assert hash(rebuilt) == hash(path)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_times_carry_gradients(path):
    t = torch.tensor([0.2, 0.63], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(path.sigma(t).sum(), t)
    assert torch.allclose(slope, path.derivs(t)[2], rtol=1e-9)
    (there,) = torch.autograd.grad(path.t_of_lam(path.lam(t)).sum(), t)
    assert torch.allclose(there, torch.ones_like(t), rtol=1e-9)


@pytest.mark.parametrize("path", [BBED(), TABLE], ids=str)
def test_constants_kept_from_inference_serve_under_autograd(path):
    with torch.inference_mode():
        path.sigma(0.4)
    test_times_carry_gradients(path)


@pytest.mark.parametrize("shape", [(3, 5), (3, 2, 5), (3, 2, 2, 5), (3, 2, 2, 2, 5)])
def test_add_noise_uses_each_items_time(shape, randn, mean_path):
    data, noise, y = randn(*shape), randn(*shape), randn(*shape)
    t = torch.tensor([0.1, 0.5, 1.0])
    x = mean_path.add_noise(data, noise, t, y=y)
    for i in range(3):
        c = mean_path.at(float(t[i]))
        assert torch.allclose(x[i], c.alpha * data[i] + c.mu * y[i] + c.sigma * noise[i], rtol=0, atol=1e-7)
    assert torch.equal(mean_path.add_noise(data, noise, 0.0), data)
    assert mean_path.add_noise(data.float(), noise.float(), t).dtype == torch.float32


def test_complex_states_keep_their_dtype_and_real_coefficients(randn, mean_path):
    """Noising is linear with real weights: real and imaginary part are noised as two real states."""
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    data, noise, y = (torch.complex(randn(3, 2, 5), randn(3, 2, 5)) for _ in range(3))
    x = mean_path.add_noise(data, noise, t, y=y)
    for part in (torch.real, torch.imag):
        assert torch.equal(part(x), mean_path.add_noise(part(data), part(noise), t, y=part(y)))
    single = mean_path.add_noise(data.to(torch.complex64), noise.to(torch.complex64), t)
    assert single.dtype == torch.complex64
    assert expand(t, data).dtype == torch.float64
    assert expand(t, single).dtype == torch.float32


def test_append_dims_views_per_item_values():
    assert append_dims(torch.zeros(3), 4).shape == (3, 1, 1, 1)
    assert append_dims(torch.tensor(1.0), 4).shape == ()
    with pytest.raises(ValueError, match="one value per item"):
        append_dims(torch.zeros(3, 2, 2), 2)


@pytest.mark.parametrize(
    "build",
    [
        lambda: StraightLine(1.0),
        lambda: StraightLine(-0.1),
        lambda: GeometricVE(0.0, 1.0),
        lambda: GeometricVE(0.5, 0.5),
        lambda: OUVE(theta=0.0),
        lambda: OUVE(sigma_min=0.5, sigma_max=0.05),
        lambda: BBED(k=0.9),
        lambda: BBED(c=0.0),
        lambda: SBVE(k=1.0),
        lambda: SBVE(c=-1.0),
    ],
)
def test_parameters_out_of_range_are_refused(build):
    with pytest.raises(ValueError, match=r"got .*[\d.]+"):
        build()
