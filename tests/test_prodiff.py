"""The model itself, at a tiny size with random weights."""

import math

import pytest
import torch

from audiogen.acoustic_model import Condition
from audiogen.sampling.grids import uniform_t
from audiogen.speech import SpeechOptions
from audiogen.systems.prodiff import ProDiff
from audiogen.text.frontend import TextFrontEnd
from audiogen.vocoders.griffin_lim import GriffinLim


@pytest.fixture(scope="module")
def system():
    torch.manual_seed(0)
    model = ProDiff(
        speakers=("a", "b"),
        step_counts=(4, 2, 1),
        default_steps=2,
        channels=16,
        encoder={"blocks": 2, "hidden": 24, "kernel_size": 3},
        variances={"hidden": 8},
        denoiser={"channels": 16, "blocks": 2, "hidden": 24},
    )
    model.statistics.copy_(torch.tensor([[-5.0, 2.0], [5.3, 0.2], [1.0, 1.5]]))
    torch.nn.init.normal_(model.speaker.weight)
    torch.nn.init.constant_(model.adaptor.duration.out.bias, math.log1p(5))  # about five frames a token
    model.vocoder = GriffinLim(model.mel_spec, iterations=1)
    return model.eval()


def test_pitch_and_energy_move_the_predictions_by_what_was_asked(system):
    sentence = TextFrontEnd()("A much longer sentence than the first one was.")
    plain, moved = (
        system.prosody(sentence, [0], options)
        for options in (SpeechOptions(), SpeechOptions(pitch=12.0, energy=20.0))
    )
    assert torch.allclose(
        (moved[2] - plain[2]) * system.statistics[1, 1], torch.full_like(plain[2], math.log(2))
    )
    assert torch.allclose(
        (moved[3] - plain[3]) * system.statistics[2, 1], torch.full_like(plain[3], math.log(10))
    )


@pytest.mark.parametrize("steps", [4, 2, 1])
def test_the_denoiser_is_called_once_a_step_and_its_condition_projected_once(system, steps, monkeypatch):
    network = system.denoisers[str(steps)]
    calls = {"step": 0, "project": 0}
    project = network.project
    monkeypatch.setattr(
        network, "project", lambda c: calls.update(project=calls["project"] + 1) or project(c)
    )
    handle = network.register_forward_hook(lambda *a: calls.update(step=calls["step"] + 1))
    system.synthesize("Hello.", num_steps=steps)
    handle.remove()
    assert calls == {"step": steps, "project": 1}


def test_training_and_sampling_share_one_grid(system):
    for steps in system.step_counts:
        plan = system.plan(steps)
        assert [*plan.labels, plan.ends[-1]] == uniform_t(steps).tolist()
        assert plan.ends[-1] == 0
        assert system.path.sigma(plan.ends[-1]) == 0


def test_sampling_with_a_perfect_denoiser_gives_the_data(system, monkeypatch):
    data = torch.randn(2, 80, 12, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(system, "denoiser", lambda steps, condition: lambda x, t: data)
    condition = Condition(torch.zeros(2, 18, 12), torch.ones(2, 1, 12, dtype=torch.bool))
    for steps in system.step_counts:
        assert torch.allclose(system.sample(condition, [0, 1], steps), data, atol=1e-6)


def test_losses_ignore_padding(system, monkeypatch):
    monkeypatch.setattr(system, "log_dict", lambda *a, **k: None)
    target, estimate = torch.randn(1, 80, 20), torch.randn(1, 80, 20)
    mask = torch.ones(1, 1, 20, dtype=torch.bool)
    alone = system.reconstruction(estimate, target, mask)
    pad = torch.nn.functional.pad
    padded = system.reconstruction(pad(estimate, (0, 9)), pad(target, (0, 9)), pad(mask, (0, 9)))
    assert torch.allclose(alone, padded, atol=1e-6)
