"""Do imported vocoders sound as the official ones?

    python benchmarks/vocoder_parity.py --peers DIR

Each official module is built with random weights, saved as its authors save it, read by our importer, and
both decode the same mels; so do both front ends with the same noise. DIR holds what is compared with:

    pip install --target DIR --no-deps vocos==0.1.0 encodec==0.1.1 bigvgan==2.4.1
    git clone https://github.com/jik876/hifi-gan DIR/hifigan

Writes results/vocoder_parity.json: the largest difference of a sample over the largest sample, whole and
streamed frame by frame, and the largest difference of a log-mel.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from audiogen.files import write_text
from audiogen.report import machine_context
from audiogen.spectral import mel_spectrogram
from audiogen.vocoders.importers import import_vocoder

HERE = Path(__file__).parent
SIZES = {
    "resblock": "1",
    "upsample_rates": [8, 8, 2, 2],
    "upsample_kernel_sizes": [16, 16, 4, 4],
    "upsample_initial_channel": 512,
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
    "num_mels": 80,
    "n_fft": 1024,
    "hop_size": 256,
    "win_size": 1024,
    "sampling_rate": 22050,
    "fmin": 0,
    "fmax": 8000,
}
V2 = {**SIZES, "upsample_initial_channel": 128}
V3 = {
    **SIZES,
    "resblock": "2",
    "upsample_rates": [8, 8, 4],
    "upsample_kernel_sizes": [16, 16, 8],
    "upsample_initial_channel": 256,
    "resblock_kernel_sizes": [3, 5, 7],
    "resblock_dilation_sizes": [[1, 2], [2, 6], [3, 12]],
}
BASE = {**SIZES, "activation": "snakebeta", "snake_logscale": True}
BIG = {
    **BASE,
    "upsample_rates": [4, 4, 2, 2, 2, 2],
    "upsample_kernel_sizes": [8, 8, 4, 4, 4, 4],
    "num_mels": 100,
    "sampling_rate": 24000,
    "fmax": None,
}
BIG_V2 = {**BIG, "upsample_initial_channel": 384, "use_bias_at_final": False, "use_tanh_at_final": False}
SNAKE = {**V3, "activation": "snake", "snake_logscale": False}
VOCOS: dict[str, Any] = {
    "feature_extractor": {
        "class_path": "vocos.feature_extractors.MelSpectrogramFeatures",
        "init_args": {
            "sample_rate": 24000,
            "n_fft": 1024,
            "hop_length": 256,
            "n_mels": 100,
            "padding": "center",
        },
    },
    "backbone": {
        "class_path": "vocos.models.VocosBackbone",
        "init_args": {"input_channels": 100, "dim": 512, "intermediate_dim": 1536, "num_layers": 8},
    },
    "head": {
        "class_path": "vocos.heads.ISTFTHead",
        "init_args": {"dim": 512, "n_fft": 1024, "hop_length": 256, "padding": "center"},
    },
}


@dataclass(frozen=True)
class Official:
    """An official vocoder at work.

    config: its release's. checkpoint: what its authors save. decode: mel -> waveform (B, T). features:
    waveform (B, T) -> mel.
    """

    config: dict[str, Any]
    checkpoint: Any
    decode: Callable[[Tensor], Tensor]
    features: Callable[[Tensor], Tensor]


def shake(module: nn.Module) -> nn.Module:
    """Weights that let sound through, as the authors' starting values do not, and biases that count."""
    for name, parameter in module.named_parameters():
        if name.endswith("weight_g"):
            nn.init.uniform_(parameter, 0.4, 0.8)
        elif name.endswith("bias"):
            nn.init.normal_(parameter, std=0.05)
        elif name.endswith(("alpha", "beta")):
            nn.init.uniform_(parameter, 0.1, 0.6)
        elif name.endswith("gamma"):
            nn.init.uniform_(parameter, 0.1, 0.5)
    return module.eval()


def from_folder(folder: Path, name: str) -> Any:
    """A module of a folder that is no package; its top-level names leave again afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))
        for added in set(sys.modules) - before:
            if (path := getattr(sys.modules[added], "__file__", None)) and str(folder) in path:
                del sys.modules[added]


def official_hifigan(config: dict[str, Any], peers: Path) -> Official:
    """jik876/hifi-gan's generator."""
    models = from_folder(peers / "hifigan", "models")
    env = from_folder(peers / "hifigan", "env")
    generator = shake(models.Generator(env.AttrDict(config)))
    return Official(config, {"generator": generator.state_dict()}, _mono(generator), _mels(config))


