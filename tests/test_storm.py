"""The enhancer itself, at a tiny size."""

import copy
import sys
from pathlib import Path

import pytest
import torch
import yaml
from fake_mixtures import mixtures
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import audiogen
from audiogen import hub
from audiogen.enhancement import EnhanceOptions
from audiogen.enhancement_objectives import Preconditioned, Published, WaveformLoss
from audiogen.report import StageTimer
from audiogen.sampling.loop import run
from audiogen.sampling.mean_paths import OUVE
from audiogen.systems.storm import OWN_STEPS, QUALITY, Preset, StoRM, sampling_plan
from audiogen.training.checkpoint import read_checkpoint
from audiogen.training.cli import main as fit

CONFIGS = Path(__file__).parents[1] / "configs"
NET = {"fine": 8, "channels": 12, "hidden": 12, "blocks": 1}
PATH = OUVE()


def tiny(**options):
    """A system whose networks do something."""
    system = StoRM(**{"predictor_net": NET, "score_net": NET, **options})
    torch.manual_seed(0)
    for parameter in system.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return system.eval()


@pytest.fixture(scope="module")
def system():
    return tiny()


@pytest.fixture(scope="module")
def noisy():
    return mixtures(3, 6000)[1]


def enhance(system, wav, seeds=None, offset=0, **options):
    seeds = range(len(wav)) if seeds is None else seeds
    return system.enhance(wav, seeds, EnhanceOptions(**options), StageTimer(), offset=offset)


