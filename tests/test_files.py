"""Files and objects of stores appear whole or not at all."""

import json
import os
from pathlib import Path

import fsspec
import pytest
import soundfile
from fake_workplace import tts, workplace  # noqa: F401 (a fixture)

from audiogen import files
from audiogen.cli import OK, USAGE, main
from audiogen.cli.enhance_jobs import find_jobs
from audiogen.files import RemotePath, local_copy, location, replacing, sweep_parts, write_text


@pytest.fixture
def memory():
    store = fsspec.filesystem("memory")
    store.rm("/", recursive=True) if store.ls("/") else None
    yield store
    store.store.clear()


def test_places_are_told_apart_by_their_names():
    assert location("a/b.wav") == Path("a/b.wav")
    place = location("s3://bucket/a/b.wav")
    assert place == RemotePath("s3", "bucket/a/b.wav")
    assert str(place) == os.fspath(place) == "s3://bucket/a/b.wav"
    assert (place.name, place.suffix, str(place.parent)) == ("b.wav", ".wav", "s3://bucket/a")
    assert str(place.parent / Path("c") / "d.flac") == "s3://bucket/a/c/d.flac"
    assert str(place.with_suffix(".json")) == "s3://bucket/a/b.json"
    assert place.is_absolute()
    assert place.resolve() == place


@pytest.mark.parametrize("scheme", ["memory://box", "file://{}"])
def test_an_object_appears_whole_or_not_at_all(scheme, tmp_path, memory):
    folder = location(scheme.format(tmp_path))
    folder.mkdir()
    place = folder / "deep" / "a.txt"
    place.parent.mkdir()
    write_text(place, "first")
    assert place.read_text() == "first"

    def half():
        with replacing(place) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert place.read_text() == "first"
    write_text(place, "second")
    with local_copy(place) as copy:
        assert copy.read_text() == "second"
        assert copy.name == "a.txt"
    assert not copy.exists()
    assert folder.below() == [place]
    assert (folder.is_dir(), place.exists(), (folder / "b").exists()) == (True, True, False)
    with pytest.raises(FileNotFoundError), local_copy(folder / "b"):
        pass


def test_a_failed_upload_leaves_nothing(memory, monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise OSError("full")

    place = location("memory://box/a.txt")
    monkeypatch.setattr(type(memory), "mv", refuse)
    with pytest.raises(OSError, match="full"):
        write_text(place, "x")
    assert memory.find("/") == []
    monkeypatch.setattr(files, "WHOLE_PUTS", {"memory"})  # nothing is renamed in such stores
    write_text(place, "x")
    assert place.read_text() == "x"


def test_parts_of_the_dead_are_swept_and_no_others(memory, tmp_path):
    for folder in (tmp_path, location("memory://box")):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("a.wav", ".a.wav.x1.part", ".b.wav.x1.part", "c.part"):
            write_text(folder / name, "")
        sweep_parts(folder, {"a.wav"})
        left = folder.below() if isinstance(folder, RemotePath) else folder.iterdir()
        assert sorted(path.name for path in left) == [".b.wav.x1.part", "a.wav", "c.part"]


def test_unknown_stores_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match="cannot open nowhere://x"):
        location("nowhere://x").exists()


@pytest.mark.usefixtures("workplace")
def test_a_manifest_and_a_folder_may_lie_in_a_store(memory, capsys):
    lines = [json.dumps({"id": f"i{k}", "text": "ab"}) for k in range(3)]
    memory.pipe("/box/m.jsonl", "\n".join(lines).encode())
    words = ["--manifest", "memory://box/m.jsonl", "--out-dir", "memory://box/out", "--timestamps", "json"]
    assert tts(*words, "-q") == OK
    names = [f"/box/out/i{k}.{kind}" for k in range(3) for kind in ("json", "wav")]
    assert memory.find("/box/out") == names
    assert tts("--manifest", "memory://box/m.jsonl", "--out-dir", "here", "-q") == OK
    assert memory.cat("/box/out/i1.wav") == Path("here/i1.wav").read_bytes()
    memory.rm("/box/out/i1.wav")
    assert tts(*words, "--skip-existing", "--report", "r.json", "-q") == OK
    assert [item["id"] for item in json.loads(Path("r.json").read_text())["items"]] == ["i1"]
    assert memory.cat("/box/out/i1.wav") == Path("here/i1.wav").read_bytes()
    assert tts("ab", "-o", "memory://box/one.flac", "-q") == OK
    assert memory.exists("/box/one.flac")
    assert tts("ab", "-o", "a.wav", "--report", "memory://box/r.json") == USAGE
    assert "reports are files of this machine" in capsys.readouterr().err
    assert tts("--manifest", "memory://box/none.jsonl", "--out-dir", "o") == USAGE
    assert "cannot read manifest" in capsys.readouterr().err


def test_recordings_may_lie_in_a_store(memory, tmp_path, monkeypatch):
    import fake_enhancer
    from fake_sessions import write_recording

    from audiogen import hub

    monkeypatch.chdir(tmp_path)
    fake_enhancer.register(monkeypatch)
    hub.save(fake_enhancer.FakeEnhancer(), "e.safetensors")
    write_recording(tmp_path / "in" / "a.wav")
    write_recording(tmp_path / "in" / "deep" / "b.flac")
    memory.put(str(tmp_path / "in"), "/box/in", recursive=True)
    words = ["--model", "e.safetensors", "--device", "cpu", "--threads", "1", "-q"]
    assert main(["enhance", "in", "--out-dir", "here", *words]) == OK
    assert main(["enhance", "memory://box/in", "--out-dir", "memory://box/out", *words]) == OK
    assert memory.find("/box/out") == ["/box/out/a.wav", "/box/out/deep/b.flac"]
    assert memory.cat("/box/out/a.wav") == Path("here/a.wav").read_bytes()
    memory.pipe("/box/list.txt", b"in/a.wav\nmemory://box/in/deep/b.flac\n")
    jobs = find_jobs([], location("memory://box/list.txt"), None, None, location("memory://box/2"))
    assert [job.item.text for job in jobs] == ["memory://box/in/a.wav", "memory://box/in/deep/b.flac"]
    assert soundfile.info("here/deep/b.flac").frames == 8000
