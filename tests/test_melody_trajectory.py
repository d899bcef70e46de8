"""Distillation of MeLoDy into trajectory and consistency models that know their guidance."""

import math
from pathlib import Path

import pytest
import torch
from fake_music import CAPTIONS, DIM, FRAMES, NET, TOKENS, VOCABULARY, write_latents

from audiogen.cli import main
from audiogen.data.music_latents import MusicLatentData
from audiogen.sampling import grids
from audiogen.systems.melody import MeLoDy
from audiogen.systems.melody_trajectory import MeLoDyTrajectory, to_data
from audiogen.training.checkpoint import load_checkpoint

CONFIGS = Path(__file__).parents[1] / "configs"
SIZES = {"latent_dim": DIM, "vocabulary": VOCABULARY, "chunk_frames": FRAMES, "chunk_tokens": TOKENS}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """Checkpoint of an untrained diffusion that does something, and data."""
    folder = tmp_path_factory.mktemp("trajectory")
    torch.manual_seed(0)
    model = MeLoDy(**SIZES, net=NET, **{**CAPTIONS, "max_words": 64})
    torch.nn.init.normal_(model.net.exit.weight, std=0.2)
    torch.save({"release": model.release(), "state_dict": model.state_dict()}, folder / "t.ckpt")
    return str(folder / "t.ckpt"), write_latents(folder / "melody.safetensors")


def distilled(teacher, **options):
    """A student before its training, and a batch."""
    file, path = teacher
    model = MeLoDyTrajectory(file, **options).eval()
    model.log_dict = lambda *args, **more: None
    data = MusicLatentData(str(path), FRAMES, TOKENS, 3, batch_size=4)
    data.setup("fit")
    return model, data.batch(data.plan_epoch(0)[0])


def test_a_student_begins_as_the_diffusion_whatever_the_weight_and_the_jump(teacher):
    model, batch = distilled(teacher)
    guide = model.teacher
    x, t = torch.randn_like(batch["latents"]), torch.full((4,), 0.6)
    told = (batch["tokens"], batch["captions"])
    masks = {"masks": (batch["token_mask"], batch["frames"])}
    with torch.no_grad():
        plain = guide.guided(*told, 1.0, **masks)(x, t)
        for weight, s in ((1.0, 0.0), (3.0, 0.4)):
            jumped = model.guided(*told, weight, **masks)(x, torch.stack((t, torch.full_like(t, s)), -1))
            torch.testing.assert_close(jumped, plain, rtol=1e-4, atol=1e-5)
        torch.nn.init.normal_(model.net.guidance.mlp[-1].weight)
        low, high = (model.guided(*told, w, **masks)(x, torch.stack((t, t), -1)) for w in (1.0, 3.0))
    assert not torch.allclose(low, high, atol=1e-3)


def test_weights_go_to_their_items(teacher):
    model, batch = distilled(teacher)
    torch.nn.init.normal_(model.net.guidance.mlp[-1].weight)
    x, times = torch.randn_like(batch["latents"]), torch.tensor([[0.6, 0.2]] * 4)
    told = (batch["tokens"], batch["captions"])
    masks = {"masks": (batch["token_mask"], batch["frames"])}
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    with torch.no_grad():
        together = model.guided(*told, weights, **masks)(x, times)
        for n, weight in enumerate(weights.tolist()):
            alone = model.guided(*told, weight, **masks)(x, times)
            torch.testing.assert_close(together[n], alone[n])


def test_guidance_costs_a_student_nothing(teacher):
    model, _ = distilled(teacher)
    assert model.nfe(3, 2.5) == model.nfe(3, 1.0) == 3
    assert model.teacher.nfe(3, 2.5) == 6


def test_the_ways_fall_on_the_grid_and_end_at_or_above_the_jump(teacher):
    model, _ = distilled(teacher, levels=8, most_steps=3)
    grid = grids.falling_angles(8)
    for steps in (1, 3):
        times = model.draw_way(500, steps)
        assert times.shape == (500, steps + 2)
        assert bool((times[:, :-1] >= times[:, 1:]).all())
        assert bool((times[:, 0] > times[:, 1]).all())
        assert set(times.flatten().tolist()) <= set(grid.tolist())
    assert float(times.max()) == 1
    assert len(set(times[:, 0].tolist())) == 8  # every start occurs


