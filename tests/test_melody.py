"""MeLoDy's models: angles, samplers, kept music, and tiny trainings."""

import math

import pytest
import torch
import yaml
from fake_music import DIM, FRAMES, TOKENS, VOCABULARY, write_latents
from fitting import CONFIGS

from audiogen import hub
from audiogen.data.music_latents import MusicLatentData
from audiogen.nn.lm import Choice
from audiogen.sampling import VPCosine, grids, plans, run
from audiogen.systems.melody import HIDDEN, Kept, MeLoDy, sampling_plan
from audiogen.systems.melody_distill import MeLoDyDistill
from audiogen.systems.melody_lm import MeLoDyLM
from audiogen.training.checkpoint import load_checkpoint
from audiogen.training.cli import main

CAPTIONS = ("slow piano", "flute in A minor", "")
NET = {"width": 16, "blocks": 2, "heads": 2, "size": 8, "angle_channels": 8}
WORDS = ("piano", "slow", "flute", "in", "key:a", "minor")


def diffusion(seed=0, **more):
    """A diffusion with random weights, at its end too."""
    torch.manual_seed(seed)
    sizes = {"latent_dim": DIM, "vocabulary": VOCABULARY, "chunk_frames": FRAMES, "chunk_tokens": TOKENS}
    model = MeLoDy(**sizes, chunks=3, net=NET, words=WORDS, max_words=16, **more)
    torch.nn.init.normal_(model.net.exit.weight, std=0.2)
    return model.eval()


def language_model(seed=0):
    torch.manual_seed(seed)
    model = MeLoDyLM(VOCABULARY, 16, {"width": 16, "layers": 2, "heads": 2}, words=WORDS, max_words=16)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.mark.parametrize("num_steps", [1, 2, 5, 10, 20])
def test_angles_sum_to_a_right_angle_and_fall_linearly(num_steps):
    """The steps of the paper: pi / (6 T) + 2 pi t / (3 T (T + 1))."""
    steps = -grids.falling_angles(num_steps).diff().flip(0) * math.pi / 2
    assert float(steps.sum()) == pytest.approx(math.pi / 2, abs=1e-14)
    T = num_steps
    paper = [math.pi / (6 * T) + 2 * math.pi * t / (3 * T * (T + 1)) for t in range(1, T + 1)]
    torch.testing.assert_close(steps, torch.tensor(paper, dtype=torch.float64), rtol=1e-12, atol=0)


def test_the_first_and_the_last_angle_of_ten():
    degrees = -grids.falling_angles(10).diff() * 90
    assert [round(float(d), 1) for d in degrees[[0, -1]]] == [13.9, 4.1]


@pytest.mark.parametrize("num_steps", [1, 2, 7, 20])
def test_oracle_recovers_data_in_any_number_of_steps(num_steps):
    data, x = torch.randn(2, 2, 4, 9, dtype=torch.float64).unbind()
    made = run(sampling_plan(num_steps, False), lambda x, t: data, x)
    assert torch.equal(made, data)


def test_a_step_turns_the_state_by_its_angle():
    """z_{d - w} = cos(w) z_d - sin(w) v for a row of the plan, in angles."""
    times = grids.falling_angles(5)
    plan = plans.ddim(VPCosine(), times)
    x, v = torch.randn(2, 1, 4, 9, dtype=torch.float64).unbind()
    row = 2
    d, w = (float(a) * math.pi / 2 for a in (times[row], times[row] - times[row + 1]))
    x0 = math.cos(d) * x - math.sin(d) * v
    made = run(plans.tail(plans.head(plan, row + 1), row), lambda x, t: x0, x)
    torch.testing.assert_close(made, math.cos(w) * x - math.sin(w) * v, rtol=1e-12, atol=1e-12)


def test_velocity_inversions():
    """The denoiser turns the network's velocity into data: z = cos(d) z_d - sin(d) v, a frame at a time."""
    model = diffusion()
    data, noise = torch.randn(2, 1, DIM, FRAMES, dtype=torch.float64).unbind()
    t = 0.37
    d = t * math.pi / 2
    x, v = math.cos(d) * data + math.sin(d) * noise, math.cos(d) * noise - math.sin(d) * data
    kept = torch.zeros(1, FRAMES, dtype=torch.bool)
    kept[:, :5] = True
    model.net.forward = lambda x, angles, given, steps: v
    found = model.denoiser(None, kept)(x, torch.tensor([t]))
    torch.testing.assert_close(found[..., 5:], data[..., 5:], rtol=1e-6, atol=1e-6)
    assert torch.equal(found[..., :5], x[..., :5])


