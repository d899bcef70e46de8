"""A converter tuned by judges of its own conversions."""

import math

import pytest
import torch
from fitting import fit_here as fit
from fitting import untrained_phones
from synthetic_voices import write_voices

from audiogen import hub
from audiogen.data.conversion import ConversionData
from audiogen.systems.stablevc_tune import StableVCTune
from audiogen.training.checkpoint import read_checkpoint


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with voices, a teacher whose vocoder has gradients, and a phonetic encoder."""
    folder = tmp_path_factory.mktemp("tune")
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fit(
            "stablevc_tiny",
            write_voices(folder / "voices.safetensors"),
            "--model.init_args.vocoder",
            "vocos-16k",
        )
    untrained_phones(folder / "phones.ckpt")
    return folder


@pytest.fixture
def tune(place, monkeypatch):
    """Makes a system to tune, which logs nothing."""
    monkeypatch.chdir(place)

    def make(**options):
        torch.manual_seed(0)
        system = StableVCTune("runs/stablevc_tiny/last.ckpt", "phones.ckpt", **options)
        system.log = lambda *args, **kwargs: None
        return system

    return make


@pytest.fixture
def batch(place):
    data = ConversionData(
        str(place / "voices.safetensors"),
        crop_s=1.0,
        low_bins=4,
        batch_size=4,
        reference_s=0.5,
        new_voices=0.0,
        per_epoch=4,
    )
    data.setup("fit")
    return data.batch(data.plan_epoch(0)[0])


def test_the_configuration_tunes_and_releases_a_converter(place, monkeypatch):
    monkeypatch.chdir(place)
    more = ("--model.init_args.phones", "phones.ckpt")
    checkpoint = fit("stablevc_tune_tiny", "voices.safetensors", *more)
    key, hparams, state = read_checkpoint(checkpoint)
    old, before, tensors = read_checkpoint("runs/stablevc_tiny/last.ckpt")
    assert (key, hparams) == (old, before)
    assert state.keys() == tensors.keys()
    assert sum(not torch.allclose(state[n], t, atol=1e-5) for n, t in tensors.items()) > 20
    assert hub.load(checkpoint).default_steps == 4


def test_all_but_the_judges_learn_from_what_they_say(tune, batch):
    system = tune(recorded_every=2).train()
    system.training_step(batch, 1).backward()
    reached = {n for n, p in system.named_parameters() if p.grad is not None and bool(p.grad.any())}
    for part in ("net.token.", "net.timbre_encoder.", "net.frames.", "net.guess.", "net.flows.teacher."):
        assert any(name.startswith(part) for name in reached), part
    assert not any(name.startswith("net.duration.") for name in reached)  # lengths are the crop's
    for judge in system.judges:
        assert not any(p.requires_grad or p.grad is not None for p in judge.parameters())
    system.training_step(batch, 2).backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in system.net.duration.parameters())


def test_voices_come_nearer_to_their_targets(tune, batch):
    system = tune(
        invented=0.0, content=0.0, intonation=0.0, other_style=0.0, steps=(1,), recorded_every=1000
    ).train()
    optimizer = torch.optim.Adam(system.parameters(), lr=2e-3)
    found = []
    for _ in range(12):
        torch.manual_seed(1)
        loss = system.training_step(batch, 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(float(loss))
    assert found[-1] < 0.9 * found[0]


def test_what_is_said_in_the_crop_itself_costs_only_the_judges_doubt(tune, batch):
    system = tune()
    logits = system.judges[1].net.logits(system.judges[1].features(batch["mel"], batch["mask"][:, None]))
    doubt = torch.distributions.Categorical(logits=logits.mT).entropy()
    expected = (doubt * batch["mask"]).sum() / batch["mask"].sum()
    assert system.content_loss(batch["mel"], batch).item() == pytest.approx(expected.item(), rel=1e-4)
    other = system.content_loss(batch["mel"].flip(0), batch)
    assert other > expected


def heard(system, mel):
    """Speaker vectors of mels that are no longer than a stretch."""
    return system.vectors(system.spoken(mel)[0])


def test_a_voice_is_most_like_itself(tune, batch):
    system = tune(margin=0.25)
    mel = batch["reference"]
    voices = heard(system, mel)
    assert torch.allclose(voices.norm(dim=1), torch.ones(len(mel)), atol=1e-4)
    same = system.likeness_loss(heard(system, mel), voices, voices)
    assert same.item() == pytest.approx(0.25, abs=1e-3)  # no nearer to the target than to its own voice
    apart = (voices * voices.roll(1, 0)).sum(1)
    expected = (apart - 1 + 0.25).relu().mean()
    assert system.likeness_loss(heard(system, mel), voices, voices.roll(1, 0)).item() == pytest.approx(
        expected.item(), abs=1e-3
    )


def test_an_intonation_runs_along_the_crop_from_end_to_end(tune, batch, monkeypatch):
    """A style clip of half the frames is heard at half the pace; the crop tells where there is a voice."""
    seen = []

    def listen(wav, curves, weight, *spec):
        seen.extend((curves, weight))
        return torch.tensor([[0.1, 0.0, 0.0, 0.0]]).expand(4, -1)

    monkeypatch.setattr("audiogen.systems.stablevc_tune.intonation_evidence", listen)
    system = tune()
    frames = batch["mask"].shape[1]
    batch["prosody"][:, 0] = torch.arange(frames)
    batch["mask"][1, frames // 2 :] = False
    wav, stretch = system.spoken(batch["mel"])
    loss = system.intonation_loss(wav, stretch, batch, torch.tensor([1, 2, 0, 3]))
    assert loss.item() == pytest.approx(math.log(1 + 3 * math.exp(-3)))  # a tenth is worth three nepers
    curves, weight = seen
    steps = torch.arange(frames)[stretch]
    half = ((steps + 0.5) * (frames // 2) / frames).floor()
    assert torch.equal(curves[0, 0], half)
    assert torch.equal(curves[3, 0], steps.float())
    assert torch.equal(curves[3, 1], steps.float())
    assert not curves[:, 3].any()
    assert torch.equal(weight[0], batch["prosody"][0, 1, stretch])
    assert not weight[1, frames // 2 :].any()


def test_voices_that_nobody_has_are_heard_in_their_references(tune, batch):
    system = tune(invented=0.0)
    batch["embedding"][2] = 0
    vectors = system.voices(batch["reference"], batch["embedding"])
    assert torch.equal(vectors[[0, 1, 3]], batch["embedding"][[0, 1, 3]])
    assert torch.allclose(vectors[2], heard(system, batch["reference"][2:3])[0], atol=1e-5)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(4), atol=1e-3)
    reference, same = system.targets(batch["reference"], vectors)
    assert torch.equal(reference, batch["reference"])
    assert torch.equal(same, vectors)
    system.hparams["invented"] = 1.0
    reference, others = system.targets(batch["reference"], vectors)
    assert bool((reference != batch["reference"]).flatten(1).any(1).all())
    assert torch.allclose(others, heard(system, reference), atol=1e-5)


def test_weights_of_other_systems_are_refused(tune, place):
    with pytest.raises(ValueError, match="holds a phonetic_encoder; the teacher must be a stablevc"):
        StableVCTune("phones.ckpt", "phones.ckpt")
    with pytest.raises(ValueError, match="holds a stablevc, which has no 'phones'"):
        StableVCTune("runs/stablevc_tiny/last.ckpt", "runs/stablevc_tiny/last.ckpt")
