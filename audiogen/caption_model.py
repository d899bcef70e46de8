"""What the models of MeLoDy share: they are told in words, of a vocabulary that training fixes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from audiogen.nn.caption_encoder import CaptionEncoder, Captions, ClapText, FeatureCaptions, Words
from audiogen.text.captions import CaptionVocabulary
from audiogen.training.checkpoint import release_of
from audiogen.training.schedules import warmup_cosine


class CaptionModel(L.LightningModule):
    """A model with captions; a subclass saves its hyper-parameters, then calls `make_captions`.

    key: name in SYSTEMS. Hyper-parameters it needs: lr, lr_final, warmup_steps, total_steps, weight_decay and
    caption_drop, the probability with which training hides a caption.
    """

    key = ""
    captions: Captions
    words: tuple[str, ...]

    def make_captions(
        self, width: int, encoder: str, words: Sequence[str], max_words: int, net: dict[str, Any] | None
    ) -> None:
        """Set `captions`: "words", the encoder that ships (net: its sizes), or "clap" (net: name).

        Raises ValueError for another name, too many words, or a CLAP that is not there.
        """
        self.max_words, self.words = max_words, tuple(words)
        if encoder == "clap":
            self.captions = FeatureCaptions(width, ClapText(**(net or {})))
        elif encoder == "words":
            vocabulary = CaptionVocabulary(self.words, max_words)
            self.captions = CaptionEncoder(width, vocabulary.numbers, max_words, **(net or {}))
        else:
            raise ValueError(f"unknown caption encoder {encoder!r}; use words or clap")

    def extend_words(self, captions: Sequence[str]) -> None:
        """Add what occurs in captions to the vocabulary; what it had keeps its vectors.

        Raises ValueError where there is no room.
        """
        if isinstance(self.captions, CaptionEncoder):
            vocabulary = CaptionVocabulary.of(captions, self.max_words, self.words)
            self.words, self.captions.numbers = vocabulary.words, vocabulary.numbers

    def unknown_words(self, caption: str) -> list[str]:
        """Words of a caption that this model has not learned."""
        if not isinstance(self.captions, CaptionEncoder):
            return []
        return CaptionVocabulary(self.words, self.max_words).unknown(caption)

    def heard(self, captions: Sequence[str], *, hidden: Tensor | None = None) -> Words:
        """Encoded captions; those for which hidden (B,) is True say nothing."""
        words: Words = self.captions(captions)
        return words if hidden is None else self.captions.drop(words, hidden)

    def setup(self, stage: str) -> None:
        """Take the words of the training data and check its sizes. Raises ValueError where they differ."""
        data: Any = getattr(self.trainer, "datamodule", None)
        if stage != "fit" or data is None:
            return
        self.check_data(data)
        self.extend_words(data.all_captions())

    def check_data(self, data: Any) -> None:
        """Raise ValueError where the data does not have the sizes of the model."""
        for name in ("vocabulary", "latent_dim"):
            if name in self.hparams and getattr(data, name) != self.hparams[name]:
                raise ValueError(
                    f"{data.path} has {name} {getattr(data, name)}, the model {self.hparams[name]}; "
                    f"set model.init_args.{name}"
                )

    def release(self) -> dict[str, Any]:
        """Name in SYSTEMS and hyper-parameters of what this run makes."""
        return release_of(self.key, {**self.hparams, "words": list(self.words)})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let a checkpoint say how to rebuild the system."""
        checkpoint["release"] = self.release()

    def configure_optimizers(self) -> Any:
        """AdamW with a warm-up and a cosine decay."""
        learning = [p for p in self.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in learning if p.ndim > 1], "weight_decay": self.hparams["weight_decay"]},
            {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.hparams["lr"], betas=(0.9, 0.98))
        return {"optimizer": optimizer, "lr_scheduler": warmup_cosine(optimizer, self.hparams)}
