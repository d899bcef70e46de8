"""Voices to convert to: all that a system needs of reference recordings, computed once and kept in a file."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from audiogen.audio import Audio, levelled, resample
from audiogen.files import replacing
from audiogen.nn.style import prosody
from audiogen.nn.voice_network import Style as Style  # a part of voices
from audiogen.nn.voice_network import Timbre, VoiceNetwork
from audiogen.spectral import MelSpec, mel_spectrogram

KIND = "voice"
SUFFIX = ".voice"
SHORTEST_S = 0.1  # of a recording that something can be heard of
SILENCE = 1e-4  # a recording whose peak stays below is silent
MOST_TIMBRE_S = 12.0  # of references that are attended to; more tell little and cost time
MOST_STYLE_S = 10.0
F0_RANGE_HZ = (60.0, 500.0)

Embedder = Callable[[Tensor, int], Tensor]
"""embed(wav (T,), sample_rate) -> the vector of a voice (E,), of length one."""


class WrongVoice(ValueError):
    """A voice file that is none, or that was made with another model."""


class VoiceSystem(Protocol):
    """What a system must offer to make voices."""

    mel_spec: MelSpec
    net: VoiceNetwork
    style_bins: int

    @property
    def device(self) -> torch.device: ...  # noqa: D102

    def standardise(self, mel: Tensor) -> Tensor: ...  # noqa: D102

    def release_state(self) -> Mapping[str, Tensor]: ...  # noqa: D102


@dataclass(frozen=True)
class Voice:
    """References as the blocks of one model attend to them; a batch of one.

    model: fingerprint of the model that made it. f0_hz: geometric mean of F0, 0 where nothing is voiced.
    f0_octaves: standard deviation of log2 F0. seconds: of the references.
    """

    timbre: Timbre
    style: Style
    model: str
    f0_hz: float
    f0_octaves: float
    seconds: float

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file, atomically."""
        from safetensors.torch import save_file

        tensors = {"timbre.mask": self.timbre.mask, "timbre.speaker": self.timbre.speaker}
        tensors |= {"style.mask": self.style.mask, "style.mean": self.style.mean}
        for kind, known in (("timbre", self.timbre.stacks), ("style", self.style.stacks)):
            tensors |= {f"{kind}/{k}/{n}": t for k, stack in known.items() for n, t in stack.items()}
        facts = {"f0_hz": self.f0_hz, "f0_octaves": self.f0_octaves, "seconds": self.seconds}
        metadata = {"kind": KIND, "model": self.model, "facts": json.dumps(facts)}
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        with replacing(path) as temporary:
            save_file(plain, temporary, metadata)

    def to(self, device: torch.device) -> Voice:
        """The same on another device."""
        timbre = Timbre(
            _moved(self.timbre.stacks, device), self.timbre.mask.to(device), self.timbre.speaker.to(device)
        )
        style = Style(
            _moved(self.style.stacks, device), self.style.mask.to(device), self.style.mean.to(device)
        )
        return Voice(timbre, style, self.model, self.f0_hz, self.f0_octaves, self.seconds)


def load_voice(path: str | os.PathLike[str], system: VoiceSystem) -> Voice:
    """A file of `Voice.save`, on the system's device.

    Raises FileNotFoundError, and WrongVoice for a file that is no voice or one of another model.
    """
    from safetensors import SafetensorError, safe_open

    if not os.path.isfile(path):
        raise FileNotFoundError(f"no voice at {path}; make it with `audiogen voice create`")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise WrongVoice(f"{path} is no voice ({error}); make one with `audiogen voice create`") from error
    if metadata.get("kind") != KIND:
        raise WrongVoice(f"{path} is no voice; make one with `audiogen voice create`")
    if (wanted := fingerprint(system)) != metadata["model"]:
        raise WrongVoice(
            f"{path} was made with the model {metadata['model']}, not with this one ({wanted}): make it "
            "again from the recordings with `audiogen voice create --model`, or give that model"
        )
    kinds: dict[str, dict[str, dict[str, Tensor]]] = {"timbre": {}, "style": {}}
    for name in (name for name in tensors if "/" in name):
        kind, stack, part = name.split("/")
        kinds[kind].setdefault(stack, {})[part] = tensors[name]
    timbre = Timbre(kinds["timbre"], tensors["timbre.mask"], tensors["timbre.speaker"])
    style = Style(kinds["style"], tensors["style.mask"], tensors["style.mean"])
    return Voice(timbre, style, metadata["model"], **json.loads(metadata["facts"])).to(system.device)


