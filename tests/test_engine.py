"""Workers give the files of a run without workers, to the last bit, and survive the death of one of them."""

import json
import multiprocessing
import pickle
from functools import partial
from pathlib import Path

import fake_enhancer
import fake_sessions
import pytest
import torch
from fake_sessions import write_recording
from fake_workers import die_at_once, jobs_in, open_diary, refuse

from audiogen import hub
from audiogen.cli import OK, SOME_FAILED, USAGE, convert_run, engine, engine_local, main
from audiogen.cli.engine import crew_of, grouped, worker_device
from audiogen.cli.engine_local import run_local
from audiogen.cli.jobs import Job, UsageError
from audiogen.cli.work import Crew, Delivery, Group, Listener, Ready, WorkersFailed, portable
from audiogen.speech import SpeechItem
from audiogen.systems import SYSTEMS
from audiogen.systems.prodiff import ProDiff

TEXTS = ["One.", "Two more. And three.", "Four words in all.", "Five?", "Six and seven.", "Eight."]
TINY = {
    "channels": 16,
    "encoder": {"blocks": 1, "hidden": 24, "kernel_size": 3},
    "variances": {"hidden": 8},
    "denoiser": {"channels": 16, "blocks": 2, "hidden": 24},
    "speakers": ["anna"],
    "vocoder": "griffin-lim",
}


def stirred(system):
    """Weights that all do something."""
    torch.manual_seed(0)
    for parameter in system.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return system


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUDIOGEN_THREADS", raising=False)
    monkeypatch.setattr(engine, "cores", lambda: 2)


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    path = tmp_path_factory.mktemp("voice") / "voice.safetensors"
    hub.save(stirred(ProDiff(**TINY)), path)
    return path


def tts(voice, folder, *words, texts=TEXTS):
    lines = [json.dumps({"id": f"t{k}", "text": text}) for k, text in enumerate(texts)]
    Path("m.jsonl").write_text("\n".join(lines))
    words = ["--out-dir", folder, "--model", voice, "--device", "cpu", "--threads", "1", *words]
    return main(["tts", "--manifest", "m.jsonl", "--batch-size", "3", "-q", *map(str, words)])


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def test_groups_are_a_function_of_all_jobs_and_name_what_is_missing():
    jobs = [Job(SpeechItem(str(k), "x" * length)) for k, length in enumerate((1, 1, 9, 1, 1, 1))]
    jobs.insert(1, Job(SpeechItem("bad", ""), error=ValueError("bad")))
    whole = grouped(jobs, jobs, 2)
    assert [[job.item.id for job in group.jobs] for group in whole] == [["0", "1"], ["2", "3"], ["4", "5"]]
    assert all(group.wanted == (0, 1) for group in whole)
    rest = grouped(jobs, [jobs[4]], 2)
    assert rest == [Group(whole[1].jobs, (1,))]
    short = grouped(jobs, jobs, 4, letters=4)
    assert [[job.item.id for job in group.jobs] for group in short] == [["0", "1"], ["2"], ["3", "4", "5"]]


