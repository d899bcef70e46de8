"""Vocoder training: a Vocos generator against waveform discriminators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from audiogen.nn.discriminators import (
    Discriminators,
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
)
from audiogen.nn.spectral_loss import magnitude_loss, resolutions, spectral_losses
from audiogen.spectral import MelSpec, magnitude, mel_spectrogram
from audiogen.training.checkpoint import release_of
from audiogen.training.pictures import log_audio, log_mels
from audiogen.training.schedules import warmup_cosine
from audiogen.vocoders.vocos import Vocos, VocosState


class Vocoder(L.LightningModule):
    """Mel to waveform (Vocos, Siuzdak 2023), trained on multi-resolution STFT and mel losses.

    Then adversarially.

    mel_spec: fields of `MelSpec`. causal, source, refinements and the sizes: see `Vocos`; a source also
    learns the F0 of the data. weight_magnitude: of the recording's magnitudes as the head's own aim, which
    refinements lean on. adversarial_from: optimiser step at which the discriminators join (negative: never).
    The released weights hold the generator alone.
    """

    def __init__(
        self,
        mel_spec: dict[str, Any] | None = None,
        channels: int = 256,
        hidden: int = 768,
        blocks: int = 8,
        n_fft: int = 1024,
        causal: bool = False,
        source: bool = False,
        refinements: int = 0,
        lr: float = 5e-4,
        lr_final: float = 1e-5,
        total_steps: int = 20000,
        adversarial_from: int = 4000,
        periods: tuple[int, ...] = (2, 3, 5, 7),
        n_ffts: tuple[int, ...] = (512, 1024, 2048),
        discriminator_channels: int = 16,
        weight_mel: float = 15.0,
        weight_stft: float = 2.0,
        weight_adversarial: float = 1.0,
        weight_features: float = 2.0,
        weight_magnitude: float = 0.0,
        weight_f0: float = 1.0,
        warmup_steps: int = 200,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.mel_spec = MelSpec(**(mel_spec or {}))
        self.sample_rate = self.mel_spec.sample_rate
        self.generator = Vocos(
            self.mel_spec,
            channels,
            hidden,
            blocks,
            n_fft,
            causal=causal,
            source=source,
            refinements=refinements,
        )
        self.head_spec = replace(self.mel_spec, n_fft=n_fft, win_length=n_fft)
        self.discriminators = Discriminators(periods, n_ffts, discriminator_channels)
        self.loss_specs = resolutions(self.mel_spec)

    def release(self) -> dict[str, Any]:
        """Name in SYSTEMS and hyper-parameters of what this run makes."""
        return release_of("vocoder", {**self.hparams, "mel_spec": asdict(self.mel_spec)})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let a checkpoint say how to rebuild the system."""
        checkpoint["release"] = self.release()

    def release_state(self) -> dict[str, Tensor]:
        """The tensors inference needs: the generator's."""
        return {key: value for key, value in self.state_dict().items() if key.startswith("generator.")}

    def load_release_state(self, state: Mapping[str, Tensor]) -> None:
        """Take tensors of `release_state`; the discriminators, which inference does not use, go away."""
        del self.discriminators
        self.load_state_dict(state, strict=True)

    @property
    def lookahead(self) -> int:
        """Frames beyond the next one that the audio up to a frame waits for."""
        return self.generator.lookahead

    @property
    def lookahead_ms(self) -> float:
        """The same in milliseconds."""
        return self.generator.lookahead_ms

    def decode(self, mel: Tensor) -> Tensor:
        """mel (B, n_mels, N) -> waveform (B, 1, (N - 1) hop_length)."""
        return self.generator.decode(mel)

    def init_state(self, batch: int) -> VocosState:
        """The start of `batch` streams."""
        return self.generator.init_state(batch)

    def stream(self, state: VocosState, mel: Tensor, last: bool = False) -> tuple[VocosState, Tensor]:
        """The next frames (B, n_mels, n), n >= 0 -> state, the audio (B, 1, T) that is complete."""
        return self.generator.stream(state, mel, last)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Sum of the generator's loss and, once they have joined.

        The discriminators' (each trains its own weights).
        """
        real = batch["wav"]
        output = self.generator.synthesize(mel_spectrogram(real, self.mel_spec))
        fake = output.audio[:, 0]
        real = real[:, : fake.shape[-1]]
        stft, mel = spectral_losses(fake, real, self.loss_specs)
        self.log_dict({"train/stft": stft, "train/mel": mel}, prog_bar=True)
        loss = self.hparams["weight_stft"] * stft + self.hparams["weight_mel"] * mel
        if weight := self.hparams["weight_magnitude"]:
            magnitudes = magnitude_loss(output.magnitude, magnitude(real, self.head_spec))
            self.log("train/magnitude", magnitudes, prog_bar=True)
            loss = loss + weight * magnitudes
        if self.generator.source is not None and output.f0_scores is not None:
            f0 = self.generator.source.tracker.loss(output.f0_scores, batch["f0"])
            self.log("train/f0", f0, prog_bar=True)
            loss = loss + self.hparams["weight_f0"] * f0
        if 0 <= self.hparams["adversarial_from"] <= self.global_step:
            loss = loss + self.adversarial_losses(real, fake)
        return loss

    def adversarial_losses(self, real: Tensor, fake: Tensor) -> Tensor:
        """real, fake (B, T) -> one scalar whose gradient trains both sides at once.

        The generator's part sees frozen discriminators and the discriminators' part a detached waveform, so
        that the two gradients never mix and one optimiser serves both.
        """
        real_features = self.discriminators(real)
        discriminators = discriminator_loss(real_features, self.discriminators(fake.detach()))
        self.discriminators.requires_grad_(False)
        fake_features = self.discriminators(fake)
        self.discriminators.requires_grad_(True)
        adversarial = generator_loss(fake_features)
        features = feature_matching_loss(real_features, fake_features)
        self.log_dict(
            {
                "train/discriminators": discriminators,
                "train/adversarial": adversarial,
                "train/features": features,
            },
            prog_bar=True,
        )
        weighted = (
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

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Spectral distances of held-out copy-synthesis; the first clips are shown in TensorBoard."""
        real = batch["wav"]
        mel = mel_spectrogram(real, self.mel_spec)
        fake = self.decode(mel)[:, 0]
        stft, mel_distance = spectral_losses(fake, real[:, : fake.shape[-1]], self.loss_specs)
        self.log_dict({"val/stft": stft, "val/mel": mel_distance}, prog_bar=True, batch_size=len(real))
        if batch_idx < 3:
            name = batch["ids"][0]
            log_audio(self, f"{name}/copy", fake, self.sample_rate)
            log_mels(self, f"{name}/recording, copy", [mel[0], mel_spectrogram(fake, self.mel_spec)[0]])

    def configure_optimizers(self) -> Any:
        """AdamW with a short warm-up and a cosine decay to `lr_final`."""
        optimizer = torch.optim.AdamW(
            [{"params": self.generator.parameters()}, {"params": self.discriminators.parameters()}],
            lr=self.hparams["lr"],
            betas=(0.8, 0.99),
            weight_decay=1e-3,
        )
        return {"optimizer": optimizer, "lr_scheduler": warmup_cosine(optimizer, self.hparams)}
