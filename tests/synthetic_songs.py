"""Sung material whose notes are known: every final is a harmonic tone with an envelope of its own."""

import random

import torch

from audiogen.audio import write_audio

RATE = 16000
CONSONANT_S = 0.06
SYLLABLES = (("n", "a"), ("l", "i"), ("sh", "u"), ("m", "ao"), ("", "a"), ("d", "ian"))
NAMES = ("C", "C#/Db", "D", "D#/Eb", "E", "F", "F#/Gb", "G", "G#/Ab", "A", "A#/Bb", "B")


def hertz(midi):
    return 440 * 2 ** ((midi - 69) / 12)


def tone(final, midi, seconds):
    """Eight harmonics of a note, weighted as the final says, with soft edges."""
    t = torch.arange(round(seconds * RATE)) / RATE
    brightness = 1 + sum(map(ord, final)) % 5
    wave = sum(
        torch.sin(2 * torch.pi * h * hertz(midi) * t) / (1 + (h - brightness) ** 2) for h in range(1, 9)
    )
    edge = torch.linspace(0, 1, 64)
    envelope = torch.ones_like(t)
    envelope[:64], envelope[-64:] = edge, edge.flip(0)
    return 0.2 * wave * envelope


def melody(seed, low=57, high=69):
    """Syllables as (initial, final, [(MIDI, seconds), ...]); more notes than one are a slur."""
    rng = random.Random(seed)
    syllables = []
    for _ in range(5):
        count = 2 if rng.random() < 0.25 else 1
        notes = [(rng.randint(low, high), rng.choice((0.2, 0.25, 0.3))) for _ in range(count)]
        syllables.append((*rng.choice(SYLLABLES), notes))
    return syllables


def transposed(song, semitones):
    return [(a, b, [(midi + semitones, s) for midi, s in notes]) for a, b, notes in song]


def perform(song, lead_s=0.3, trail_s=0.3, seed=0):
    """A song as it is sung: samples (T,), and rows (phoneme, note, note seconds, seconds, slur).

    Every vowel begins with its note; consonants end the note before.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = [["AP", "rest", lead_s, lead_s, 0]]
    waves = [torch.zeros(round(lead_s * RATE))]
    for initial, final, notes in song:
        if initial:
            labels[-1][3] -= CONSONANT_S
            waves[-1] = waves[-1][: len(waves[-1]) - round(CONSONANT_S * RATE)]
            labels.append([initial, name(notes[0][0]), notes[0][1], CONSONANT_S, 0])
            waves.append(0.02 * torch.randn(round(CONSONANT_S * RATE), generator=generator))
        for number, (midi, seconds) in enumerate(notes):
            labels.append([final, name(midi), seconds, seconds, int(number > 0)])
            waves.append(tone(final, midi, seconds))
    labels.append(["SP", "rest", trail_s, trail_s, 0])
    waves.append(torch.zeros(round(trail_s * RATE)))
    wav = torch.cat(waves)
    return wav + 1e-3 * torch.randn(len(wav), generator=generator), labels


def name(midi):
    """Opencpop's name of a note: "C#4/Db4"."""
    return "/".join(f"{each}{midi // 12 - 1}" for each in NAMES[midi % 12].split("/"))


def row(id, labels):
    columns = [" ".join(str(label[k]) for label in labels) for k in range(5)]
    return "|".join([id, "歌", *columns])


def write_opencpop(folder, count=6):
    """A folder in Opencpop's layout with `count` segments, the last for testing -> the folder."""
    wavs = folder / "segments" / "wavs"
    wavs.mkdir(parents=True)
    rows = []
    for number in range(count):
        wav, labels = perform(melody(number), seed=number)
        write_audio(wavs / f"2{number:03}.wav", wav[None], RATE)
        rows.append(row(f"2{number:03}", labels))
    for list_name, some in (("transcriptions", rows), ("train", rows[:-1]), ("test", rows[-1:])):
        (folder / "segments" / f"{list_name}.txt").write_text("\n".join(some) + "\n", encoding="utf-8")
    return folder


def score_of(song, lead_s=0.3, trail_s=0.3):
    """The same song as entries of a JSON score."""
    entries = [{"midi": None, "seconds": lead_s}]
    for initial, final, notes in song:
        for number, (midi, seconds) in enumerate(notes):
            how = {"slur": True} if number else {"lyric": initial + final}
            entries.append({"midi": midi, "seconds": seconds, **how})
    return {"language": "cmn", "notes": [*entries, {"midi": None, "seconds": trail_s}]}