@pytest.mark.parametrize("jumps", [False, True])
@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_kept_frames_come_back_bit_for_bit(jumps, guidance):
    model = diffusion(jumps=jumps)
    tokens = torch.randint(VOCABULARY, (2, 3 * TOKENS))
    known, mask = torch.randn(2, DIM, 3 * FRAMES), torch.rand(2, 3 * FRAMES) < 0.5
    options = {"num_steps": 4, "guidance": guidance}
    made = model.sample(tokens, CAPTIONS[:2], [1, 2], kept=Kept(known, mask), **options)
    there = mask[:, None].expand_as(known)
    assert torch.equal(made[there], known[there])
    free = model.sample(tokens, CAPTIONS[:2], [1, 2], **options)
    assert not torch.isclose(made, free)[~there].any()


def test_kept_frames_are_seen():
    """What is kept changes what is made beside it."""
    model, tokens = diffusion(), torch.randint(VOCABULARY, (1, 2 * TOKENS))
    mask = torch.arange(2 * FRAMES)[None] < FRAMES
    made = [
        model.sample(
            tokens, CAPTIONS[:1], [0], num_steps=3, kept=Kept(torch.full((1, DIM, 2 * FRAMES), c), mask)
        )
        for c in (0.0, 1.0)
    ]
    assert not torch.isclose(*made)[..., FRAMES:].any()


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_items_of_a_batch_are_the_items_alone(guidance):
    model = diffusion()
    tokens, seeds = torch.randint(VOCABULARY, (3, 2 * TOKENS)), [3, 4, 3]
    together = model.sample(tokens, CAPTIONS, seeds, num_steps=3, guidance=guidance)
    for i in range(3):
        alone = model.sample(
            tokens[i : i + 1], CAPTIONS[i : i + 1], seeds[i : i + 1], num_steps=3, guidance=guidance
        )
        torch.testing.assert_close(together[i], alone[0], rtol=1e-4, atol=1e-4)


def test_noise_of_a_frame_is_the_same_in_every_window():
    """A network that says nothing leaves the noise, scaled: later windows share it where they overlap."""
    model = diffusion()
    torch.nn.init.zeros_(model.net.exit.weight)
    long, late = (
        model.sample(torch.zeros(1, n * TOKENS, dtype=torch.int64), [""], [7], num_steps=2, first_frame=first)
        for n, first in ((3, 0), (2, FRAMES))
    )
    assert torch.equal(long[..., FRAMES:], late)


def test_options_out_of_range():
    model, tokens = diffusion(), torch.zeros(1, TOKENS, dtype=torch.int64)
    for options, told in (({"num_steps": 0}, "steps"), ({"guidance": -1.0}, "guidance")):
        with pytest.raises(ValueError, match=told):
            model.sample(tokens, [""], [0], **options)
    with pytest.raises(ValueError, match="whole chunks"):
        model.sample(tokens[:, 1:], [""], [0])
    assert model.nfe(4, 1.0) == 4
    assert model.nfe(4, 2.0) == 8


def test_training_angles_follow_the_patterns():
    model = diffusion(patterns=(1.0, 0.0, 0.0))
    t, kept = model.draw_times(500, 3)
    assert not kept.any()
    assert (t > 0).all()
    assert float(t.std()) == pytest.approx(math.sqrt(1 / 12), rel=0.05)
    assert len(t.unique()) > 1400
    t, kept = diffusion(patterns=(0.0, 1.0, 0.0)).draw_times(50, 3)
    assert (t == t[:, :1]).all()
    t, kept = diffusion(patterns=(0.0, 0.0, 1.0)).draw_times(500, 3)
    assert torch.equal(kept, t == 0)
    assert set(map(tuple, kept.tolist())) == {(True, False, False), (True, True, False)}
    t, kept = diffusion(patterns=(0.0, 0.0, 1.0)).draw_times(5, 1)
    assert not kept.any()


def test_shares_of_hidden_conditions():
    torch.manual_seed(0)
    tokens, caption = diffusion().draw_hidden(20000)
    assert float((tokens & caption).float().mean()) == pytest.approx(HIDDEN["both"], abs=0.01)
    assert float((caption & ~tokens).float().mean()) == pytest.approx(HIDDEN["caption"], abs=0.01)
    assert float((tokens & ~caption).float().mean()) == pytest.approx(HIDDEN["tokens"], abs=0.01)