@pytest.mark.parametrize("method", ["ctm", "cm"])
def test_an_ideal_student_has_no_consistency_loss(teacher, method, monkeypatch):
    """Data that is one point: every diffusion, jump and average knows it, and nothing is left to learn."""
    model, batch = distilled(teacher, method=method, levels=6)
    data = batch["latents"]

    def knows(*told, **more):
        return lambda x, t: data

    for part in (model, model.target, model.teacher):
        monkeypatch.setattr(part, "guided", knows)
    losses = model.losses(batch)
    assert set(losses) == ({"consistency", "denoising"} if method == "ctm" else {"consistency"})
    assert all(float(loss) < 1e-6 for loss in losses.values())

    monkeypatch.setattr(model, "guided", lambda *told, **more: lambda x, t: data + 1)
    assert all(float(loss) > 0.1 for loss in model.losses(batch).values())


@pytest.mark.parametrize("method", ["ctm", "cm"])
def test_training_moves_the_student_and_its_average_but_not_the_teacher(teacher, method):
    model, batch = distilled(teacher, method=method, levels=4, decay=0.5)
    guide = {k: v.clone() for k, v in model.teacher.state_dict().items()}
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    before = model.target.net.exit.weight.clone()
    for _ in range(3):
        optimizer.zero_grad()
        model.training_step(batch, 0).backward()
        optimizer.step()
        model.on_train_batch_start(batch, 0)
    assert not torch.equal(model.target.net.exit.weight, before)
    assert not torch.equal(model.target.net.exit.weight, model.net.exit.weight)
    for key, tensor in model.teacher.state_dict().items():
        assert torch.equal(tensor, guide[key])


@pytest.mark.parametrize("method", ["ctm", "cm"])
def test_training_brings_one_jump_nearer_to_where_the_teacher_ends(teacher, method):
    torch.manual_seed(0)
    model, batch = distilled(teacher, method=method, levels=6, most_steps=3, decay=0.9)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    distances = []
    for step in range(41):
        if step in (0, 40):
            model.log = lambda name, value, **more: distances.append(float(value))
            model.validation_step(batch, 0)
        model.on_train_batch_start(batch, step)
        optimizer.zero_grad()
        model.training_step(batch, 0).backward()
        optimizer.step()
    before, after = distances[0], distances[len(distances) // 2]
    assert after < 0.7 * before


def test_kept_frames_have_no_say(teacher):
    """A student that errs on kept frames alone has no loss."""
    model, batch = distilled(teacher, levels=4)
    data = batch["latents"]
    kept = torch.zeros(batch["frames"].shape, dtype=torch.bool)
    kept[:, :FRAMES] = True
    model.draw_times = lambda items, chunks: (None, kept[:, ::FRAMES])
    wrong = torch.where(kept[:, None], 7.0, data)
    for part, answer in ((model, wrong), (model.target, data), (model.teacher, data)):
        part.guided = lambda *told, answer=answer, **more: lambda x, t: answer
    assert all(float(loss) < 1e-6 for loss in model.losses(batch).values())


def test_a_consistency_model_is_asked_for_the_data_alone(teacher):
    """Where a plan says that a jump ends makes no difference to it."""
    model, batch = distilled(teacher, method="cm")
    torch.nn.init.normal_(model.net.jump.mlp[-1].weight)
    x, t = torch.randn_like(batch["latents"]), torch.full((4,), 0.6)
    masks = {"masks": (batch["token_mask"], batch["frames"])}
    denoise = model.guided(batch["tokens"], batch["captions"], 2.0, **masks)
    with torch.no_grad():
        near, far = (denoise(x, torch.stack((t, torch.full_like(t, s)), -1)) for s in (0.5, 0.0))
        assert torch.equal(near, far)
        assert torch.equal(near, to_data(denoise, x, t))


def test_the_configuration_trains_a_student_that_is_released_without_its_average(
    teacher, tmp_path, monkeypatch
):
    file, data = teacher
    monkeypatch.chdir(tmp_path)
    words = ["fit", "-c", str(CONFIGS / "ditto_distill_tiny.yaml"), "--data.init_args.path", str(data)]
    main([*words, "--model.init_args.teacher", file, "--trainer.default_root_dir", str(tmp_path)])
    student = load_checkpoint(tmp_path / "runs" / "ditto_distill_tiny" / "last.ckpt")
    assert type(student) is MeLoDy
    assert student.hparams["told_guidance"]
    assert not any(key.startswith("target") for key in student.state_dict())
    tokens = torch.randint(VOCABULARY, (1, TOKENS))
    a, b = (student.sample(tokens, ["piano"], [0], num_steps=1, guidance=w) for w in (1.0, 4.0))
    assert math.isfinite(float(a.sum()))
    assert not torch.equal(a, b)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "lcm"}, "use ctm or cm"),
        ({"most_steps": 19}, "between 1 and the 18"),
        ({"weights": (3.0, 1.0)}, "must be a range"),
    ],
)
def test_options_out_of_range_are_refused(teacher, options, message):
    with pytest.raises(ValueError, match=message):
        MeLoDyTrajectory(teacher[0], **options)