def spectra(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def test_the_path_has_the_published_noise():
    """Deviations of SGMSE+'s 16 kHz process, derived from its closed form."""
    times = torch.tensor([0.03, 0.1, 0.3, 0.5, 0.7, 1.0])
    expected = torch.tensor([0.0188, 0.0357, 0.0736, 0.1217, 0.1945, 0.3890], dtype=torch.float64)
    assert torch.allclose(StoRM(predictor_net=NET, score_net=NET).path.sigma(times), expected, atol=5e-5)


@pytest.mark.parametrize("name", QUALITY)
def test_sampling_with_a_perfect_denoiser_gives_the_data(system, name, monkeypatch):
    data, end = spectra(2, 256, 9), spectra(2, 256, 9, seed=1)
    monkeypatch.setattr(system, "denoiser", lambda noisy, end: lambda x, t: data)
    found = system.sample(end, end, [0, 1], QUALITY[name])
    # the last row of the predictor-corrector is an Euler step from t_eps, not the estimate itself
    assert torch.allclose(found, data, atol=0.06 if name == "paper" else 1e-5)


@pytest.mark.parametrize(
    ("options", "calls"),
    [({"quality": name}, None) for name in QUALITY]
    + [({"num_steps": 0}, (1, 0)), ({"num_steps": 1}, (1, 1)), ({"num_steps": 7}, (1, 7))]
    + [({"quality": "paper", "num_steps": 3}, (1, 6)), ({"num_steps": 3, "warm_start": 0.2}, (1, 3))],
)
def test_evaluations_are_counted(system, noisy, options, calls):
    seen = {"predictor": 0, "score": 0}
    handles = [
        getattr(system, name).register_forward_hook(lambda *_, name=name: seen.update({name: seen[name] + 1}))
        for name in seen
    ]
    enhance(system, noisy[:1, :2000], **options)
    for handle in handles:
        handle.remove()
    assert sum(seen.values()) == system.nfe(EnhanceOptions(**options))
    assert calls is None or tuple(seen.values()) == calls


def test_without_steps_the_predictor_speaks(system, noisy):
    with torch.no_grad():
        expected = system.stft.synthesise(system.predict(system.stft.analyse(noisy)), noisy.shape[1])
    assert torch.allclose(enhance(system, noisy, num_steps=0), expected, atol=1e-6)
    assert not torch.allclose(enhance(system, noisy, num_steps=1), expected, atol=1e-3)


def test_an_item_is_the_same_in_any_batch_and_its_seed_matters(system, noisy):
    together = enhance(system, noisy, [1, 2, 3])
    assert torch.allclose(enhance(system, noisy[1:2], [2])[0], together[1], atol=1e-4)
    assert not torch.allclose(enhance(system, noisy[1:2], [3])[0], together[1], atol=1e-2)


def test_chunks_of_a_recording_meet_the_same_noise(system):
    """Far from its edges a chunk equals the whole; with another offset it does not."""
    wav = mixtures(1, 24000)[1]
    first = 40 * system.hop_length
    whole = enhance(system, wav, [5])[:, first + 4000 : first + 8000]
    chunk = wav[:, first : first + 12000]
    assert torch.allclose(enhance(system, chunk, [5], first)[:, 4000:8000], whole, atol=1e-4)
    assert not torch.allclose(enhance(system, chunk, [5])[:, 4000:8000], whole, atol=1e-2)


@pytest.mark.cuda
@pytest.mark.parametrize("backbone", ["subband", "ncsnpp"])
def test_a_gpu_says_the_same(noisy, backbone):
    sizes = {} if backbone == "subband" else {name: {"base": 8} for name in ("predictor_net", "score_net")}
    here = tiny(backbone=backbone, **sizes)
    there = copy.deepcopy(here).cuda()
    for quality in QUALITY:
        found = enhance(there, noisy.cuda(), quality=quality, num_steps=3).cpu()
        assert torch.allclose(found, enhance(here, noisy, quality=quality, num_steps=3), atol=5e-2)


@pytest.mark.parametrize("length", [1, 100, 4000])
@pytest.mark.parametrize("quality", QUALITY)
def test_silence_of_any_length_stays_finite(system, length, quality):
    wav = enhance(system, torch.zeros(1, length), quality=quality)
    assert wav.shape == (1, length)
    assert torch.isfinite(wav).all()


OBJECTIVES = {"edm": Preconditioned(PATH, 0.1, 0.05), "score": Published(PATH, 0.1, 0.05)}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_perfect_output_has_no_loss_and_denoises_perfectly(name):
    objective = OBJECTIVES[name]
    clean, end, z = (spectra(3, 4, 5, seed=k) for k in range(3))
    t = torch.tensor([0.05, 0.4, 1.0])
    x = PATH.add_noise(clean, z, t, y=end)
    sigma, alpha = PATH.sigma(t)[:, None, None], PATH.alpha(t)[:, None, None]
    if name == "score":
        out = (-z / sigma).to(x.dtype)
    else:  # Karras et al. 2022, Table 1, on the residual: noise level sigma / alpha, data deviation 0.05
        level = sigma / alpha
        u = (x - end) / alpha
        c_skip, c_out = 0.05**2 / (level**2 + 0.05**2), level * 0.05 / (level**2 + 0.05**2).sqrt()
        out = ((clean - end - c_skip * u) / c_out).to(x.dtype)
    assert objective.score_loss(out, clean, x, t, end).item() == pytest.approx(0, abs=1e-6)
    assert torch.allclose(objective.denoised(out, x, t, end), clean, atol=1e-3)


def test_losses_have_their_closed_forms():
    clean, error = spectra(2, 3, 4), spectra(2, 3, 4, seed=1)
    half = OBJECTIVES["score"].predictor_loss(clean + error, clean)
    assert half.item() == pytest.approx(error.abs().square().mean().item() / 2, rel=1e-5)
    # a turned angle leaves the magnitudes: |e^{j pi / 3} - 1| = 1
    turned = clean * torch.polar(torch.ones(1), torch.full((1,), torch.pi / 3))
    found = OBJECTIVES["edm"].predictor_loss(turned, clean).item()
    assert found == pytest.approx(clean.abs().square().mean().item() / (2 * 0.1**2), rel=1e-4)
    # a score of zero: half the power of the noise
    t, end = torch.tensor([0.2, 0.9]), torch.zeros_like(clean)
    x = PATH.add_noise(clean, error, t, y=end)
    loss = OBJECTIVES["score"].score_loss(torch.zeros_like(x), clean, x, t, end)
    assert loss.item() == pytest.approx(error.abs().square().mean().item() / 2, rel=1e-4)


def test_the_loss_of_waveforms_is_that_of_its_parts(noisy):
    clean = mixtures(3, 6000)[0]
    # an error of a tenth of the amplitude that has nothing in common with the signal: 20 dB
    time = torch.arange(16000) / 16000
    tone, other = (torch.sin(2 * torch.pi * f * time)[None] for f in (200, 300))
    assert WaveformLoss(0, 0.5, 16000)(tone + 0.1 * other, tone).item() == pytest.approx(-10, rel=1e-3)
    assert WaveformLoss(0, 1, 16000)(tone, tone).item() == pytest.approx(-30)  # no more than that to gain
    heard = WaveformLoss(1, 0, 16000)
    assert heard(clean, clean).item() == pytest.approx(0, abs=1e-4)
    assert heard(0.3 * noisy, clean).item() == pytest.approx(heard(noisy, clean).item(), rel=1e-3)
    before, near = noisy.clone(), clean + 0.02 * (noisy - clean)
    assert 0.01 < heard(near, clean) < heard(noisy, clean)
    assert torch.equal(noisy, before)
    both = WaveformLoss(0.5, 0.1, 16000)(noisy, clean)
    parts = 0.5 * heard(noisy, clean) + 0.1 * WaveformLoss(0, 1, 16000)(noisy, clean)
    assert both.item() == pytest.approx(parts.item(), rel=1e-5)
    with pytest.raises(ValueError, match="5000 samples are too few"):
        heard(noisy[:, :5000], clean[:, :5000])


def test_the_loss_of_waveforms_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_pesq", None)
    WaveformLoss(0, 1, 16000)
    with pytest.raises(ValueError, match=r"0.4 needs torch-pesq: pip install 'audiogen\[perceptual\]'"):
        WaveformLoss(0.4, 0, 16000)


def test_a_predictor_learns_by_its_waveforms_too():
    clean, noisy = mixtures(2, 8000)
    batch = {"clean": clean, "noisy": noisy, "ids": ["a", "b"]}
    losses = []
    for weights in ({}, {"sdr": 0.1, "perceptual": 0.4}):
        system = tiny(predictor="alone", **weights).train()
        system.on_fit_start()
        losses.append(system.training_step(batch, 0))
    wav = system.stft.synthesise(system.predict(system.stft.analyse(noisy)), 8000)
    expected = losses[0] + WaveformLoss(0.4, 0.1, 16000)(wav, clean)
    assert losses[1].item() == pytest.approx(expected.item(), rel=1e-5)
    losses[1].backward()
    assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in system.predictor.parameters())


