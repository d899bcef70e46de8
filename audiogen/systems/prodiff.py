"""ProDiff: few-step diffusion text-to-speech that predicts clean mels (Huang et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor, nn

from audiogen.audio import Audio, Timing
from audiogen.nn.denoiser import DENOISERS, MelDenoiser
from audiogen.nn.ssim import ssim
from audiogen.nn.text_encoder import TextEncoder
from audiogen.nn.variance import VarianceAdaptor, Variances, regulate_length
from audiogen.report import StageTimer
from audiogen.sampling.grids import uniform_t
from audiogen.sampling.loop import run
from audiogen.sampling.noise import ItemNoise
from audiogen.sampling.paths import VPCosine
from audiogen.sampling.plans import Plan, ddim
from audiogen.spectral import MelSpec
from audiogen.speech import SpeechOptions, check_steps, synthesize
from audiogen.speech_stream import stream
from audiogen.streaming import decode_chunks
from audiogen.text.frontend import START, Sentence
from audiogen.text.symbols import SYMBOLS
from audiogen.training.checkpoint import release_of
from audiogen.training.pictures import log_audio, log_mels
from audiogen.training.schedules import warmup_cosine
from audiogen.vocoders import MelVocoder
from audiogen.vocoders.griffin_lim import GriffinLim

MEL_RANGE = 6.0  # largest minus smallest standardised mel, about: the scale of the structural similarity


@dataclass(frozen=True)
class Condition:
    """What the denoiser knows of an utterance. frames: (B, C, N). mask: (B, 1, N) True = real."""

    frames: Tensor
    mask: Tensor


@cache
def sampling_plan(path: VPCosine, num_steps: int, eta: float) -> Plan:
    """DDIM on the grid of equal steps in t, built once."""
    return ddim(path, uniform_t(num_steps), eta=eta)


class ProDiff(L.LightningModule):
    """Phones to mel frames: text encoder, variance adaptor and a denoiser that predicts the clean mel.

    The denoiser is trained directly on the grid it samples on (ProDiff, section 3.1): `num_steps` + 1 uniform
    times of the path `VPCosine`. step_counts: one denoiser each; a teacher has one, distillation adds fewer
    steps. eta: share of fresh noise a step, 0 = DDIM, 1 = ancestral. mel_spec: fields of `MelSpec`. vocoder:
    name of the model to load with it. encoder, variances, denoiser: arguments of `TextEncoder`,
    `VarianceAdaptor` and DENOISERS[denoiser_type].
    """

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
        super().__init__()
        self.save_hyperparameters()
        self.mel_spec = MelSpec(**(mel_spec or {}))
        self.sample_rate = self.mel_spec.sample_rate
        self.language = language
        self.speakers = tuple(speakers)
        self.step_counts = tuple(step_counts)
        self.default_steps = default_steps
        self.symbols = tuple(symbols)
        self.eta, self.temperature = eta, temperature
        self.weight_l1, self.weight_ssim, self.weight_variances = weight_l1, weight_ssim, weight_variances
        self.vocoder: MelVocoder | None = None
        self.path = VPCosine()
        self.encoder = TextEncoder(len(symbols), channels, **(encoder or {}))
        self.speaker = nn.Embedding(len(speakers), channels)
        self.adaptor = VarianceAdaptor(channels, **(variances or {}))
        make = DENOISERS[denoiser_type]
        self.denoisers = nn.ModuleDict(
            {str(n): make(self.mel_spec.n_mels, channels + 2, **(denoiser or {})) for n in step_counts}
        )
        nn.init.zeros_(self.speaker.weight)
        # mean and standard deviation of the training data's mels, log-F0 and log-energy
        self.register_buffer("statistics", torch.tensor([[0.0, 1.0]] * 3))
        self.statistics: Tensor

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
        mask = batch["token_mask"]
        hidden = self.encoder(batch["tokens"], batch["stress"], batch["long"], mask)
        hidden = (hidden + self.speaker(batch["speaker"])[:, :, None]) * mask
        return hidden, self.adaptor.predict(hidden, mask)

    def condition(
        self, hidden: Tensor, durations: Tensor, pitch: Tensor, energy: Tensor, token_mask: Tensor
    ) -> Condition:
        """Hidden states (B, C, S) with durations, standardised pitch and energy (B, S) -> frames."""
        return Condition(*regulate_length(self.adaptor.add(hidden, pitch, energy, token_mask), durations))

    def standardise(self, mel: Tensor) -> Tensor:
        """Log-mel to the scale of the diffusion."""
        return (mel - self.statistics[0, 0]) / self.statistics[0, 1]

    def release(self) -> dict[str, Any]:
        """Name in SYSTEMS and hyper-parameters of what this run makes."""
        return release_of("prodiff", {**self.hparams, "mel_spec": asdict(self.mel_spec)})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let a checkpoint say how to rebuild the system."""
        checkpoint["release"] = self.release()

    def release_state(self) -> dict[str, Tensor]:
        """The tensors of the model itself."""
        return {key: value for key, value in self.state_dict().items() if not key.startswith("vocoder.")}

    def on_fit_start(self) -> None:
        """Take the data's statistics; refuse data made for another front end or token table."""
        data: Any = getattr(self.trainer, "datamodule", None)
        if data is None:
            return
        data.check(self.mel_spec, self.symbols, self.speakers)
        self.statistics.copy_(data.statistics())

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

    @property
    def stage(self) -> str:
        """Prefix of logged numbers."""
        return "train" if self.training else "val"

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
            log_mels(
                self, f"{batch['ids'][0]}/recording, sample", [data[0, :, :frames], sampled[0, :, :frames]]
            )
            vocoder = self.vocoder or GriffinLim(self.mel_spec).to(self.device)
            wav = vocoder.decode(self.restore(sampled[:1, :, :frames]).float())
            log_audio(self, f"{batch['ids'][0]}/sample", wav[0], self.sample_rate)

    def configure_optimizers(self) -> Any:
        """AdamW with a warm-up and a cosine decay."""
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=self.hparams["lr"], betas=(0.9, 0.98), weight_decay=0.01
        )
        return {"optimizer": optimizer, "lr_scheduler": warmup_cosine(optimizer, self.hparams)}

    def restore(self, mel: Tensor) -> Tensor:
        """Inverse of `standardise`."""
        return mel * self.statistics[0, 1] + self.statistics[0, 0]

    def sample(self, condition: Condition, seeds: Sequence[int], num_steps: int) -> Tensor:
        """Run the plan from each item's own noise -> standardised mel (B, n_mels, N). NFE = num_steps."""
        noise = ItemNoise(seeds, device=condition.frames.device)
        start = noise.start(self.mel_spec.n_mels, condition.mask.shape[-1])
        start = self.temperature * start * condition.mask
        denoise = self.denoiser(num_steps, condition)
        return run(self.plan(num_steps), denoise, start, noise=lambda row, x: noise(row, x) * condition.mask)

    def synthesize(
        self,
        text: str,
        *,
        num_steps: int | None = None,
        seed: int = 0,
        speed: float = 1.0,
        pitch: float = 0.0,
        energy: float = 0.0,
        speaker: str | int = 0,
        lexicon: Path | None = None,
    ) -> Audio:
        """Speak a text of any length; the same audio as `audiogen tts` with the same seed.

        num_steps: one of `step_counts`. speed: 2 is twice as fast. pitch: semitones. energy: dB. Raises
        NothingToSay for a text without words and ValueError for options out of range.
        """
        options = SpeechOptions(num_steps, speed, pitch, energy)
        return synthesize(self, text, options, seed=seed, speaker=speaker, lexicon=lexicon)

    def stream(
        self,
        text: str,
        *,
        num_steps: int | None = None,
        seed: int = 0,
        speed: float = 1.0,
        pitch: float = 0.0,
        energy: float = 0.0,
        speaker: str | int = 0,
        lexicon: Path | None = None,
    ) -> Iterator[Audio]:
        """The same in chunks, each as soon as it is made, with the timings of a sentence on its first."""
        options = SpeechOptions(num_steps, speed, pitch, energy)
        return stream(self, text, options, seed=seed, speaker=speaker, lexicon=lexicon)

    @torch.inference_mode()
    def synthesize_sentences(
        self,
        sentences: Sequence[Sentence],
        seeds: Sequence[int],
        speakers: Sequence[int],
        options: SpeechOptions,
        timer: StageTimer,
    ) -> list[Audio]:
        """One padded batch of sentences -> one Audio each, with phone and word timings."""
        vocoder = self._vocoder()
        with timer.stage("acoustic"):
            mels, timings = self.mels(sentences, seeds, speakers, options)
        with timer.stage("vocoder"):
            waves = [vocoder.decode(mel)[0] for mel in mels]
        return [Audio(wav, self.sample_rate, heard) for wav, heard in zip(waves, timings, strict=True)]

    @torch.inference_mode()
    def stream_sentence(
        self,
        sentence: Sentence,
        seed: int,
        speaker: int,
        options: SpeechOptions,
        timer: StageTimer,
        sizes: Iterator[int],
    ) -> Iterator[tuple[Audio, bool]]:
        """One sentence in chunks of as many mel frames as `sizes` says, and whether it is the last.

        The first chunk has the timings of the whole sentence.
        """
        vocoder = self._vocoder()
        with timer.stage("acoustic"):
            (mel,), (timings,) = self.mels([sentence], [seed], [speaker], options)
        for wav, last in timer.each("vocoder", decode_chunks(vocoder, mel, sizes)):
            yield Audio(wav[0], self.sample_rate, timings), last
            timings = ()

    def _vocoder(self) -> MelVocoder:
        if self.vocoder is None:
            raise ValueError("this system has no vocoder; load it with audiogen.load, which attaches one")
        return self.vocoder

    def mels(
        self,
        sentences: Sequence[Sentence],
        seeds: Sequence[int],
        speakers: Sequence[int],
        options: SpeechOptions,
    ) -> tuple[list[Tensor], list[tuple[Timing, ...]]]:
        """One padded batch of sentences -> the log-mel (1, n_mels, N) and the timings of each.

        Past its end an item must look as it would alone, so each is cut out for a vocoder by itself.
        """
        steps = check_steps(self, options.num_steps)
        hidden, durations, pitch, energy, mask = self.prosody(sentences, speakers, options)
        condition = self.condition(hidden, durations, pitch, energy, mask)
        mel = self.restore(self.sample(condition, seeds, steps))
        counts = durations.tolist()
        mels = [mel[i : i + 1, :, : sum(count)] for i, count in enumerate(counts)]
        return mels, [self.timings(*each) for each in zip(sentences, counts, strict=True)]

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
            log_frames = predicted.log_durations.float().clamp(max=5.0)  # no token lasts longer than 2.4 s
            frames = torch.round(torch.expm1(log_frames) / options.speed).long()
            spoken = [token.word >= 0 for token in (START, *sentence.tokens)]
            frames = torch.maximum(frames, torch.tensor(spoken, device=frames.device).long())
            frames[:, -1] += (4 - frames.sum(1)).clamp(min=0)  # the shortest mel the vocoders take
            pitch = predicted.pitch + options.pitch * math.log(2) / 12 / self.statistics[1, 1]
            energy = predicted.energy + options.energy * math.log(10) / 20 / self.statistics[2, 1]
            rows.append((hidden[0].T, frames[0], pitch[0], energy[0], batch["token_mask"][0, 0]))
        hidden, frames, pitch, energy, mask = (
            nn.utils.rnn.pad_sequence(list(column), batch_first=True) for column in zip(*rows, strict=True)
        )
        return hidden.transpose(1, 2), frames, pitch, energy, mask[:, None]

    def token_batch(self, sentence: Sentence, speaker: int) -> dict[str, Tensor]:
        """A batch of one sentence, as `encode` wants it."""
        tokens = (START, *sentence.tokens)
        table = {symbol: index for index, symbol in enumerate(self.symbols)}
        columns = {
            "tokens": [table[token.symbol] for token in tokens],
            "stress": [token.stress for token in tokens],
            "long": [token.long for token in tokens],
        }
        batch = {name: torch.tensor([values], device=self.device) for name, values in columns.items()}
        batch["token_mask"] = torch.ones(1, 1, len(tokens), dtype=torch.bool, device=self.device)
        batch["speaker"] = torch.tensor([speaker], device=self.device)
        return batch

    def timings(self, sentence: Sentence, durations: Sequence[int]) -> tuple[Timing, ...]:
        """When each phone and word is heard; durations: frames of a boundary, then of the tokens."""
        hop_s = self.mel_spec.hop_length / self.sample_rate
        phones: list[Timing] = []
        spans: dict[int, tuple[float, float]] = {}
        frame = durations[0]
        for token, count in zip(sentence.tokens, durations[1:], strict=False):
            start, frame = frame * hop_s, frame + count
            if token.word >= 0:
                phones.append(Timing(token.symbol, start, frame * hop_s, "phone"))
                spans[token.word] = (spans.get(token.word, (start, start))[0], frame * hop_s)
        words = [Timing(sentence.words[k].text, *span, "word") for k, span in sorted(spans.items())]
        return (*phones, *words)