def official_bigvgan(config: dict[str, Any], peers: Path) -> Official:
    """NVIDIA/BigVGAN's generator, from its package."""
    bigvgan = importlib.import_module("bigvgan.bigvgan")
    generator = shake(bigvgan.BigVGAN(bigvgan.AttrDict(config)))
    return Official(config, {"generator": generator.state_dict()}, _mono(generator), _mels(config))


def _mono(generator: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda mel: generator(mel)[:, 0]


def _mels(config: dict[str, Any]) -> Callable[[Tensor], Tensor]:
    """The front end of BigVGAN, which is that of HiFi-GAN for today's libraries."""
    mels = importlib.import_module("bigvgan.meldataset").mel_spectrogram
    names = ("n_fft", "num_mels", "sampling_rate", "hop_size", "win_size", "fmin", "fmax")
    return lambda wav: mels(wav, *(config[name] for name in names))


def official_vocos(config: dict[str, Any], peers: Path) -> Official:
    """gemelo-ai/vocos's model."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.yaml")
        path.write_text(yaml.safe_dump(config))
        model = importlib.import_module("vocos").Vocos.from_hparams(str(path))
    shake(model)
    return Official(config, model.state_dict(), model.decode, model.feature_extractor)


def padded_same(config: dict[str, Any]) -> dict[str, Any]:
    """The other padding of vocos."""
    other = json.loads(json.dumps(config))
    for part in ("feature_extractor", "head"):
        other[part]["init_args"]["padding"] = "same"
    return other


CASES: dict[str, tuple[Callable[[dict[str, Any], Path], Official], dict[str, Any]]] = {
    "vocos-mel-24khz": (official_vocos, VOCOS),
    "vocos, padding same": (official_vocos, padded_same(VOCOS)),
    "hifigan V1": (official_hifigan, SIZES),
    "hifigan V2": (official_hifigan, V2),
    "hifigan V3": (official_hifigan, V3),
    "bigvgan base 24khz": (
        official_bigvgan,
        {**BASE, "num_mels": 100, "sampling_rate": 24000, "fmax": 12000},
    ),
    "bigvgan v2, a quarter as wide": (official_bigvgan, BIG_V2),
    "bigvgan with snake, resblock 2": (official_bigvgan, SNAKE),
}


def save(official: Official, folder: Path) -> tuple[Path, Path]:
    """The release of a vocoder -> its checkpoint and its config."""
    checkpoint = folder / "checkpoint"
    torch.save(official.checkpoint, checkpoint)
    config = folder / ("config.yaml" if "head" in official.config else "config.json")
    config.write_text(json.dumps(official.config))  # every JSON is YAML
    return checkpoint, config


def compare(official: Official, frames: int) -> dict[str, Any]:
    """Differences of one vocoder and its import, on the mels of noise."""
    with tempfile.TemporaryDirectory() as folder:
        found = import_vocoder(*save(official, Path(folder)))
    spec, vocoder = found.mel_spec, found.generator
    wav = torch.randn(1, frames * spec.hop_length, generator=torch.Generator().manual_seed(1)) * 0.1
    wav[:, -4 * spec.hop_length :] = 0.0  # digital silence shows what the front end adds and floors
    with torch.inference_mode():
        mel = official.features(wav)
        expected, whole = official.decode(mel), vocoder.decode(mel)[:, 0]
        state, audio = vocoder.init_state(1), []
        for n in range(mel.shape[-1]):
            state, chunk = vocoder.stream(state, mel[..., n : n + 1], last=n + 1 == mel.shape[-1])
            audio.append(chunk)
        ours = mel_spectrogram(wav, spec)
    peak = float(expected.abs().max())
    return {
        "kind": found.kind,
        "frames": mel.shape[-1],
        "peak": peak,
        "waveform": float((whole - expected).abs().max()) / peak,
        "streamed": float((torch.cat(audio, -1)[:, 0] - expected).abs().max()) / peak,
        "log_mel": float((ours - mel).abs().max()),
        "lookahead_ms": vocoder.lookahead_ms,
    }


def main(argv: list[str] | None = None) -> None:
    """Compare every case and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=Path, required=True, help="folder with vocos, bigvgan and hifigan")
    parser.add_argument("--frames", type=int, default=40, help="length of the mels")
    parser.add_argument("--only", nargs="*", help="names of cases; default: all")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "vocoder_parity.json")
    choices = parser.parse_args(argv)
    sys.path.insert(0, str(choices.peers))
    cases = {}
    for name in choices.only or CASES:
        torch.manual_seed(0)
        make, config = CASES[name]
        cases[name] = compare(make(dict(config), choices.peers), choices.frames)
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in cases[name].items()), flush=True)
    content = {"context": {**machine_context(), "frames": choices.frames}, "cases": cases}
    write_text(choices.out, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
