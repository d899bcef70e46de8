"""StableVC from packed voices to weights that can be shared."""

import math
import random

import pytest
import torch
from fitting import fit_here as fit
from synthetic_voices import write_voices
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from audiogen import hub
from audiogen.conversion import ConvertOptions
from audiogen.data.conversion import ConversionData
from audiogen.data.store import DataError
from audiogen.nn.perturbation import warp_frequencies
from audiogen.nn.style import prosody
from audiogen.spectral import MelSpec
from audiogen.systems.stablevc_distill import StableVCDistill
from audiogen.training.checkpoint import read_checkpoint


@pytest.fixture
def voices(tmp_path, monkeypatch):
    """A packed file in a folder of our own to run in."""
    monkeypatch.chdir(tmp_path)
    return write_voices(tmp_path / "voices.safetensors")


def test_training_learns_and_releases_a_system_without_its_classifier(voices):
    more = ["--trainer.max_steps", "60", "--model.init_args.total_steps", "60"]
    checkpoint = fit("stablevc_tiny", voices, *more, "--model.init_args.settle_steps", "40")
    events = EventAccumulator("runs/stablevc_tiny/version_0")
    events.Reload()
    for name in ("train/flow", "train/guess"):
        values = [event.value for event in events.Scalars(name)]
        assert sum(values[-5:]) < 0.9 * sum(values[:5]), name
    key, hparams, state = read_checkpoint(checkpoint)
    assert (key, hparams["speakers"]) == ("stablevc", 0)
    assert not any(name.startswith("classifier.") for name in state)
    system = hub.load(checkpoint)
    hub.save(system, "model.safetensors")
    again = hub.load("model.safetensors")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in state.items())
    assert 0 < float(again.sigma_data) < 1.5


def test_distillation_gives_a_student_of_one_step(voices):
    teacher = fit("stablevc_tiny", voices, "--model.init_args.timbre_scale", "1.5")
    checkpoint = fit("stablevc_distill_tiny", voices, "--model.init_args.teacher", teacher)
    key, hparams, state = read_checkpoint(checkpoint)
    assert (key, hparams["student_steps"], hparams["default_steps"]) == ("stablevc", (1, 2), 2)
    _, _, before = read_checkpoint(teacher)
    for name, tensor in before.items():
        assert torch.allclose(tensor, state[name], atol=1e-5), name  # averaging rounds
    moved = [
        n
        for n, t in state.items()
        if "student" in n and not torch.equal(t, state[n.replace("student", "teacher")])
    ]
    assert len(moved) > 20
    system = hub.load(checkpoint)
    assert [system.steps(ConvertOptions(n)) for n in (1, 2, 4)] == [
        ("student", 1),
        ("student", 2),
        ("teacher", 4),
    ]
    assert [system.nfe(ConvertOptions(n)) for n in (1, 2, 4)] == [1, 2, 4]
    with pytest.raises(ValueError, match="cannot be guided"):
        system.nfe(ConvertOptions(1, timbre_scale=2.0))


def test_wrong_teachers_are_refused(voices):
    teacher = fit("stablevc_tiny", voices)
    with pytest.raises(ValueError, match="student_steps must name"):
        StableVCDistill(teacher, student_steps=())
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        StableVCDistill("nothing.ckpt")


def test_data_never_takes_a_clip_as_its_own_reference(voices):
    data = ConversionData(str(voices), crop_s=1.0, low_bins=4, references=2, reference_s=0.4, batch_size=4)
    data.setup("fit")
    assert {data.ids[i] for i in data.training_items} == {f"v{s}-{k}" for s in (0, 1) for k in (1, 2, 3)}
    assert {data.ids[i] for i in data.validation_items} == {"v0-0", "v1-0", "v2-0"}
    for i in (*data.training_items, *data.validation_items):
        assert i not in data.mates[i]
        assert {data.speaker[j] for j in data.mates[i]} == {data.speaker[i]}
    trained = set(data.training_items)
    assert all(set(data.mates[i]) <= trained for i in trained)


