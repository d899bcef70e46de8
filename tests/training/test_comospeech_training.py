"""CoMoSpeech from texts and recordings to a one-step student, and on to another voice."""

import pytest
import torch
from fitting import fit
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from audiogen import hub
from audiogen.cli import OK
from audiogen.cli import main as cli
from audiogen.data.mels import MelData
from audiogen.systems.comospeech import CoMoSpeech
from audiogen.systems.comospeech_distill import CoMoSpeechDistill
from audiogen.training.checkpoint import read_checkpoint

SIZES = ["--model.init_args.channels", "48", "--model.init_args.encoder.kernel_size", "1"]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder of our own to run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def teacher(prepared, tmp_path_factory):
    """The checkpoint of a teacher that has seen enough to align."""
    folder = tmp_path_factory.mktemp("teacher")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        more = [
            *("--trainer.max_steps", "120", "--model.init_args.total_steps", "120"),
            *("--model.init_args.diagonal_steps", "20", "--model.init_args.lr", "1e-2"),
            *SIZES,
            *("--trainer.check_val_every_n_epoch", "30"),
        ]
        return fit("comospeech_tiny", prepared, folder, *more)


def scalars(folder, name):
    """The values logged under a name."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return [event.value for event in events.Scalars(name)]


def test_a_teacher_finds_the_alignment_by_itself(teacher, prepared):
    """Against the corpus's own durations, which training does not see; blind shares are far worse."""
    priors = scalars(next(teacher.parent.glob("version_0")), "train/prior")
    assert sum(priors[-5:]) < 0.7 * sum(priors[:5])
    system = hub.load(teacher)
    data = MelData(str(prepared / "speech.safetensors"))
    data.setup("fit")
    found, blind, count = 0.0, 0.0, 0
    for item in data.training_items:
        batch = data.batch([item])
        with torch.no_grad():
            hidden = system.hidden(batch)
            durations = system.durations(hidden, system.standardise(batch["mel"]), batch)
        truth = batch["durations"].cumsum(1)[0, :-1]
        even = torch.arange(1, len(truth) + 1) * int(truth[-1]) / len(truth)
        found += float((durations.cumsum(1)[0, :-1] - truth).abs().sum())
        blind += float((even - truth).abs().sum())
        count += len(truth)
    assert found < 0.85 * blind
    assert found / count < 2  # frames of 16 ms; the analysis window is 64 ms long


@pytest.mark.parametrize("preset", ["paper", "improved"])
def test_distillation_gives_a_one_step_voice(preset, teacher, prepared, workplace):
    checkpoint = fit(
        "comospeech_distill_tiny",
        prepared,
        workplace,
        *("--model.init_args.teacher", str(teacher), "--model.init_args.preset", preset),
    )
    key, hparams, state = read_checkpoint(checkpoint)
    assert key == "comospeech"
    assert not any(name.startswith("target.") for name in state)
    taught = read_checkpoint(teacher)[2]
    for name, value in taught.items():  # the teacher is untouched, encoder and all
        assert torch.allclose(state[name], value), name
    assert not torch.equal(state["denoisers.student.head.weight"], state["denoisers.teacher.head.weight"])
    assert cli(["export", str(checkpoint), "-o", "voice.safetensors"]) == OK
    released = hub.load("voice.safetensors", vocoder="griffin-lim")
    assert isinstance(released, CoMoSpeech)
    assert released.step_counts == (1, 2, 4, 10, 25, 50)
    assert released.default_steps == 1
    command = ["tts", "Hello.", "--model", "voice.safetensors", "--vocoder", "griffin-lim", "-o", "a.wav"]
    assert cli([*command, "--steps", "1"]) == OK
    assert cli([*command, "--steps", "3"]) != OK


def test_a_resumed_distillation_equals_the_unbroken_one(teacher, prepared, workplace):
    name, more = "comospeech_distill_tiny", ["--model.init_args.teacher", str(teacher)]
    whole = fit(name, prepared, workplace, *more)
    expected = torch.load(whole, weights_only=True)["state_dict"]
    whole.unlink()
    half = fit(name, prepared, workplace, *more, "--trainer.max_steps", "4").rename("half.ckpt")
    resumed = fit(name, prepared, workplace, *more, "--ckpt_path", str(half))
    found = torch.load(resumed, weights_only=True)["state_dict"]
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_training_makes_the_student_more_consistent(teacher, prepared, workplace):
    """The loss on fixed pieces, noise and levels, before and after."""
    more = ["--model.init_args.teacher", str(teacher), "--model.init_args.preset", "paper"]
    more += [
        "--trainer.max_steps",
        "60",
        "--model.init_args.total_steps",
        "60",
        "--model.init_args.lr",
        "5e-3",
    ]
    trained = read_checkpoint(fit("comospeech_distill_tiny", prepared, workplace, *more))[2]
    data = MelData(str(prepared / "speech.safetensors"))
    data.setup("fit")
    losses = []
    for state in ({}, trained):
        system = CoMoSpeechDistill(str(teacher), preset="paper", total_steps=60)
        system.load_state_dict(state, strict=False)
        system.noted = lambda name, value: value
        system.target.load_state_dict(system.denoisers["student"].state_dict())
        torch.manual_seed(0)
        batches = [data.batch([item]) for item in data.training_items] * 4
        with torch.no_grad():
            losses.append(sum(float(system.training_step(batch, 0)) for batch in batches))
    assert losses[1] < losses[0]


def test_fine_tuning_begins_from_a_released_voice_and_gives_one_step(teacher, prepared, workplace):
    """A dozen clips of another speaker: the wording of configs/comospeech_finetune.yaml at a tiny size."""
    tiny = ["--model.init_args.teacher", str(teacher)]
    checkpoint = fit("comospeech_distill_tiny", prepared, workplace, *tiny)
    assert cli(["export", str(checkpoint), "-o", "voice.safetensors"]) == OK
    sizes = [
        *("--model.init_args.init_from", "voice.safetensors", "--model.init_args.speakers", "[me]"),
        *("--model.init_args.student_steps", "[1,2,4]", "--model.init_args.teacher_steps", "[50]"),
        *("--model.init_args.default_steps", "1", "--model.init_args.diagonal_steps", "0"),
        *SIZES,
    ]
    tuned = fit("comospeech_tiny", prepared, workplace, *sizes)
    _, hparams, state = read_checkpoint(tuned)
    assert "init_from" not in hparams
    before = read_checkpoint(checkpoint)[2]
    for role in ("teacher", "student"):  # both have moved, and neither far from where they began
        name = f"denoisers.{role}.stem.weight"
        assert not torch.equal(state[name], before[name])
        assert torch.allclose(state[name], before[name], atol=0.05)
    assert cli(["export", str(tuned), "-o", "me.safetensors"]) == OK
    assert hub.load("me.safetensors", vocoder="griffin-lim").speakers == ("me",)


def test_fine_tuning_from_what_does_not_fit_is_refused(teacher):
    with pytest.raises(ValueError, match="other sizes"):
        CoMoSpeech(init_from=str(teacher), channels=32)
    with pytest.raises(ValueError, match="has the prior 'zero', not 'residual'"):
        CoMoSpeech(init_from=str(teacher), channels=48, prior="residual")
    with pytest.raises(ValueError, match="holds a prodiff"):
        CoMoSpeech(init_from="prodiff")
    with pytest.raises(ValueError, match="unknown model 'nobody'"):
        CoMoSpeech(init_from="nobody")
