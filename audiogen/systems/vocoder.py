"""Vocoder training: a generator, Vocos unless told otherwise, against waveform discriminators."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from torch import Tensor

from audiogen.nn.discriminators import (
    Discriminators,
    discriminator_loss,
    generator_loss,
)
from audiogen.nn.spectral_loss import magnitude_loss, resolutions, spectral_losses
from audiogen.spectral import MelSpec, magnitude, mel_spectrogram
from audiogen.training.adversarial import AdversarialModule
from audiogen.training.checkpoint import release_of
from audiogen.training.pictures import log_audio, log_mels
from audiogen.vocoders.build import build_generator
from audiogen.vocoders.vocos import Vocos, VocosOutput


class Vocoder(AdversarialModule):
    """Mel to waveform (Vocos, Siuzdak 2023), trained on multi-resolution STFT and mel losses.

    Then adversarially.

    mel_spec: fields of `MelSpec`. kind: vocos, or hifigan or bigvgan with the arguments `generator` (see
    `HiFiGan`, `BigVGan`) in the place of those of `Vocos`: causal, source, refinements and the sizes. A
    source also learns the F0 of the data. weight_magnitude: of the recording's magnitudes as the head's own
    aim, which refinements lean on. adversarial_from: optimiser step at which the discriminators join
    (negative: never). The released weights hold the generator alone.
    """

    judge_loss = staticmethod(discriminator_loss)
    fool_loss = staticmethod(generator_loss)

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
        kind: str = "vocos",
        generator: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.mel_spec = MelSpec(**(mel_spec or {}))
        self.sample_rate = self.mel_spec.sample_rate
        options = generator or {}
        if kind == "vocos":
            sizes = {"channels": channels, "hidden": hidden, "blocks": blocks, "n_fft": n_fft}
            options = {**sizes, "causal": causal, "source": source, "refinements": refinements, **options}
        self.generator = build_generator(kind, self.mel_spec, options)
        self.discriminators = Discriminators(periods, n_ffts, discriminator_channels)
        self.loss_specs = resolutions(self.mel_spec)

    def release(self) -> dict[str, Any]:
        """Name in SYSTEMS and hyper-parameters of what this run makes."""
        return release_of("vocoder", {**self.hparams, "mel_spec": asdict(self.mel_spec)})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let a checkpoint say how to rebuild the system."""
        checkpoint["release"] = self.release()

    def decode(self, mel: Tensor) -> Tensor:
        """mel (B, n_mels, N) -> waveform (B, 1, T), as long as `MelVocoder` says."""
        return self.generator.decode(mel)

    @property
    def lookahead(self) -> int | None:
        """Frames beyond the next one that the audio up to a frame waits for."""
        return self.generator.lookahead

    @property
    def lookahead_ms(self) -> float | None:
        """The same in milliseconds."""
        return self.generator.lookahead_ms

    def init_state(self, batch: int) -> Any:
        """The start of `batch` streams."""
        return self.generator.init_state(batch)

    def stream(self, state: Any, mel: Tensor, last: bool = False) -> tuple[Any, Tensor]:
        """The next frames (B, n_mels, n) -> state, the audio (B, 1, T) that is complete."""
        return self.generator.stream(state, mel, last)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Sum of the generator's loss and, once they have joined.

        The discriminators' (each trains its own weights).
        """
        real = batch["wav"]
        mel = mel_spectrogram(real, self.mel_spec)
        output = self.generator.synthesize(mel) if isinstance(self.generator, Vocos) else None
        fake = (self.decode(mel) if output is None else output.audio)[:, 0]
        real = real[:, : fake.shape[-1]]
        stft, distance = spectral_losses(fake, real, self.loss_specs)
        self.log_dict({"train/stft": stft, "train/mel": distance}, prog_bar=True)
        loss = self.hparams["weight_stft"] * stft + self.hparams["weight_mel"] * distance
        if output is not None:
            loss = loss + self.inner_losses(output, real, batch)
        if 0 <= self.hparams["adversarial_from"] <= self.global_step:
            loss = loss + self.adversarial_losses(real, fake)
        return loss

    def inner_losses(self, output: VocosOutput, real: Tensor, batch: dict[str, Any]) -> Tensor:
        """What Vocos makes on the way to its waveform, against real (B, T) -> scalar."""
        loss = real.new_zeros(())
        if weight := self.hparams["weight_magnitude"]:
            spec = replace(self.mel_spec, n_fft=self.generator.n_fft, win_length=self.generator.n_fft)
            magnitudes = magnitude_loss(output.magnitude, magnitude(real, spec))
            self.log("train/magnitude", magnitudes, prog_bar=True)
            loss = loss + weight * magnitudes
        if output.f0_scores is not None:
            f0 = self.generator.source.tracker.loss(output.f0_scores, batch["f0"])
            self.log("train/f0", f0, prog_bar=True)
            loss = loss + self.hparams["weight_f0"] * f0
        return loss

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
