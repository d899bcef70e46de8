"""The released weights: complete, as their cards say, and able to speak."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

import audiogen
from audiogen import hub, weights
from audiogen.audio import Audio
from audiogen.controls import Intensity
from audiogen.data.readers import reader
from audiogen.metrics.intelligibility import Recogniser, character_errors
from audiogen.metrics.speaker import speaker_embedding
from audiogen.music import MusicOptions, generate
from audiogen.spectral import mel_spectrogram
from audiogen.steering import SteerOptions
from audiogen.systems.ditto import steer

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "models"
PROMPTS = ("CC-BY-SA 3.0", "Allison Smith", "Digium")
TARGET = "Where do you want to go?"
ORIGINS = {  # what a card has to say of licence and origin
    **dict.fromkeys(("prodiff", "comospeech", "storm", "vocos-16k", "vocos-16k-causal"), PROMPTS),
    "vocos-24k-music": ("MIT", "FluidR3_GM"),
    "stablevc": (*PROMPTS, "June Wallack", "flite"),
    "melody": ("MIT", "FluidR3_GM", "music21"),
    "speaker-encoder": ("Apache-2.0", "Resemble AI"),
}
NAMES = tuple(ORIGINS)


def test_every_model_has_weights_a_card_and_a_line_in_the_index():
    folders = sorted(path.name for path in MODELS.iterdir() if path.is_dir())
    assert folders == sorted(NAMES)
    index = (MODELS / "README.md").read_text()
    for name in NAMES:
        assert f"[{name}]({name}/README.md)" in index
    assert weights.known_models() == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_states_the_sum_licence_origin_and_weak_spots(name):
    card = (MODELS / name / "README.md").read_text()
    assert hub.sha256(MODELS / name / "model.safetensors") in card
    for words in ("## Weak spots", *ORIGINS[name]):
        assert words in card
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", card):
        assert (MODELS / name / picture).is_file()


def test_the_weights_stay_small():
    assert sum((MODELS / name / "model.safetensors").stat().st_size for name in NAMES) < 120e6


@pytest.fixture(scope="module")
def voice():
    return audiogen.load("prodiff")


@pytest.mark.parametrize(
    ("name", "steps"),
    [("prodiff", 4), ("prodiff", 2), ("prodiff", 1), *(("comospeech", n) for n in (1, 4, 10))],
)
def test_a_voice_can_be_understood(name, steps):
    voice = audiogen.load(name)
    text = "Your call is important to us. Please stay on the line."
    audio = voice.synthesize(text, num_steps=steps)
    assert 2.5 < audio.seconds < 6
    errors = character_errors(text, Recogniser()(audio.wav[0]))
    assert errors.edits / errors.characters < 0.3


def test_the_voice_is_neither_silent_nor_clipped(voice):
    wav = voice.synthesize("Good morning, and welcome to the city library.").wav
    assert 0.02 < float(wav.square().mean().sqrt()) < 0.5
    assert float(wav.abs().max()) < 1.0
    steps = wav[0].diff().abs()
    assert float(steps[:80].max()) < 0.05
    assert float(steps[-80:].max()) < 0.05


def test_a_compiled_voice_says_the_same(voice):
    text = "Please hold the line."
    plain, compiled = (one.synthesize(text).wav for one in (voice, audiogen.load("prodiff", compiled=True)))
    assert plain.shape == compiled.shape
    error = (plain - compiled).square().mean() / plain.square().mean()
    assert 0 < float(error) < 1e-6  # other loops, the same audio to rounding


def test_the_vocoder_copies_speech(voice):
    wav = voice.synthesize("Please enter the number of the person you would like to reach.").wav
    mel = mel_spectrogram(wav, voice.mel_spec)
    with torch.inference_mode():
        copy = mel_spectrogram(voice.vocoder.decode(mel)[:, 0], voice.mel_spec)
    loud = mel > -3
    assert float((copy - mel)[loud].abs().mean()) < 0.4


def test_a_voice_is_converted_and_understood(voice):
    """The shipped speaker in the voice of a man of espeak-ng, of whom two sentences are known."""
    text = "Your call is important to us. Please stay on the line."
    source = voice.synthesize(text)
    read = reader("espeak:en-us+m3")
    spoken = [read(line) for line in ("The storm lasted all night.", "They built a small house.", TARGET)]
    first, second, third = (Audio(reading.wav[None], reading.sample_rate) for reading in spoken)
    converter = audiogen.load("stablevc")
    made = converter.convert(source, converter.voice([first, second]), seed=1)
    before, after, aim = (
        speaker_embedding(audio.wav[0], audio.sample_rate) for audio in (source, made, third)
    )
    assert float(after @ aim) > float(before @ aim) + 0.1
    errors = character_errors(text, Recogniser()(made.wav[0]))
    assert errors.edits / errors.characters < 0.6


def test_music_follows_its_seed_and_its_words():
    composer = audiogen.load("melody")
    asked = [("slow solo piano in A minor", 0), ("slow solo piano in A minor", 1), ("fast brass", 0)]
    prompts, seeds = [prompt for prompt, _ in asked], [seed for _, seed in asked]
    options = MusicOptions(num_steps=2)
    wavs = generate(composer, prompts, 2.5, seeds, options)[:, 0]
    assert wavs.shape == (3, 60000)
    assert torch.equal(wavs, generate(composer, prompts, 2.5, seeds, options)[:, 0])
    assert float(wavs.abs().max()) < 1.0
    for wav in wavs:
        assert float(wav.square().mean().sqrt()) > 0.003
        power = torch.stft(wav, 2048, window=torch.hann_window(2048), return_complex=True).abs().square()
        flatness = (power + 1e-9).log().mean().exp() / power.mean()
        assert float(flatness) < 0.05  # tones: of white noise it is 0.56
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert float((wavs[one] - wavs[other]).square().mean()) > 0.1 * float(wavs[one].square().mean())


def test_music_can_be_steered_to_a_loudness():
    composer = audiogen.load("melody")
    options = SteerOptions(seconds=2.56, steps=12, decode_steps=1)
    found = steer(composer, "slow strings", [Intensity([(0, -35), (2.5, -20)])], options)
    (error,) = found.errors
    assert error.after < 0.5 * error.before
    assert not found.warnings


def test_a_wheel_carries_the_weights_and_speaks(tmp_path):
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        str(tmp_path),
    ]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("audiogen-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    top = {path.name for path in (tmp_path / "site").iterdir()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"audiogen"}
    code = (
        "import audiogen, audiogen.hub, json, sys; from audiogen.cli import main;"
        "code = main(['tts', 'Hello there.', '-o', 'hello.wav', '--report', 'r.json', '--quiet']);"
        "print(audiogen.__file__); sys.exit(code)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "site") in done.stdout
    assert (tmp_path / "hello.wav").stat().st_size > 10000
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["context"]["model_sha256"] == hub.sha256(MODELS / "prodiff" / "model.safetensors")
