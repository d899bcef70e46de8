"""The folders in which the commands of README and docs/ run: what their lines name, small.

As a program it is the `audiogen` of such a folder, for lines with pipes: docs_places.py PLACE FOLDER WORDS...
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # as a program

import fake_content
from docs_commands import program
from fake_enhancer import fake_pesq
from noisy_corpus import write_ivr, write_noise, write_texts
from synthetic_corpus import TEXTS, utter, write_corpus
from synthetic_songs import melody, score_of, write_opencpop

from audiogen import hub, weights
from audiogen.audio import Audio, write_audio
from audiogen.cli import main
from audiogen.data import more_noisy_speech

SECOND_VOICE = ["The gate is open.", "A cat sat on the wall.", "We sold the old house."]


class Place(NamedTuple):
    """A folder to be.

    fill: called in the empty folder, with its path. patches: in force while it is filled and whenever a line
    runs in it. more: words that make a line small.
    """

    fill: Callable[[Path], None]
    patches: Callable[[pytest.MonkeyPatch, Path], None] = lambda patch, folder: None
    more: Mapping[str, Sequence[str]] = {}


def own_models(patch, folder):
    """Models of the folder's models/ beside those that ship."""
    patch.setattr(weights, "MODEL_FOLDERS", (folder / "models", *weights.MODEL_FOLDERS))


def save(system, name):
    """Write a system to the folder's models/ under a name."""
    Path("models", name).mkdir(parents=True, exist_ok=True)
    hub.save(system, Path("models", name, weights.WEIGHTS))