def fingerprint(system: VoiceSystem) -> str:
    """What tells a model from others: a digest of its tensors, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(system.release_state().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def heard(audio: Audio, sample_rate: int, what: str) -> Tensor:
    """A recording as models hear it: (T,) at `sample_rate`, channels mixed, without offset, at one level.

    Raises ValueError that says what is wrong with `what`: NaN or infinite samples, silence, too short.
    """
    if not bool(torch.isfinite(audio.wav).all()):
        place = int((~torch.isfinite(audio.wav)).any(0).nonzero()[0])
        raise ValueError(
            f"{what} is damaged: sample {place} ({place / audio.sample_rate:.3f} s) is NaN or infinite; cut "
            "it out or write the recording anew"
        )
    if audio.seconds < SHORTEST_S:
        raise ValueError(
            f"{what} is too short: {audio.seconds:.3f} s; give at least {SHORTEST_S} s of speech"
        )
    wav = audio.wav.mean(0)
    wav = wav - wav.mean()
    if not float(wav.abs().max()) > SILENCE:
        raise ValueError(f"{what} is silent; give a recording of speech")
    return levelled(resample(wav, audio.sample_rate, sample_rate))


def pitch_and_mel(wav: Tensor, spec: MelSpec) -> tuple[Tensor, Tensor]:
    """F0 in Hz (N,), 0 = unvoiced, and log-mel (n_mels, N) of wav (T,)."""
    from audiogen.data.pitch import fast_pitch

    mel = mel_spectrogram(wav[None], spec)[0]
    f0 = torch.zeros(mel.shape[1])
    track = torch.from_numpy(fast_pitch(wav.numpy(), spec, F0_RANGE_HZ))[: len(f0)]
    f0[: len(track)] = track
    return f0, mel


def curves_of(wav: Tensor, system: VoiceSystem, *, pitch: float = 0.0) -> Tensor:
    """Prosody (3 + style_bins, N) of wav (T,) as the system's style encoder takes it; pitch: semitones."""
    f0, mel = pitch_and_mel(wav, system.mel_spec)
    curves = prosody(mel, f0, system.style_bins)
    curves[0] += pitch / 12
    return curves


@torch.no_grad()
def style_of(curves: Tensor, system: VoiceSystem) -> Style:
    """Prosody (3 + style_bins, N) -> what the blocks need, a batch of one."""
    given = curves[None].to(system.device)
    return system.net.style(given, torch.ones_like(given[:, 0], dtype=torch.bool))


def reference_style(system: VoiceSystem, audio: Audio, *, pitch: float = 0.0) -> Style:
    """The style of a recording, of its first MOST_STYLE_S; pitch: semitones. Raises ValueError as `heard`."""
    wav = heard(audio, system.mel_spec.sample_rate, "the style reference")
    wav = wav[: round(MOST_STYLE_S * system.mel_spec.sample_rate)]
    return style_of(curves_of(wav, system, pitch=pitch), system)


@torch.no_grad()
def make_voice(system: VoiceSystem, references: Sequence[Audio], embed: Embedder) -> Voice:
    """A voice of one or more recordings of a speaker; its style is that of the longest.

    Raises ValueError without recordings and for bad ones.
    """
    if not references:
        raise ValueError("a voice needs at least one recording of the speaker")
    spec = system.mel_spec
    waves = [heard(a, spec.sample_rate, f"reference {n}") for n, a in enumerate(references, 1)]
    tracks, mels = zip(*(pitch_and_mel(wav, spec) for wav in waves), strict=True)
    most = max(1, round(MOST_TIMBRE_S * spec.frame_rate / len(mels)))
    mel = torch.cat([_middle(mel, most) for mel in mels], dim=1)[None].to(system.device)
    vector = torch.stack([embed(wav, spec.sample_rate) for wav in waves]).float().mean(0)
    vector = torch.nn.functional.normalize(vector, dim=0)[None].to(system.device)
    mask = torch.ones_like(mel[:, 0], dtype=torch.bool)
    longest = max(waves, key=len)[: round(MOST_STYLE_S * spec.sample_rate)]
    octaves = torch.cat([f0[f0 > 0] for f0 in tracks]).log2()
    voiced = len(octaves) > 1
    return Voice(
        system.net.timbre(system.standardise(mel), mask, vector),
        style_of(curves_of(longest, system), system),
        fingerprint(system),
        f0_hz=math.exp2(float(octaves.mean())) if voiced else 0.0,
        f0_octaves=float(octaves.std()) if voiced else 0.0,
        seconds=sum(len(wav) for wav in waves) / spec.sample_rate,
    )


def _middle(mel: Tensor, most: int) -> Tensor:
    """The middle `most` frames of (n_mels, N): recordings begin and end with silence."""
    start = max(0, (mel.shape[1] - most) // 2)
    return mel[:, start : start + most]


def _moved(stacks: Mapping[str, Mapping[str, Tensor]], device: torch.device) -> dict[str, Any]:
    return {name: {key: t.to(device) for key, t in stack.items()} for name, stack in stacks.items()}
