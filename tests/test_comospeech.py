"""CoMoSpeech's mathematics, at a tiny size: priors, boundary, steps, alignment, distillation."""

import math

import pytest
import torch

from audiogen.acoustic_model import Condition
from audiogen.data.mels import MelData
from audiogen.sampling.distillation import regression_loss
from audiogen.speech import SpeechOptions
from audiogen.systems.comospeech import PATH, SIGMA_MAX, SIGMA_MIN, CoMoSpeech, draw_levels, off_diagonal
from audiogen.systems.comospeech_distill import RECIPES, CoMoSpeechDistill
from audiogen.text.frontend import TextFrontEnd
from audiogen.vocoders.griffin_lim import GriffinLim

PRIORS = ("zero", "shifted", "residual")


def build(**options):
    torch.manual_seed(0)
    sizes = {
        "channels": 16,
        "encoder": {"blocks": 1, "hidden": 24, "kernel_size": 3},
        "duration_channels": 8,
        "denoiser": {"channels": 16, "blocks": 2, "hidden": 24},
    }
    model = CoMoSpeech(**{"teacher_steps": (50, 4), "student_steps": (1, 2), **sizes, **options})
    model.vocoder = GriffinLim(model.mel_spec, iterations=1)
    return model.eval()


def condition(model, batch=2, frames=12):
    """A condition with random content; the last frame of the second item is padding."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.ones(batch, 1, frames, dtype=torch.bool)
    mask[1:, :, -1] = False
    known = torch.randn(batch, model.hparams["channels"] + 2, frames, generator=generator)
    mean = torch.randn(batch, 80, frames, generator=generator)
    return Condition(known * mask, mask, mean * mask)


@pytest.mark.parametrize("prior", PRIORS)
def test_at_the_smallest_noise_the_denoiser_returns_its_input(prior):
    model = build(prior=prior)
    known = condition(model)
    x = torch.randn(2, 80, 12) * known.mask
    for network in model.denoisers.values():
        d = model.denoiser(network, known)(x, torch.full((2,), SIGMA_MIN))
        assert torch.allclose(d, x, atol=1e-6)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("sigma", [0.01, 0.5, 3.0, 80.0])
def test_the_network_sees_inputs_of_unit_variance(prior, sigma, monkeypatch):
    model = build(prior=prior)
    frames = 4000
    known = Condition(
        torch.zeros(1, 18, frames),
        torch.ones(1, 1, frames, dtype=torch.bool),
        0.8 * torch.randn(1, 80, frames),
    )
    mel = known.mean + 0.6 * torch.randn_like(known.mean)  # of variance 1 with its mean, 0.36 without
    if prior == "residual":
        model.sigma_data.fill_(0.6)
    seen = []
    network = model.denoisers["teacher"]
    network.register_forward_hook(lambda module, inputs, out: seen.append(inputs[0]))
    data, noise = model.noised(mel, known)
    t = torch.full((1,), sigma)
    with torch.no_grad():
        model.denoiser(network, known)(PATH.add_noise(data, noise, t), t)
    assert float(seen[0].var()) == pytest.approx(1, rel=0.03)


def test_priors_differ_in_what_is_noised_and_in_the_noise_alone():
    known = condition(build())
    mel = torch.randn(2, 80, 12) * known.mask
    found = {}
    for prior in PRIORS:
        torch.manual_seed(3)
        found[prior] = build(prior=prior).noised(mel, known) if prior == "zero" else None
        torch.manual_seed(3)
        model = CoMoSpeech.__new__(CoMoSpeech)
        model.__dict__["prior"] = prior
        found[prior] = CoMoSpeech.noised(model, mel, known)
    (mel_zero, zero), (mel_shifted, shifted), (rest, residual) = (found[prior] for prior in PRIORS)
    assert torch.equal(mel_zero, mel)
    assert torch.equal(mel_shifted, mel)
    assert torch.allclose(rest, (mel - known.mean) * known.mask)
    assert torch.allclose(shifted, (zero + known.mean) * known.mask)
    assert torch.equal(residual, zero)


@pytest.mark.parametrize(("steps", "role"), [(1, "student"), (2, "student"), (4, "teacher"), (50, "teacher")])
def test_k_steps_are_k_calls_of_the_right_network(steps, role):
    model = build()
    calls = dict.fromkeys(model.denoisers, 0)
    for name, network in model.denoisers.items():
        network.register_forward_hook(lambda *a, name=name: calls.update({name: calls[name] + 1}))
    with torch.no_grad():
        model.sample(condition(model), [0, 1], steps)
    assert calls == {**dict.fromkeys(model.denoisers, 0), role: steps}


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("steps", [1, 2, 4, 50])
def test_sampling_with_a_perfect_denoiser_gives_the_data(prior, steps, monkeypatch):
    model = build(prior=prior)
    known = condition(model)
    mel = torch.randn(2, 80, 12) * known.mask
    clean = mel - known.mean if prior == "residual" else mel
    monkeypatch.setattr(model, "denoiser", lambda network, condition: lambda x, t: clean)
    found = model.sample(known, [0, 1], steps)
    # what is left is the noise of the last level
    assert torch.allclose(found, mel, atol=1e-6 if steps == 1 else 5 * SIGMA_MIN * 2)


@pytest.mark.parametrize("prior", PRIORS)
def test_the_teacher_reaches_a_gaussian_exactly(prior, monkeypatch):
    """With the exact denoiser of N(m, s^2) Euler steps keep a straight relation of x - m to its start."""
    model = build(prior=prior, teacher_steps=(400,), student_steps=())
    known = condition(model)
    spread = 0.3

    def exact(network, condition):
        def denoise(x, t):
            # of data of mean 0 and noise of mean mu: the noise's mean is taken out first
            mean = known.mean if prior == "shifted" else 0
            return (spread**2 / (spread**2 + t**2))[:, None, None] * (x - t[:, None, None] * mean)

        return denoise

    monkeypatch.setattr(model, "denoiser", exact)
    found = model.sample(known, [5, 6], 400)
    start = model.sample.__globals__["ItemNoise"]([5, 6]).start(80, 12) * known.mask
    scale = math.sqrt((spread**2 + SIGMA_MIN**2) / (spread**2 + SIGMA_MAX**2)) * SIGMA_MAX
    expected = scale * start + (known.mean if prior == "residual" else 0)
    if prior == "shifted":
        expected = expected + SIGMA_MIN * known.mean
    assert torch.allclose(found, expected * known.mask, atol=0.02)


def test_the_distillation_loss_of_a_point_mass_is_zero():
    """When teacher, target and student are the true denoiser of one point, nothing is left to learn."""
    from audiogen.sampling.distillation import consistency_distillation_example, euler

    data = torch.randn(3, 80, 9)

    def denoise(x, t):
        return data.clone()

    for recipe in RECIPES.values():
        t, t_next = draw_levels(3, recipe.levels[1], torch.device("cpu"))
        example = consistency_distillation_example(
            PATH, denoise, euler(PATH, denoise), data, torch.randn_like(data), t, t_next
        )
        loss = regression_loss(denoise, example, distance=recipe.distance)
        assert float(loss) == 0


def test_levels_are_neighbours_of_the_grid():
    torch.manual_seed(0)
    t, t_next = draw_levels(2000, 40, torch.device("cpu"))
    from audiogen.sampling.grids import karras

    grid = karras(PATH, 40, start=SIGMA_MAX, end=SIGMA_MIN)
    index = torch.searchsorted(-grid, -t)
    assert torch.equal(grid[index], t)
    assert torch.equal(grid[index + 1], t_next)
    assert 0.3 < float(t.log().median().exp()) < 1.5  # about e^-0.4, by the law of sigma


def test_the_diagonal_prior_is_least_on_the_diagonal():
    distance = off_diagonal(torch.zeros(2, 4, 8), torch.tensor([4, 2]), torch.tensor([8, 6]))
    assert distance[0].argmin(0).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert distance[1, :2, :6].argmin(0).tolist() == [0, 0, 0, 1, 1, 1]


def test_alignment_finds_the_durations_of_tokens_with_known_means(monkeypatch):
    model = build()
    durations = torch.tensor([[2, 3, 1, 4], [1, 2, 5, 0]])
    tokens = torch.tensor([[5, 40, 41, 42], [5, 43, 44, 0]])
    mask = torch.tensor([[[True] * 4], [[True] * 3 + [False]]])
    hidden = torch.randn(2, 16, 4) * mask
    mean = model.mean(hidden).detach()
    data = torch.zeros(2, 80, 10)
    for i in range(2):
        owner = torch.repeat_interleave(torch.arange(4), durations[i])
        data[i, :, : len(owner)] = mean[i, :, owner]
    batch = {"token_mask": mask, "tokens": tokens, "durations": torch.tensor([[10, 0, 0, 0], [8, 0, 0, 0]])}
    assert torch.equal(model.durations(hidden, data, batch), durations)
    given = build(alignment="given")
    assert given.durations(hidden, data, batch) is batch["durations"]


def test_pace_stretches_phones_and_pauses_apart():
    """Of 2.5 frames twice as many are 5, four times as many 10, and without a pace they round to 2."""
    sentence = TextFrontEnd()("Press one, please.")
    model = build(pace=(2.0, 4.0))
    plain = build()
    for system in (model, plain):
        system.duration.forward = lambda x, mask: torch.full((1, x.shape[-1]), math.log(3.5))
    tokens = model.token_batch(sentence[0], 0)["tokens"][0]
    pause = model.pauses[tokens]
    with torch.no_grad():
        durations, before = (s.lay_out(sentence, [0], SpeechOptions())[1][0] for s in (model, plain))
    assert 0 < pause.sum() < len(pause)
    assert durations.tolist() == torch.where(pause, 10, 5).tolist()
    assert before.tolist() == [2] * len(tokens)


def test_energy_is_a_gain_and_pitch_is_refused():
    model = build()
    sentence = TextFrontEnd()("Press one.")
    with torch.no_grad():
        (plain,), (louder,) = (
            model.mels(sentence, [0], [0], SpeechOptions(1, energy=energy))[0] for energy in (0.0, 20.0)
        )
    assert torch.allclose(louder, (plain + math.log(10)).clamp(min=math.log(model.mel_spec.floor)), atol=1e-5)
    with pytest.raises(ValueError, match=r"pitch 2\.0.*prodiff"):
        model.synthesize("Press one.", pitch=2.0)


@pytest.mark.parametrize("prior", PRIORS)
def test_losses_ignore_padding(prior, prepared, monkeypatch):
    """The losses of an item alone are those of the item in a batch whose other item is masked away."""
    data = MelData(str(prepared / "speech.safetensors"))
    data.setup("fit")
    batch = data.batch([0])
    padded = dict(batch)
    for name in ("tokens", "stress", "long", "durations"):
        padded[name] = torch.nn.functional.pad(batch[name], (0, 3))
    padded["mel"] = torch.nn.functional.pad(batch["mel"], (0, 0))
    padded["token_mask"] = torch.nn.functional.pad(batch["token_mask"], (0, 3))
    model = build(prior=prior, speakers=("linda",), student_steps=())
    model.statistics.copy_(data.statistics())
    found = []
    for one in (batch, padded):
        torch.manual_seed(7)
        monkeypatch.setattr(model, "noted", lambda name, value: value)
        found.append(model.training_step(one, 0))
    assert torch.allclose(*found, rtol=1e-4)


def test_distillation_refuses_what_does_not_fit(tmp_path):
    with pytest.raises(FileNotFoundError, match="audiogen fit"):
        CoMoSpeechDistill("none.ckpt")
    with pytest.raises(ValueError, match="none of teacher_steps"):
        CoMoSpeechDistill("none.ckpt", student_steps=(1, 50))