def sound(path, seed=0):
    """A recording of 1.5 s or more."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_audio(path, utter(TEXTS[seed], seed)[0][None].repeat(1, 2), 16000)


def fake_aplay(folder):
    """A program that hears its input to the end, and refuses an empty one and, unless PCM, what is no WAV."""
    program(
        folder,
        "aplay",
        'cat > heard\n[ -s heard ] && { [ "$1" = -f ] || [ "$(head -c 4 heard)" = RIFF ]; }',
    )


def fake_flite(folder):
    """A program that says three sentences."""
    lines = ['case "$4" in']
    for i, text in enumerate(SECOND_VOICE):
        sound_of = folder / "bin" / f"{i}.wav"
        write_audio(sound_of, utter(text, i)[0][None], 16000)
        lines.append(f'"{text}") cp {sound_of} "$6";;')
    program(folder, "flite", "\n".join([*lines, "esac"]))
    (folder / "sentences.txt").write_text("\n".join(SECOND_VOICE) + "\n")


def fake_fluidsynth(folder):
    """A program that renders the same seconds of sound for any score, and a sound bank."""
    times = torch.arange(3 * 48000) / 48000
    write_audio(folder / "bin" / "score.wav", 0.3 * torch.sin(2000 * times * (1 + times))[None], 48000)
    program(folder, "fluidsynth", f'cp {folder}/bin/score.wav "$4"')
    (folder / "bank.sf2").touch()


def few_scores(patch, folder):
    """Three scores to render; reading scores is slow."""
    patch.setattr("audiogen.data.music.list_scores", lambda seed: [f"bach/bwv{n}" for n in (253, 254, 255)])


BANK = ("--soundfont", "bank.sf2", "--workers", "1")


def write_release(folder):
    """A tiny HiFi-GAN as its authors save it: g_02500000 and config.json."""
    channels, state = 4, {}
    shapes = {"conv_pre": (channels, 80, 7), "ups.0": (channels, channels // 2, 512), "conv_post": (1, 2, 7)}
    for k in range(2):
        shapes |= {f"resblocks.0.convs{k + 1}.0": (2, 2, 3)}
    for name, shape in shapes.items():
        state |= {f"{name}.weight_v": torch.randn(shape), f"{name}.weight_g": torch.ones(shape[0], 1, 1)}
        state[f"{name}.bias"] = torch.zeros(shape[1] if name == "ups.0" else shape[0])
    torch.save({"generator": state}, folder / "g_02500000")
    config = {"resblock": "1", "upsample_rates": [256], "upsample_kernel_sizes": [512], "hop_size": 256}
    config |= {"upsample_initial_channel": channels, "resblock_kernel_sizes": [3], "num_mels": 80}
    config |= {"resblock_dilation_sizes": [[1]], "n_fft": 1024, "win_size": 1024, "sampling_rate": 22050}
    (folder / "config.json").write_text(json.dumps(config))


def fill_speech(folder):
    """Corpora of two voices, recordings, a release, and programs."""
    rows = []
    for i, text in enumerate(TEXTS):
        path = folder / "DIR" / "en" / "flac" / f"p{i}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(path, utter(text, i)[0][None], 16000)
        rows.append(f"p{i}|{text}|{text}")
    (folder / "DIR" / "en" / "metadata.csv").write_text("\n".join(rows) + "\n")
    write_corpus(folder / "my_voice")
    sound("recording.wav")
    sound("calls/one.wav", 1)
    write_release(folder)
    fake_flite(folder)
    fake_fluidsynth(folder)
    fake_aplay(folder)


ONE = ("--data.init_args.batch_size", "1")
SPEECH = Place(
    fill_speech,
    few_scores,
    {
        "audiogen fit -c configs/vocos_16k.yaml": ONE,
        "audiogen fit -c configs/vocos_24k_music.yaml": ONE,
        "audiogen prepare ljspeech --source my_voice --speaker me --out data/me": ("--workers", "1"),
        "audiogen prepare music --out data/music": ("--minutes", "0.5", *BANK),
        "audiogen prepare flite --out data/slt": ("--sentences", "sentences.txt"),
        "audiogen prepare ivr --source DIR --also slt=data/slt --out data/ivr": ("--workers", "1"),
        'audiogen tts "Hello." --model my_voice.safetensors -o hello.wav': ("--vocoder", "griffin-lim"),
        'audiogen tts "Good morning." --model me.safetensors -o good_morning.wav': (
            *("--vocoder", "griffin-lim"),
        ),
    },
)


def fill_enhancement(folder):
    """Speech and noise, and recordings."""
    sound("recording.wav")
    sound("calls/one.wav", 1)
    write_texts(write_ivr(folder / "ivr"))
    write_noise(folder / "ESC-10")


def patch_enhancement(patch, folder):
    """PESQ without its package, and one reader, whose library pip brings."""
    fake_pesq(patch)
    patch.setattr(more_noisy_speech, "READERS", ("espeak:en-us+f3",))


TINY_STORM = (
    *("--data.init_args.batch_size", "2", "--data.init_args.crop_s", "0.5"),
    *("--data.init_args.validation_items", "2", "--data.init_args.validation_s", "0.5"),
    *("--model.init_args.predictor_net", "{fine: 8, channels: 16, hidden: 16, blocks: 1}"),
    *("--model.init_args.score_net", "{fine: 8, channels: 16, hidden: 16, blocks: 1}"),
)
ENHANCEMENT = Place(
    fill_enhancement,
    patch_enhancement,
    {
        "audiogen evaluate enhance --noisy data/enhancement/test/noisy --clean data/enhancement/test/clean "
        "--report scores.json": ("--limit", "2"),
        "audiogen prepare enhancement --noise ESC-10 --out data/enhancement": (
            "--speech",
            "ivr",
            "--rooms",
            "1",
        ),
        "audiogen prepare enhancement --noise ESC-10 --out data/enhancement "
        "--reader-minutes 2 --generated 15": (
            *("--speech", "ivr", "--rooms", "1", "--reader-minutes", "0.05", "--generated", "1"),
        ),
        "audiogen fit -c configs/storm.yaml --model.init_args.predictor alone": TINY_STORM,
        "audiogen fit -c configs/storm.yaml --model.init_args.predictor alone "
        "--model.init_args.predictor_from runs/storm/first.ckpt "
        "--model.init_args.perceptual 0.4 --model.init_args.sdr 0.15": TINY_STORM,
        "audiogen fit -c configs/storm.yaml --model.init_args.predictor frozen "
        "--model.init_args.predictor_from runs/storm/first.ckpt "
        "--model.init_args.residual_std 0.05": TINY_STORM,
        "audiogen fit -c configs/storm.yaml --model.init_args.predictor frozen "
        "--model.init_args.predictor_from runs/storm/first.ckpt --model.init_args.residual_std 0.05 "
        "--model.init_args.perceptual 0.4 --model.init_args.sdr 0.15 "
        "--model.init_args.own_states 0.75": TINY_STORM,
    },
)


def embed(wav, sample_rate):
    """A made-up speaker vector that depends on the recording."""
    return torch.nn.functional.normalize(
        torch.fft.rfft(wav.mean(0) if wav.dim() > 1 else wav)[:256].abs(), dim=0
    )


def convert_patches(patch, folder):
    """No weights of a speaker encoder, and content tokens without a network."""
    own_models(patch, folder)
    fake_content.register(patch)
    for module in ("audiogen.systems.stablevc", "audiogen.metrics.speaker"):
        patch.setattr(f"{module}.speaker_embedding", embed)


def fill_conversion(folder):
    """A tiny converter under the name of the default, recordings, and tiny checkpoints of its training."""
    from test_stablevc import small, speech

    save(fake_content.FakeContent(12), "phonetic-encoder")
    save(small(content="phonetic-encoder", vocoder="griffin-lim"), "stablevc")
    recordings = {"anna.wav": 220, "anna/one.wav": 230, "anna/two.wav": 215, "excited.wav": 300}
    recordings |= dict.fromkeys(("talk/a.wav", "talk/b.wav", "hello.wav", "dub.wav"), 150)
    for number, (name, f0) in enumerate(recordings.items()):
        audio: Audio = speech(0.8, seed=number, f0=f0)
        Path(name).parent.mkdir(exist_ok=True)
        audio.save(name)
    write_ivr(folder / "ivr")
    (folder / "lines.txt").write_text("\n".join([*SECOND_VOICE, *TEXTS]) + "\n", encoding="utf-8")


FEW = ("--data.init_args.batch_size", "2", "--data.init_args.per_epoch", "2")
CONVERSION = Place(
    fill_conversion,
    convert_patches,
    {
        "audiogen prepare voices": (
            *("--ivr", "ivr", "--sentences", "lines.txt", "--tests", "2", "--minutes", "0.1"),
            *("--voice", "espeak:en-us+f3", "--voice", "espeak:en-us+m3@40", "--synthetic-minutes", "0.15"),
            *("--held-out", "carlo"),
        ),
        "audiogen fit -c configs/phonetic_encoder.yaml": (
            *("--data.init_args.batches_per_epoch", "1", "--data.init_args.frames", "48"),
            *("--data.init_args.batch_size", "2", "--model.init_args.codes", "12"),
        ),
        "audiogen fit -c configs/stablevc.yaml": FEW,
        "audiogen fit -c configs/stablevc_distill.yaml": FEW,
        "audiogen fit -c configs/stablevc_tune.yaml": FEW,
    },
)


def music_parts():
    """Untrained parts of MeLoDy, tiny but for the lengths of chunks."""
    words = {"words": ["slow", "solo", "piano", "in", "key:a", "minor", "fast", "violin", "calm", "strings"]}
    return {
        "lm": {"system": "melody_lm", "hparams": {"net": {"width": 32, "layers": 1}, **words}},
        "diffusion": {
            "system": "melody",
            "hparams": {"net": {"width": 32, "blocks": 2}, "default_steps": 1, **words},
        },
        "autoencoder": {"system": "autoencoder", "hparams": {"channels": 32, "hidden": 32}},
        "tokenizer": {"system": "chroma_tokenizer", "hparams": {}},
    }


def fill_music(folder):
    """A tiny composer under the name of the default."""
    from audiogen.systems.melody_music import MeLoDyMusic

    torch.manual_seed(0)
    save(MeLoDyMusic(music_parts()), "melody")
    fake_fluidsynth(folder)
    fake_aplay(folder)


SIXTEEN = ("--model.init_args.vocabulary", "16", "--data.init_args.batch_size", "2")


def music_patches(patch, folder):
    """The tiny composer's name, and few scores."""
    own_models(patch, folder)
    few_scores(patch, folder)


