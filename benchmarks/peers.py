"""Matcha-TTS and vocos, from their own packages, with random weights: what `speed_tts.py` races against.

Speed does not depend on the values of the weights. The sizes are the published ones: Matcha-TTS for LJSpeech
(release 0.0.7.2, 4 Euler steps, 22.05 kHz, hop 256) and vocos-mel-24khz (512 channels, 8 blocks, hop 256).
"""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

HOW_TO_INSTALL = """Matcha-TTS and vocos are not installed ({error}). Their pins clash with a current torch,
so take them without their requirements, in a folder of their own, and pass it as --peers DIR:
  pip install --target DIR --no-deps matcha-tts==0.0.7.2 vocos==0.1.0 encodec==0.1.1 conformer==0.3.2 \\
      diffusers==0.25.0 "huggingface-hub<0.26" hydra-core==1.3.2 omegaconf antlr4-python3-runtime==4.9.3 \\
      Unidecode gdown wget beautifulsoup4 soupsieve requests urllib3 certifi idna charset-normalizer \\
      filelock regex importlib-metadata zipp"""
MATCHA_RATE, MATCHA_HOP, MATCHA_STEPS = 22050, 256, 4
VOCOS_RATE, VOCOS_HOP, VOCOS_MELS = 24000, 256, 100


class MatchaVocos:
    """Text to waveform by the two models at batch size 1, each in the form of its own example.

    The models were not made for one another (80 bands at 22.05 kHz, 100 at 24 kHz), so the vocoder decodes a
    mel of its own kind and of the same length. Random durations mean nothing, so each utterance is stretched,
    by Matcha's own `length_scale`, to the seconds it is asked to last.
    """

    def __init__(self) -> None:
        self._sequence, self._intersperse = _matcha_text()
        self.matcha, self.vocos = _matcha(), _vocos()

    def text(self, text: str) -> Tensor:
        """Ids of the phones with blanks between them, (1, S)."""
        ids, _ = self._sequence(text, ["english_cleaners2"])
        return torch.tensor(self._intersperse(ids, 0))[None]

    def acoustic(self, ids: Tensor, seconds: float) -> Tensor:
        """Ids to a mel of `seconds`, (1, 80, N)."""
        frames = seconds * MATCHA_RATE / MATCHA_HOP
        lengths = torch.tensor([ids.shape[1]])
        spoken = self.matcha.synthesise(ids, lengths, MATCHA_STEPS, length_scale=frames / ids.shape[1])
        mel: Tensor = spoken["mel"]
        return mel

    def vocoder_input(self, seconds: float) -> Tensor:
        """A mel of `seconds` for the vocoder, (1, 100, N)."""
        return torch.randn(1, VOCOS_MELS, math.ceil(seconds * VOCOS_RATE / VOCOS_HOP))

    @torch.inference_mode()
    def vocode(self, mel: Tensor) -> Tensor:
        """Mel (1, 100, N) to a waveform (1, T)."""
        wav: Tensor = self.vocos.decode(mel)
        return wav


def load(folder: str | None) -> MatchaVocos:
    """Build both with random weights; folder: where they were installed, None for the running environment.

    Raises ImportError with the way to install them.
    """
    if folder is not None:
        sys.path.append(folder)
    # a compiled extension for training only; its wheel is built against another numpy
    stub = types.ModuleType("matcha.utils.monotonic_align.core")
    stub.maximum_path_c = None  # type: ignore[attr-defined]
    sys.modules.setdefault(stub.__name__, stub)
    torch.manual_seed(0)
    try:
        return MatchaVocos()
    except ImportError as error:
        raise ImportError(HOW_TO_INSTALL.format(error=error)) from error


def _matcha_text() -> tuple[Callable[..., Any], Callable[..., Any]]:
    import espeakng_loader
    from phonemizer.backend.espeak.wrapper import EspeakWrapper

    EspeakWrapper.set_library(espeakng_loader.get_library_path())
    EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
    from matcha.text import text_to_sequence
    from matcha.utils.utils import intersperse

    return text_to_sequence, intersperse


def _matcha() -> Any:
    from matcha.models.matcha_tts import MatchaTTS

    encoder = SimpleNamespace(
        encoder_type="RoPE Encoder",
        encoder_params=SimpleNamespace(
            n_feats=80,
            n_channels=192,
            filter_channels=768,
            filter_channels_dp=256,
            n_heads=2,
            n_layers=6,
            kernel_size=3,
            p_dropout=0.1,
            spk_emb_dim=64,
            n_spks=1,
            prenet=True,
        ),
        duration_predictor_params=SimpleNamespace(filter_channels_dp=256, kernel_size=3, p_dropout=0.1),
    )
    decoder = {
        "channels": [256, 256],
        "dropout": 0.05,
        "attention_head_dim": 64,
        "n_blocks": 1,
        "num_mid_blocks": 2,
        "num_heads": 2,
        "act_fn": "snakebeta",
    }
    model = MatchaTTS(
        n_vocab=178,
        n_spks=1,
        spk_emb_dim=64,
        n_feats=80,
        encoder=encoder,
        decoder=decoder,
        cfm=SimpleNamespace(name="CFM", solver="euler", sigma_min=1e-4),
        data_statistics={"mel_mean": -5.536622, "mel_std": 2.116101},
        out_size=None,
    ).eval()
    last = model.encoder.proj_w.proj  # log-durations of 0: one frame a token, before length_scale
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    return model


def _vocos() -> Any:
    from vocos.feature_extractors import MelSpectrogramFeatures
    from vocos.heads import ISTFTHead
    from vocos.models import VocosBackbone
    from vocos.pretrained import Vocos

    features = MelSpectrogramFeatures(24000, n_fft=1024, hop_length=256, n_mels=VOCOS_MELS, padding="center")
    backbone = VocosBackbone(VOCOS_MELS, dim=512, intermediate_dim=1536, num_layers=8)
    return Vocos(features, backbone, ISTFTHead(512, n_fft=1024, hop_length=256, padding="center")).eval()
