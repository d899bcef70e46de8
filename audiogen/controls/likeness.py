"""Controls of likeness: to the sound of a recording, to a text."""

from __future__ import annotations

from copy import copy
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.controls.control import Control
from audiogen.controls.features import TIMBRE_MELS, TIMBRE_N_FFT, mel_db
from audiogen.controls.sound import Coder, Sound, Spans

RANGE_DB = 60.0  # below the loudest band of all, differences are not heard


class Match(Control):
    """The sound of a recording (1, T): mean and deviation over time of its mel bands.

    Loudness counts: the bands are in dB of full scale, 60 dB deep. Error and loss: mean square difference in
    dB^2. `Intensity.of`, `Melody.of` and `Structure.of` take other things of a recording.
    """

    name, unit, enough = "match", "dB^2", 4.0
    usual_weight = 1 / 40

    def __init__(self, wav: Tensor, sample_rate: int, *, weight: float = 1.0, ignore: Spans = ()) -> None:
        super().__init__(weight=weight, ignore=ignore)
        with torch.no_grad():
            sound = Sound.of(wav, sample_rate)
            levels = mel_db(sound, TIMBRE_N_FFT, TIMBRE_MELS)
            self.floor = float(levels.max()) - RANGE_DB
            every = torch.ones(levels.shape[-1], dtype=torch.bool, device=wav.device)
            self.sample_rate, self.target = sample_rate, timbre_moments(levels, every, self.floor)

    def errors(self, sound: Sound) -> Tensor:
        """Mean square difference of means and deviations (B,)."""
        if sound.sample_rate != self.sample_rate:
            raise ValueError(
                f"the recording to match has {self.sample_rate} Hz, the music {sound.sample_rate}: "
                "resample it"
            )
        levels = mel_db(sound, TIMBRE_N_FFT, TIMBRE_MELS)
        cares = self.cares(levels.shape[-1], device=levels.device)
        found = timbre_moments(levels, cares, self.floor)
        return (found - self.target.to(found)).square().mean(1)


def timbre_moments(levels: Tensor, cares: Tensor, floor: float) -> Tensor:
    """Mel bands in dB (B, n_mels, N) -> their means and deviations over a mask's frames (B, 2 n_mels)."""
    levels = floor + F.softplus(levels - floor)  # smooth, so that what is too quiet can be made louder
    count = cares.sum().clamp(min=1)
    mean = (levels * cares).sum(-1) / count
    variance = ((levels - mean[..., None]).square() * cares).sum(-1) / count
    return torch.cat((mean, (variance + 1e-2).sqrt()), dim=1)


class JointEmbedding(Protocol):
    """A model of text and sound in one space, such as CLAP (Wu et al. 2023). Vectors of any length."""

    def text(self, caption: str) -> Tensor:
        """The caption's vector (D,)."""
        ...

    def sound(self, wav: Tensor, sample_rate: int) -> Tensor:
        """wav (B, T) -> vectors (B, D), with gradients."""
        ...


@runtime_checkable
class CaptionCoder(Protocol):
    """A generator that can tell how well latents fit a caption."""

    def caption_loss(self, latents: Tensor, caption: str) -> Tensor:
        """Latents (B, D, L) -> (B,), smaller for what the caption describes better."""
        ...


class Text(Control):
    """Music that fits a caption.

    embedding: a model of text and sound; the loss is 1 - the cosine of both vectors. Without one the
    generator judges by itself: its loss is by how much worse its network, told the caption, predicts the
    latents under noise than told nothing, as a share of the latter's error. Error: the loss. Raises
    ValueError for an empty caption, and when bound to a generator that cannot judge.
    """

    name, unit, enough = "text", "misfit", 0.0
    usual_weight = 2.0

    def __init__(
        self,
        caption: str,
        embedding: JointEmbedding | None = None,
        *,
        weight: float = 1.0,
        ignore: Spans = (),
    ) -> None:
        super().__init__(weight=weight, ignore=ignore)
        if ignore:
            raise ValueError("a text is about the whole piece; no span of it can be ignored")
        if not caption.strip():
            raise ValueError("the text to fit is empty; give at least one word")
        self.caption, self.embedding = caption, embedding
        self._judge: CaptionCoder | None = None
        self._wanted: Tensor | None = None

    def bound(self, coder: Coder) -> Text:
        """The same for music of that generator."""
        found = copy(self)
        if self.embedding is not None:
            found._wanted = F.normalize(self.embedding.text(self.caption).detach(), dim=-1)
        elif isinstance(coder, CaptionCoder):
            found._judge = coder
        else:
            raise ValueError(
                "this generator cannot tell how well music fits a caption; give the text an embedding"
            )
        return found

    def errors(self, sound: Sound) -> Tensor:
        """The misfit (B,)."""
        if self._judge is not None:
            return self._judge.caption_loss(sound.latents, self.caption)
        assert self.embedding is not None, "bound before use"
        assert self._wanted is not None, "bound before use"
        found = F.normalize(self.embedding.sound(sound.wav, sound.sample_rate), dim=-1)
        return 1 - found @ self._wanted.to(found)
