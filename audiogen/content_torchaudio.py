"""Content tokens from a large speech model of torchaudio: WavLM, HuBERT, wav2vec 2.0.

As in StableVC (arXiv 2412.04724, section 3.1): features of one layer, clustered by k-means. The models' own
weights are fetched by torchaudio, and only when asked to.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from audiogen.content import Content, one_by_one
from audiogen.files import replacing
from audiogen.nn.phonetic_encoder import k_means, nearest

BUNDLES: Final = {
    "wavlm-base": "WAVLM_BASE",
    "wavlm-base-plus": "WAVLM_BASE_PLUS",
    "wavlm-large": "WAVLM_LARGE",
    "hubert-base": "HUBERT_BASE",
    "hubert-large": "HUBERT_LARGE",
}
HOP, REACH = 320, 400  # samples: between tokens, and that the convolutions need for one


class ModelNotCached(ValueError):
    """The weights of a model are not on this machine, and were not to be fetched."""


class TorchaudioContent(torch.nn.Module):
    """Clustered features of one layer of a speech model; a `content.ContentEncoder` at 50 Hz.

    model: what `get_model` of a bundle of torchaudio.pipelines gives. layer: from 1, the first transformer
    layer. codebook: (V, D), or None until `fit`. sample_rate: what the model was trained on, in Hz. Raises
    ValueError for a layer that the model does not have.
    """

    def __init__(
        self,
        model: Any,
        layer: int,
        codebook: Tensor | None = None,
        sample_rate: int = 16000,
    ) -> None:
        super().__init__()
        # a bundle wraps models that want waveforms of variance one
        depth = len(getattr(model, "model", model).encoder.transformer.layers)
        if not 1 <= layer <= depth:
            raise ValueError(f"layer {layer} does not exist: the model has layers 1 to {depth}")
        self.model = model.eval().requires_grad_(False)
        self.layer = layer
        self.sample_rate = sample_rate
        self._codebook = codebook

    @property
    def frame_rate(self) -> float:
        """Tokens a second."""
        return self.sample_rate / HOP

    @property
    def codebook(self) -> Tensor:
        """Centres of the clusters (V, D). Raises ValueError before there are any."""
        if self._codebook is None:
            raise ValueError("this encoder has no codebook: call fit(waveforms, codes), or load one")
        return self._codebook

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return len(self.codebook)

    @torch.inference_mode()
    def features(self, wav: Tensor) -> Tensor:
        """wav (T,) -> features of the layer (F, D), F = (T - 400) // 320 + 1; zeros fill up shorter ones."""
        wav = torch.nn.functional.pad(wav, (0, max(0, REACH - len(wav))))
        layers, _ = self.model.extract_features(wav[None], num_layers=self.layer)
        found: Tensor = layers[-1][0]
        return found

    @torch.inference_mode()
    def encode(self, wav: Tensor, lengths: Tensor) -> Content:
        """wav (B, T) in [-1, 1], lengths (B,) in samples -> tokens; items are encoded one by one.

        One by one, because these models normalise over an item's time. Raises ValueError for shapes that do
        not fit, and without a codebook.
        """
        return one_by_one(wav, lengths, lambda row: nearest(self.features(row), self.codebook.to(wav.device)))

    def fit(self, waves: Sequence[Tensor], codes: int = 1024, most: int = 200_000, seed: int = 0) -> None:
        """Cluster the features of waveforms (T,) into a codebook of `codes` vectors.

        most: frames to cluster, drawn from all. Raises ValueError for fewer frames than codes.
        """
        features = torch.cat([self.features(wav) for wav in waves])
        order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))[:most]
        self._codebook = k_means(features[order.to(features.device)], codes, seed=seed)

    def save_codebook(self, path: str | os.PathLike[str]) -> None:
        """Write the codebook and its layer to a safetensors file, atomically."""
        from safetensors.torch import save_file

        with replacing(path) as temporary:
            save_file({"codebook": self.codebook.contiguous()}, temporary, {"layer": str(self.layer)})


def load_torchaudio_content(
    name: str, layer: int = 6, codebook: str | os.PathLike[str] | None = None, *, fetch: bool = False
) -> TorchaudioContent:
    """A model of BUNDLES with the codebook of a file of `save_codebook`.

    fetch: let torchaudio download weights that are not in its cache (0.4 to 1.3 GB). Raises ValueError for an
    unknown name or a codebook of another layer, ModelNotCached.
    """
    if name not in BUNDLES:
        raise ValueError(f"unknown speech model {name!r}; use one of {', '.join(BUNDLES)}")
    import torchaudio

    bundle = getattr(torchaudio.pipelines, BUNDLES[name])
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(bundle._path).name
    if not fetch and not file.is_file():
        raise ModelNotCached(
            f"the weights of {name} are not at {file}; pass fetch=True to download them, or use the shipped "
            "phonetic encoder"
        )
    centres = None if codebook is None else _read_codebook(codebook, layer)
    model = bundle.get_model(dl_kwargs={"weights_only": True})  # nothing is unpickled but tensors
    return TorchaudioContent(model, layer, centres, int(bundle.sample_rate))


def _read_codebook(path: str | os.PathLike[str], layer: int) -> Tensor:
    """The codebook of a file of `save_codebook`. Raises ValueError for another layer's or another file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            found, centres = (file.metadata() or {}).get("layer"), file.get_tensor("codebook")
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} holds no codebook ({error}); write one with save_codebook") from error
    if found != str(layer):
        raise ValueError(f"the codebook of {path} is of layer {found}, not {layer}; pass layer={found}")
    return centres