MUSIC = Place(
    fill_music,
    music_patches,
    {
        "audiogen prepare music --captioned --minutes 600 --out data/music": ("--minutes", "1", *BANK),
        "audiogen fit -c configs/melody_vae.yaml": (
            *("--data.init_args.segment", "8192", *ONE),
            *("--model.init_args.channels", "32", "--model.init_args.hidden", "32"),
        ),
        "audiogen prepare latents --source data/music --autoencoder data/music/autoencoder.safetensors"
        " --variants 24": ("--vocabulary", "16"),
        "audiogen fit -c configs/melody_lm.yaml": (*SIXTEEN, "--data.init_args.batches_per_epoch", "1"),
        "audiogen fit -c configs/melody.yaml": SIXTEEN,
        "audiogen fit -c configs/melody_distill.yaml": (
            *("--data.init_args.batch_size", "2", "--model.init_args.steps", "4"),
        ),
    },
)


NOTE = (
    "<note><pitch><step>{}</step><octave>4</octave></pitch><duration>1</duration>"
    "<lyric><syllabic>single</syllabic><text>{}</text></lyric></note>"
)
WORDS = zip("CDEC", ("ni", "hao", "la", "la"), strict=True)
SONG = (
    '<score-partwise><part-list><score-part id="P1"><part-name/></score-part></part-list><part id="P1">'
    '<measure number="1"><attributes><divisions>2</divisions></attributes>'
    f"{''.join(NOTE.format(step, text) for step, text in WORDS)}"
    "</measure></part></score-partwise>"
)


