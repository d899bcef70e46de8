"""What every text-to-mel system shares: tokens, scale of the mels, release, and the way a text is spoken."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import lightning.pytorch as L
import torch
from torch import Tensor, nn

from audiogen.audio import Audio, Timing
from audiogen.nn.text_encoder import TextEncoder
from audiogen.report import StageTimer
from audiogen.spectral import MelSpec
from audiogen.speech import SpeechOptions, check_steps, synthesize
from audiogen.speech_stream import stream
from audiogen.streaming import decode_chunks
from audiogen.text.frontend import START, Sentence
from audiogen.training.checkpoint import release_of
from audiogen.training.pictures import log_audio, log_mels
from audiogen.training.schedules import warmup_cosine
from audiogen.vocoders import MelVocoder
from audiogen.vocoders.griffin_lim import GriffinLim

LONGEST_LOG_FRAMES = 5.0  # ln(frames + 1): no token lasts longer than 2.4 s
FEWEST_FRAMES = 4  # the shortest mel the vocoders take


@dataclass(frozen=True)
class Condition:
    """What a denoiser knows of a batch of utterances.

    frames: (B, C, N). mask: (B, 1, N) True = real. mean: (B, n_mels, N), a first guess of the standardised
    mel, for systems that have one.
    """

    frames: Tensor
    mask: Tensor
    mean: Tensor | None = None


class AcousticModel(L.LightningModule):
    """Tokens of a sentence to log-mel frames, and through a vocoder to speech.

    A system adds its condition (`lay_out`), its sampler (`sample`), its losses, and as attributes the
    `step_counts` it can speak in and its `default_steps`. Its `__init__` calls `save_hyperparameters` itself.
    mel_spec: fields of `MelSpec`. encoder: arguments of `TextEncoder`. Of the hyper-parameters a system must
    have `lr`, `lr_final`, `warmup_steps` and `total_steps`.
    """

    key: ClassVar[str]  # its name in SYSTEMS
    step_counts: tuple[int, ...]
    default_steps: int

    def __init__(
        self,
        mel_spec: Mapping[str, Any] | None,
        language: str,
        speakers: Sequence[str],
        symbols: Sequence[str],
        channels: int,
        encoder: Mapping[str, Any] | None,
    ) -> None:
        super().__init__()
        self.mel_spec = MelSpec(**(mel_spec or {}))
        self.sample_rate = self.mel_spec.sample_rate
        self.language = language
        self.speakers = tuple(speakers)
        self.symbols = tuple(symbols)
        self.vocoder: MelVocoder | None = None
        self.encoder = TextEncoder(len(symbols), channels, **(encoder or {}))
        self.speaker = nn.Embedding(len(speakers), channels)
        nn.init.zeros_(self.speaker.weight)
        self.add_inputs(channels)
        # mean and standard deviation of the training data's mels, log-F0 and log-energy
        self.register_buffer("statistics", torch.tensor([[0.0, 1.0]] * 3))
        self.statistics: Tensor

    def add_inputs(self, channels: int) -> None:
        """Make the modules for what a system's tokens tell beside phone, stress and length, if anything."""
        return

    @abstractmethod
    def lay_out(
        self, sentences: Sequence[Sentence], speakers: Sequence[int], options: SpeechOptions
    ) -> tuple[Condition, Tensor]:
        """Sentences to a padded batch's condition and its durations in frames (B, S), a boundary first."""

    @abstractmethod
    def sample(self, condition: Condition, seeds: Sequence[int], num_steps: int) -> Tensor:
        """Standardised mel (B, n_mels, N) from each item's own noise."""

    def further_inputs(self, batch: Mapping[str, Any]) -> Tensor | None:
        """What the modules of `add_inputs` make of a batch, added to the embeddings: (B, S, C) or None."""
        return None

    def hidden(self, batch: Mapping[str, Any]) -> Tensor:
        """Tokens of a batch to hidden states (B, C, S) that know their speaker."""
        mask: Tensor = batch["token_mask"]
        more = self.further_inputs(batch)
        hidden = self.encoder(batch["tokens"], batch["stress"], batch["long"], mask, more)
        return (hidden + self.speaker(batch["speaker"])[:, :, None]) * mask

    def standardise(self, mel: Tensor) -> Tensor:
        """Log-mel to the scale of the diffusion."""
        return (mel - self.statistics[0, 0]) / self.statistics[0, 1]

    def restore(self, mel: Tensor) -> Tensor:
        """Inverse of `standardise`."""
        return mel * self.statistics[0, 1] + self.statistics[0, 0]

    def release(self) -> dict[str, Any]:
        """Name in SYSTEMS and hyper-parameters of what this run makes."""
        return release_of(self.key, {**self.hparams, "mel_spec": asdict(self.mel_spec)})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let a checkpoint say how to rebuild the system."""
        checkpoint["release"] = self.release()

    def release_state(self) -> dict[str, Tensor]:
        """The tensors of the model itself."""
        return {key: value for key, value in self.state_dict().items() if not key.startswith("vocoder.")}

    def on_fit_start(self) -> None:
        """Take the data's statistics; refuse data made for another front end or token table."""
        if (data := self.data_module()) is not None:
            data.check(self.mel_spec, self.symbols, self.speakers)
            self.statistics.copy_(data.statistics())

    def data_module(self) -> Any:
        """What the trainer reads from, None for plain loaders."""
        return getattr(self.trainer, "datamodule", None)

    @property
    def stage(self) -> str:
        """Prefix of logged numbers; a system may train in eval mode, so the trainer is asked too."""
        return "train" if self.training or getattr(self._trainer, "training", False) else "val"

    def configure_optimizers(self) -> Any:
        """AdamW with a warm-up and a cosine decay."""
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=self.hparams["lr"], betas=(0.9, 0.98), weight_decay=0.01
        )
        return {"optimizer": optimizer, "lr_scheduler": warmup_cosine(optimizer, self.hparams)}

    def log_sample(self, name: str, recorded: Tensor, sampled: Tensor) -> None:
        """Both standardised mels (n_mels, N) as pictures, the sample as audio."""
        log_mels(self, f"{name}/recording, sample", [recorded, sampled])
        vocoder = self.vocoder or GriffinLim(self.mel_spec).to(self.device)
        wav = vocoder.decode(self.restore(sampled[None]).float())
        log_audio(self, f"{name}/sample", wav[0], self.sample_rate)

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
        condition, durations = self.lay_out(sentences, speakers, options)
        mel = self.restore(self.sample(condition, seeds, steps))
        counts = durations.tolist()
        mels = [mel[i : i + 1, :, : sum(count)] for i, count in enumerate(counts)]
        return mels, [self.timings(*each) for each in zip(sentences, counts, strict=True)]

    def frames(self, log_frames: Tensor, sentence: Sentence, speed: float) -> Tensor:
        """Predicted ln(frames + 1) of a sentence's tokens (1, S) -> whole frames (1, S), 1+ a phone."""
        exact = torch.expm1(log_frames.float().clamp(max=LONGEST_LOG_FRAMES)) / speed
        spoken = [token.word >= 0 for token in (START, *sentence.tokens)]
        frames = torch.maximum(torch.round(exact).long(), torch.tensor(spoken, device=exact.device).long())
        frames[:, -1] += (FEWEST_FRAMES - frames.sum(1)).clamp(min=0)
        return frames

    def token_batch(self, sentence: Sentence, speaker: int) -> dict[str, Tensor]:
        """A batch of one sentence, as `hidden` wants it."""
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


def pad_tokens(columns: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Rows of per-token tensors (S, ...) each -> one padded (B, S, ...) a column."""
    return [
        nn.utils.rnn.pad_sequence(list(column), batch_first=True) for column in zip(*columns, strict=True)
    ]
