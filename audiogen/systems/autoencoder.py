"""Training of the audio autoencoder: spectral losses first, then waveform discriminators as well."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from audiogen.nn.clock import turned
from audiogen.nn.discriminators import (
    Discriminators,
    least_squares_discriminator_loss,
    least_squares_generator_loss,
)
from audiogen.nn.spectral_loss import magnitude_loss, resolutions, spectral_losses
from audiogen.spectral import MelSpec
from audiogen.training.adversarial import AdversarialModule
from audiogen.training.checkpoint import release_of
from audiogen.training.pictures import log_audio
from audiogen.vocoders.autoencoder import Autoencoder, squash

# what lies 80 dB below a loud tone is not worth latents: the tails of reverberation, rounding
FLOOR, MEL_FLOOR = 2e-2, 1e-3


class AudioAutoencoder(AdversarialModule):
    """The VAE-GAN of MeLoDy (Lam et al. 2023, appendix) on the networks of `Autoencoder`.

    The first arguments are those of `Autoencoder`. Losses: magnitudes and frequencies, which the decoder's
    head learns directly; a small Kullback-Leibler divergence, so that latents near one another sound alike;
    from optimiser step `waveform_from` on multi-resolution STFT and mel of the waveform, which costs five
    times as much; from `adversarial_from` on (negative: never) least-squares adversarial and feature-matching
    losses. The linear code is fitted to `basis_batches` batches before the first step. The released weights
    lack the discriminators.
    """

    judge_loss = staticmethod(least_squares_discriminator_loss)
    fool_loss = staticmethod(least_squares_generator_loss)

    def __init__(
        self,
        sample_rate: int = 24000,
        latents: int = 64,
        hop_length: int = 256,
        n_fft: int = 1536,
        strides: tuple[int, ...] = (2,),
        channels: int = 256,
        hidden: int = 768,
        encoder_blocks: tuple[int, ...] = (),
        decoder_blocks: tuple[int, ...] = (3, 2),
        refinements: int = 2,
        lr: float = 1e-3,
        lr_final: float = 5e-5,
        total_steps: int = 4000,
        warmup_steps: int = 100,
        waveform_from: int = 1000,
        adversarial_from: int = 2000,
        periods: tuple[int, ...] = (2, 3, 5, 7),
        n_ffts: tuple[int, ...] = (512, 1024, 2048),
        discriminator_channels: int = 16,
        loss_n_ffts: tuple[int, ...] = (256, 512, 1024, 2048, 4096),
        weight_stft: float = 2.0,
        weight_mel: float = 8.0,
        weight_magnitude: float = 2.0,
        weight_root: float = 4.0,
        weight_frequency: float = 2.0,
        weight_kl: float = 1e-3,
        weight_adversarial: float = 1.0,
        weight_features: float = 2.0,
        basis_batches: int = 100,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.sample_rate = sample_rate
        self.generator = Autoencoder(
            sample_rate,
            latents,
            hop_length,
            n_fft,
            strides,
            channels,
            hidden,
            encoder_blocks,
            decoder_blocks,
            refinements,
        )
        self.discriminators = Discriminators(periods, n_ffts, discriminator_channels)
        self.loss_specs = resolutions(MelSpec(sample_rate, f_max=sample_rate / 2), loss_n_ffts, MEL_FLOOR)

    def release(self) -> dict[str, Any]:
        """Name in SYSTEMS and hyper-parameters of what this run makes."""
        return release_of("autoencoder", self.hparams)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let a checkpoint say how to rebuild the system."""
        checkpoint["release"] = self.release()

    def encode(self, wav: Tensor) -> Tensor:
        """wav (B, 1, T) -> normalised latents, as `Autoencoder.encode`."""
        return self.generator.encode(wav)

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents -> wav (B, 1, T), as `Autoencoder.decode`."""
        return self.generator.decode(latents)

    def on_train_start(self) -> None:
        """Fit the linear code to the first training batches, unless a run goes on."""
        if self.global_step == 0:
            data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
            for batch in itertools.islice(
                itertools.cycle(data.train_dataloader()), self.hparams["basis_batches"]
            ):
                spectrum = self.generator.spectrum(batch["wav"].to(self.device))
                self.generator.basis.add(self.generator.joined(spectrum).flatten(0, 1))
            self.generator.basis.fit()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Sum of the autoencoder's losses and, once they have joined, the discriminators' own."""
        real = batch["wav"]
        real = real[:, : real.shape[-1] // self.generator.hop_length * self.generator.hop_length]
        spectrum = self.generator.spectrum(real)
        posterior = self.generator.posterior(spectrum)
        latents, divergence = squash(posterior.sample()), posterior.divergence()
        self.log("train/kl", divergence, prog_bar=True)
        loss = self.hparams["weight_kl"] * divergence
        if self.global_step < self.hparams["waveform_from"]:
            magnitude, deviation = self.generator.describe(latents)
            return loss + self.head_losses(magnitude, deviation, spectrum)
        output = self.generator.synthesize(latents)
        loss = loss + self.head_losses(output.magnitude, output.deviation, spectrum)
        fake = output.audio[:, 0]
        stft, mel = spectral_losses(fake, real, self.loss_specs, FLOOR)
        self.log_dict({"train/stft": stft, "train/mel": mel}, prog_bar=True)
        loss = loss + self.hparams["weight_stft"] * stft + self.hparams["weight_mel"] * mel
        if 0 <= self.hparams["adversarial_from"] <= self.global_step:
            loss = loss + self.adversarial_losses(real, fake)
        return loss

    def head_losses(self, magnitude: Tensor, deviation: Tensor, spectrum: Tensor) -> Tensor:
        """What the head of the decoder asks for against the recording's STFT (B, N, bins) -> scalar."""
        real = spectrum.abs()
        magnitudes = magnitude_loss(magnitude, real, FLOOR)
        # of square roots: partials outweigh what lies between them, and the weak ones are heard too
        roots = magnitude.clamp(min=1e-6).sqrt() - real.sqrt()
        roots = roots.abs().mean() / real.sqrt().mean().clamp(min=1e-3)
        # 1 - cos of the phase error that a frame's frequencies lead to in the next one, where it is loud
        weight = real[:, 1:] * real[:, :-1]
        weight = weight / weight.sum().clamp(min=1e-3)
        error = 1 - (deviation[:, :-1] - turned(spectrum, self.generator.frame_hop)).cos()
        losses = {"magnitude": magnitudes, "root": roots, "frequency": (weight * error).sum()}
        self.log_dict({f"train/{name}": loss for name, loss in losses.items()}, prog_bar=True)
        weighted = [self.hparams[f"weight_{name}"] * loss for name, loss in losses.items()]
        return torch.stack(weighted).sum()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Spectral distances of held-out copies; the first clips are heard in TensorBoard."""
        real = batch["wav"]
        fake = self.decode(self.encode(real[:, None]))[:, 0, : real.shape[-1]]
        stft, mel = spectral_losses(fake, real, self.loss_specs, FLOOR)
        self.log_dict({"val/stft": stft, "val/mel": mel}, prog_bar=True, batch_size=len(real))
        if batch_idx < 3:
            log_audio(self, f"{batch['ids'][0]}/copy", fake, self.sample_rate)
