from pathlib import Path

import pytest
import torch
import yaml
from fitting import CONFIGS, fit, untrained_phones
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import audiogen
from audiogen import hub
from audiogen.cli import OK
from audiogen.cli import main as cli
from audiogen.systems.prodiff import ProDiff
from audiogen.training.callbacks import NanGuard
from audiogen.training.checkpoint import read_checkpoint
from audiogen.training.cli import AudiogenCLI


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder of our own to run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def teacher(prepared, tmp_path_factory):
    """The checkpoint of a tiny teacher."""
    folder = tmp_path_factory.mktemp("teacher")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return fit("prodiff_tiny", prepared, folder)


@pytest.fixture(scope="module")
def consistency_teacher(prepared, tmp_path_factory):
    """The checkpoint of a tiny teacher of CoMoSpeech."""
    folder = tmp_path_factory.mktemp("consistency_teacher")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return fit("comospeech_tiny", prepared, folder)


@pytest.fixture(scope="module")
def singing_teacher(prepared_songs, tmp_path_factory):
    """The checkpoint of a tiny teacher that sings."""
    folder = tmp_path_factory.mktemp("singing_teacher")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return fit("comospeech_sing_tiny", prepared_songs, folder)


@pytest.mark.parametrize("name", ["prodiff_tiny", "vocos_tiny", "comospeech_tiny"])
def test_a_resumed_run_equals_the_unbroken_one(name, prepared, workplace):
    whole = fit(name, prepared, workplace, "--trainer.max_steps", "6")
    expected = torch.load(whole, weights_only=True)
    whole.unlink()
    # step 3 lies in the middle of an epoch for both
    broken = fit(name, prepared, workplace, "--trainer.max_steps", "3").rename("broken.ckpt")
    resumed = fit(name, prepared, workplace, "--trainer.max_steps", "6", "--ckpt_path", str(broken))
    found = torch.load(resumed, weights_only=True)
    assert found["global_step"] == 6
    for part in ("state_dict", "current_model_state"):
        assert all(torch.equal(found[part][key], value) for key, value in expected[part].items())


def test_a_resumed_run_obeys_its_configuration(prepared, workplace):
    broken = fit("prodiff_tiny", prepared, workplace, "--trainer.max_steps", "3").rename("broken.ckpt")
    more = ["--ckpt_path", str(broken), "--model.init_args.lr_final", "0.001", "--trainer.max_steps", "6"]
    assert read_checkpoint(fit("prodiff_tiny", prepared, workplace, *more))[1]["lr_final"] == 0.001


@pytest.fixture(scope="module")
def enhancer(tmp_path_factory):
    """The checkpoint of a tiny enhancer, untrained."""
    from audiogen.systems.storm import StoRM

    net = {"fine": 4, "channels": 4, "hidden": 4, "blocks": 1}
    system = StoRM(predictor_net=net, score_net=net)
    path = tmp_path_factory.mktemp("enhancer") / "last.ckpt"
    torch.save({"release": system.release(), "state_dict": system.state_dict()}, path)
    return path


def test_a_teacher_learns_its_data(teacher, prepared):
    events = EventAccumulator(str(next(teacher.parent.glob("version_0"))))
    events.Reload()
    losses = [event.value for event in events.Scalars("train/log_durations")]
    assert losses[-1] < 0.95 * losses[0]
    epochs = [event.value for event in events.Scalars("epoch")]
    assert sorted(set(epochs)) == list(range(int(max(epochs)) + 1))  # none is empty
    assert events.Tags()["audio"]
    assert [event.step for event in events.Images(events.Tags()["images"][0])] == [0, *validations(events)]


def validations(events):
    """The steps after which held-out loss was logged; Lightning counts them from the last step's index."""
    return [event.step + 1 for event in events.Scalars("val/l1")]


def test_validation_always_sees_the_same_items(teacher):
    events = EventAccumulator(str(next(teacher.parent.glob("version_0"))))
    events.Reload()
    assert len(events.Tags()["images"]) == 1


def test_statistics_are_the_datas(teacher, prepared):
    _, hparams, state = read_checkpoint(teacher)
    store = audiogen.data.store.Ragged(prepared / "speech.safetensors")
    held_out = set(store.metadata["held_out"])
    mels = [m for m, name in zip(store["mel"], store.metadata["ids"], strict=True) if name not in held_out]
    values = torch.cat([mel.float().flatten() for mel in mels])
    assert torch.allclose(state["statistics"][0], torch.stack([values.mean(), values.std()]), rtol=1e-4)
    assert hparams["step_counts"] == [4]


def test_distillation_gives_a_model_of_every_step_count(teacher, prepared, workplace):
    checkpoint = fit("prodiff_distill_tiny", prepared, workplace, "--model.init_args.teacher", str(teacher))
    key, hparams, state = read_checkpoint(checkpoint)
    assert key == "prodiff"
    assert tuple(hparams["step_counts"]) == (4, 2, 1)
    assert hparams["default_steps"] == 2
    taught = read_checkpoint(teacher)[2]
    for name, value in taught.items():  # the teacher is untouched, encoder and all
        assert torch.allclose(state[name], value), name  # the average rounds
    name = "denoisers.{}.head.weight"
    heads = [state[name.format(n)] for n in (4, 2, 1)]
    assert not torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[1], heads[2])
    hub.save(hub.load(checkpoint), workplace / "model.safetensors")
    released = hub.load(workplace / "model.safetensors")
    assert isinstance(released, ProDiff)
    assert released.step_counts == (4, 2, 1)