def test_batches_are_functions_of_seed_and_epoch(voices):
    made = []
    for _ in range(2):
        data = ConversionData(str(voices), crop_s=1.0, low_bins=4, per_epoch=10, batch_size=4, seed=3)
        data.setup("fit")
        plans = data.plan_epoch(1)
        assert sum(len(plan) for plan in plans) == 10
        made.append([data.batch(plan) for plan in plans])
    for one, two in zip(*made, strict=True):
        assert one["ids"] == two["ids"]
        assert torch.equal(one["mel"], two["mel"])
        assert torch.equal(one["reference"], two["reference"])
    batch = made[0][0]
    assert torch.equal(batch["durations"].sum(1), batch["mask"].sum(1))
    assert batch["prosody"].shape == (4, 7, batch["mel"].shape[2])
    norms = torch.cat([batch["embedding"].norm(dim=1) for batch in made[0]])
    assert torch.allclose(norms, (norms > 0).float(), atol=1e-3)  # a made-up voice has no vector
    assert 0 < int((norms == 0).sum()) < 10
    assert not bool((batch["tokens"][:, 1:] == batch["tokens"][:, :-1])[batch["token_mask"][:, 1:]].any())


def test_unmoved_prosody_is_that_of_the_crop(voices):
    data = ConversionData(str(voices), crop_s=0.5, low_bins=4, warp_s=0.0, new_voices=0.0)
    data.setup("fit")
    item = data.training_items[0]
    row = data.example(item, random.Random(1))
    whole = prosody(data.mel[item].float(), data.store["f0"][item], 4)
    size = row["mel"].shape[1]
    starts = [
        s
        for s in range(data.mel.length(item) - size + 1)
        if torch.equal(data.mel[item].float()[:, s : s + size], row["mel"])
    ]
    assert len(starts) == 1
    assert torch.allclose(row["prosody"], whole[:, starts[0] : starts[0] + size], atol=2e-3)


def test_a_new_voice_has_clip_and_references_moved_alike(voices):
    """A factor of 2^(1/4) moves every band's content up, in both, and leaves tokens and pitch curve alone."""
    plain, moved = (
        ConversionData(str(voices), crop_s=0.5, low_bins=4, warp_s=0.0, new_voices=p, voice_warp=0.2)
        for p in (0.0, 1.0)
    )
    for data in (plain, moved):
        data.setup("fit")
    item = plain.training_items[0]
    for k in range(3):
        mel, reference = (data.voice(item, random.Random(k)) for data in (plain, moved))
        assert torch.equal(mel[0], reference[0])
    row = moved.example(item, random.Random(5))
    whole = moved.mel[item].float()
    factors = [math.exp(0.2 * f / 500) for f in range(-500, 501)]
    warped = warp_frequencies(whole.expand(len(factors), -1, -1), torch.tensor(factors), MelSpec())
    size = row["mel"].shape[1]
    near = (warped.unfold(2, size, 1) - row["mel"][None, :, None]).abs().amax((1, 3)).min()
    assert near < 0.1
    k, start = divmod(
        int((warped.unfold(2, size, 1) - row["mel"][None, :, None]).abs().amax((1, 3)).argmin()),
        whole.shape[1] - size + 1,
    )
    curves = prosody(warped[k], moved.store["f0"][item], 4)[:, start : start + size]
    assert torch.allclose(row["prosody"][3:], curves[3:], atol=0.1)
    assert torch.allclose(row["prosody"][:2], curves[:2], atol=2e-3)
    assert not row["embedding"].any()
    held_out = moved.validation_items[0]
    assert moved.example(held_out, random.Random(5))["embedding"].any()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ((MelSpec(n_mels=64), 12, 4, 4), "another mel front end"),
        ((MelSpec(), 8, 4, 4), "12 content tokens, the model only 8"),
        ((MelSpec(), 12, 5, 4), "style_bins 5"),
        ((MelSpec(), 12, 4, 2), "3 speakers, the model's classifier only 2"),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_refused(voices, wrong, message):
    data = ConversionData(str(voices), low_bins=4)
    data.setup("fit")
    data.check(MelSpec(), 12, 4, 4)
    with pytest.raises(DataError, match=message):
        data.check(*wrong)


def test_a_file_without_pairs_is_refused(tmp_path):
    lonely = write_voices(tmp_path / "lonely.safetensors", speakers=2, clips=2, held_out_speakers=())
    with pytest.raises(DataError, match="no speaker with two clips"):
        ConversionData(str(lonely)).setup("fit")
