"""From a folder of songs to a singer and a song: prepare, fit, distil, export, sing."""

import json
import re
from pathlib import Path

import pytest
import torch
from fake_system import FakeSpeech, register
from fitting import fit
from synthetic_songs import melody, score_of

import audiogen
from audiogen import hub
from audiogen.audio import read_audio
from audiogen.cli import OK, SOME_FAILED, USAGE, main
from audiogen.systems.comospeech_sing import CoMoSpeechSing
from audiogen.text.score_file import read_score
from audiogen.training.checkpoint import read_checkpoint

PAGE = Path(__file__).parents[1] / "docs" / "singing.md"


@pytest.fixture(scope="module")
def runs(prepared_songs, tmp_path_factory):
    """Checkpoints of a tiny teacher and of its student."""
    folder = tmp_path_factory.mktemp("singer")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        teacher = fit("comospeech_sing_tiny", prepared_songs, folder)
        more = ["--model.init_args.teacher", str(teacher)]
        return teacher, fit("comospeech_sing_distill_tiny", prepared_songs, folder, *more)


@pytest.fixture
def singer(runs, tmp_path):
    """The exported student."""
    path = tmp_path / "singer.safetensors"
    assert main(["export", str(runs[1]), "-o", str(path)]) == OK
    return path


@pytest.fixture
def scores(tmp_path):
    """Two songs as JSON, of awkward length."""
    paths = []
    for number, seed in enumerate((7, 8)):
        paths.append(tmp_path / f"song{number}.json")
        paths[-1].write_text(json.dumps(score_of(melody(seed), 0.437, 0.713)))
    return paths


def seconds_of(score):
    return sum(note["seconds"] for note in json.loads(score.read_text())["notes"])


def sing(*words, model):
    fast = ("--vocoder", "griffin-lim", "--device", "cpu", "--no-progress")
    return main(["sing", *map(str, words), "--model", str(model), *fast])


def test_the_example_of_the_page_is_a_score(tmp_path):
    (example,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "song.json").write_text(example, encoding="utf-8")
    score = read_score(tmp_path / "song.json")
    assert [note.midi for note in score.notes] == [None, 60, 60, 67, 67, 69, 67]
    assert score.seconds == pytest.approx(8 * 0.6)
    sounds = ["".join(phone.symbol for phone in note.phones) for note in score.notes]
    assert sounds == ["", "twɪŋ", "kəl", "lɪ", "ɾəl", "stɑɹ", ""]


def test_a_student_is_released_under_the_teachers_name(runs):
    teacher, student = (read_checkpoint(path) for path in runs)
    assert teacher[0] == student[0] == "comospeech_sing"
    assert student[1]["default_steps"] == 1
    for name, value in teacher[2].items():  # the teacher is untouched, notes and all
        assert torch.allclose(student[2][name], value, atol=1e-6), name
    assert {"notes.note.weight", "notes.slur.weight", "notes.length.weight"} <= set(student[2])
    assert isinstance(hub.load(runs[1]), CoMoSpeechSing)


def test_songs_last_as_long_as_their_scores(singer, scores, tmp_path):
    report = tmp_path / "report.json"
    assert sing(*scores, "--out-dir", tmp_path / "out", "--report", report, "-q", model=singer) == OK
    for score in scores:
        wav = read_audio(tmp_path / "out" / f"{score.stem}.wav")
        assert wav.shape[-1] / 16000 == pytest.approx(seconds_of(score), abs=0.016)
    account = json.loads(report.read_text())
    assert [item["id"] for item in account["items"]] == ["song0", "song1"]
    assert account["context"]["steps"] == 1
    assert account["summary"]["audio_seconds"] == pytest.approx(sum(map(seconds_of, scores)), abs=0.032)


def test_the_command_and_the_method_sing_the_same(singer, scores, tmp_path):
    out = tmp_path / "song.wav"
    more = ["--seed", "3", "--transpose", "-2", "--speed", "1.5", "--steps", "2"]
    assert sing(scores[0], "-o", out, *more, "--timestamps", "json", model=singer) == OK
    model = audiogen.load(singer, vocoder="griffin-lim")
    audio = model.sing(scores[0], seed=3, transpose=-2, speed=1.5, num_steps=2)
    assert torch.allclose(read_audio(out), audio.wav, atol=1e-4)
    assert audio.seconds == pytest.approx(seconds_of(scores[0]) / 1.5, abs=0.016)
    timings = json.loads((tmp_path / "song.json").read_text())
    assert len(timings["words"]) == len(melody(7))


def test_a_bad_score_does_not_stop_the_others(singer, scores, tmp_path, capsys):
    bad = tmp_path / "bad.json"
    bad.write_text('{"notes": [{"midi": 60, "seconds": 1}]}')
    assert sing(bad, *scores, "--out-dir", tmp_path / "out", model=singer) == SOME_FAILED
    assert "bad.json: note 1 has nothing to sing" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"song0.wav", "song1.wav"}
    assert sing(bad, "-o", tmp_path / "out.wav", model=singer) == USAGE


def test_no_weights_ship(scores, tmp_path, capsys):
    assert main(["sing", str(scores[0]), "-o", str(tmp_path / "a.wav")]) == USAGE
    error = capsys.readouterr().err
    assert "audiogen ships no singing weights; train with configs/comospeech_sing.yaml" in error


def test_a_speaker_is_no_singer(scores, tmp_path, monkeypatch, capsys):
    register(monkeypatch)
    hub.save(FakeSpeech(), tmp_path / "voice.safetensors")
    command = ["sing", str(scores[0]), "-o", str(tmp_path / "a.wav"), "--model"]
    assert main([*command, str(tmp_path / "voice.safetensors")]) == USAGE
    assert "does not sing" in capsys.readouterr().err


def test_a_singer_does_not_speak(singer, tmp_path, capsys):
    command = ["tts", "ni hao", "-o", str(tmp_path / "a.wav"), "--model", str(singer), "--device", "cpu"]
    assert main([*command, "--vocoder", "griffin-lim"]) == USAGE
    assert "sings and does not speak; give a score to `audiogen sing`" in capsys.readouterr().err


def test_places_that_do_not_fit(scores, tmp_path, capsys):
    assert main(["sing", *map(str, scores), "-o", "a.wav", "--model", "x"]) == USAGE
    assert "use --out-dir" in capsys.readouterr().err
    assert main(["sing", str(scores[0]), str(scores[0]), "--out-dir", str(tmp_path), "--model", "x"]) == USAGE
    assert "occurs twice" in capsys.readouterr().err