def test_a_score_network_learns_by_the_waveforms_of_its_estimates_too():
    clean, noisy = mixtures(2, 8000)
    batch = {"clean": clean, "noisy": noisy, "ids": ["a", "b"]}
    system = tiny(predictor="none", sdr=0.1).train()
    found = []
    for _ in range(2):
        torch.manual_seed(1)
        found.append(system.training_step(batch, 0))
        system.on_fit_start()
    torch.manual_seed(1)
    spec, seen = (system.stft.analyse(wav) for wav in (clean, noisy))
    _, estimate = system.score_loss(spec, seen, seen)
    wav = system.stft.synthesise(estimate, 8000)
    expected = found[0] + WaveformLoss(0, 0.1, 16000)(wav, clean)
    assert found[1].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_score_network_learns_where_its_own_sampler_leads(system, monkeypatch):
    """At a state that the sampler comes to, and only in the last step of those taken."""
    data, end = spectra(2, 256, 9), spectra(2, 256, 9, seed=1)
    calls = []

    def denoiser(noisy, end):
        def denoise(x, t):
            calls.append((x.clone(), float(t[0]), torch.is_grad_enabled()))
            return 0.5 * (x + data)

        return denoise

    monkeypatch.setattr(system, "denoiser", denoiser)
    start = QUALITY["balanced"].warm_start
    plans = {n: sampling_plan(PATH, Preset("multistep", n, start), system.t_eps) for n in OWN_STEPS}
    found = set()
    torch.manual_seed(0)
    for _ in range(60):
        calls.clear()
        loss, estimate = system.own_loss(data, end, end)
        states, times, learns = zip(*calls, strict=True)
        assert learns == (*[False] * (len(calls) - 1), True)
        assert torch.equal(estimate, 0.5 * (states[-1] + data))
        assert loss == system.objective.predictor_loss(estimate, data)
        fits = [n for n, plan in plans.items() if plan.labels[: len(times)].tolist() == pytest.approx(times)]
        found.add(fits[-1])
        calls.clear()
        run(plans[fits[-1]], denoiser(end, end), states[0], y=end)
        assert torch.allclose(calls[len(times) - 1][0], states[-1], atol=1e-5)
    assert found == {2, 4, 8}  # one step has the state that all begin with


