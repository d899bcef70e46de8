"""Synthetic readers that tell when each phone is spoken: espeak-ng's library and the program flite.

A voice is named `espeak:LANGUAGE+VARIANT[@PITCH]`, say `espeak:en-us+f3@60`, or `flite:VOICE`, as `flite -lv`
lists them.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from audiogen.audio import read_audio
from audiogen.data.store import DataError
from audiogen.text.phonemes import parse_ipa
from audiogen.text.symbols import BOUNDARY, MODIFIERS

# The phones of flite's American English (CMU's set), in the symbols of the token table.
CMU: Final = {
    "aa": "ɑ", "ae": "æ", "ah": "ʌ", "ao": "ɔ", "aw": "aʊ", "ax": "ə", "axr": "ɚ", "ay": "aɪ", "b": "b",
    "ch": "tʃ", "d": "d", "dh": "ð", "dx": "ɾ", "eh": "ɛ", "el": "əl", "em": "əm", "en": "ən", "er": "ɜ",
    "ey": "eɪ", "f": "f", "g": "ɡ", "hh": "h", "hv": "h", "ih": "ɪ", "iy": "i", "jh": "dʒ", "k": "k",
    "l": "l", "m": "m", "n": "n", "nx": "n", "ng": "ŋ", "ow": "oʊ", "oy": "ɔɪ", "p": "p", "r": "ɹ", "s": "s",
    "sh": "ʃ", "t": "t", "th": "θ", "uh": "ʊ", "uw": "u", "v": "v", "w": "w", "y": "j", "z": "z", "zh": "ʒ",
    "pau": BOUNDARY, "h#": BOUNDARY, "brth": BOUNDARY,
}  # fmt: skip
NAME: Final = re.compile(
    r"espeak:(?P<voice>[\w-]+(?:\+[\w ]+)?)(?:@(?P<pitch>\d{1,2}))?|flite:(?P<flite>\w+)"
)


@dataclass(frozen=True)
class Reading:
    """A sentence read aloud.

    wav: (T,) float32 in [-1, 1] at sample_rate. ends_s: (S,) seconds at which each of the S symbols of the
    token table ends; a pause is a word boundary.
    """

    wav: Tensor
    sample_rate: int
    symbols: tuple[str, ...]
    ends_s: Tensor


def reader(name: str) -> Callable[[str], Reading]:
    """The function that reads a text with the voice of that name. Raises DataError for none such.

    Two readers of the same texts in the same order give the same samples.
    """
    found = NAME.fullmatch(name)
    if found is None:
        raise DataError(
            f"{name!r} names no synthetic voice; use espeak:en-us+f3, espeak:en-gb-x-rp@60 or flite:slt"
        )
    if found["flite"]:
        return lambda text: read_flite(text, found["flite"])
    espeak, voice, pitch = _Espeak(), found["voice"], int(found["pitch"] or 50)
    return lambda text: _read_espeak(espeak, text, voice, pitch)


def read_flite(text: str, voice: str) -> Reading:
    """text by a voice of flite. Raises DataError without the program, or where it fails."""
    program = shutil.which("flite")
    if program is None:
        raise DataError(
            "the program `flite` was not found: install it (Debian and Ubuntu: apt install flite)"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        command = [program, "-voice", voice, "-psdur", "-t", text, "-o", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        segments = re.findall(r"([\w#]+):([\d.]+)", done.stdout)
        if done.returncode or not segments or not path.is_file():
            raise DataError(f"flite's voice {voice!r} could not speak {text!r}: {done.stderr.strip()[-200:]}")
        wav = read_audio(path, 16000)[0]
    return _reading(wav, 16000, [(CMU.get(phone, BOUNDARY), float(end)) for phone, end in segments])


def _read_espeak(espeak: _Espeak, text: str, voice: str, pitch: int) -> Reading:
    """text by a voice of espeak-ng, as `en-us+f3`; pitch: 0 to 99. Raises DataError for an unknown voice."""
    wav, rate, events = espeak(text, voice, pitch)
    ends = [*(start for _, start in events[1:]), len(wav) / rate]
    spoken = []
    for (ipa, _), end in zip(events, ends, strict=True):
        phones = [phone.symbol for phone in parse_ipa(ipa)[0] if phone.symbol not in MODIFIERS]
        spoken.append(("".join(phones) or BOUNDARY, end))
    return _reading(wav, rate, spoken)


def _reading(wav: Tensor, sample_rate: int, segments: list[tuple[str, float]]) -> Reading:
    """Segments of (symbols, end in seconds); several symbols, as of a diphthong, share their time evenly."""
    symbols, ends, start = [], [], 0.0
    for text, end in segments:
        symbols += list(text)
        ends += [start + (end - start) * (k + 1) / len(text) for k in range(len(text))]
        start = end
    return Reading(wav, sample_rate, tuple(symbols), torch.tensor(ends))


class _Value(ctypes.Union):
    """What an event tells (espeak_EVENT.id)."""

    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Value),
    ]


class _Espeak:
    """The library in its first state.

    It keeps its state, such as the phase of a flutter, in global variables: each instance has a copy of the
    library, so that what a reader says depends on what it said before and on nothing else.
    """

    SYNCHRONOUS, PHONEMES_IN_IPA, UTF8, PITCH, PHONEME, END = 2, 3, 1, 3, 7, 0
    CALLBACK = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
    )

    def __init__(self) -> None:
        import espeakng_loader

        with tempfile.TemporaryDirectory() as folder:  # a library that is loaded needs its file no more
            self.library = ctypes.CDLL(str(shutil.copy(espeakng_loader.get_library_path(), folder)))
        data = espeakng_loader.get_data_path().encode()
        self.rate = self.library.espeak_Initialize(self.SYNCHRONOUS, 0, data, self.PHONEMES_IN_IPA)
        if self.rate <= 0:
            raise DataError(
                f"espeak-ng's library could not start (code {self.rate}); reinstall espeakng-loader"
            )
        self.chunks: list[bytes] = []
        self.events: list[tuple[str, float]] = []
        self.callback: Any = self.CALLBACK(self._receive)  # kept: the library holds no reference
        self.library.espeak_SetSynthCallback(self.callback)

    def __call__(self, text: str, voice: str, pitch: int) -> tuple[Tensor, int, list[tuple[str, float]]]:
        """wav (T,), sample rate, (IPA, start in seconds) of each phone; "" is a pause."""
        self.chunks, self.events = [], []
        if self.library.espeak_SetVoiceByName(voice.encode()):
            raise DataError(f"espeak-ng has no voice {voice!r}; `espeak-ng --voices=variant` lists variants")
        self.library.espeak_SetParameter(self.PITCH, pitch, 0)
        self.library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # else it draws noise by the clock
        words = text.encode()
        self.library.espeak_Synth(words, len(words) + 1, 0, 1, 0, self.UTF8, None, None)
        if not self.chunks or not self.events:
            raise DataError(f"espeak-ng's voice {voice!r} could not speak {text!r}")
        samples = torch.frombuffer(bytearray(b"".join(self.chunks)), dtype=torch.int16)
        return samples.float() / 32768, self.rate, self.events

    def _receive(self, samples: Any, count: int, events: Any) -> int:
        """Keep samples and phones; the library calls this while it speaks."""
        if count and samples:
            self.chunks.append(ctypes.string_at(samples, 2 * count))
        number = 0
        while events[number].type != self.END:
            if events[number].type == self.PHONEME:
                ipa = events[number].id.string.decode("utf-8", errors="ignore")
                self.events.append((ipa, events[number].sample / self.rate))
            number += 1
        return 0