def fill_songs(folder):
    """Songs in Opencpop's layout, scores, and a tiny singer."""
    from audiogen.systems.comospeech_sing import CoMoSpeechSing

    tiny = {"denoiser_type": "wavenet", "channels": 16, "duration_channels": 8, "vocoder": "griffin-lim"}
    tiny |= {
        "encoder": {"blocks": 1, "hidden": 24, "kernel_size": 3},
        "denoiser": {"channels": 16, "blocks": 2},
    }
    hub.save(
        CoMoSpeechSing(language="cmn", speakers=["opencpop"], alignment="given", **tiny),
        "my_singer.safetensors",
    )
    (folder / "song.musicxml").write_text(SONG)
    write_opencpop(folder / "opencpop")
    (folder / "songs").mkdir()
    for number, seed in enumerate((7, 8)):
        (folder / "songs" / f"song{number}.json").write_text(json.dumps(score_of(melody(seed))))


TINY_SINGER = (
    *("--model.init_args.channels", "16", "--model.init_args.denoiser", "{channels: 16, blocks: 2}"),
    *("--model.init_args.encoder", "{blocks: 1, hidden: 24, kernel_size: 3}"),
    *("--data.init_args.max_frames", "400"),
)
SONGS = Place(
    fill_songs,
    more={
        "audiogen fit -c configs/comospeech_sing.yaml": TINY_SINGER,
        "audiogen prepare opencpop --source opencpop --out data/opencpop": ("--workers", "1"),
        "audiogen fit -c configs/vocos_16k.yaml --data.init_args.path data/opencpop/audio.safetensors": ONE,
    },
)
PLACES = {
    "speech": SPEECH,
    "enhancement": ENHANCEMENT,
    "conversion": CONVERSION,
    "music": MUSIC,
    "songs": SONGS,
}
PLACE_OF = {  # page: its place
    "README": "speech",
    "comospeech": "speech",
    "enhancing": "enhancement",
    "index": "speech",
    "melody": "music",
    "prodiff": "speech",
    "sampling": "speech",
    "singing": "songs",
    "speaking": "speech",
    "stablevc": "conversion",
    "storm": "enhancement",
    "streaming": "speech",
    "training": "speech",
    "vocoders": "speech",
}
ELSEWHERE = {  # page: the test that runs its lines
    "demo": "tests/demo/test_command.py",
    "ditto": "tests/test_docs_ditto.py",
    "scaling": "tests/test_scaling_docs.py",
    "server": "tests/server/test_docs.py",
}


if __name__ == "__main__":
    name, folder, *words = sys.argv[1:]
    PLACES[name].patches(pytest.MonkeyPatch(), Path(folder))
    sys.exit(main(words))
