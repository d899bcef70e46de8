"""What trains against waveform discriminators, whatever it generates from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from audiogen.nn.discriminators import Discriminators, Features, feature_matching_loss
from audiogen.training.schedules import warmup_cosine


class AdversarialModule(L.LightningModule):
    """A generator and its discriminators on one optimiser; only the generator is released.

    A subclass makes `generator` and `discriminators`, and names the two sides of its adversarial loss.
    Hyper-parameters it needs: weight_adversarial, weight_features, and those of `warmup_cosine`.
    """

    generator: Any  # a module
    discriminators: Discriminators
    judge_loss: Callable[[list[Features], list[Features]], Tensor]
    fool_loss: Callable[[list[Features]], Tensor]

    def release_state(self) -> dict[str, Tensor]:
        """The tensors inference needs: the generator's."""
        return {key: value for key, value in self.state_dict().items() if key.startswith("generator.")}

    def load_release_state(self, state: Mapping[str, Tensor]) -> None:
        """Take tensors of `release_state`; the discriminators, which inference does not use, go away."""
        del self.discriminators
        self.load_state_dict(state, strict=True)

    def adversarial_losses(self, real: Tensor, fake: Tensor) -> Tensor:
        """real, fake (B, T) -> one scalar whose gradient trains both sides at once.

        The generator's part sees frozen discriminators and the discriminators' part a detached waveform, so
        that the two gradients never mix and one optimiser serves both.
        """
        real_features = self.discriminators(real)
        discriminators = self.judge_loss(real_features, self.discriminators(fake.detach()))
        self.discriminators.requires_grad_(False)
        fake_features = self.discriminators(fake)
        self.discriminators.requires_grad_(True)
        adversarial = self.fool_loss(fake_features)
        features = feature_matching_loss(real_features, fake_features)
        self.log_dict(
            {
                "train/discriminators": discriminators,
                "train/adversarial": adversarial,
                "train/features": features,
            },
            prog_bar=True,
        )
        weighted: Tensor = (
            self.hparams["weight_adversarial"] * adversarial + self.hparams["weight_features"] * features
        )
        return discriminators + weighted

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the two sides apart: a large discriminator gradient must not shrink the generator's step."""
        for module in (self.generator, self.discriminators):
            torch.nn.utils.clip_grad_norm_(module.parameters(), gradient_clip_val or float("inf"))

    def configure_optimizers(self) -> Any:
        """AdamW with a short warm-up and a cosine decay to `lr_final`."""
        optimizer = torch.optim.AdamW(
            [{"params": self.generator.parameters()}, {"params": self.discriminators.parameters()}],
            lr=self.hparams["lr"],
            betas=(0.8, 0.99),
            weight_decay=1e-3,
        )
        return {"optimizer": optimizer, "lr_scheduler": warmup_cosine(optimizer, self.hparams)}
