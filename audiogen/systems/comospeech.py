"""CoMoSpeech: text-to-speech in one step, by a consistency model (Ye et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from audiogen.acoustic_model import AcousticModel, Condition, pad_tokens
from audiogen.audio import Timing
from audiogen.nn.alignment import monotonic_alignment
from audiogen.nn.conv import Pointwise
from audiogen.nn.denoiser import DENOISERS, MelDenoiser
from audiogen.nn.variance import VariancePredictor, regulate_length
from audiogen.sampling.distillation import (
    Example,
    consistency_training_example,
    doubling_steps,
    lognormal_probabilities,
    mean_square,
    pick_steps,
    pseudo_huber,
    regression_loss,
)
from audiogen.sampling.grids import karras
from audiogen.sampling.loop import Denoiser, run
from audiogen.sampling.noise import ItemNoise
from audiogen.sampling.paths import VarianceExploding
from audiogen.sampling.plans import Plan, consistency, ddim
from audiogen.sampling.prediction import EDM, to_x0
from audiogen.speech import SpeechOptions
from audiogen.text.frontend import Sentence
from audiogen.text.symbols import BOUNDARY, MARKS, SYMBOLS
from audiogen.training.checkpoint import read_weights

SIGMA_MIN, SIGMA_MAX = 0.002, 80.0  # of the noise in standardised mels (Ye et al. 2023, section 3)
DIAGONAL_WIDTH = 0.2  # of the prior that keeps early alignments near the diagonal, in shares of an utterance
PATH = VarianceExploding()

Prior = Literal["zero", "shifted", "residual"]
"""What noise is added to: "zero", noise of mean 0 on the mel; "shifted", noise of mean mu on the mel (the
paper's form); "residual", noise of mean 0 on the mel less mu. mu is the encoder's guess of the mel."""


@cache
def teacher_plan(num_steps: int) -> Plan:
    """Euler on the Karras grid (Ye et al. 2023, Algorithm 1). NFE = num_steps."""
    return ddim(PATH, karras(PATH, num_steps, start=SIGMA_MAX, end=SIGMA_MIN))


@cache
def student_plan(num_steps: int) -> Plan:
    """Consistency sampling on the Karras grid (Ye et al. 2023, Algorithm 3). NFE = num_steps."""
    return consistency(PATH, karras(PATH, num_steps, start=SIGMA_MAX, end=SIGMA_MIN), sigma_min=SIGMA_MIN)


class CoMoSpeech(AcousticModel):
    """Phones to mel frames: encoder with monotonic alignment, duration predictor and an EDM denoiser.

    The encoder gives every token a mean mel, mu; the alignment that explains the recording best by these
    means (Glow-TTS) is searched in every training step, so nothing but texts and recordings is needed.
    Teacher and student are networks of one form, D(x, sigma) = c_skip x + c_out F, with D(x, sigma_min) = x.
    prior: see `Prior`. teacher_steps, student_steps: the step counts that each speaks in; without student
    steps there is no student. A system that has both trains them together, the student by consistency
    training without a teacher; `comospeech_distill` trains it from the teacher. alignment: "search", or
    "given" for the data's own durations. sigma_mean, sigma_std: of the log noise level in training.
    temperature: of all noise that is drawn in sampling. pace: factors of the predicted durations of phones
    and of pauses, which fall short since their logarithms are learnt; validation logs what they should be.
    diagonal_steps: training steps over which a prior
    for even durations fades. init_from: weights of a released CoMoSpeech to begin from, whose speakers
    may be others. encoder, denoiser: arguments of `TextEncoder` and DENOISERS[denoiser_type].
    """

    key = "comospeech"

    def __init__(
        self,
        mel_spec: dict[str, Any] | None = None,
        language: str = "en-us",
        speakers: tuple[str, ...] = ("default",),
        symbols: tuple[str, ...] = SYMBOLS,
        teacher_steps: tuple[int, ...] = (50, 25, 10, 4),
        student_steps: tuple[int, ...] = (),
        default_steps: int = 10,
        vocoder: str | None = "vocos-16k",
        channels: int = 192,
        encoder: dict[str, Any] | None = None,
        duration_channels: int = 128,
        denoiser_type: str = "convnext",
        denoiser: dict[str, Any] | None = None,
        prior: Prior = "zero",
        temperature: float = 1.0,
        pace: tuple[float, float] = (1.0, 1.0),
        alignment: Literal["search", "given"] = "search",
        diagonal_steps: int = 600,
        sigma_mean: float = -0.5,
        sigma_std: float = 1.2,
        init_from: str | None = None,
        lr: float = 2e-3,
        lr_final: float = 2e-5,
        warmup_steps: int = 200,
        total_steps: int = 7000,
    ) -> None:
        super().__init__(mel_spec, language, speakers, symbols, channels, encoder)
        self.save_hyperparameters(ignore="init_from")
        self.teacher_steps, self.student_steps = tuple(teacher_steps), tuple(student_steps)
        self.default_steps = default_steps
        self.prior, self.temperature, self.alignment = prior, temperature, alignment
        self.diagonal_steps, self.sigma_mean, self.sigma_std = diagonal_steps, sigma_mean, sigma_std
        self.mean = Pointwise(channels, self.mel_spec.n_mels)
        self.duration = VariancePredictor(channels, duration_channels, 3, 0.5)
        make = DENOISERS[denoiser_type]
        roles = ("teacher", "student") if self.student_steps else ("teacher",)
        self.denoisers = nn.ModuleDict(
            {role: make(self.mel_spec.n_mels, channels + 2, **(denoiser or {})) for role in roles}
        )
        # standard deviation of what is noised, in standardised mels
        self.register_buffer("sigma_data", torch.ones(()))
        self.sigma_data: Tensor
        pauses = [symbol == BOUNDARY or symbol in MARKS for symbol in symbols]
        self.register_buffer("pauses", torch.tensor(pauses), persistent=False)
        self.pauses: Tensor
        self.register_buffer("pace", torch.tensor(pace), persistent=False)
        self.pace: Tensor
        if init_from is not None:
            self.begin_from(init_from)

    @property
    def step_counts(self) -> tuple[int, ...]:  # type: ignore[override]
        """All step counts this system speaks in."""
        return tuple(sorted({*self.teacher_steps, *self.student_steps}))

    def begin_from(self, name: str) -> None:
        """Take the weights of a released model; new speakers begin as its first one. Raises ValueError."""
        key, hparams, state = read_weights(name)
        if key != self.key:
            raise ValueError(f"init_from: {name} holds a {key}; fine-tuning needs a {self.key}")
        if hparams["prior"] != self.prior:
            raise ValueError(f"init_from: {name} has the prior {hparams['prior']!r}, not {self.prior!r}")
        old = list(hparams["speakers"])
        rows = [old.index(speaker) if speaker in old else 0 for speaker in self.speakers]
        state["speaker.weight"] = state["speaker.weight"][rows]
        try:
            self.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(
                f"init_from: {name} has other sizes than this configuration, take them from its card: {error}"
            ) from error

    def condition(self, hidden: Tensor, durations: Tensor) -> Condition:
        """Hidden states (B, C, S) with durations (B, S) -> frames, with the mean mel of every frame."""
        tokens = torch.cat([hidden, self.mean(hidden)], dim=1)
        frames, mask = regulate_length(tokens, durations)
        channels, n_mels = hidden.shape[1], self.mel_spec.n_mels
        known, mean, place = torch.split(frames, [channels, n_mels, 2], dim=1)
        return Condition(torch.cat([known, place], dim=1), mask, mean)

    def durations(self, hidden: Tensor, data: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Frames a token (B, S): the best alignment of the tokens' mean mels with data (B, n_mels, N).

        A frame's log-likelihood is that of a Gaussian of variance 1 around the mean of its token (Kim et al.
        2020, equation 6). Pauses may take no frame.
        """
        if self.alignment == "given":
            given: Tensor = batch["durations"]
            return given
        mask: Tensor = batch["token_mask"]
        frames, tokens = batch["durations"].sum(1), mask[:, 0].sum(1)
        with torch.no_grad():
            mean = self.mean(hidden)
            scores = mean.transpose(1, 2) @ data - mean.square().sum(1)[:, :, None] / 2
            fading = 1 - self.global_step / max(1, self.diagonal_steps)
            if self.training and fading > 0:
                scores = scores - fading * self.mel_spec.n_mels * off_diagonal(scores, tokens, frames)
        return monotonic_alignment(scores, tokens, frames, self.pauses[batch["tokens"]] & mask[:, 0])

    def noised(self, data: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """What the diffusion sees of standardised mels, and unit noise for it, (B, n_mels, N) each."""
        noise, mean = torch.randn_like(data), self.guess(condition)
        if self.prior == "residual":
            data = data - mean
        return data * condition.mask, self.shift(noise, condition) * condition.mask

    def shift(self, noise: Tensor, condition: Condition) -> Tensor:
        """Noise of mean 0 -> noise of the prior's mean."""
        return noise + self.guess(condition) if self.prior == "shifted" else noise

    @staticmethod
    def guess(condition: Condition) -> Tensor:
        """The encoder's mean mel, which the diffusion does not train. (B, n_mels, N)."""
        assert condition.mean is not None, "made by `condition`"
        return condition.mean.detach()

    def denoiser(self, network: nn.Module, condition: Condition) -> Denoiser:
        """D(x, t) of a network; t is the noise level sigma. The condition is projected here, once.

        c_in makes the input's variance 1 in every prior: noise around mu is stronger by the power of mu, and
        agrees with the mel as far as mu does.
        """
        net: MelDenoiser = network  # type: ignore[assignment]
        projected = net.project(condition.frames)
        kind = EDM(float(self.sigma_data), SIGMA_MIN)
        cells = condition.mask.sum((1, 2)) * self.mel_spec.n_mels
        power = torch.zeros_like(cells, dtype=torch.float32)  # of the noise's mean
        if self.prior == "shifted":
            power = (self.guess(condition).square() * condition.mask).sum((1, 2)) / cells

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            sigma = t.to(x.dtype)
            variance = sigma.square() * (1 + power) + 2 * sigma * power + kind.sigma_data**2
            scale = torch.rsqrt(variance)
            out = net(scale[:, None, None] * x, -sigma.log(), projected, condition.mask)
            return to_x0(kind, out, x, t, PATH)

        return denoise

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Prior, duration and denoising losses with weight 1 each (Ye et al. 2023, section 3.3)."""
        hidden = self.hidden(batch)
        mel = self.standardise(batch["mel"])
        durations = self.durations(hidden, mel, batch)
        condition = self.condition(hidden, durations)
        loss = self.prior_loss(condition, mel) + self.duration_loss(hidden, durations, batch)
        data, noise = self.noised(mel, condition)
        loss = loss + self.denoising_loss(data, noise, condition)
        if self.student_steps:
            loss = loss + self.consistency_loss(data, noise, condition)
        return loss

    def prior_loss(self, condition: Condition, mel: Tensor) -> Tensor:
        """Half the mean square distance of mels (B, n_mels, N) from the means, of real frames."""
        assert condition.mean is not None, "made by `condition`"
        error = mean_square(condition.mean, mel, condition.mask)
        if self.prior == "residual" and self.training and self.global_step < self.diagonal_steps:
            self.sigma_data.lerp_(error.detach().mean().sqrt(), 0.02)
        return self.noted("prior", error.mean() / 2)

    def duration_loss(self, hidden: Tensor, durations: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Mean square error of ln(frames + 1) over real tokens; the encoder is not trained by it."""
        mask = batch["token_mask"]
        error = self.duration(hidden.detach(), mask) - torch.log1p(durations.float())
        return self.noted("duration", (error.square() * mask[:, 0]).sum() / mask.sum())

    def denoising_loss(self, data: Tensor, noise: Tensor, condition: Condition) -> Tensor:
        """Weighted square error of the teacher at a lognormal noise level (Karras et al. 2022, Table 1)."""
        level = torch.randn(len(data), device=data.device) * self.sigma_std
        t = (level + self.sigma_mean).exp().clamp(1.01 * SIGMA_MIN, SIGMA_MAX)
        weight = (t.square() + self.sigma_data.square()) / (t * self.sigma_data).square()
        example = Example(PATH.add_noise(data, noise, t), (t,), data, weight)
        teacher = self.denoiser(self.denoisers["teacher"], condition)
        return self.noted("denoising", regression_loss(teacher, example, mask=condition.mask))

    def consistency_loss(self, data: Tensor, noise: Tensor, condition: Condition) -> Tensor:
        """The student against itself one level lower; the encoder is not trained by it."""
        fixed = Condition(condition.frames.detach(), condition.mask, self.guess(condition))
        student = self.denoiser(self.denoisers["student"], fixed)
        levels = doubling_steps(self.global_step, self.hparams["total_steps"], first=10, last=80)
        t, t_next = draw_levels(len(data), levels, data.device)
        example = consistency_training_example(PATH, student, data, noise, t, t_next)
        loss = regression_loss(student, example, mask=condition.mask, distance=pseudo_huber)
        return self.noted("consistency", loss)

    def noted(self, name: str, value: Tensor) -> Tensor:
        """The value, logged."""
        self.log(f"{self.stage}/{name}", value, prog_bar=True, batch_size=1)
        return value

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Sampling along the alignment against the recording, and the errors of means and durations."""
        hidden, mel = self.hidden(batch), self.standardise(batch["mel"])
        durations = self.durations(hidden, mel, batch)
        condition = self.condition(hidden, durations)
        self.prior_loss(condition, mel)
        self.duration_loss(hidden, durations, batch)
        self.log_pace(hidden, durations, batch)
        sampled = self.sample(condition, list(range(len(mel))), min(self.step_counts))
        distance = ((sampled - mel).abs() * condition.mask).sum()
        self.noted("l1", distance / (condition.mask.sum() * self.mel_spec.n_mels))
        if batch_idx == 0:
            frames = int(condition.mask[0].sum())
            self.log_sample(batch["ids"][0], mel[0, :, :frames], sampled[0, :, :frames])

    def paces(self, tokens: Tensor) -> Tensor:
        """The factor of every token's duration, like tokens."""
        return torch.where(self.pauses[tokens], self.pace[1], self.pace[0])

    def log_pace(self, hidden: Tensor, durations: Tensor, batch: Mapping[str, Any]) -> None:
        """Log what `pace` should be: the ratio of frames that are there to those predicted."""
        predicted = torch.expm1(self.duration(hidden, batch["token_mask"]).float()).clamp(min=0)
        pause = self.pauses[batch["tokens"]]
        for name, kind in (("phones", ~pause), ("pauses", pause)):
            chosen = kind & batch["token_mask"][:, 0]
            if bool(chosen.any()):
                self.noted(f"pace_{name}", durations[chosen].sum() / predicted[chosen].sum().clamp(min=1))

    def sample(self, condition: Condition, seeds: Sequence[int], num_steps: int) -> Tensor:
        """Standardised mel (B, n_mels, N); the student where it has learnt `num_steps`. NFE = num_steps."""
        role, plan = (
            ("student", student_plan) if num_steps in self.student_steps else ("teacher", teacher_plan)
        )
        noise, mask = ItemNoise(seeds, device=condition.frames.device), condition.mask
        start = noise.start(self.mel_spec.n_mels, mask.shape[-1])
        start = SIGMA_MAX * self.shift(self.temperature * start, condition) * mask
        denoise = self.denoiser(self.denoisers[role], condition)

        def drawn(row: int, x: Tensor) -> Tensor:
            return self.shift(self.temperature * noise(row, x), condition) * mask

        sampled = run(plan(num_steps), denoise, start, noise=drawn)
        return sampled + self.guess(condition) * mask if self.prior == "residual" else sampled

    def lay_out(
        self, sentences: Sequence[Sentence], speakers: Sequence[int], options: SpeechOptions
    ) -> tuple[Condition, Tensor]:
        """See `AcousticModel`. Raises ValueError for a change of pitch, which this system does not know.

        The text side runs one sentence at a time: a rounding error of a padded batch must never change a
        duration.
        """
        if options.pitch:
            raise ValueError(f"pitch {options.pitch}: CoMoSpeech has no pitch control; use 0, or prodiff")
        rows = []
        for sentence, speaker in zip(sentences, speakers, strict=True):
            batch = self.token_batch(sentence, speaker)
            hidden = self.hidden(batch)
            predicted = torch.expm1(self.duration(hidden, batch["token_mask"])).clamp(min=0)
            paced = torch.log1p(predicted * self.paces(batch["tokens"]))
            frames = self.frames(paced, sentence, options.speed)
            rows.append((hidden[0].T, frames[0]))
        hidden, durations = pad_tokens(rows)
        return self.condition(hidden.transpose(1, 2), durations), durations

    def mels(
        self,
        sentences: Sequence[Sentence],
        seeds: Sequence[int],
        speakers: Sequence[int],
        options: SpeechOptions,
    ) -> tuple[list[Tensor], list[tuple[Timing, ...]]]:
        """See `AcousticModel`; energy is a gain of the mel."""
        mels, timings = super().mels(sentences, seeds, speakers, options)
        gain = options.energy * math.log(10) / 20
        return [(mel + gain).clamp(min=math.log(self.mel_spec.floor)) for mel in mels], timings


def draw_levels(count: int, levels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Neighbouring noise levels t > t_next (count,), lognormal on a Karras grid of `levels` steps.

    The law of Song and Dhariwal 2024, section 3.5, for data of twice the standard deviation.
    """
    times = karras(PATH, levels, start=SIGMA_MAX, end=SIGMA_MIN)
    shares = lognormal_probabilities(PATH, times, mean=-1.1 + math.log(2))
    return pick_steps(times, torch.rand(count, device=device), shares)


def off_diagonal(scores: Tensor, tokens: Tensor, frames: Tensor) -> Tensor:
    """Squared distance from the diagonal in widths, like scores (B, S, N); tokens, frames: lengths (B,)."""
    s = (torch.arange(scores.shape[1], device=scores.device) + 0.5) / tokens[:, None]
    n = (torch.arange(scores.shape[2], device=scores.device) + 0.5) / frames[:, None]
    return ((s[:, :, None] - n[:, None]) / DIAGONAL_WIDTH).square() / 2
