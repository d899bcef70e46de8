"""Every command of docs/ditto.md runs, in a folder with tiny models of MeLoDy, and so does its Python."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from test_cli_edit import write_midi

from audiogen import hub, weights
from audiogen.audio import write_audio
from audiogen.cli import OK, main
from audiogen.data.store import save_ragged
from audiogen.systems.melody import MeLoDy
from audiogen.systems.melody_lm import MeLoDyLM
from audiogen.weights import build

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "ditto.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
SHELL = "".join(text for kind, text in BLOCKS if kind == "bash").replace("\\\n", " ")
COMMANDS = [line for line in SHELL.splitlines() if line.startswith("audiogen")]
TRAINING = [line for line in COMMANDS if line.startswith(("audiogen fit", "audiogen export"))]
WORDS = ["slow", "solo", "piano", "calm", "strings", "sad", "violin"]
SHORT = ["--search-steps", "2", "--decode-steps", "1", "--inversion-steps", "2", "--threads", "1"]
ONE_STEP = [
    *("--trainer.max_steps", "1", "--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"),
    *(
        "--trainer.limit_val_batches",
        "0",
        "--data.init_args.batch_size",
        "2",
        "--trainer.log_every_n_steps",
        "1",
    ),
]


def checkpoint(model, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"release": model.release(), "state_dict": model.state_dict()}, path)


def write_parts():
    """What the training of melody.md has left: checkpoints, autoencoder, tokenizer, latents."""
    torch.manual_seed(0)
    net = {"width": 16, "blocks": 1, "heads": 2, "size": 8, "angle_channels": 8}
    checkpoint(MeLoDy(vocabulary=16, net=net, words=WORDS), Path("runs/melody/last.ckpt"))
    lm = MeLoDyLM(vocabulary=16, net={"width": 16, "layers": 1, "heads": 2}, words=WORDS)
    checkpoint(lm, Path("runs/melody_lm/best.ckpt"))
    Path("data/music").mkdir(parents=True)
    hub.save(build("autoencoder", {"channels": 16, "hidden": 16}), "data/music/autoencoder.safetensors")
    hub.save(build("chroma_tokenizer", {"vocabulary": 16}), "data/music/tokenizer.safetensors")
    facts = {"instruments": ["piano"], "family": "piano", "key": "A minor", "mode": "minor", "bpm": 100}
    number = 6
    save_ragged(
        "data/music/latents.safetensors",
        {
            "latents": [torch.randn(64, 480).half()] * number,
            "tokens": [torch.randint(16, (64,)).short()] * number,
        },
        {
            "kind": "music_latents",
            "ids": [f"p{n}" for n in range(number)],
            "captions": [["slow solo piano"]] * number,
            "facts": [facts] * number,
            "splits": ["train"] * (number - 1) + ["validation"],
            "latent_rate": 46.875,
            "token_rate": 6.25,
            "vocabulary": 16,
        },
    )


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder in which a student has been trained for a step and exported, by the page's own lines."""
    folder = tmp_path_factory.mktemp("ditto")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(weights, "MODEL_FOLDERS", (folder / "models", *weights.MODEL_FOLDERS))
        (folder / "configs").symlink_to(ROOT / "configs")
        write_parts()
        Path("swell.csv").write_text("second,dB\n0,-40\n2.5,-15\n")
        write_midi("tune.mid", [(67, 0.5), (72, 0.5)])
        write_audio("song.wav", 0.1 * torch.randn(1, round(7.68 * 24000)), 24000)
        for line in TRAINING:
            assert main([*shlex.split(line)[1:], *(ONE_STEP if " fit " in line else [])]) == OK
        yield folder


def test_the_page_has_the_commands_it_should():
    assert [line.split()[1] for line in TRAINING] == ["fit", "export"]
    assert len(COMMANDS) == 10


@pytest.mark.parametrize("command", [line for line in COMMANDS if line not in TRAINING])
def test_a_command_of_the_page_runs(command, workplace):
    shorter = SHORT if "--source" in command else [*SHORT, "--seconds", "2.56"]
    assert main([*shlex.split(command)[1:], *shorter]) == OK
    assert Path(command.split()[-1]).is_file()


def test_the_python_of_the_page_runs():
    for kind, text in BLOCKS:
        if kind == "python":
            exec(text, {})


def test_every_control_of_the_page_is_an_option(capsys):
    assert main(["edit", "--help"]) == OK
    told = re.sub(r"\s+", " ", capsys.readouterr().out)
    options = re.findall(r"^\| `(--[\w-]+)", PAGE, re.MULTILINE)
    assert len(options) == 12
    assert all(option in told for option in options)
    assert all(option in told for option in re.findall(r"`(--[\w-]+)", PAGE))