def test_distillation_refuses_stages_that_do_not_fit(teacher):
    from audiogen.systems.prodiff_distill import ProDiffDistill

    with pytest.raises(ValueError, match="must halve"):
        ProDiffDistill(str(teacher), stages=(4, 1))
    with pytest.raises(ValueError, match="must begin with"):
        ProDiffDistill(str(teacher), stages=(8, 4))
    with pytest.raises(FileNotFoundError, match="audiogen fit"):
        ProDiffDistill("none.ckpt")


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_items(prepared, workplace, monkeypatch):
    monkeypatch.setattr(ProDiff, "variance_loss", lambda *a: torch.tensor(float("nan")))
    with pytest.raises(FloatingPointError, match=r"loss is nan at step 0, items \['clip.*lower model\.lr"):
        fit("prodiff_tiny", prepared, workplace)


@pytest.mark.parametrize("name", ["prodiff_tiny", "vocos_tiny"])
def test_bf16_trains(name, prepared, workplace):
    checkpoint = fit(name, prepared, workplace, "--trainer.precision", "bf16-mixed")
    state = torch.load(checkpoint, weights_only=True)["current_model_state"]
    assert all(torch.isfinite(value).all() and value.dtype != torch.bfloat16 for value in state.values())


def test_a_gradient_that_is_not_finite_is_caught_before_the_weights():
    class Module(torch.nn.Linear):
        """A module whose gradient went wrong."""

    module = Module(1, 1)
    module.weight.grad = torch.tensor([[float("inf")]])
    guard = NanGuard()
    guard._ids = ["a"]
    with pytest.raises(FloatingPointError, match=r"gradient of weight .* items \['a'\]"):
        guard.on_before_optimizer_step(type("Trainer", (), {"global_step": 7}), module, None)


@pytest.fixture
def musician(tmp_path):
    """Checkpoint of a tiny diffusion of music, untrained."""
    from audiogen.systems.melody import MeLoDy

    model = MeLoDy(net={"width": 16, "blocks": 1, "heads": 2, "size": 8})
    torch.save({"release": model.release(), "state_dict": model.state_dict()}, tmp_path / "m.ckpt")
    return tmp_path / "m.ckpt"


@pytest.fixture
def converter(tmp_path):
    """A checkpoint of a tiny StableVC, untrained."""
    from audiogen.systems.stablevc import StableVC

    model = StableVC(vocabulary=8, channels=16, token_blocks=1, frame_blocks=1, flow_blocks=1)
    torch.save({"release": model.release(), "state_dict": model.state_dict()}, tmp_path / "c.ckpt")
    return tmp_path / "c.ckpt"


@pytest.fixture
def phones(tmp_path):
    """A checkpoint of a tiny phonetic encoder, untrained."""
    return untrained_phones(tmp_path / "p.ckpt")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_builds(path, workplace, request):
    more = []
    if "distill" in path.stem or path.stem.startswith("stablevc_tune"):
        names = {
            "comospeech_sing": "singing_teacher",
            "comospeech": "consistency_teacher",
            "prodiff": "teacher",
            "storm": "enhancer",
            "stablevc": "converter",
            "melody": "musician",
            "ditto": "musician",
        }
        name = next(name for beginning, name in names.items() if path.stem.startswith(beginning))
        chosen = request.getfixturevalue(name)
        more = ["--model.init_args.teacher", str(chosen)]
    if path.stem.startswith("stablevc_tune"):
        more += ["--model.init_args.phones", str(request.getfixturevalue("phones"))]
    cli = AudiogenCLI(
        args=["-c", str(path), "--trainer.precision", "32-true", "--trainer.accelerator", "cpu", *more],
        run=False,
        save_config_callback=None,
    )
    steps = yaml.safe_load(path.read_text())["trainer"]["max_steps"]
    assert cli.trainer.max_steps == steps
    assert sum(p.numel() for p in cli.model.parameters()) > 0


def test_an_unknown_key_is_an_error(prepared, workplace, capsys):
    with pytest.raises(SystemExit) as error:
        fit("prodiff_tiny", prepared, workplace, "--model.init_args.chanels", "8")
    assert error.value.code == 2
    assert "chanels" in capsys.readouterr().err


def test_export_changes_what_no_weight_depends_on(prepared, workplace):
    checkpoint = fit("vocos_tiny", prepared, workplace, "--trainer.max_steps", "1")
    assert cli(["export", str(checkpoint), "-o", "more.safetensors", "--set", "refinements=3"]) == OK
    assert len(audiogen.load("more.safetensors").generator.refinements) == 3
    for change, message in (
        ("channels=24", "do not fit"),
        ("depth=2", "no hyper-parameter 'depth'"),
        ("depth", "not NAME=VALUE"),
    ):
        assert cli(["export", str(checkpoint), "-o", "wrong.safetensors", "--set", change]) != OK, message
    assert not Path("wrong.safetensors").exists()
