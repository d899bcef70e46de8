"""Official vocoder releases: tiny ones in their layout, recomputed call by call, come out the same."""

import json

import pytest
import torch
import torch.nn.functional as F
import yaml
from safetensors import safe_open
from safetensors.torch import save_file

import audiogen
from audiogen import hub
from audiogen.cli import OK, USAGE, main
from audiogen.kernels.snake import antialiased_snake, filter_taps
from audiogen.spectral import MelSpec, mel_filters
from audiogen.vocoders.importers import import_vocoder
from audiogen.vocoders.layouts import LayoutError

HIFIGAN = {
    "resblock": "1",
    "upsample_rates": [4, 2],
    "upsample_kernel_sizes": [8, 4],
    "upsample_initial_channel": 8,
    "resblock_kernel_sizes": [3, 5],
    "resblock_dilation_sizes": [[1, 3], [1, 2]],
    "num_mels": 6,
    "n_fft": 32,
    "hop_size": 8,
    "win_size": 32,
    "sampling_rate": 8000,
    "fmin": 0,
    "fmax": None,
    "batch_size": 16,
}
BIGVGAN = {**HIFIGAN, "activation": "snakebeta", "snake_logscale": True}
VARIANTS = {
    "hifigan": HIFIGAN,
    "hifigan 2": {**HIFIGAN, "resblock": "2", "fmax": 3000},
    "bigvgan": BIGVGAN,
    "bigvgan 2": {**BIGVGAN, "resblock": "2", "activation": "snake", "snake_logscale": False},
    "bigvgan v2": {**BIGVGAN, "use_bias_at_final": False, "use_tanh_at_final": False},
}
VOCOS = {
    "feature_extractor": {
        "class_path": "vocos.feature_extractors.MelSpectrogramFeatures",
        "init_args": {"sample_rate": 8000, "n_fft": 64, "hop_length": 16, "n_mels": 6, "padding": "center"},
    },
    "backbone": {
        "class_path": "vocos.models.VocosBackbone",
        "init_args": {"input_channels": 6, "dim": 8, "intermediate_dim": 12, "num_layers": 2},
    },
    "head": {
        "class_path": "vocos.heads.ISTFTHead",
        "init_args": {"dim": 8, "n_fft": 64, "hop_length": 16, "padding": "center"},
    },
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def random(*shape):
    return torch.randn(shape) * 0.4


def normed(state, name, *shape, bias=True, transposed=False):
    """A convolution under weight normalisation: direction, length, bias."""
    state[f"{name}.weight_v"] = random(*shape)
    state[f"{name}.weight_g"] = torch.rand(shape[0], *[1] * (len(shape) - 1)) + 0.5
    if bias:
        state[f"{name}.bias"] = random(shape[1] if transposed else shape[0])


def snake_tensors(state, name, channels, config):
    start = 0.0 if config["snake_logscale"] else 1.0
    state[f"{name}.act.alpha"] = random(channels).abs() + start
    if config["activation"] == "snakebeta":
        state[f"{name}.act.beta"] = random(channels).abs() + start
    state[f"{name}.upsample.filter"] = torch.tensor(filter_taps())[None, None]
    state[f"{name}.downsample.lowpass.filter"] = torch.tensor(filter_taps())[None, None]


def upsampling_release(config):
    """The tensors of a HiFi-GAN or BigVGAN as their releases name them."""
    state, big = {}, "activation" in config
    channels = config["upsample_initial_channel"]
    normed(state, "conv_pre", channels, config["num_mels"], 7)
    kernels = zip(config["resblock_kernel_sizes"], config["resblock_dilation_sizes"], strict=True)
    kernels, pairs = list(kernels), config["resblock"] == "1"
    for i, k in enumerate(config["upsample_kernel_sizes"]):
        normed(state, f"ups.{i}.0" if big else f"ups.{i}", channels, channels // 2, k, transposed=True)
        channels //= 2
        for j, (kernel, dilations) in enumerate(kernels):
            block = f"resblocks.{i * len(kernels) + j}"
            for d in range(len(dilations)):
                for convs in ("convs1", "convs2") if pairs else ("convs",):
                    normed(state, f"{block}.{convs}.{d}", channels, channels, kernel)
            for a in range(len(dilations) * (2 if pairs else 1) if big else 0):
                snake_tensors(state, f"{block}.activations.{a}", channels, config)
    normed(state, "conv_post", 1, channels, 7, bias=config.get("use_bias_at_final", True))
    if big:
        snake_tensors(state, "activation_post", channels, config)
    return state


def recomputed(state, config, mel):
    """The official forward pass with functional calls on the official tensors."""
    big, pairs = "activation" in config, config["resblock"] == "1"

    def weight(name):
        return torch._weight_norm(state[f"{name}.weight_v"], state[f"{name}.weight_g"], 0)

    def conv(x, name, dilation=1):
        w = weight(name)
        pad = (w.shape[-1] - 1) * dilation // 2
        return F.conv1d(x, w, state.get(f"{name}.bias"), padding=pad, dilation=dilation)

    def act(x, name, slope=0.1):
        if not big:
            return F.leaky_relu(x, slope)
        alpha = state[f"{name}.act.alpha"]
        beta = state.get(f"{name}.act.beta", alpha)
        return antialiased_snake(
            x, *((alpha.exp(), beta.exp()) if config["snake_logscale"] else (alpha, beta))
        )

    x = conv(mel, "conv_pre")
    for i, rate in enumerate(config["upsample_rates"]):
        name = f"ups.{i}.0" if big else f"ups.{i}"
        w = weight(name)
        x = x if big else F.leaky_relu(x, 0.1)
        x = F.conv_transpose1d(x, w, state[f"{name}.bias"], rate, (w.shape[-1] - rate) // 2)
        total = 0
        for j, dilations in enumerate(config["resblock_dilation_sizes"]):
            block, y = f"resblocks.{i * 2 + j}", x
            for d, dilation in enumerate(dilations):
                if pairs:
                    z = conv(act(y, f"{block}.activations.{2 * d}"), f"{block}.convs1.{d}", dilation)
                    z = conv(act(z, f"{block}.activations.{2 * d + 1}"), f"{block}.convs2.{d}")
                else:
                    z = conv(act(y, f"{block}.activations.{d}"), f"{block}.convs.{d}", dilation)
                y = y + z
            total = total + y
        x = total / 2
    x = conv(act(x, "activation_post", 0.01), "conv_post")
    return x.tanh() if config.get("use_tanh_at_final", True) else x.clamp(-1, 1)


def vocos_release(padding="center"):
    """The tensors and the config of a tiny vocos on mels."""
    state = {"head.istft.window": torch.hann_window(64)}
    state["feature_extractor.mel_spec.spectrogram.window"] = torch.hann_window(64)
    spec = MelSpec(8000, 64, 64, 16, 6, f_max=4000.0, mel_scale="htk", mel_norm=None)
    state["feature_extractor.mel_spec.mel_scale.fb"] = mel_filters(spec).T.clone()
    shapes = {"embed.weight": (8, 6, 7), "embed.bias": (8,)}
    for norm in ("norm", "final_layer_norm", "convnext.0.norm", "convnext.1.norm"):
        shapes |= {f"{norm}.weight": (8,), f"{norm}.bias": (8,)}
    for n in range(2):
        block = f"convnext.{n}"
        shapes |= {f"{block}.gamma": (8,), f"{block}.dwconv.weight": (8, 1, 7), f"{block}.dwconv.bias": (8,)}
        shapes |= {f"{block}.pwconv1.weight": (12, 8), f"{block}.pwconv1.bias": (12,)}
        shapes |= {f"{block}.pwconv2.weight": (8, 12), f"{block}.pwconv2.bias": (8,)}
    state |= {f"backbone.{name}": random(*shape) for name, shape in shapes.items()}
    state |= {"head.out.weight": random(66, 8), "head.out.bias": random(66)}
    config = json.loads(json.dumps(VOCOS))
    for part in ("feature_extractor", "head"):
        config[part]["init_args"]["padding"] = padding
    return state, config


def recomputed_vocos(state, mel):
    """Siuzdak 2023, section 3: embedding, ConvNeXt blocks, magnitudes and phases -> complex spectrum."""

    def norm(x, name):
        y = F.layer_norm(x.transpose(1, 2), (8,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)
        return y.transpose(1, 2)

    def linear(x, name):
        return F.linear(x.transpose(1, 2), state[f"{name}.weight"], state[f"{name}.bias"]).transpose(1, 2)

    x = F.conv1d(mel, state["backbone.embed.weight"], state["backbone.embed.bias"], padding=3)
    x = norm(x, "backbone.norm")
    for n in range(2):
        block = f"backbone.convnext.{n}"
        y = F.conv1d(x, state[f"{block}.dwconv.weight"], state[f"{block}.dwconv.bias"], padding=3, groups=8)
        y = linear(F.gelu(linear(norm(y, f"{block}.norm"), f"{block}.pwconv1")), f"{block}.pwconv2")
        x = x + state[f"{block}.gamma"][:, None] * y
    magnitude, phase = linear(norm(x, "backbone.final_layer_norm"), "head.out").chunk(2, dim=1)
    return magnitude.exp().clamp(max=100) * torch.complex(phase.cos(), phase.sin())


def written(folder, state, config, wrap=True):
    """Save a release -> checkpoint, config."""
    torch.save({"generator": state} if wrap else state, folder / "g_00000001")
    name = "config.yaml" if "head" in config else "config.json"
    (folder / name).write_text(yaml.safe_dump(config) if "head" in config else json.dumps(config))
    return folder / "g_00000001", folder / name


@pytest.mark.parametrize("name", VARIANTS)
def test_an_upsampling_release_sounds_the_same(name, tmp_path):
    state = upsampling_release(VARIANTS[name])
    checkpoint, config = written(tmp_path, state, VARIANTS[name])
    found = import_vocoder(checkpoint, config)
    mel = torch.randn(2, 6, 11)
    expected = recomputed(state, VARIANTS[name], mel)
    assert expected.std() > 1e-3
    assert found.kind == name.split()[0]
    assert torch.allclose(found.generator.decode(mel), expected, atol=1e-5)
    assert found.mel_spec == MelSpec(
        8000, 32, 32, 8, 6, f_max=float(VARIANTS[name]["fmax"] or 4000), center=False, epsilon=1e-9
    )


@pytest.mark.parametrize("padding", ["center", "same"])
def test_a_vocos_release_sounds_the_same(padding, tmp_path):
    state, config = vocos_release(padding)
    checkpoint, config = written(tmp_path, state, config, wrap=False)
    found = import_vocoder(checkpoint, config)
    mel = torch.randn(2, 6, 11)
    spectrum = recomputed_vocos(state, mel)
    audio = found.generator.decode(mel)[:, 0]
    if padding == "center":
        expected = torch.istft(spectrum, 64, 16, window=torch.hann_window(64))
        assert torch.allclose(audio, expected, atol=1e-5)
    else:  # torch's inverse, which starts at the first frame's centre and stops at the last one's
        assert audio.shape == (2, 11 * 16)
        expected = torch.istft(spectrum, 64, 16, window=torch.hann_window(64))
        assert torch.allclose(audio[:, 48:-56], expected[:, 40:-48], atol=1e-5)
    assert (found.mel_spec.mel_scale, found.mel_spec.mel_norm, found.mel_spec.floor) == ("htk", None, 1e-7)
    assert found.mel_spec.center == (padding == "center")


def test_an_imported_file_loads_as_a_vocoder_and_keeps_its_notes(tmp_path, capsys):
    state = upsampling_release(BIGVGAN)
    checkpoint, _ = written(tmp_path, state, BIGVGAN)
    out = tmp_path / "models" / "big.safetensors"
    words = [
        "import-vocoder",
        str(checkpoint),
        "-o",
        str(out),
        "--licence",
        "MIT",
        "--attribution",
        "A. Nonym",
    ]
    assert main(words) == OK
    assert hub.sha256(out) in capsys.readouterr().out
    vocoder = audiogen.load(out)
    mel = torch.randn(1, 6, 9)
    assert torch.allclose(vocoder.decode(mel), recomputed(state, BIGVGAN, mel), atol=1e-5)
    assert vocoder.lookahead == vocoder.generator.lookahead
    state, audio = vocoder.stream(vocoder.init_state(1), mel[..., :5])
    rest = vocoder.stream(state, mel[..., 5:], last=True)[1]
    assert torch.allclose(torch.cat((audio, rest), -1), vocoder.decode(mel), atol=1e-5)
    with safe_open(out, framework="pt") as file:
        notes = file.metadata()
    assert (notes["licence"], notes["attribution"], notes["layout"]) == ("MIT", "A. Nonym", "bigvgan")
    assert not any("weight_g" in key for key in vocoder.state_dict())


@pytest.mark.parametrize("spelling", ["plain", "parametrized", "safetensors"])
def test_weights_may_be_plain_parametrized_or_safetensors(spelling, tmp_path):
    state = upsampling_release(HIFIGAN)
    checkpoint, config = written(tmp_path, state, HIFIGAN)
    mel = torch.randn(1, 6, 9)
    expected = import_vocoder(checkpoint).generator.decode(mel)
    other = dict(state)
    if spelling == "plain":
        for name in [name for name in state if name.endswith("weight_g")]:
            v, g = other.pop(name.replace("_g", "_v")), other.pop(name)
            other[name.replace("_g", "")] = torch._weight_norm(v, g, 0)
    if spelling == "parametrized":
        for name in [name for name in state if name.endswith(("weight_g", "weight_v"))]:
            number = "01"[name.endswith("v")]
            other[f"{name[:-9]}.parametrizations.weight.original{number}"] = other.pop(name)
    path = tmp_path / "own.safetensors"
    save_file(other, path) if spelling == "safetensors" else torch.save(other, path.with_suffix(".pt"))
    path = path if spelling == "safetensors" else path.with_suffix(".pt")
    assert torch.allclose(import_vocoder(path, config).generator.decode(mel), expected, atol=1e-6)


class Unwelcome:
    """What a checkpoint must not hold."""


def broken(change):
    """A HiFi-GAN release with a change to its tensors or its config."""

    def make(folder):
        state, config = upsampling_release(HIFIGAN), dict(HIFIGAN)
        change(state, config)
        return written(folder, state, config)

    return make


CHANGES = {
    "missing": (lambda s, c: s.pop("ups.1.bias"), r"missing ups\.1\.bias; unexpected nothing"),
    "half": (lambda s, c: s.pop("ups.1.weight_g"), r"ups\.1\.weight_v has no ups\.1\.weight_g"),
    "extra": (lambda s, c: s.update(new=torch.ones(1)), "missing nothing; unexpected new"),
    "wider": (
        lambda s, c: c.update(upsample_initial_channel=16),
        r"conv_pre\.weight has the shape \[8, 6, 7\], the config asks for \[16, 6, 7\]",
    ),
    "nan": (lambda s, c: s["conv_pre.bias"].fill_(torch.nan), "conv_pre.bias holds NaN"),
    "object": (lambda s, c: s.update(new=Unwelcome()), "no checkpoint of tensors alone"),
    "number": (lambda s, c: s.update(new=3), "no tensors by name"),
    "no rate": (lambda s, c: c.pop("sampling_rate"), "the config lacks sampling_rate"),
    "resblock": (lambda s, c: c.update(resblock="3"), "resblock '3' is unknown"),
    "hop": (lambda s, c: c.update(hop_size=16), r"\[4, 2\] is 8, not hop_length 16"),
    "bigvgan": (lambda s, c: c.update(activation="relu"), "activation 'relu' is unknown"),
    "other": (lambda s, c: (c.clear(), c.update(model="wavenet")), "of no layout we know.*model"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_does_not_fit_is_named(name, tmp_path):
    change, message = CHANGES[name]
    checkpoint, config = broken(change)(tmp_path)
    with pytest.raises(LayoutError, match=message):
        import_vocoder(checkpoint, config)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("feature_extractor", {"class_path": "vocos.feature_extractors.EncodecFeatures"}, "EncodecFeatures"),
        ("head", {"class_path": "vocos.heads.IMDCTCosHead"}, "only ISTFTHead can be imported"),
        ("head", {"init_args": {"n_fft": 64, "hop_length": 32}}, "hop_length 32 and padding same"),
        ("backbone", {"init_args": {"dim": 8, "adanorm_num_embeddings": 4}}, "codec's bandwidth"),
        ("backbone", {"init_args": [8]}, r"init_args of the backbone are \[8\]"),
    ],
)
def test_a_vocos_that_is_not_ours_is_refused(part, change, message, tmp_path):
    state, config = vocos_release()
    config[part] |= change
    with pytest.raises(LayoutError, match=message):
        import_vocoder(*written(tmp_path, state, config))


@pytest.mark.parametrize("name", ["feature_extractor.mel_spec.mel_scale.fb", "head.istft.window"])
def test_a_front_end_that_is_not_the_config_s_is_refused(name, tmp_path):
    state, config = vocos_release()
    state[name] = state[name] * 1.1
    with pytest.raises(LayoutError, match=rf"{name} is not that of MelSpec"):
        import_vocoder(*written(tmp_path, state, config))


def test_files_that_are_not_there_or_no_releases_are_refused(tmp_path):
    checkpoint, config = written(tmp_path, upsampling_release(HIFIGAN), HIFIGAN)
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        import_vocoder(tmp_path / "g_2", config)
    with pytest.raises(FileNotFoundError, match="no config at"):
        import_vocoder(checkpoint, tmp_path / "c.json")
    with pytest.raises(LayoutError, match="unknown layout 'wavegan'; use one of vocos, hifigan, bigvgan"):
        import_vocoder(checkpoint, config, "wavegan")
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(LayoutError, match="holds no settings but list"):
        import_vocoder(checkpoint, tmp_path / "list.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(LayoutError, match="is no YAML or JSON"):
        import_vocoder(checkpoint, tmp_path / "bad.json")
    (tmp_path / "config.yaml").write_text("{}")
    with pytest.raises(LayoutError, match="more than one config.yaml or config.json lies beside"):
        import_vocoder(checkpoint)


def test_the_command_tells_what_is_wrong(tmp_path, capsys):
    (tmp_path / "g_1").write_bytes(b"nothing")
    assert main(["import-vocoder", str(tmp_path / "g_1"), "-o", str(tmp_path / "o.safetensors")]) == USAGE
    assert "--config" in capsys.readouterr().err
    assert not (tmp_path / "o.safetensors").exists()


@pytest.mark.parametrize("kind", ["hifigan", "bigvgan"])
def test_a_vocoder_of_another_kind_trains(kind):
    from audiogen.systems.vocoder import Vocoder

    sizes = {"channels": 8, "rates": [16, 16], "kernels": [32, 32], "block_kernels": [3]}
    system = Vocoder(
        mel_spec={"center": False},
        kind=kind,
        generator={**sizes, "block_dilations": [[1]]},
        periods=(2,),
        n_ffts=(256,),
        discriminator_channels=4,
    )
    system.log_dict = system.log = lambda *args, **options: None
    system.training_step({"wav": torch.randn(2, 4096) * 0.1}, 0).backward()
    assert all(p.grad is not None for p in system.generator.parameters())


def test_an_unknown_kind_or_option_of_a_vocoder_is_refused():
    from audiogen.vocoders.build import build_generator

    with pytest.raises(ValueError, match="'wavenet'; use one of vocos, hifigan, bigvgan"):
        build_generator("wavenet", MelSpec(), {})
    with pytest.raises(ValueError, match="a hifigan cannot be built from .*'hidden'"):
        build_generator("hifigan", MelSpec(), {"hidden": 3})
