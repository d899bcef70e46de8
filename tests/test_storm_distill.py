"""The one-step student of the enhancer."""

import copy

import pytest
import torch
from fake_mixtures import mixtures

from audiogen import hub
from audiogen.enhancement import EnhanceOptions
from audiogen.report import StageTimer
from audiogen.systems.storm import CONSISTENT, StoRM
from audiogen.systems.storm_distill import StoRMDistill

NET = {"fine": 8, "channels": 12, "hidden": 12, "blocks": 1}


def write(path, system):
    """A checkpoint as `audiogen fit` writes it."""
    torch.save({"release": system.release(), "state_dict": system.state_dict()}, path)
    return str(path)


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    system = StoRM(predictor_net=NET, score_net=NET)
    for parameter in system.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return write(tmp_path / "teacher.ckpt", system)


def test_a_student_returns_the_data_where_no_noise_is_left(checkpoint):
    """At t_eps it is (x - mu end) / alpha, whatever its network says."""
    student = StoRMDistill(checkpoint)
    x, end, out = torch.randn(3, 2, 256, 4, dtype=torch.complex64)
    t = torch.full((2,), 0.03)
    found = student.objective.denoised(out, x, t, end)
    expected = (x - student.path.mu(0.03).float() * end) / student.path.alpha(0.03).float()
    assert torch.allclose(found, expected, atol=1e-4)


def test_only_the_score_network_learns_and_the_loss_falls(checkpoint):
    student = StoRMDistill(checkpoint)
    before = copy.deepcopy(student.state_dict())
    clean, noisy = mixtures(2, 4000)
    optimizer = torch.optim.Adam([p for p in student.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for _ in range(30):
        torch.manual_seed(1)  # the same times and noise: the loss is comparable
        loss = student.training_step({"clean": clean, "noisy": noisy, "ids": ["a", "b"]}, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    changed = {
        name.partition(".")[0] for name, t in student.state_dict().items() if not t.equal(before[name])
    }
    assert changed == {"score"}
    taught = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert all(torch.equal(t, taught[name]) for name, t in student.teacher[0].state_dict().items())


def test_a_student_is_released_as_the_system_it_is(checkpoint, tmp_path):
    trained = hub.load(write(tmp_path / "student.ckpt", StoRMDistill(checkpoint)))
    hub.save(trained, tmp_path / "model.safetensors")
    released = hub.load(tmp_path / "model.safetensors")
    assert isinstance(released, StoRM)
    assert released.presets == CONSISTENT
    assert released.nfe(EnhanceOptions("fast")) == 2
    wav = mixtures(1, 3000)[1]
    for quality in CONSISTENT:
        found = released.enhance(wav, [0], EnhanceOptions(quality), StageTimer())
        assert torch.isfinite(found).all()
    assert torch.equal(found, trained.enhance(wav, [0], EnhanceOptions(quality), StageTimer()))


def test_teachers_without_a_score_network_of_the_kind_are_refused(tmp_path):
    for options in ({"predictor": "alone"}, {"objective": "score"}):
        path = write(tmp_path / "other.ckpt", StoRM(predictor_net=NET, score_net=NET, **options))
        with pytest.raises(ValueError, match="no StoRM with a score network trained on objective 'edm'"):
            StoRMDistill(path)
    with pytest.raises(ValueError, match="a consistency model needs objective 'edm', not 'score'"):
        StoRM(consistent=True, objective="score")
