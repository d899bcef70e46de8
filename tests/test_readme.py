"""Every command of README runs, and its numbers are the measured ones."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from synthetic_corpus import TEXTS, utter, write_corpus

from audiogen.audio import read_audio, write_audio
from audiogen.cli import OK, main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.partition("  #")[0].strip() for kind, text in BLOCKS if kind == "bash" for line in text.splitlines()
]
GATE = ('pip install -e ".[dev]" && pytest',)  # what .ci/run does; a test cannot install itself
INSTALL = "pip install . && "  # the wheel is tested in test_models_folder
SHORTER = [
    "--trainer.max_steps",
    "1",
    "--trainer.enable_progress_bar",
    "false",
    "--trainer.callbacks",
    "null",
]
MORE = {
    "audiogen fit -c configs/vocos_16k.yaml": [*SHORTER, "--data.init_args.batch_size", "1"],
    "audiogen fit -c configs/vocos_24k_music.yaml": [*SHORTER, "--data.init_args.batch_size", "1"],
    "audiogen fit -c configs/prodiff.yaml": SHORTER,
    "audiogen fit -c configs/prodiff_distill.yaml": SHORTER,
    "audiogen fit -c configs/comospeech.yaml": SHORTER,
    "audiogen fit -c configs/comospeech_distill.yaml": SHORTER,
    "audiogen fit -c configs/comospeech_finetune.yaml": SHORTER,
    "audiogen prepare ljspeech --source my_voice --speaker me --out data/me": ["--workers", "1"],
    "audiogen prepare music --out data/music": [
        *("--minutes", "0.5", "--soundfont", "DIR/bank.sf2", "--workers", "1"),
    ],
    "audiogen prepare flite --out data/slt": ["--sentences", "sentences.txt"],
    "audiogen prepare ivr --source DIR --also slt=data/slt --out data/ivr": ["--workers", "1"],
    'audiogen tts "Hello." --model my_voice.safetensors -o hello.wav': ["--vocoder", "griffin-lim"],
}


TRAINED = {  # the tiny system whose checkpoint stands for those of long runs
    "prodiff": ("prodiff", "prodiff_distill"),
    "comospeech": ("comospeech", "comospeech_finetune"),
}
SECOND_VOICE = ["The gate is open.", "A cat sat on the wall.", "We sold the old house."]


def fake_flite(folder):
    """A program `flite` that says three sentences -> its folder."""
    folder.mkdir()
    lines = ["#!/bin/sh", 'case "$4" in']
    for i, text in enumerate(SECOND_VOICE):
        write_audio(folder / f"{i}.wav", utter(text, i)[0][None], 16000)
        lines.append(f'"{text}") cp {folder}/{i}.wav "$6";;')
    (folder / "flite").write_text("\n".join([*lines, "esac"]) + "\n")
    (folder / "flite").chmod(0o755)
    return folder


def fake_fluidsynth(folder):
    """A program `fluidsynth` beside the other that renders the same second of sound for any score."""
    write_audio(folder / "sound.wav", 0.3 * torch.sin(torch.arange(48000) / 20)[None], 48000)
    (folder / "fluidsynth").write_text(f'#!/bin/sh\ncp {folder}/sound.wav "$4"\n')
    (folder / "fluidsynth").chmod(0o755)


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


def fake_aplay(folder):
    """A program `aplay` beside the others that hears its input to the end, and refuses what is no WAV."""
    (folder / "aplay").write_text('#!/bin/sh\ncat > heard.wav && [ "$(head -c 4 heard.wav)" = RIFF ]\n')
    (folder / "aplay").chmod(0o755)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, prepared):
    """A folder with what the commands name: configs, a corpus in DIR, a tiny checkpoint for a long run."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("configs", "benchmarks"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "DIR" / "en" / "flac").mkdir(parents=True)
    rows = []
    for i, text in enumerate(TEXTS):
        write_audio(folder / "DIR" / "en" / "flac" / f"p{i}.flac", utter(text, i)[0][None], 16000)
        rows.append(f"p{i}|{text}|{text}")
    (folder / "DIR" / "en" / "metadata.csv").write_text("\n".join(rows) + "\n")
    write_corpus(folder / "my_voice")
    write_audio(folder / "recording.wav", utter(TEXTS[0], 0)[0][None].repeat(1, 4), 16000)
    write_release(folder)
    (folder / "calls").mkdir()
    shutil.copy(folder / "recording.wav", folder / "calls" / "one.wav")
    (folder / "sentences.txt").write_text("\n".join(SECOND_VOICE) + "\n")
    (folder / "DIR" / "bank.sf2").touch()
    programs = fake_flite(folder / "bin")
    fake_fluidsynth(programs)
    fake_aplay(programs)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
        data = ["--data.init_args.path", str(prepared / "speech.safetensors")]
        data += ["--model.init_args.speakers", "[allison,slt]"]
        for system, runs in TRAINED.items():
            assert main(["fit", "-c", f"configs/{system}_tiny.yaml", *data]) == OK
            for name in runs:
                (folder / "runs" / name).mkdir(exist_ok=True)
                shutil.copy(
                    folder / "runs" / f"{system}_tiny" / "last.ckpt", folder / "runs" / name / "last.ckpt"
                )
        yield folder


def run(command, folder):
    """Run one line of README in `folder`."""
    command = command.removeprefix(INSTALL)
    if "|" in command or ">" in command:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
        command = command.replace("audiogen", f"{shlex.quote(sys.executable)} -m audiogen", 1)
        done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True)
        assert done.returncode == 0, done.stderr
        return
    words = shlex.split(command.replace("\\$", "$"))
    assert words[0] == "audiogen"
    assert main([*words[1:], *MORE.get(command, [])]) == OK


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in GATE])
def test_a_command_of_readme_runs(command, workplace):
    run(command, workplace)
    if outputs := re.findall(r"(?:-o|>) (\S+\.wav)", command):
        wav = read_audio(workplace / outputs[0])
        assert torch.isfinite(wav).all()
        assert wav.shape[-1] > (0 if "my_voice" in command else 4000)  # an untrained voice says little


def test_the_gate_is_readmes_own_test_command():
    script = (ROOT / ".ci" / "run").read_text()
    for part in GATE[0].split(" && "):
        assert part.removeprefix("pip install") in script
    assert GATE[0] in COMMANDS


def test_the_python_of_readme_runs(workplace):
    (code,) = (text for kind, text in BLOCKS if kind == "python")
    exec(compile(code, "README", "exec"), {})
    assert (workplace / "good_morning.wav").stat().st_size > 10000


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.stem)
def test_the_python_and_links_of_a_page_work(page):
    text = page.read_text(encoding="utf-8")
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(code, page.name, "exec"), {})
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (page.parent / target).exists(), target


def test_numbers_in_readme_and_cards_are_the_measured_ones():
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "tables.py", "--check"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
