"""The small content encoder: what is said, learnt from aligned phones of many disturbed voices.

Its tokens are clusters of its bottleneck features, as StableVC (arXiv 2412.04724, section 3.1) clusters those
of a large speech model; here the features are trained to tell phones apart and to be the same for the same
speech in another voice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import lightning.pytorch as L
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from audiogen.audio import levelled
from audiogen.content import Content
from audiogen.data.phone_frames import UNKNOWN, PhoneFrameData
from audiogen.nn.perturbation import perturb, stretch
from audiogen.nn.phonetic_encoder import PhoneticEncoder, k_means, nearest
from audiogen.spectral import MelSpec, mel_spectrogram
from audiogen.text.symbols import SYMBOLS
from audiogen.training.checkpoint import release_of
from audiogen.training.schedules import warmup_cosine

MEL_MEAN, MEL_STD = -5.5, 2.5  # about those of speech, in nepers


class PhoneticContent(L.LightningModule):
    """Content tokens of speech, one a mel frame; a `content.ContentEncoder`.

    Training shows each crop in two voices (`nn.perturbation`): cross-entropy of the known phones, plus
    weight_agreement times the distance between the two voices' features. A codebook of `codes` clusters is
    fitted afterwards (`fit_codebook`, `audiogen prepare codebook`); it is saved with the weights. mel_spec:
    fields of `MelSpec`. net: arguments of `nn.phonetic_encoder.PhoneticEncoder`. warp, stretch: greatest
    logarithms of the factors of frequencies and of time.
    """

    codebook: Tensor

    def __init__(
        self,
        mel_spec: dict[str, Any] | None = None,
        net: dict[str, Any] | None = None,
        codes: int = 192,
        warp: float = 0.22,
        stretch: float = 0.15,
        weight_agreement: float = 0.5,
        lr: float = 1.5e-3,
        lr_final: float = 2e-5,
        warmup_steps: int = 50,
        total_steps: int = 1500,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.mel_spec = MelSpec(**(mel_spec or {}))
        self.net = PhoneticEncoder(self.mel_spec.n_mels, len(SYMBOLS), **(net or {}))
        self.register_buffer("codebook", torch.zeros(codes, self.net.narrow.out_features))

    @property
    def sample_rate(self) -> int:
        """Of the waveforms that it takes, in Hz."""
        return self.mel_spec.sample_rate

    @property
    def frame_rate(self) -> float:
        """Tokens a second: one a mel frame."""
        return self.mel_spec.frame_rate

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return len(self.codebook)

    @property
    def has_codebook(self) -> bool:
        """Whether `fit_codebook` has been called, here or before the weights were saved."""
        return bool(self.codebook.abs().sum() > 0)

    def release(self) -> dict[str, Any]:
        """Name in SYSTEMS and hyper-parameters of what this run makes."""
        return release_of("phonetic_encoder", {**self.hparams, "mel_spec": asdict(self.mel_spec)})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let a checkpoint say how to rebuild the system."""
        checkpoint["release"] = self.release()

    def on_fit_start(self) -> None:
        """Refuse data made for another front end or token table. Raises DataError."""
        if isinstance(data := getattr(self.trainer, "datamodule", None), PhoneFrameData):
            data.check(self.mel_spec, SYMBOLS)

    def features(self, mel: Tensor, mask: Tensor) -> Tensor:
        """Log-mel (B, n_mels, N), mask (B, 1, N) of frames that count -> bottleneck features (B, N, D)."""
        return self.net((mel - MEL_MEAN) / MEL_STD, mask)

    @torch.inference_mode()
    def encode(self, wav: Tensor, lengths: Tensor) -> Content:
        """wav (B, T) in [-1, 1], lengths (B,) in samples, >= 1 -> tokens of each item's mel frames.

        Each item is brought to one level (`audio.levelled`) and is encoded as if it were alone. Raises
        ValueError for lengths that do not fit, and without a codebook.
        """
        if wav.dim() != 2 or lengths.shape != wav.shape[:1]:
            raise ValueError(f"wav must be (B, T) and lengths (B,), got {(*wav.shape,)}, {(*lengths.shape,)}")
        if not 0 < int(lengths.min()) <= int(lengths.max()) <= wav.shape[1]:
            raise ValueError(f"lengths must lie in 1..{wav.shape[1]}, got {lengths.tolist()}")
        mels = [
            mel_spectrogram(levelled(row[:length])[None], self.mel_spec)[0]
            for row, length in zip(wav, lengths.tolist(), strict=True)
        ]
        frames = torch.tensor([mel.shape[-1] for mel in mels], device=wav.device)
        padded = pad_sequence([mel.T for mel in mels], batch_first=True).transpose(1, 2)
        return self.encode_mel(padded, frames)

    @torch.inference_mode()
    def encode_mel(self, mel: Tensor, lengths: Tensor) -> Content:
        """Log-mel (B, n_mels, N) of levelled speech, lengths (B,) in frames -> its tokens.

        Raises ValueError without a codebook.
        """
        if not self.has_codebook:
            raise ValueError(
                "this phonetic encoder has no codebook yet; fit one to its features with "
                "`audiogen prepare codebook CHECKPOINT VOICES`"
            )
        mask = (torch.arange(mel.shape[-1], device=mel.device)[None] < lengths[:, None])[:, None]
        tokens = nearest(self.features(mel, mask), self.codebook) * mask[:, 0]
        return Content(tokens, lengths)

    @torch.inference_mode()
    def phones(self, mel: Tensor) -> Tensor:
        """The likeliest phone of each frame of a log-mel (n_mels, N), numbers in the token table (N,)."""
        return self.net.logits(self.features(mel[None], torch.ones_like(mel[None, :1]).bool())).argmax(1)[0]

    @torch.inference_mode()
    def fit_codebook(self, mels: Sequence[Tensor], most: int = 100_000, seed: int = 0) -> None:
        """Cluster the features of log-mels (n_mels, N) of levelled speech into the codebook.

        most: frames to cluster, drawn from all. Raises ValueError for fewer frames than codes.
        """
        found = []
        for mel in mels:
            batch = mel[None].to(self.codebook)
            found.append(self.features(batch, torch.ones_like(batch[:, :1], dtype=torch.bool))[0])
        features = torch.cat(found)
        order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))[:most]
        self.codebook.copy_(k_means(features[order.to(features.device)], self.vocabulary, seed=seed))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Cross-entropy of known phones in two voices of each crop, and how far the two lie apart."""
        longest = self.hparams["stretch"]
        factor = float(torch.empty(()).uniform_(-longest, longest).exp())
        mel, phones, mask = stretch(batch["mel"], batch["phones"], batch["mask"], factor)
        voices = torch.cat([perturb(mel, self.mel_spec, self.hparams["warp"]) for _ in range(2)])
        features = self.features(voices, mask.repeat(2, 1, 1))
        entropy = F.cross_entropy(self.net.logits(features), phones.repeat(2, 1), ignore_index=UNKNOWN)
        entropy = torch.nan_to_num(entropy)  # of a batch without any known phone
        one, other = features.chunk(2)
        apart = (one - other).square().mean(-1)[mask[:, 0]].mean()
        self.log_dict({"train/phones": entropy, "train/apart": apart}, prog_bar=True)
        loss: Tensor = entropy + self.hparams["weight_agreement"] * apart
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Share of frames whose phone is found, in the voices of training and in new ones."""
        guess = self.net.logits(self.features(batch["mel"], batch["mask"])).argmax(1)
        known = batch["phones"] != UNKNOWN
        right = (guess == batch["phones"]) & known
        for name, rows in (("seen", ~batch["new"]), ("new", batch["new"])):
            if count := int(known[rows].sum()):
                share = right[rows].sum() / count
                self.log(f"val/accuracy_{name}", share, prog_bar=True, batch_size=count)

    def configure_optimizers(self) -> Any:
        """AdamW with a warm-up and a cosine decay."""
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=self.hparams["lr"], betas=(0.9, 0.98), weight_decay=0.01
        )
        return {"optimizer": optimizer, "lr_scheduler": warmup_cosine(optimizer, self.hparams)}