def test_what_the_networks_are_shown():
    """Published: spectra as they are and log t, output over t. EDM: unit variance, log(alpha / sigma)."""
    seen = []

    def net(planes, level=None):
        seen.append((planes, level))
        return planes[:, :2]

    x, noisy, end = (spectra(2, 4, 5, seed=k) for k in range(3))
    t = torch.tensor([0.1, 0.7])
    out = OBJECTIVES["score"].output(net, x, t, [noisy, end], end)
    assert torch.allclose(out, -x / t[:, None, None], rtol=1e-5)
    planes, level = seen.pop()
    assert torch.equal(planes[:, 4], end.real)
    assert torch.allclose(level, t.log())
    residual = 0.05 * spectra(2, 40, 50, seed=3)
    state = PATH.add_noise(residual, spectra(2, 40, 50, seed=4), t) + 1
    OBJECTIVES["edm"].output(net, state, t, [torch.ones_like(state)], torch.ones_like(state))
    planes, level = seen.pop()
    power = planes[:, :2].square().sum(1).mean((1, 2))
    assert torch.allclose(power, torch.ones(2), rtol=0.1)
    assert torch.allclose(planes[:, 2], torch.tensor(10.0))
    assert torch.allclose(level.double(), PATH.lam(t))


def gradient(mode):
    """Gradients of one training step, of the predictor and of the score network."""
    system = tiny(predictor=mode).train()
    clean, noisy = mixtures(2, 4000)
    torch.manual_seed(1)
    system.training_step({"clean": clean, "noisy": noisy, "ids": ["a", "b"]}, 0).backward()
    parts = [module for module in (system.predictor, system.score) if module is not None]
    return [[p.grad for p in part.parameters()] for part in parts]


def test_modes_train_what_they_say():
    (alone,), (separate, score), (joint, score_too) = (gradient(m) for m in ("alone", "separate", "joint"))
    # separate: the predictor's gradient is alpha times that of its own loss, joint: more
    assert all(torch.allclose(a / 2, s, rtol=1e-3, atol=1e-6) for a, s in zip(alone, separate, strict=True))
    assert not all(torch.allclose(a / 2, j, rtol=1e-2) for a, j in zip(alone, joint, strict=True))
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-6) for a, b in zip(score, score_too, strict=True))
    assert all(g.abs().sum() > 0 for g in [*separate, *score])
    (bare,) = gradient("none")
    assert all(g.abs().sum() > 0 for g in bare)


def test_without_a_predictor_it_is_sgmse(noisy):
    bare = tiny(predictor="none")
    assert torch.equal(bare.predict(torch.ones(1, 2, 3)), torch.ones(1, 2, 3))
    assert bare.nfe(EnhanceOptions(quality="paper")) == 60
    assert enhance(bare, noisy).shape == noisy.shape
    with pytest.raises(ValueError, match="num_steps must be 1 or more: this system has no predictor"):
        enhance(bare, noisy, num_steps=0)


def test_a_predictor_alone_needs_no_steps(noisy):
    alone = tiny(predictor="alone")
    assert alone.nfe(EnhanceOptions()) == 1
    assert torch.equal(enhance(alone, noisy), enhance(alone, noisy, num_steps=0))
    with pytest.raises(ValueError, match="num_steps must be 0: this system is a predictor"):
        alone.nfe(EnhanceOptions(num_steps=1))


def test_errors_name_the_value(system, noisy):
    for options, message in (
        ({"quality": "superb"}, "unknown quality 'superb'; use one of fast, balanced"),
        ({"warm_start": 0.02}, "above 0.03"),
        ({"offset": 100}, "multiple of 128 samples, got 100"),
    ):
        with pytest.raises(ValueError, match=message):
            enhance(system, noisy, **options)
    for options, message in (
        ({"predictor": "sometimes"}, "unknown predictor 'sometimes'; use one of joint"),
        ({"objective": "x"}, "unknown objective"),
        ({"backbone": "x"}, "unknown backbone"),
        ({"predictor": "frozen"}, "needs predictor_from"),
    ):
        with pytest.raises(ValueError, match=message):
            StoRM(**options)


