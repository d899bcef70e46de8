"""Controls of regions: music that is there stays, goes on, or returns to its start."""

from __future__ import annotations

from copy import copy

import torch
from torch import Tensor

from audiogen.audio import resample
from audiogen.controls.control import Control
from audiogen.controls.sound import Coder, Sound, Spans, masked_mean

FADE_S = 0.03  # in which a recording goes over into its copy


class Region(Control):
    """A control that compares latents with latents. Error and loss: mean square difference."""

    unit, enough = "square difference of latents", 0.05
    usual_weight = 1.0
    wav: Tensor
    rate: int
    known: Tensor

    def bound(self, coder: Coder) -> Region:
        """The same with the latents of its recording. The coder gives both."""
        found = copy(self)
        found.wav, found.rate = resample(self.wav, self.rate, coder.sample_rate), coder.sample_rate
        with torch.no_grad():
            found.known = coder.encode(found.wav)
        return found


class Inpaint(Region):
    """A recording (1, T) with holes, spans of seconds, in which new music is made.

    In the end the recording itself is heard around the holes, faded over within 30 ms. Raises ValueError
    without holes.
    """

    name = "inpaint"

    def __init__(
        self, wav: Tensor, sample_rate: int, holes: Spans, *, weight: float = 1.0, ignore: Spans = ()
    ) -> None:
        super().__init__(weight=weight, ignore=[*ignore, *holes])
        if not holes:
            raise ValueError("inpainting needs a hole, as 4s:6s")
        self.wav, self.rate, self.holes = wav, sample_rate, tuple(holes)

    def at(self, sample_rate: int) -> Tensor:
        """The recording at another rate (1, T)."""
        return resample(self.wav, self.rate, sample_rate)

    def errors(self, sound: Sound) -> Tensor:
        """Around the holes (B,)."""
        frames = min(sound.latents.shape[-1], self.known.shape[-1])
        difference = (sound.latents[..., :frames] - self.known[..., :frames]).square().mean(1)
        return masked_mean(difference, self.cares(frames, sound.latent_rate, difference.device))

    def finish(self, wav: Tensor, sample_rate: int) -> Tensor:
        """The recording around the holes, the music within, (1, T)."""
        known = self.wav[:, : wav.shape[-1]].to(wav)
        seconds = torch.arange(known.shape[-1], device=wav.device) / sample_rate
        inside = torch.zeros_like(seconds)
        for start, end in self.holes:
            # the fades lie outside of the hole, where the music copies the recording
            near = torch.minimum(seconds - start, end - seconds)
            inside = torch.maximum(inside, (1 + near / FADE_S).clamp(0, 1))
        return torch.cat(
            (torch.lerp(known, wav[:, : known.shape[-1]], inside), wav[:, known.shape[-1] :]), -1
        )


class Outpaint(Region):
    """Music that goes on from a recording (1, T): its start is the recording's last `overlap_s` seconds.

    In the end the recording is heard before it. Raises ValueError for a recording that is shorter.
    """

    name = "outpaint"

    def __init__(
        self,
        wav: Tensor,
        sample_rate: int,
        *,
        overlap_s: float = 1.0,
        weight: float = 1.0,
        ignore: Spans = (),
    ) -> None:
        super().__init__(weight=weight, ignore=ignore)
        if not 0 < overlap_s <= wav.shape[-1] / sample_rate:
            raise ValueError(
                f"an overlap of {overlap_s:g} s must be positive and fit the recording of "
                f"{wav.shape[-1] / sample_rate:.2f} s"
            )
        self.before, self.rate, self.overlap_s = wav, sample_rate, overlap_s
        self.wav = wav[:, wav.shape[-1] - round(overlap_s * sample_rate) :]

    def at(self, sample_rate: int) -> Tensor:
        """The recording at another rate (1, T)."""
        return resample(self.before, self.rate, sample_rate)

    def bound(self, coder: Coder) -> Outpaint:
        """The same with the latents of the overlap."""
        found = super().bound(coder)
        assert isinstance(found, Outpaint), "a copy is of its class"
        found.before = resample(self.before, self.rate, coder.sample_rate)
        return found

    def errors(self, sound: Sound) -> Tensor:
        """In the overlap (B,); its last latents, which know nothing of what comes after, have no say."""
        frames = max(1, min(self.known.shape[-1] - 1, sound.latents.shape[-1]))
        difference = (sound.latents[..., :frames] - self.known[..., :frames]).square().mean(1)
        return masked_mean(difference, self.cares(frames, sound.latent_rate, difference.device))

    def finish(self, wav: Tensor, sample_rate: int) -> Tensor:
        """The recording, which within 30 ms of its end goes over into the music, (1, T)."""
        overlap = min(self.wav.shape[-1], wav.shape[-1])
        fade = min(round(FADE_S * sample_rate), overlap)
        ramp = (torch.arange(fade, device=wav.device) + 0.5) / fade
        before, new = self.before.to(wav), wav[:, overlap - fade :]
        mixed = torch.lerp(before[:, before.shape[-1] - fade :], new[:, :fade], ramp)
        return torch.cat((before[:, : before.shape[-1] - fade], mixed, new[:, fade:]), -1)


class Loop(Control):
    """Music whose last `overlap_s` seconds are its first ones, so that it can be repeated without a seam.

    In the end it is shorter by the overlap, within which its end fades into its start.
    """

    name, unit, enough = "loop", "square difference of latents", 0.05

    def __init__(self, *, overlap_s: float = 1.0, weight: float = 1.0, ignore: Spans = ()) -> None:
        super().__init__(weight=weight, ignore=ignore)
        if not overlap_s > 0:
            raise ValueError(f"the overlap of a loop must be positive, got {overlap_s:g} s")
        self.overlap_s = overlap_s

    def errors(self, sound: Sound) -> Tensor:
        """Between the first and the last seconds (B,)."""
        frames = max(1, round(self.overlap_s * sound.latent_rate))
        if 2 * frames > sound.latents.shape[-1]:
            raise ValueError(f"a loop with an overlap of {self.overlap_s:g} s must be twice as long at least")
        start, end = sound.latents[..., :frames], sound.latents[..., -frames:]
        difference = (start - end).square().mean(1)
        return masked_mean(difference, self.cares(frames, sound.latent_rate, difference.device))

    def finish(self, wav: Tensor, sample_rate: int) -> Tensor:
        """Without its last seconds, which are faded into its first ones (1, T - overlap)."""
        overlap = round(self.overlap_s * sample_rate)
        ramp = (torch.arange(overlap, device=wav.device) + 0.5) / overlap
        mixed = torch.lerp(wav[:, -overlap:], wav[:, :overlap], ramp)
        return torch.cat((mixed, wav[:, overlap : wav.shape[-1] - overlap]), -1)