def test_loss_is_zero_for_the_true_velocity_and_blind_to_kept_frames():
    model = diffusion()
    data, noise, t = torch.randn(2, DIM, FRAMES), torch.randn(2, DIM, FRAMES), torch.rand(2, FRAMES)
    mask = torch.rand(2, FRAMES) < 0.5
    d = (t * math.pi / 2)[:, None]
    true = torch.cos(d) * noise - torch.sin(d) * data
    wrong = torch.where(mask[:, None], true, true + 3)
    model.net.forward = lambda x, angles, given: wrong
    assert float(model.velocity_error(data, noise, t, None, mask)) < 1e-10
    torch.testing.assert_close(model.velocity_error(data, noise, t, None, ~mask), torch.tensor(9.0))


def test_same_seed_same_tokens_whatever_the_batch():
    model = language_model()
    nothing = torch.zeros(3, 0, dtype=torch.int64)
    options = {"n": 16, "choice": Choice(0.9, 8, 0.95), "guidance": 1.5}
    together = model.extend(nothing, CAPTIONS, [5, 6, 5], **options)
    for i, seed in enumerate((5, 6, 5)):
        alone = model.extend(nothing[:1], CAPTIONS[i : i + 1], [seed], **options)
        assert torch.equal(together[i : i + 1], alone)
    again = model.extend(nothing[:1], CAPTIONS[:1], [6], **options)
    assert not torch.equal(again, together[:1])


def test_tokens_made_in_parts_are_the_tokens_made_at_once():
    """While all of them are remembered: chances belong to places."""
    model = language_model()
    nothing = torch.zeros(1, 0, dtype=torch.int64)
    whole = model.extend(nothing, ["piano"], [5], 12)
    start = model.extend(nothing, ["piano"], [5], 5)
    rest = model.extend(start, ["piano"], [5], 7, first=5)
    assert torch.equal(torch.cat((start, rest), 1), whole)


def test_the_language_model_forgets_beyond_its_context():
    model = language_model()
    a, b = torch.randint(VOCABULARY, (2, 1, 30)).unbind()
    b = torch.cat((b[:, :-10], a[:, -10:]), 1)
    assert torch.equal(
        model.extend(a, ["piano"], [5], 6, first=30), model.extend(b, ["piano"], [5], 6, first=30)
    )
    with pytest.raises(ValueError, match="use 1 to 16"):
        model.extend(a, ["piano"], [5], 17)


def test_noise_changes_what_is_seen_and_not_what_is_asked(monkeypatch):
    """All tokens replaced: the loss is that of random ones before the same targets; 0 leaves all."""
    model, seen = language_model(), []
    monkeypatch.setattr(
        model.decoder, "forward", lambda tokens, prefix, beats: seen.append(tokens) or torch.zeros(2, 9, 16)
    )
    tokens = torch.randint(VOCABULARY, (2, 9))
    batch = {"tokens": tokens, "token_mask": torch.ones(2, 9, dtype=torch.bool), "captions": CAPTIONS[:2]}
    for noise in (0.0, 0.3):
        loss, _ = model.losses(batch, noise=noise)
        assert float(loss) == pytest.approx(math.log(VOCABULARY))
    assert torch.equal(seen[0], tokens[:, :-1])
    assert 0 < (seen[1] != tokens[:, :-1]).sum() < 12


