"""Miniature corpora of noisy speech: ivr prompts, ESC-10 noise, pairs."""

import numpy as np
import soundfile

RATE = 16000
PROMPTS = 12


def tones(seed, seconds=1.0, rate=RATE):
    """Harmonics that come and go, as speech does."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    pitch = rng.uniform(100, 250)
    wav = sum(np.sin(2 * np.pi * pitch * k * t + rng.uniform(0, 6)) / k for k in range(1, 6))
    return 0.2 * wav * (0.2 + np.sin(np.pi * (t * rng.uniform(1, 3) % 1)))


def write_ivr(folder):
    """The layout of the ivr prompts: three languages, PROMPTS prompts of a second each."""
    for number, language in enumerate(("en", "fr", "it")):
        (folder / language / "wav").mkdir(parents=True)
        for prompt in range(PROMPTS):
            path = folder / language / "wav" / f"prompt{prompt}.wav"
            soundfile.write(path, tones(100 * number + prompt), RATE)
    return folder


def write_texts(ivr):
    """Texts of the English prompts of `write_ivr`."""
    lines = [f"prompt{n}|Sentence number {n}.|Sentence number {n}." for n in range(PROMPTS)]
    (ivr / "en" / "metadata.csv").write_text("\n".join(lines) + "\n")


def write_noise(folder, kinds=("rain", "rooster"), folds=(1, 2, 4)):
    """ESC-10's layout; the second class is a short sound, filled up with silence."""
    for number, kind in enumerate(kinds):
        (folder / kind).mkdir(parents=True)
        for fold in folds:
            for clip in range(2):
                rng = np.random.default_rng(100 * number + 10 * fold + clip)
                wav = 0.1 * rng.standard_normal(44100)
                if number:
                    wav[8820:] = 0
                soundfile.write(folder / kind / f"{fold}-{1000 + 10 * fold + clip}-A.wav", wav, 44100)
    return folder


def write_pairs(clean, noisy, names, rate=RATE, seconds=0.6):
    """Recordings NAME.wav in both folders, at an SNR of 6 dB."""
    for folder in (clean, noisy):
        folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        wav = tones(number, seconds, rate)
        noise = np.random.default_rng(number).standard_normal(len(wav)) * wav.std() / 2
        soundfile.write(clean / f"{name}.wav", wav, rate)
        soundfile.write(noisy / f"{name}.wav", wav + noise, rate)
