"""ProDiff: few-step diffusion text-to-speech that predicts clean mels (Huang et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from audiogen.acoustic_model import AcousticModel, Condition, pad_tokens
from audiogen.nn.denoiser import DENOISERS, MelDenoiser
from audiogen.nn.ssim import ssim
from audiogen.nn.variance import VarianceAdaptor, Variances, regulate_length
from audiogen.sampling.grids import uniform_t
from audiogen.sampling.loop import run
from audiogen.sampling.noise import ItemNoise
from audiogen.sampling.paths import VPCosine
from audiogen.sampling.plans import Plan, ddim
from audiogen.speech import SpeechOptions
from audiogen.text.frontend import Sentence
from audiogen.text.symbols import SYMBOLS

MEL_RANGE = 6.0  # largest minus smallest standardised mel, about: the scale of the structural similarity


@cache
def sampling_plan(path: VPCosine, num_steps: int, eta: float) -> Plan:
    """DDIM on the grid of equal steps in t, built once."""
    return ddim(path, uniform_t(num_steps), eta=eta)


class ProDiff(AcousticModel):
    """Phones to mel frames: text encoder, variance adaptor and a denoiser that predicts the clean mel.

    The denoiser is trained directly on the grid it samples on (ProDiff, section 3.1): `num_steps` + 1 uniform
    times of the path `VPCosine`. step_counts: one denoiser each; a teacher has one, distillation adds fewer
    steps. eta: share of fresh noise a step, 0 = DDIM, 1 = ancestral. mel_spec: fields of `MelSpec`. vocoder:
    name of the model to load with it. encoder, variances, denoiser: arguments of `TextEncoder`,
    `VarianceAdaptor` and DENOISERS[denoiser_type].
    """

    key = "prodiff"

    def __init__(
        self,
        mel_spec: dict[str, Any] | None = None,
        language: str = "en-us",
        speakers: tuple[str, ...] = ("default",),
        symbols: tuple[str, ...] = SYMBOLS,
        step_counts: tuple[int, ...] = (4,),
        default_steps: int = 4,
        vocoder: str | None = "vocos-16k",
        channels: int = 192,
        encoder: dict[str, Any] | None = None,
        variances: dict[str, Any] | None = None,
        denoiser_type: str = "convnext",
        denoiser: dict[str, Any] | None = None,
        eta: float = 0.0,
        temperature: float = 1.0,
        lr: float = 2e-3,
        lr_final: float = 2e-5,
        warmup_steps: int = 200,
        total_steps: int = 4000,
        weight_l1: float = 0.5,
        weight_ssim: float = 0.5,
        weight_variances: float = 0.1,
    ) -> None:
        super().__init__(mel_spec, language, speakers, symbols, channels, encoder)
        self.save_hyperparameters()
        self.step_counts = tuple(step_counts)
        self.default_steps = default_steps
        self.eta, self.temperature = eta, temperature
        self.weight_l1, self.weight_ssim, self.weight_variances = weight_l1, weight_ssim, weight_variances
        self.path = VPCosine()
        self.adaptor = VarianceAdaptor(channels, **(variances or {}))
        make = DENOISERS[denoiser_type]
        self.denoisers = nn.ModuleDict(
            {str(n): make(self.mel_spec.n_mels, channels + 2, **(denoiser or {})) for n in step_counts}
        )

    def plan(self, num_steps: int) -> Plan:
        """The one grid of `num_steps` steps.

        Training draws its times from this plan's labels, sampling runs it.
        """
        return sampling_plan(self.path, num_steps, self.eta)

    def denoiser(self, num_steps: int, condition: Condition) -> Callable[[Tensor, Tensor], Tensor]:
        """The denoiser for `num_steps` as denoise(x, t).

        Returns clean frames; the condition is projected here, once.
        """
        network: MelDenoiser = self.denoisers[str(num_steps)]  # type: ignore[assignment]
        projected = network.project(condition.frames)

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            log_snr = self.path.lam(t.double()).to(x.dtype)
            return network(x, log_snr, projected, condition.mask)

        return denoise

    def encode(self, batch: Mapping[str, Any]) -> tuple[Tensor, Variances]:
        """Tokens of a batch -> hidden states (B, C, S) and predicted variances."""
        hidden = self.hidden(batch)
        return hidden, self.adaptor.predict(hidden, batch["token_mask"])

    def condition(
        self, hidden: Tensor, durations: Tensor, pitch: Tensor, energy: Tensor, token_mask: Tensor
    ) -> Condition:
        """Hidden states (B, C, S) with durations, standardised pitch and energy (B, S) -> frames."""
        return Condition(*regulate_length(self.adaptor.add(hidden, pitch, energy, token_mask), durations))

    def reconstruction(self, estimate: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """L1 and 1 - SSIM of standardised mels (B, n_mels, N), of real frames (ProDiff, section 3.3)."""
        cells = mask.sum() * target.shape[1]
        l1 = ((estimate - target).abs() * mask).sum() / cells
        similarity = (ssim(estimate * mask, target * mask, MEL_RANGE) * mask).sum() / cells
        self.log_dict(
            {f"{self.stage}/l1": l1, f"{self.stage}/ssim": similarity}, prog_bar=True, batch_size=len(target)
        )
        return self.weight_l1 * l1 + self.weight_ssim * (1 - similarity)

    def variance_loss(self, predicted: Variances, batch: Mapping[str, Any]) -> Tensor:
        """Sum of the squared errors of log-duration, pitch and energy, each averaged over real tokens."""
        mask = batch["token_mask"][:, 0]
        targets = Variances(torch.log1p(batch["durations"].float()), batch["pitch"], batch["energy"])
        total = mask.new_zeros((), dtype=torch.float32)
        for name, guess, target in zip(Variances._fields, predicted, targets, strict=True):
            error = ((guess - target).square() * mask).sum() / mask.sum()
            self.log(f"{self.stage}/{name}", error, batch_size=len(mask))
            total = total + error
        return total

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Denoise from a random time of the sampling grid, given true durations, pitch and energy."""
        hidden, predicted = self.encode(batch)
        condition = self.condition(
            hidden, batch["durations"], batch["pitch"], batch["energy"], batch["token_mask"]
        )
        data = self.standardise(batch["mel"]) * condition.mask
        steps = self.step_counts[0]
        labels = self.plan(steps).labels.to(data.device)
        t = labels[torch.randint(len(labels), (len(data),), device=data.device)]
        x = self.path.add_noise(data, torch.randn_like(data), t) * condition.mask
        estimate = self.denoiser(steps, condition)(x, t)
        loss = self.reconstruction(estimate, data, condition.mask)
        return loss + self.weight_variances * self.variance_loss(predicted, batch)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Full sampling with true prosody against the recording, and the errors of the predictors."""
        hidden, predicted = self.encode(batch)
        condition = self.condition(
            hidden, batch["durations"], batch["pitch"], batch["energy"], batch["token_mask"]
        )
        data = self.standardise(batch["mel"]) * condition.mask
        steps = min(self.step_counts)
        sampled = self.sample(condition, list(range(len(data))), steps)
        self.reconstruction(sampled, data, condition.mask)
        self.variance_loss(predicted, batch)
        if batch_idx == 0:
            frames = int(condition.mask[0].sum())
            self.log_sample(batch["ids"][0], data[0, :, :frames], sampled[0, :, :frames])

    def sample(self, condition: Condition, seeds: Sequence[int], num_steps: int) -> Tensor:
        """Run the plan from each item's own noise -> standardised mel (B, n_mels, N). NFE = num_steps."""
        noise = ItemNoise(seeds, device=condition.frames.device)
        start = noise.start(self.mel_spec.n_mels, condition.mask.shape[-1])
        start = self.temperature * start * condition.mask
        denoise = self.denoiser(num_steps, condition)
        return run(self.plan(num_steps), denoise, start, noise=lambda row, x: noise(row, x) * condition.mask)

    def lay_out(
        self, sentences: Sequence[Sentence], speakers: Sequence[int], options: SpeechOptions
    ) -> tuple[Condition, Tensor]:
        """See `AcousticModel`."""
        hidden, durations, pitch, energy, mask = self.prosody(sentences, speakers, options)
        return self.condition(hidden, durations, pitch, energy, mask), durations

    def prosody(
        self, sentences: Sequence[Sentence], speakers: Sequence[int], options: SpeechOptions
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Hidden states, durations in frames, pitch, energy and token mask of a padded batch.

        The text side runs one sentence at a time: a rounding error of a padded batch must never change a
        duration.
        """
        rows = []
        for sentence, speaker in zip(sentences, speakers, strict=True):
            batch = self.token_batch(sentence, speaker)
            hidden, predicted = self.encode(batch)
            frames = self.frames(predicted.log_durations, sentence, options.speed)
            pitch = predicted.pitch + options.pitch * math.log(2) / 12 / self.statistics[1, 1]
            energy = predicted.energy + options.energy * math.log(10) / 20 / self.statistics[2, 1]
            rows.append((hidden[0].T, frames[0], pitch[0], energy[0], batch["token_mask"][0, 0]))
        hidden, frames, pitch, energy, mask = pad_tokens(rows)
        return hidden.transpose(1, 2), frames, pitch, energy, mask[:, None]