def test_a_later_start_is_the_callers_or_the_presets(system):
    late, early = (system.preset(EnhanceOptions("paper", warm_start=w)).warm_start for w in (0.3, 1.0))
    assert (late, early) == (0.3, 1.0)
    assert system.preset(EnhanceOptions("balanced")).warm_start == QUALITY["balanced"].warm_start
    plan = sampling_plan(PATH, Preset("multistep", 3, 0.3), 0.03)
    assert plan.labels[0].item() == pytest.approx(0.3)
    assert plan.labels[-1].item() == pytest.approx(0.03)
    assert plan.ends[-1] == 0


def test_the_published_sampler_keeps_its_grid():
    """N times from 1 to t_eps in equal steps, then to 0; a corrector and a predictor row at each."""
    plan = sampling_plan(PATH, QUALITY["paper"], 0.03)
    expected = torch.linspace(1, 0.03, 30, dtype=torch.float64).repeat_interleave(2)
    assert torch.allclose(plan.labels, expected)
    assert plan.nfe == 60


def train(folder, config="storm_tiny", max_steps=8, **changes):
    """Run a config on generated data in `folder` -> its last checkpoint."""
    settings = yaml.safe_load((CONFIGS / f"{config}.yaml").read_text())
    settings["data"] = {
        "class_path": "fake_mixtures.FakeMixtures",
        "init_args": {"samples": 4000, "batch_size": 1},
    }
    settings["model"]["init_args"].update(changes)
    settings["trainer"].update(num_sanity_val_steps=0, max_steps=max_steps)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    fit(["fit", "-c", str(path), "--trainer.default_root_dir", str(folder)])
    return folder / "runs" / config / "last.ckpt"


def values(checkpoint, name):
    """A logged series of the last run beside a checkpoint."""
    events = EventAccumulator(str(sorted(checkpoint.parent.glob("version_*"))[-1]))
    events.Reload()
    return [event.value for event in events.Scalars(name)]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_learns_is_exported_and_comes_back(workplace):
    checkpoint = train(workplace, total_steps=1000, lr=5e-3)
    for name in ("train/predictor", "train/score"):
        losses = values(checkpoint, name)
        assert len(losses) == 8
        assert sum(losses[-2:]) < 0.9 * sum(losses[:2]), name
    assert values(checkpoint, "val/si_sdr_enhanced")
    trained = audiogen.load(str(checkpoint))
    hub.save(trained, workplace / "model.safetensors")
    released = audiogen.load(str(workplace / "model.safetensors"))
    assert isinstance(released, StoRM)
    wav = mixtures(1, 3000)[1]
    assert torch.equal(enhance(released, wav), enhance(trained, wav))
    assert read_checkpoint(checkpoint)[1]["predictor"] == "joint"


def test_a_frozen_predictor_stays_the_one_it_comes_from(workplace):
    first = train(workplace, max_steps=2, predictor="alone").rename(workplace / "first.ckpt")
    second = train(workplace, max_steps=2, predictor="frozen", predictor_from=str(first))
    second = second.rename(workplace / "second.ckpt")
    taught, state = read_checkpoint(first)[2], read_checkpoint(second)[2]
    assert any(name.startswith("predictor.") for name in taught)
    assert all(torch.allclose(state[name], value) for name, value in taught.items())
    assert audiogen.load(str(second)).hparams["predictor_from"] is None
    for changes, message in (
        ({"stft": {"scale": 0.33}}, "use its stft"),
        ({"data_std": 0.2}, "has data_std 0.1, not 0.2"),
        ({"predictor_net": {**NET, "fine": 4}}, "does not fit predictor_net"),
    ):
        options = {"predictor_net": {"fine": 8, "channels": 16, "hidden": 16, "blocks": 1}, **changes}
        with pytest.raises(ValueError, match=message):
            StoRM(predictor="frozen", predictor_from=str(first), score_net=NET, **options)
    bare = train(workplace, max_steps=1, predictor="none")
    with pytest.raises(ValueError, match="holds no predictor"):
        StoRM(predictor="frozen", predictor_from=str(bare), predictor_net=NET, score_net=NET)
