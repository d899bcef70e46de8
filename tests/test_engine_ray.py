"""Actors of Ray do what a run without workers does, also when one of them is killed."""

import json
import os
import sys
from functools import partial
from pathlib import Path

import pytest
from fake_workers import jobs_in, open_diary, refuse
from test_engine import TEXTS, TINY, contents, stirred, tts

from audiogen import hub
from audiogen.cli import USAGE
from audiogen.cli.engine import grouped
from audiogen.cli.engine_ray import Actor, _packed, _unpacked, fitting, import_ray, lost, run_ray
from audiogen.cli.work import Crew, Delivery, Group, WorkersFailed
from audiogen.systems.prodiff import ProDiff

CREW = Crew("ray", 2, 1)


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """One small Ray for all tests of this file, without dashboard and statistics."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        here = Path(__file__).parent
        patch.setenv("PYTHONPATH", f"{here.parent}{os.pathsep}{here}")  # where actors find what they are sent
        ray = import_ray()

        ray.init(
            address="local",
            num_cpus=2,
            object_store_memory=100 * 2**20,
            include_dashboard=False,
            log_to_driver=False,
        )
        yield
        ray.shutdown()


def deliveries(events):
    return [event for event in events if isinstance(event, Delivery)]


def test_a_killed_actor_loses_and_doubles_nothing(tmp_path):
    """Each group has two items; the actor dies after the first of one, and another does that group again."""
    texts = ["a", "b", "c", "poison", "e", "f", "g", "h"]
    jobs = jobs_in(tmp_path / "o", texts)
    opener = partial(open_diary, diary=tmp_path / "diary")
    found = deliveries(run_ray(opener, grouped(jobs, jobs, 2), CREW, "cpu"))
    assert sorted(event.item.id for event in found) == [str(k) for k in range(8)]
    assert all(event.item.error is None for event in found)
    assert {int(path.stem): path.read_text() for path in (tmp_path / "o").iterdir()} == dict(enumerate(texts))
    done = [line.split() for line in (tmp_path / "diary").read_text().splitlines()]
    assert sorted(name for _, name in done) == sorted([*"01234567", "2"])  # what was not delivered, again
    pids = {pid for pid, _ in done}
    assert len(pids) == 3
    assert (tmp_path / "diary.died").exists()


def test_actors_speak_as_a_single_process_does_to_the_last_bit(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    hub.save(stirred(ProDiff(**TINY)), "voice.safetensors")
    voice = tmp_path / "voice.safetensors"
    assert tts(voice, "alone") == 0
    words = ["--engine", "ray", "--workers", "1", "--report", "r.json"]
    assert tts(voice, f"file://{tmp_path}/ray", *words) == 0
    assert contents("alone") == contents("ray")
    report = json.loads(Path("r.json").read_text())
    assert [item["id"] for item in report["items"]] == [f"t{k}" for k in range(len(TEXTS))]
    assert report["context"]["engine"] == "ray"
    assert report["summary"]["wall_rtf"] > 0
    assert capfd.readouterr().out == ""


def test_an_actor_that_cannot_load_says_why():
    group = _packed((0, None, Group((), ())))
    (answer,) = Actor(refuse)({"group": [group]})["result"]
    assert str(_unpacked(answer).failure) == "no such model"


def test_jobs_that_no_actor_survives_are_told_and_swept_up(tmp_path):
    jobs = jobs_in(tmp_path, ["a", "b", "c"])
    (tmp_path / ".1.txt.abc.part").touch()
    (tmp_path / ".9.txt.abc.part").touch()
    events = lost(grouped(jobs, jobs, 2), {(0, 0), (1, 0)})
    assert [(event.group, event.place, event.item.id) for event in events] == [(0, 1, "1")]
    assert "its worker died" in events[0].item.error
    assert [path.name for path in tmp_path.iterdir()] == [".9.txt.abc.part"]


def test_a_crew_must_fit_the_cluster():
    assert fitting(Crew("ray", None, 2), 9, None) == 4
    assert fitting(Crew("ray", 3, 2), 9, None) == 3
    assert fitting(Crew("ray", None, 1), 9, 2) == 2
    with pytest.raises(WorkersFailed, match="5 workers with 2 threads do not fit.*--workers 4"):
        fitting(Crew("ray", 5, 2), 9, None)
    with pytest.raises(WorkersFailed, match="of 9 CPUs and 2 GPUs"):
        fitting(Crew("ray", 3, 1), 9, 2)
    with pytest.raises(WorkersFailed, match="1 workers with 4 threads"):
        fitting(Crew("ray", None, 4), 2, None)


def test_without_ray_the_remedy_is_told(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    hub.save(stirred(ProDiff(**TINY)), "voice.safetensors")
    monkeypatch.setitem(sys.modules, "ray", None)
    assert tts("voice.safetensors", "o", "--engine", "ray") == USAGE
    assert "pip install 'audiogen[ray]'" in capsys.readouterr().err
