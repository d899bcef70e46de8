"""Released checkpoints of SGMSE+ and StoRM, made here with random weights under the released names."""

import pytest
import torch

from audiogen import hub
from audiogen.enhancement import EnhanceOptions
from audiogen.nn.ncsnpp import NCSNpp
from audiogen.nn.ncsnpp_release import from_release
from audiogen.report import StageTimer
from audiogen.systems import storm_release
from audiogen.systems.storm_release import import_release

TINY = {"base": 8, "multipliers": (1, 2)}


def conv(root, channels, out, size=3):
    return {f"{root}.weight": (out, channels, size, size), f"{root}.bias": (out,)}


def norm(root, channels):
    return {f"{root}.weight": (channels,), f"{root}.bias": (channels,)}


def residual(root, channels, out, shortcut):
    return {
        **norm(f"{root}.GroupNorm_0", channels),
        **conv(f"{root}.Conv_0", channels, out),
        f"{root}.Dense_0.weight": (out, 32),
        f"{root}.Dense_0.bias": (out,),
        **norm(f"{root}.GroupNorm_1", out),
        **conv(f"{root}.Conv_1", out, out),
        **(conv(f"{root}.Conv_2", channels, out, 1) if shortcut else {}),
    }


def attention(root, channels):
    projections = {}
    for k in range(4):
        projections |= {f"{root}.NIN_{k}.W": (channels, channels), f"{root}.NIN_{k}.b": (channels,)}
    return {**norm(f"{root}.GroupNorm_0", channels), **projections}


def released(planes, *, timed):
    """Names and shapes of a released NCSN++ of the tiny sizes and one block, in its order."""
    first = [] if not timed else [(8 * 4, 16), (8 * 4, 8 * 4)]
    shapes = {"output_layer.weight": (2, planes, 1, 1), "output_layer.bias": (2,), "all_modules.0.W": (8,)}
    for k, shape in enumerate(first, start=1):
        shapes |= {f"all_modules.{k}.weight": shape, f"all_modules.{k}.bias": shape[:1]}
    root = (f"all_modules.{k}" for k in range(1 + len(first), 100))
    shapes |= conv(next(root), planes, 8)
    shapes |= residual(next(root), 8, 8, False)
    shapes |= residual(next(root), 8, 8, True)  # down
    shapes |= conv(f"{next(root)}.Conv_0", planes, 8, 1)
    shapes |= residual(next(root), 8, 16, True)
    shapes |= residual(next(root), 16, 16, False)
    shapes |= attention(next(root), 16)
    shapes |= residual(next(root), 16, 16, False)
    shapes |= residual(next(root), 16 + 16, 16, True)
    shapes |= residual(next(root), 16 + 8, 16, True)
    shapes |= norm(next(root), 16) | conv(next(root), 16, planes)
    shapes |= residual(next(root), 16, 16, True)  # up
    shapes |= residual(next(root), 16 + 8, 8, True)
    shapes |= residual(next(root), 8 + 8, 8, True)
    shapes |= norm(next(root), 8) | conv(next(root), 8, planes)
    return {name: torch.randn(shape) * 0.1 for name, shape in shapes.items()}


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """A StoRM checkpoint, whose averages are its weights plus one."""
    monkeypatch.setitem(storm_release.STORM_SIZES, "ncsnpp", TINY)
    torch.manual_seed(0)
    nets = {"denoiser_net": released(2, timed=False), "score_net": released(6, timed=True)}
    state = {f"{net}.{name}": tensor for net, part in nets.items() for name, tensor in part.items()}
    shadow = [t + 1 for name, t in state.items() if not name.endswith("modules.0.W")]
    hparams = {"backbone_denoiser": "ncsnpp", "backbone_score": "ncsnpp", "sde": "ouve", "theta": 1.5}
    hparams |= {"sigma_min": 0.05, "sigma_max": 0.5, "t_eps": 0.03, "condition": "both", "spec_factor": 0.33}
    found = {"state_dict": state, "ema": {"shadow_params": shadow}, "hyper_parameters": hparams}
    torch.save(found, tmp_path / "storm.ckpt")
    return tmp_path / "storm.ckpt"


@pytest.mark.parametrize("timed", [True, False])
def test_every_released_tensor_finds_its_place(timed):
    state = released(6, timed=timed)
    net = NCSNpp(3, timed=timed, **TINY)
    ours = from_release(state, net)
    net.load_state_dict(ours)
    places = {tensor.data_ptr() for tensor in ours.values()}
    unused = {name for name, tensor in state.items() if tensor.data_ptr() not in places}
    assert all("NIN" in name or (not timed and ("Dense" in name or name.endswith("0.W"))) for name in unused)
    assert torch.equal(ours["attention.value.weight"], state[f"all_modules.{9 if timed else 7}.NIN_2.W"].T)
    assert torch.equal(ours["combine.0.weight"], state[f"all_modules.{6 if timed else 4}.Conv_0.weight"])


def test_a_released_storm_is_imported(checkpoint):
    system = import_release(checkpoint)
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert torch.equal(system.score.stem.weight, state["score_net.all_modules.3.weight"] + 1)
    assert torch.equal(system.score.frequencies, state["score_net.all_modules.0.W"])
    assert torch.equal(system.predictor.out.bias, state["denoiser_net.output_layer.bias"] + 1)
    assert (system.stft.scale, system.path.sigma_max, system.hparams["objective"]) == (0.33, 0.5, "score")
    assert system.score.shifted
    assert system.score.level_bias
    options = EnhanceOptions("paper", num_steps=2)
    hub.save(system, checkpoint.with_suffix(".safetensors"))
    released = hub.load(checkpoint.with_suffix(".safetensors"))
    wav = 0.1 * torch.randn(1, 2000)
    expected = system.enhance(wav, [0], options, StageTimer())
    assert torch.equal(released.enhance(wav, [0], options, StageTimer()), expected)


def test_a_released_sgmse_is_imported(checkpoint):
    found = torch.load(checkpoint, weights_only=True)
    state = {f"dnn.{name}": tensor for name, tensor in released(4, timed=True).items()}
    hparams = {"backbone": "ncsnpp", "sde": "ouve", "theta": 1.5}
    torch.save({"state_dict": state, "hyper_parameters": hparams}, checkpoint)
    system = import_release(checkpoint)
    assert system.predictor is None
    assert torch.equal(system.score.stem.weight, state["dnn.all_modules.3.weight"])
    for change, message in (({"sde": "ouvp"}, "sde 'ouvp'"), ({"backbone": "dcunet"}, "backbone 'dcunet'")):
        torch.save({**found, "state_dict": state, "ema": {}, "hyper_parameters": change}, checkpoint)
        with pytest.raises(ValueError, match=message):
            import_release(checkpoint)


def test_what_is_no_release_is_refused(checkpoint, tmp_path):
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    with pytest.raises(ValueError, match="no released checkpoint"):
        import_release(tmp_path / "text.ckpt")
    torch.save({"state_dict": {"net.weight": torch.zeros(1)}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"holds \['net'\]"):
        import_release(tmp_path / "other.ckpt")
    found = torch.load(checkpoint, weights_only=True)
    found["ema"]["shadow_params"].pop()
    torch.save(found, checkpoint)
    with pytest.raises(ValueError, match="averages of"):
        import_release(checkpoint)
