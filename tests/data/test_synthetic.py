"""The synthetic second voice: which sentences, and how a reader that fails is reported."""

from __future__ import annotations

import io
import tarfile

import pytest
from synthetic_corpus import utter

from audiogen.audio import write_audio
from audiogen.cli import OK, USAGE, main
from audiogen.data import synthetic
from audiogen.data.ljspeech import list_clips
from audiogen.data.store import DataError

GLOSSES = {
    "noun": [
        '0001 05 n 01 house 0 000 | a building; "he has a house on Cape Cod"; "they built a small house"',
        '0002 05 n 01 storm 0 000 | violent weather; "the storm   lasted all night;"; "Stop it!"',
    ],
    "verb": ['0003 29 v 01 go 0 000 | move; "where do you want to go?"; "I like going to town"'],
    "adj": ['0004 00 a 01 odd 0 000 | strange; "an odd-looking man came in"; "it cost 5 dollars a day"'],
    "adv": ["0005 02 r 01 now 0 000 | at once, without an example"],
}
EXPECTED = [
    "I like going to town.",
    "The storm lasted all night.",
    "They built a small house.",
    "Where do you want to go?",
]


@pytest.fixture
def wordnet(tmp_path):
    folder = tmp_path / "wordnet"
    folder.mkdir()
    for part, lines in GLOSSES.items():
        (folder / f"data.{part}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def flite(tmp_path, monkeypatch):
    """A program of that name that copies one recording, and fails on a sentence with `unspeakable`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    write_audio(folder / "voice.wav", utter("Press one to hear the menu.")[0][None], 16000)
    program = folder / "flite"
    program.write_text(
        '#!/bin/sh\ncase "$4" in *unspeakable*) echo "no voice" >&2; exit 1;; esac\n'
        f'echo "$4" >> {folder}/spoken\ncp {folder}/voice.wav "$6"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def test_plain_examples_of_the_right_length_are_taken(wordnet):
    """Without names, digits, hyphens or fragments; capitalised and closed by a mark."""
    assert synthetic.example_sentences(wordnet) == EXPECTED
    assert synthetic.example_sentences(wordnet, least=6) == ["Where do you want to go?"]
    with pytest.raises(DataError, match="data.noun is missing"):
        synthetic.example_sentences(wordnet / "none")


def test_the_choice_is_drawn_by_its_seed():
    sentences = [str(n) for n in range(100)]
    first = synthetic.choose(sentences, 10)
    assert first == synthetic.choose(sentences, 20)[:10]
    assert first != synthetic.choose(sentences, 10, seed=1)
    assert len(set(first)) == 10


def test_the_folder_is_another_recipes_voice(wordnet, flite, tmp_path):
    out = tmp_path / "slt"
    assert main(["prepare", "flite", "--wordnet", str(wordnet), "--out", str(out)]) == OK
    clips = list_clips(out, "slt", "en")
    assert sorted(clip.text for clip in clips) == EXPECTED
    assert all(len(clip.read(16000)) > 8000 for clip in clips)
    (out / "wavs" / "slt00002.wav").unlink()
    assert main(["prepare", "flite", "--wordnet", str(wordnet), "--out", str(out)]) == OK
    spoken = (flite / "spoken").read_text().splitlines()
    assert len(spoken) == 5  # the second call spoke the missing sentence alone
    assert spoken[4] == spoken[2]


def test_sentences_of_ones_own(flite, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("Hello there.\n\nGood night.\n")
    command = ["prepare", "flite", "--sentences", str(tmp_path / "mine.txt"), "--out", str(tmp_path / "o")]
    assert main(command) == OK
    assert (tmp_path / "o" / "metadata.csv").read_text().splitlines() == [
        "slt00000|Hello there.|Hello there.",
        "slt00001|Good night.|Good night.",
    ]
    (tmp_path / "mine.txt").write_text("Hello there.\nThe unspeakable.\n")
    assert main(command[:-1] + [str(tmp_path / "p")]) == USAGE
    assert "flite could not speak 'The unspeakable.': no voice" in capsys.readouterr().err
    assert not (tmp_path / "p" / "metadata.csv").exists()
    assert [path.name for path in (tmp_path / "p" / "wavs").iterdir()] == ["slt00000.wav"]


def test_without_flite_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="apt install flite"):
        synthetic.read_aloud(["Hello."], tmp_path / "o")


def test_wordnet_is_fetched_once(wordnet, tmp_path):
    archive = tmp_path / "wordnet.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for part, lines in GLOSSES.items():
            content = ("\n".join(lines) + "\n").encode()
            info = tarfile.TarInfo(f"dict/data.{part}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    folder = synthetic.fetch(tmp_path / "fetched", archive.as_uri(), say=lambda text: None)
    assert synthetic.example_sentences(folder) == EXPECTED
    archive.unlink()
    assert synthetic.fetch(folder, archive.as_uri()) == folder
    with pytest.raises(DataError, match="--wordnet DIR"):
        synthetic.fetch(tmp_path / "other", archive.as_uri(), say=lambda text: None)