def fit(name, data, folder, *more):
    """Train a tiny config in `folder` -> its last checkpoint."""
    words = ["fit", "-c", str(CONFIGS / f"{name}.yaml"), "--data.init_args.path", str(data), *more]
    main([*words, "--trainer.default_root_dir", str(folder)])
    return folder / "runs" / name / "last.ckpt"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Data and the checkpoints of the tiny diffusion and language model."""
    folder = tmp_path_factory.mktemp("melody")
    data = write_latents(folder / "melody.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return data, fit("melody_tiny", data, folder), fit("melody_lm_tiny", data, folder)


def test_tiny_models_train_and_come_back_from_their_checkpoints(trained, tmp_path):
    data, diffusion_file, lm_file = trained
    for file, kind in ((diffusion_file, MeLoDy), (lm_file, MeLoDyLM)):
        model = load_checkpoint(file)
        assert type(model) is kind
        assert {"piano", "key:bb"} <= set(model.words)
        assert model.unknown_words("a piano and a theremin") == ["and", "theremin"]
        released = tmp_path / f"{kind.__name__}.safetensors"
        hub.save(model, released)
        again = hub.load(released)
        assert again.words == model.words
        for key, tensor in model.state_dict().items():
            assert torch.equal(tensor, again.state_dict()[key])


def test_a_student_is_released_as_what_its_teacher_is(trained, tmp_path, monkeypatch):
    data, teacher, _ = trained
    monkeypatch.chdir(tmp_path)
    file = fit("melody_distill_tiny", data, tmp_path, "--model.init_args.teacher", str(teacher))
    student = load_checkpoint(file)
    assert type(student) is MeLoDy
    assert student.hparams["jumps"]
    assert student.nfe() == 2
    with pytest.raises(ValueError, match="trained as a diffusion"):
        MeLoDyDistill(str(file))


def distilled(trained, monkeypatch, **more):
    """A student before its training, and a batch."""
    data_file, teacher, _ = trained
    model = MeLoDyDistill(str(teacher), **more)
    monkeypatch.setattr(model, "log", lambda *args, **options: None)
    data = MusicLatentData(str(data_file), FRAMES, TOKENS, 3, batch_size=4)
    data.setup("fit")
    return model, data.batch(data.plan_epoch(0)[0])


def test_a_jump_by_the_true_velocity_lands_where_the_teacher_does(trained, monkeypatch):
    """And then nothing is left to learn; kept frames stay on the way, and have no say."""
    model, batch = distilled(trained, monkeypatch, steps=8)
    teacher = model.teacher
    data, frames = batch["latents"], batch["frames"]
    kept = torch.arange(data.shape[-1]).expand(4, -1) < FRAMES
    denoise = teacher.guided(batch["tokens"], batch["captions"], 2.0, kept, (batch["token_mask"], frames))
    with torch.no_grad():
        states = model.trajectory(denoise, torch.randn_like(data), data, kept, 4)
    assert len(states) == 5
    assert all(torch.equal(state[..., :FRAMES], data[..., :FRAMES]) for state in states)
    times = grids.falling_angles(4).tolist()
    for n in range(4):
        w = (times[n] - times[n + 1]) * math.pi / 2
        v = (math.cos(w) * states[n] - states[n + 1]) / math.sin(w)
        off = torch.where(kept[:, None], 5.0, 0.0)
        model.net.forward = lambda x, angles, given, steps, v=v + off: v
        loss = model.jump_error(states[n], states[n + 1], (times[n], times[n + 1]), kept, frames, None)
        assert float(loss) < 1e-9

        jumped = run(
            plans.tail(plans.head(sampling_plan(4, True), n + 1), n), model.denoiser(None, kept), states[n]
        )
        torch.testing.assert_close(jumped[..., FRAMES:], states[n + 1][..., FRAMES:], rtol=1e-4, atol=1e-5)


def test_a_student_begins_as_its_teacher_and_is_told_how_far_it_jumps(trained, monkeypatch):
    model, batch = distilled(trained, monkeypatch)
    teacher = model.teacher
    given = model.given(batch, (torch.zeros(4, dtype=torch.bool),) * 2)
    x, angles = torch.randn_like(batch["latents"]), torch.full(batch["frames"].shape, 0.8)
    for module in (model, teacher):
        torch.nn.init.normal_(module.net.exit.weight, std=0.2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model.net(x, angles, given, angles), teacher.net(x, angles, given))
        torch.nn.init.normal_(model.net.jump.mlp[-1].weight)
        far, near = (model.net(x, angles, given, steps) for steps in (angles, angles / 2))
    assert not torch.allclose(far, near)


def test_steps_that_do_not_divide_are_refused(trained):
    with pytest.raises(ValueError, match="must divide the teacher's 16"):
        MeLoDyDistill(str(trained[1]), student_steps=(1, 3))


def test_data_of_other_sizes_is_refused(trained, tmp_path):
    data, _, _ = trained
    with pytest.raises(ValueError, match="set model.init_args.vocabulary"):
        fit("melody_tiny", data, tmp_path, "--model.init_args.vocabulary", "17")
    with pytest.raises(ValueError, match="choose chunk_frames and chunk_tokens"):
        fit("melody_tiny", data, tmp_path, "--data.init_args.chunk_frames", "11")


@pytest.mark.parametrize(
    ("config", "kind", "low", "high"),
    [("melody", MeLoDy, 6e6, 10e6), ("melody_lm", MeLoDyLM, 3e6, 6e6), ("melody_paper", MeLoDy, 1e8, 4e8)],
)
def test_configurations_have_their_sizes(config, kind, low, high):
    """In parameters; a model and its data agree on chunks."""
    content = yaml.safe_load((CONFIGS / f"{config}.yaml").read_text())
    options, data = content["model"]["init_args"], content["data"]["init_args"]
    with torch.device("meta"):
        model = kind(**options)
    assert low < sum(p.numel() for p in model.parameters()) < high
    made = MusicLatentData(**data)
    if kind is MeLoDy:
        assert (made.clock.frames, made.clock.tokens) == (model.chunk_frames, model.chunk_tokens)
        assert made.chunks == model.chunks
    else:
        assert made.chunks * made.clock.tokens == model.context
