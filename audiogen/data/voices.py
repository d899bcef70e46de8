"""Speech of many speakers for voice conversion: recordings by speaker, and synthetic readers.

What each frame says is known of synthetic speech from its reader, of recordings with English texts from an
alignment, and unknown (UNKNOWN) of the rest.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from audiogen.audio import AUDIO_SUFFIXES, levelled, resample, write_audio
from audiogen.data.clips import Clip
from audiogen.data.phone_frames import UNKNOWN
from audiogen.data.pitch import fast_pitch
from audiogen.data.progress import Progress, quiet
from audiogen.data.readers import reader
from audiogen.data.speech import align, is_pause
from audiogen.data.splits import held_out_prompts, words_of
from audiogen.data.store import DataError, Ragged, save_ragged
from audiogen.files import write_text
from audiogen.spectral import MelSpec, log_mel, magnitude
from audiogen.text.frontend import START, NothingToSay, Sentence, TextFrontEnd
from audiogen.text.symbols import BOUNDARY, IDS, SYMBOLS

LEAST_S, MOST_S = 1.0, 12.0  # length of a clip
F0_RANGE_HZ: Final = (60.0, 500.0)
FEW: Final = 2000  # texts that are compared with one another
FLITE: Final = ("flite:awb", "flite:kal16", "flite:rms", "flite:slt")
# far apart to a speaker encoder, and voiced: chosen greedily among espeak-ng's variants
ESPEAK: Final = (
    *(f"espeak:en-us+{v}" for v in ("Alicia", "f5", "anika", "steph", "shelby", "Andrea", "travis")),
    *(f"espeak:en-us+{v}" for v in ("marcelo", "Marco", "Hugo", "rob", "david", "Jacky", "m5", "Nguyen")),
    *(f"espeak:en-gb-x-rp+{v}" for v in ("belinda", "Lee", "boris")),
    *(f"espeak:en-gb-scotland+{v}" for v in ("aunty", "Andy")),
)
HELD_OUT: Final = ("carlo", "flite:rms", "espeak:en-us+f5", "espeak:en-us+Hugo")


@dataclass(frozen=True)
class Utterance:
    """One clip of a voice.

    wav: (T,) at the front end's rate. symbols, ends_s: what is said, one symbol of the token table a phone,
    and when each ends, (S,) seconds; empty where it is unknown. test: whether it is kept for evaluation.
    """

    id: str
    text: str
    language: str
    wav: Tensor
    symbols: tuple[str, ...]
    ends_s: Tensor
    test: bool


@dataclass(frozen=True)
class Voice:
    """A speaker, in one language, whose utterances `load` makes. key: changes whenever they would."""

    speaker: str
    language: str
    key: str
    load: Callable[[], list[Utterance]]


def synthetic_voice(
    name: str, sentences: Sequence[str], tests: Sequence[str], minutes: float, sample_rate: int
) -> Voice:
    """A synthetic reader of the test sentences, then of its own until the minutes are full."""
    read = reader(name)

    def load() -> list[Utterance]:
        found, seconds = [], 0.0
        for number, text in enumerate([*tests, *sentences]):
            test = number < len(tests)
            if seconds >= 60 * minutes and not test:
                break
            reading = read(text)
            wav = resample(reading.wav, reading.sample_rate, sample_rate)
            if LEAST_S <= len(wav) / sample_rate <= MOST_S:
                clip_id = f"{name}/{number:04d}"
                said = (reading.symbols, reading.ends_s)
                found.append(Utterance(clip_id, text, "en", wav, *said, test))
                seconds += len(wav) / sample_rate
        return found

    return Voice(name, "en", _key(name, sentences, tests, minutes, sample_rate), load)


def recorded_voice(
    clips: Sequence[Clip],
    tests: Collection[str],
    minutes: float,
    sample_rate: int,
    seed: int = 0,
    progress: Progress = quiet,
) -> Voice:
    """The clips of one speaker in one language: those to test on first, then others drawn by the seed.

    tests: names, the ends of clips' ids.
    """
    speaker, language = clips[0].speaker, clips[0].language
    shuffled = sorted(clips, key=lambda clip: clip.id)
    random.Random(seed).shuffle(shuffled)
    shuffled.sort(key=lambda clip: _name(clip) not in tests)

    def load() -> list[Utterance]:
        chosen, waves, seconds = [], [], 0.0
        for clip in shuffled:
            if seconds >= 60 * minutes and _name(clip) not in tests:
                break
            wav = clip.read(sample_rate)
            if LEAST_S <= len(wav) / sample_rate <= MOST_S and bool(wav.abs().max() > 0):
                chosen.append(clip)
                waves.append(wav)
                seconds += len(wav) / sample_rate
        said = _aligned(chosen, waves, sample_rate, progress) if language.startswith("en") else {}
        nothing: tuple[tuple[str, ...], Tensor] = ((), torch.empty(0))
        return [
            Utterance(c.id, c.text or "", language, wav, *said.get(c.id, nothing), _name(c) in tests)
            for c, wav in zip(chosen, waves, strict=True)
        ]

    ids = [clip.id for clip in shuffled]
    return Voice(speaker, language, _key(ids, sorted(tests), minutes, sample_rate), load)


def list_speakers(source: Path, language: str) -> list[Clip]:
    """Recordings of a folder of speakers, SPEAKER/**/CLIP.wav, as of VCTK and LibriTTS.

    A text is read from CLIP.normalized.txt or CLIP.txt beside the recording, or from VCTK's txt/SPEAKER/.
    Raises DataError where there is none.
    """
    roots = [source / name for name in ("wav48_silence_trimmed", "wav48") if (source / name).is_dir()]
    root = roots[0] if roots else source
    clips = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES):
            stem = path.stem.removesuffix("_mic1").removesuffix("_mic2")
            if path.stem.endswith("_mic2"):
                continue  # the same speech as that of the first microphone
            beside = [path.with_name(f"{path.stem}{end}") for end in (".normalized.txt", ".txt")]
            texts = [p for p in (*beside, source / "txt" / folder.name / f"{stem}.txt") if p.is_file()]
            text = texts[0].read_text(encoding="utf-8").strip() if texts else None
            clips.append(Clip(f"{folder.name}/{path.stem}", path, text, language, folder.name))
    if not clips:
        raise DataError(f"{source} holds no recordings SPEAKER/CLIP.wav; check --source")
    return clips


def by_voice(clips: Iterable[Clip]) -> list[list[Clip]]:
    """Clips of the same speaker and language together, in a stable order."""
    groups: dict[tuple[str, str], list[Clip]] = {}
    for clip in clips:
        groups.setdefault((clip.speaker, clip.language), []).append(clip)
    return [groups[name] for name in sorted(groups)]


def held_out_names(clips: Sequence[Clip], seed: int = 0, fraction: float = 0.05) -> set[str]:
    """Names of clips to test on, the same for every speaker: what is said there is nowhere trained on.

    Prompts with near twins are kept together (`splits`), in a large corpus only equal ones. Without texts, a
    share of the names is drawn.
    """
    texts = {clip.id: clip.text for clip in clips if clip.text}
    names = sorted({_name(clip) for clip in clips})
    rng = random.Random(f"tests/{seed}")
    if not texts:
        return set(rng.sample(names, max(1, round(fraction * len(names)))))
    if len(texts) <= FEW:
        return {name.rpartition("/")[2] for name in held_out_prompts(texts, fraction, seed=seed)[1]}
    said = {clip_id: words_of(text) for clip_id, text in texts.items()}
    distinct = sorted(set(said.values()))
    chosen = set(rng.sample(distinct, max(1, round(fraction * len(distinct)))))
    return {clip_id.rpartition("/")[2] for clip_id, words in said.items() if words in chosen}


def build_voices(
    out: Path,
    voices: Sequence[Voice],
    *,
    held_out: Collection[str],
    embed: Callable[[Tensor, int], Tensor],
    metadata: dict[str, Any],
    spec: MelSpec | None = None,
    progress: Progress = quiet,
) -> Path:
    """Write OUT/voices.safetensors and the test clips, OUT/test/ with manifest.jsonl -> the former's path.

    Columns: mel (80, F) of clips at one level (`audio.levelled`), half precision; f0 (F,) in Hz, 0 =
    unvoiced; energy (F,), logarithmic; phones (F,), numbers in `symbols` or UNKNOWN; speaker (1,); embedding
    (256, 1), what embed(wav, sample_rate) gives. held_out: speakers of which nothing is trained on. Each
    voice is kept in OUT/parts, from where a further call goes on. Raises DataError for an unknown speaker.
    """
    spec = spec or MelSpec()
    speakers = sorted({voice.speaker for voice in voices})
    if unknown := sorted(set(held_out) - set(speakers)):
        raise DataError(f"cannot hold out {unknown[0]!r}: it is not among the speakers {speakers}")
    if set(held_out) == set(speakers):
        raise DataError("every speaker is held out, and none is left to train on; name fewer")
    (out / "parts").mkdir(parents=True, exist_ok=True)
    for voice in progress(voices, "voices", len(voices)):
        path = _part(out, voice)
        if not path.is_file() or Ragged(path).metadata["key"] != _key(voice.key, asdict(spec)):
            _write_part(out, path, voice, spec, embed)
    return _join(out, voices, speakers, set(held_out), spec, metadata)


def phone_targets(symbols: Sequence[str], ends_s: Tensor, frames: int, spec: MelSpec) -> Tensor:
    """The phone of each frame (frames,) int16: that spoken at the frame's middle; UNKNOWN without symbols.

    symbols: (S,) of the token table, marks count as pauses; ends_s: (S,) seconds. After the last is a pause.
    """
    if not symbols:
        return torch.full((frames,), UNKNOWN, dtype=torch.int16)
    numbers = torch.tensor([*(IDS[symbol] for symbol in symbols), IDS[BOUNDARY]], dtype=torch.int16)
    moments = torch.arange(frames) / spec.frame_rate
    return numbers[torch.searchsorted(ends_s.contiguous(), moments, right=True)]


def _aligned(
    clips: Sequence[Clip], waves: Sequence[Tensor], sample_rate: int, progress: Progress
) -> dict[str, tuple[tuple[str, ...], Tensor]]:
    """Symbols and their ends in seconds of the English clips whose text and sound match, by id."""
    front_end = TextFrontEnd("en-us")
    spoken: list[tuple[Clip, list[Sentence]]] = []
    sounds = []
    for clip, wav in zip(clips, waves, strict=True):
        try:
            spoken.append((clip, front_end(clip.text or "")))
        except NothingToSay:
            continue
        sounds.append(wav)
    if not spoken:
        return {}
    alignments, keep = align(spoken, sounds, sample_rate, progress)
    found = {}
    for (clip, sentences), alignment, good in zip(spoken, alignments, keep, strict=True):
        tokens = (START, *(token for sentence in sentences for token in sentence.tokens))
        symbols = tuple(BOUNDARY if is_pause(token) else token.symbol for token in tokens)
        if good:
            found[clip.id] = (symbols, alignment.starts[1:])
    return found


def _write_part(
    out: Path, path: Path, voice: Voice, spec: MelSpec, embed: Callable[[Tensor, int], Tensor]
) -> None:
    """Features of one voice, and the recordings of its test clips."""
    utterances = voice.load()
    if not utterances:
        raise DataError(f"{voice.speaker} ({voice.language}) has no clip of {LEAST_S} to {MOST_S} s")
    columns: dict[str, list[Tensor]] = {n: [] for n in ("mel", "f0", "energy", "phones", "embedding")}
    for utterance in utterances:
        wav = levelled(utterance.wav)
        magnitudes = magnitude(wav[None], spec)
        frames = magnitudes.shape[-1]
        f0 = torch.zeros(frames)
        track = torch.from_numpy(fast_pitch(wav.numpy(), spec, F0_RANGE_HZ))[:frames]
        f0[: len(track)] = track
        columns["mel"].append(log_mel(magnitudes, spec)[0].half())
        columns["f0"].append(f0)
        columns["energy"].append(magnitudes[0].square().sum(0).sqrt().clamp(min=1e-2).log().half())
        columns["phones"].append(phone_targets(utterance.symbols, utterance.ends_s, frames, spec))
        columns["embedding"].append(embed(wav, spec.sample_rate)[:, None].half())
        if utterance.test:
            file = out / _test_file(utterance.id)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_audio(file, wav[None], spec.sample_rate)
    facts = {
        "key": _key(voice.key, asdict(spec)),
        "ids": [u.id for u in utterances],
        "texts": [u.text for u in utterances],
        "test": [u.id for u in utterances if u.test],
    }
    save_ragged(path, columns, facts)


def _join(
    out: Path,
    voices: Sequence[Voice],
    speakers: Sequence[str],
    held_out: set[str],
    spec: MelSpec,
    metadata: dict[str, Any],
) -> Path:
    """All parts as one file, and the list of test clips."""
    columns: dict[str, list[Tensor]] = {}
    facts: dict[str, list[str]] = {n: [] for n in ("ids", "texts", "languages", "test", "held_out")}
    rows = []
    for voice in voices:
        part = Ragged(_part(out, voice))
        ids, test = part.metadata["ids"], set(part.metadata["test"])
        for name in ("mel", "f0", "energy", "phones", "embedding"):
            columns.setdefault(name, []).extend(part[name][i] for i in range(len(ids)))
        speaker = torch.tensor([speakers.index(voice.speaker)], dtype=torch.int16)
        columns.setdefault("speaker", []).extend(speaker for _ in ids)
        facts["ids"] += ids
        facts["texts"] += part.metadata["texts"]
        facts["languages"] += [voice.language] * len(ids)
        facts["test"] += [i for i in ids if i in test]
        facts["held_out"] += [i for i in ids if i in test or voice.speaker in held_out]
        for clip_id, text in zip(ids, part.metadata["texts"], strict=True):
            if clip_id in test:
                row = {"id": clip_id, "speaker": voice.speaker, "language": voice.language, "text": text}
                rows.append({**row, "seen": voice.speaker not in held_out, "file": _test_file(clip_id)})
    more = {"mel_spec": asdict(spec), "symbols": SYMBOLS, "speakers": list(speakers)}
    path = out / "voices.safetensors"
    save_ragged(path, columns, {**facts, **more, "held_out_speakers": sorted(held_out), **metadata})
    write_text(out / "test" / "manifest.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def _name(clip: Clip) -> str:
    """A clip's name, the same in every language."""
    return clip.id.rpartition("/")[2]


def _part(out: Path, voice: Voice) -> Path:
    """Where a voice is kept."""
    return out / "parts" / f"{_plain(voice.speaker)}.{voice.language}.safetensors"


def _test_file(clip_id: str) -> str:
    """Where a test clip's recording lies below the folder of the data."""
    return f"test/{'/'.join(_plain(word) for word in clip_id.split('/'))}.flac"


def _plain(name: str) -> str:
    """A name with nothing but letters, digits, `-`, `+`, `@` and `_`, for files."""
    return re.sub(r"[^\w+@-]", "_", name)


def _key(*parts: Any) -> str:
    """A digest of plain values."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