def test_workers_and_threads_fit_the_cores(monkeypatch):
    assert crew_of(None, None, 2) is None
    assert crew_of("local", None, None) == crew_of(None, 2, None) == Crew("local", 2, 1)
    assert crew_of("local", None, 2) == Crew("local", 1, 2)
    assert crew_of("ray", None, 4) == Crew("ray", None, 4)
    with pytest.raises(UsageError, match="2 workers with 2 threads need 4 cores.*--workers 1"):
        crew_of("local", 2, 2)
    with pytest.raises(UsageError, match="use local or ray"):
        crew_of("spark", None, None)
    assert [worker_device("auto", k, 2) for k in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert worker_device("cpu", 1, 2) == "cpu"
    assert worker_device("cuda", 1, 1) == "cuda"


def test_workers_speak_as_a_single_process_does_to_the_last_bit(voice, capsys):
    texts = [*TEXTS, "..."]
    assert tts(voice, "alone", "--report", "alone.json", texts=texts) == SOME_FAILED
    words = ["--workers", "2", "--report", "two.json", "--timestamps", "json"]
    assert tts(voice, "two", *words, texts=texts) == SOME_FAILED
    two = contents("two")
    assert {name: data for name, data in two.items() if name.endswith(".wav")} == contents("alone")
    assert len(two) == 2 * len(TEXTS)
    alone, report = (json.loads(Path(name).read_text()) for name in ("alone.json", "two.json"))
    assert [item["id"] for item in report["items"]] == [f"t{k}" for k in range(len(texts))]
    assert report["items"][-1]["error"] == alone["items"][-1]["error"]
    assert report["context"]["model_sha256"] == alone["context"]["model_sha256"]
    assert (report["context"]["engine"], report["context"]["workers"]) == ("local", 2)
    assert report["context"]["threads"] == 1
    summary = report["summary"]
    assert summary["audio_seconds"] == pytest.approx(alone["summary"]["audio_seconds"])
    assert summary["wall_rtf"] == pytest.approx(summary["wall_seconds"] / summary["audio_seconds"])
    assert summary["cold"]["items"] >= 1
    assert "wall_rtf" not in alone["summary"]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("1 of 7 items failed: t6") == 2


def test_a_run_that_goes_on_ends_as_if_it_had_not_stopped(voice):
    """The neighbours of a missing item are spoken with it, and their files left alone."""
    assert tts(voice, "o") == OK
    whole = contents("o")
    for name in ("t1.wav", "t5.wav"):
        Path("o", name).unlink()
    Path("o/t0.wav").write_bytes(b"mine")
    assert tts(voice, "o", "--skip-existing", "--report", "r.json") == OK
    assert contents("o") == {**whole, "t0.wav": b"mine"}
    assert [item["id"] for item in json.loads(Path("r.json").read_text())["items"]] == ["t1", "t5"]


def test_what_an_item_depends_on_is_its_batch_and_not_the_order(voice):
    """Why a group is spoken whole: alone, the last bits of a sentence may be others; no more than those."""
    assert tts(voice, "o") == OK
    assert tts(voice, "alone", texts=TEXTS[:1]) == OK
    many, one = (
        torch.frombuffer(bytearray(contents(f)["t0.wav"][44:]), dtype=torch.int16) for f in ("o", "alone")
    )
    assert (many.float() - one.float()).abs().max() <= 2


def test_workers_are_for_files(voice, capsys):
    assert main(["tts", "Hello.", "-o", "-", "--workers", "1"]) == USAGE
    assert "workers write files" in capsys.readouterr().err
    assert main(["tts", "Hello.", "--stream", "-o", "x.wav", "--workers", "1"]) == USAGE
    assert "leave out --engine" in capsys.readouterr().err


def by_post(opens, groups):
    """As run_local, with the worker in this process: all that is said is packed and unpacked."""
    listener = Listener()
    session = pickle.loads(pickle.dumps(opens[0]))(listener.console)
    yield Ready(session.context, 0.5)
    for number, group in enumerate(pickle.loads(pickle.dumps(groups))):
        for place, (item, error) in session.work(group):
            said = Delivery(number, place, item, portable(error, item.error), listener.take())
            yield pickle.loads(pickle.dumps(said))


def test_enhance_by_workers_is_enhance(monkeypatch):
    monkeypatch.setattr(engine_local, "run_local", by_post)
    fake_enhancer.register(monkeypatch)
    hub.save(fake_enhancer.FakeEnhancer(0.5, 0.1, True), "e.safetensors")
    for k in range(3):
        write_recording(Path(f"in/{k}.wav"), seed=k)
    Path("in/bad.wav").write_bytes(b"none")
    words = ["enhance", "in", "--model", "e.safetensors", "--steps", "1", "--device", "cpu", "--threads", "1"]
    assert main([*words, "--out-dir", "alone", "-q"]) == SOME_FAILED
    assert main([*words, "--out-dir", "by", "-q", "--engine", "local"]) == SOME_FAILED
    assert contents("alone") == contents("by")
    assert len(contents("by")) == 3


def test_convert_by_workers_is_convert(monkeypatch):
    monkeypatch.setattr(engine_local, "run_local", by_post)
    monkeypatch.setitem(SYSTEMS, "echo", "fake_sessions:Echo")
    hub.save(fake_sessions.Echo(), "c.safetensors")
    monkeypatch.setattr(convert_run, "listen", lambda request, system: (None, None))
    monkeypatch.setattr(convert_run, "context", lambda request, system, voice: {})
    monkeypatch.setattr(convert_run, "convert_blocks", fake_sessions.echo_blocks)
    for k in range(3):
        write_recording(Path(f"in/{k}.wav"), seed=k)
    words = ["convert", "in", "--timbre", "in/0.wav", "--model", "c.safetensors", "--seed", "3"]
    assert main([*words, "--out-dir", "alone", "-q", "--threads", "1"]) == OK
    assert main([*words, "--out-dir", "by", "-q", "--workers", "2"]) == OK
    assert contents("alone") == contents("by")


def texts_of(folder):
    return {int(path.stem): path.read_text() for path in folder.iterdir()}


def test_a_killed_worker_loses_and_doubles_nothing(tmp_path):
    """The item that was in its hands is done by the next; those it had finished are not done again."""
    texts = ["a", "b", "poison", "d", "e", "f", "g"]
    jobs = jobs_in(tmp_path / "o", texts)
    groups = grouped(jobs, jobs, 3)
    opener = partial(open_diary, diary=tmp_path / "diary")
    events = list(run_local([opener, opener], groups))
    delivered = [event.item.id for event in events if isinstance(event, Delivery)]
    assert sorted(delivered) == [str(k) for k in range(7)]
    assert texts_of(tmp_path / "o") == dict(enumerate(texts))  # and no part of a file
    done = [line.split() for line in (tmp_path / "diary").read_text().splitlines()]
    assert sorted(name for _, name in done) == sorted(delivered)
    assert sum(isinstance(event, Ready) for event in events) in (2, 3)  # the other may have done it all
    assert (tmp_path / "diary.died").exists()


def test_an_item_that_kills_every_worker_fails_alone(tmp_path):
    jobs = jobs_in(tmp_path / "o", ["a", "poison", "c"])
    opener = partial(open_diary, diary=tmp_path / "diary", once=False)
    events = [e for e in run_local([opener], grouped(jobs, jobs, 3)) if isinstance(e, Delivery)]
    assert {e.place: e.item.error is None for e in events} == {0: True, 1: False, 2: True}
    assert "its worker died" in events[[e.place for e in events].index(1)].item.error
    assert texts_of(tmp_path / "o") == {0: "a", 2: "c"}


def test_who_stops_asking_stops_the_workers(tmp_path):
    jobs = jobs_in(tmp_path / "o", list("abcdef"))
    events = run_local([partial(open_diary, diary=tmp_path / "diary")], grouped(jobs, jobs, 6))
    assert isinstance(next(events), Ready)
    assert isinstance(next(events), Delivery)
    events.close()
    assert multiprocessing.active_children() == []
    assert not list((tmp_path / "o").glob(".*"))


def test_workers_that_cannot_load_end_the_run(tmp_path):
    jobs = jobs_in(tmp_path / "o", ["a"])
    with pytest.raises(ValueError, match="no such model"):
        list(run_local([refuse], grouped(jobs, jobs, 1)))
    with pytest.raises(WorkersFailed, match="died while they loaded"):
        list(run_local([die_at_once], grouped(jobs, jobs, 1)))
