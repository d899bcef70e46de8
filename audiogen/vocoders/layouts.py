"""What the official vocoder releases call things: their settings and tensors in our words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from audiogen.kernels.snake import filter_taps
from audiogen.spectral import MelSpec, mel_filters

Config = Mapping[str, Any]


class LayoutError(ValueError):
    """A file that is not a vocoder release of a layout we know."""


@dataclass(frozen=True)
class Layout:
    """One official layout.

    settings: config -> front end, options of our class. official_name: of a tensor of ours, built with these
    options. constant: the value of an official tensor that we compute ourselves, None for a weight.
    """

    settings: Callable[[Config], tuple[MelSpec, dict[str, Any]]]
    official_name: Callable[[str, Config], str]
    constant: Callable[[str, MelSpec], Tensor | None]


def detect(config: Config) -> str:
    """The layout a config is of. Raises LayoutError."""
    if {"feature_extractor", "backbone", "head"} <= config.keys():
        return "vocos"
    if {"upsample_rates", "resblock"} <= config.keys():
        return "bigvgan" if "activation" in config else "hifigan"
    raise LayoutError(
        "the config is of no layout we know: vocos has feature_extractor, backbone and head; HiFi-GAN and "
        f"BigVGAN have upsample_rates and resblock; this one has {', '.join(map(str, config)) or 'nothing'}"
    )


def setting(config: Config, name: str) -> Any:
    """A setting that must be there. Raises LayoutError."""
    if name not in config:
        raise LayoutError(f"the config lacks {name}; give the config of the release itself")
    return config[name]


def part(config: Config, name: str, expected: str) -> Config:
    """The arguments of one of the classes that make a vocos. Raises LayoutError for another class."""
    entry = setting(config, name)
    path = entry.get("class_path") if isinstance(entry, Mapping) else None
    if str(path).rpartition(".")[2] != expected:
        raise LayoutError(f"the {name} is {path}; only {expected} can be imported")
    arguments = entry.get("init_args") or {}
    if not isinstance(arguments, Mapping):
        raise LayoutError(f"init_args of the {name} are {arguments!r}, not names and values")
    return arguments


def vocos_settings(config: Config) -> tuple[MelSpec, dict[str, Any]]:
    """config.yaml of a vocos on mels (Siuzdak 2023). Raises LayoutError for parts that are not ours."""
    features = part(config, "feature_extractor", "MelSpectrogramFeatures")
    backbone = part(config, "backbone", "VocosBackbone")
    head = part(config, "head", "ISTFTHead")
    if backbone.get("adanorm_num_embeddings"):
        raise LayoutError("the backbone is conditioned on a codec's bandwidth; only vocos on mels is known")
    sample_rate, n_fft = features.get("sample_rate", 24000), features.get("n_fft", 1024)
    hop_length, padding = features.get("hop_length", 256), features.get("padding", "center")
    inverse = (head.get("hop_length"), head.get("padding", "same"))
    if inverse != (hop_length, padding):
        raise LayoutError(
            f"the head has hop_length {inverse[0]} and padding {inverse[1]}, the feature_extractor "
            f"{hop_length} and {padding}; both must agree"
        )
    mel_spec = MelSpec(
        sample_rate,
        n_fft,
        n_fft,
        hop_length,
        features.get("n_mels", 100),
        0.0,
        sample_rate / 2,
        1e-7,
        mel_scale="htk",
        mel_norm=None,
        center=padding == "center",
        epsilon=1e-20,
    )
    sizes = {"channels": "dim", "hidden": "intermediate_dim", "blocks": "num_layers"}
    options = {ours: setting(backbone, theirs) for ours, theirs in sizes.items()}
    return mel_spec, {**options, "n_fft": setting(head, "n_fft")}


VOCOS_NAMES = (
    (r"stem\.", "backbone.embed."),
    (r"stem_norm\.", "backbone.norm."),
    (r"blocks\.(\d+)\.depthwise\.", r"backbone.convnext.\1.dwconv."),
    (r"blocks\.(\d+)\.norm\.", r"backbone.convnext.\1.norm."),
    (r"blocks\.(\d+)\.expand\.", r"backbone.convnext.\1.pwconv1."),
    (r"blocks\.(\d+)\.contract\.", r"backbone.convnext.\1.pwconv2."),
    (r"blocks\.(\d+)\.scale$", r"backbone.convnext.\1.gamma"),
    (r"head_norm\.", "backbone.final_layer_norm."),
    (r"head\.", "head.out."),
)


def vocos_name(name: str) -> str:
    """What vocos calls a tensor of our Vocos."""
    for ours, theirs in VOCOS_NAMES:
        if re.match(ours, name):
            return re.sub(f"^{ours}", theirs, name)
    raise AssertionError(f"the layout of vocos has no {name}")


def vocos_constant(name: str, mel_spec: MelSpec) -> Tensor | None:
    """Windows and filters that vocos saves with its weights."""
    if name == "feature_extractor.mel_spec.mel_scale.fb":
        return mel_filters(mel_spec).T
    if name in ("feature_extractor.mel_spec.spectrogram.window", "head.istft.window"):
        return torch.hann_window(mel_spec.n_fft)
    return None


def hifigan_settings(config: Config) -> tuple[MelSpec, dict[str, Any]]:
    """config.json of a HiFi-GAN (Kong et al. 2020). Raises LayoutError."""
    mels = {"sample_rate": "sampling_rate", "n_fft": "n_fft", "win_length": "win_size"}
    mels |= {"hop_length": "hop_size", "n_mels": "num_mels"}
    fields = {ours: setting(config, theirs) for ours, theirs in mels.items()}
    top = config.get("fmax")
    mel_spec = MelSpec(
        **fields,
        f_min=float(config.get("fmin") or 0.0),
        f_max=float(fields["sample_rate"] / 2 if top is None else top),
        center=False,
        epsilon=1e-9,
    )
    sizes = {
        "channels": "upsample_initial_channel",
        "rates": "upsample_rates",
        "kernels": "upsample_kernel_sizes",
        "block_kernels": "resblock_kernel_sizes",
        "block_dilations": "resblock_dilation_sizes",
    }
    options = {ours: setting(config, theirs) for ours, theirs in sizes.items()}
    if str(setting(config, "resblock")) not in ("1", "2"):
        raise LayoutError(f"resblock {config['resblock']!r} is unknown; it is 1 or 2")
    return mel_spec, {**options, "block_type": int(config["resblock"])}


def bigvgan_settings(config: Config) -> tuple[MelSpec, dict[str, Any]]:
    """config.json of a BigVGAN or BigVGAN-v2 (Lee et al. 2023). Raises LayoutError."""
    mel_spec, options = hifigan_settings(config)
    activation = setting(config, "activation")
    if activation not in ("snake", "snakebeta"):
        raise LayoutError(f"activation {activation!r} is unknown; it is snake or snakebeta")
    return mel_spec, {
        **options,
        "own_height": activation == "snakebeta",
        "log_scale": bool(setting(config, "snake_logscale")),
        "last_bias": bool(config.get("use_bias_at_final", True)),
        "tanh": bool(config.get("use_tanh_at_final", True)),
    }


def upsampling_name(name: str, options: Config, up: str) -> str:
    """What HiFi-GAN and BigVGAN call a tensor of ours; up: what follows the number of a stage."""
    name = name.removeprefix("network.")
    if match := re.match(r"stages\.(\d+)\.up\.", name):
        return f"ups.{match[1]}.{up}{name[match.end() :]}"
    if match := re.match(r"stages\.(\d+)\.blocks\.branches\.(\d+)\.(\d+)\.body\.(\d+)\.", name):
        stage, branch, dilation, layer = map(int, match.groups())
        block = f"resblocks.{stage * len(options['block_kernels']) + branch}."
        pairs = options["block_type"] == 1  # of activations and convolutions for a dilation: one or two
        if layer % 2 == 0:
            number = 2 * dilation + layer // 2 if pairs else dilation
            return f"{block}activations.{number}.act.{name[match.end() :]}"
        return f"{block}convs{layer // 2 + 1 if pairs else ''}.{dilation}.{name[match.end() :]}"
    for ours, theirs in (("pre.", "conv_pre."), ("post.", "conv_post."), ("end.", "activation_post.act.")):
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    raise AssertionError(f"the layout of HiFi-GAN has no {name}")


def bigvgan_constant(name: str, mel_spec: MelSpec) -> Tensor | None:
    """The filters that BigVGAN saves with its weights."""
    if name.endswith((".upsample.filter", ".downsample.lowpass.filter")):
        return torch.tensor(filter_taps())[None, None]
    return None


LAYOUTS = {
    "vocos": Layout(vocos_settings, lambda name, options: vocos_name(name), vocos_constant),
    "hifigan": Layout(
        hifigan_settings,
        lambda name, options: upsampling_name(name, options, ""),
        lambda name, mel_spec: None,
    ),
    "bigvgan": Layout(
        bigvgan_settings, lambda name, options: upsampling_name(name, options, "0."), bigvgan_constant
    ),
}
