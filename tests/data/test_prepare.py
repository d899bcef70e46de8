import gzip
import io
import json
import tarfile

import numpy as np
import pytest
import torch
from synthetic_corpus import RATE, TEXTS, utter, write_corpus

from audiogen.cli import OK, USAGE, main
from audiogen.data import ivr
from audiogen.data.mels import MelData
from audiogen.data.store import DataError, Ragged
from audiogen.data.waveforms import WaveformData
from audiogen.spectral import MelSpec
from audiogen.text.symbols import IDS, SYMBOLS


def test_every_sentence_becomes_a_piece_whose_tokens_fill_its_frames(prepared):
    store = Ragged(prepared / "speech.safetensors")
    assert len(store.metadata["ids"]) == len(TEXTS) + 1  # one text holds two sentences
    for i in range(len(store["mel"])):
        assert int(store["durations"][i].sum()) == store["mel"].length(i) == store["f0"].length(i)
        assert store["tokens"].length(i) == store["durations"].length(i) == store["stress"].length(i)
        assert int(store["tokens"][i][0]) == IDS[" "]
    assert store.metadata["symbols"] == list(SYMBOLS)


def test_the_lhotse_manifest_tells_the_same(prepared):
    with gzip.open(prepared / "cuts.jsonl.gz", "rt") as file:
        cuts = [json.loads(line) for line in file]
    store = Ragged(prepared / "speech.safetensors")
    assert [cut["id"] for cut in cuts] == store.metadata["ids"]
    assert [len(cut["supervisions"][0]["alignment"]["phone"]) for cut in cuts] == [
        store["tokens"].length(i) for i in range(len(cuts))
    ]


def test_held_out_prompts_are_listed_and_kept_out_of_training(prepared):
    rows = [line.split("|") for line in (prepared / "heldout.csv").read_text().splitlines()]
    assert len(rows) == 1
    assert rows[0][1] in TEXTS
    data = MelData(str(prepared / "speech.safetensors"), max_frames=400, buckets=2)
    data.setup("fit")
    assert rows[0][0] not in {data.ids[i].partition("#")[0] for i in data.training_items}
    waves = WaveformData(str(prepared / "audio.safetensors"), RATE, segment=4096)
    waves.setup("fit")
    assert [waves.ids[i] for i in waves.validation_items] == [rows[0][0]]


def test_batches_cover_an_epoch_once_and_waste_little(prepared):
    data = MelData(str(prepared / "speech.safetensors"), max_frames=600, buckets=3)
    data.setup("fit")
    for epoch in range(3):
        plan = data.plan_epoch(epoch)
        assert sorted(i for batch in plan for i in batch) == data.training_items
        assert all(len(b) * max(map(data.mel.length, b)) <= 600 or len(b) == 1 for b in plan)
    assert data.plan_epoch(0) != data.plan_epoch(1)
    assert data.plan_epoch(2) == data.plan_epoch(2)
    assert 0 <= data.padding_waste() < 0.25
    batch = data.batch(data.training_items[:3])
    assert batch["mel"].shape[0] == batch["tokens"].shape[0] == 3
    assert torch.equal(batch["durations"].sum(1).max(), torch.tensor(batch["mel"].shape[-1]))


@pytest.fixture(scope="module")
def two_voices(prepared, tmp_path_factory):
    """The corpus again with a second voice that repeats the held-out prompt and says three new sentences."""
    folder = tmp_path_factory.mktemp("two")
    held_out = (prepared / "heldout.csv").read_text().split("|")[1]
    texts = [held_out, "The gate is open.", "A cat sat on the wall.", "We sold the old house."]
    own, other = write_corpus(folder / "own"), write_corpus(folder / "other", texts)
    command = ["prepare", "ljspeech", "--source", str(own), "--also", f"zoe={other}", "--workers", "1"]
    assert main([*command, "--out", str(folder / "out")]) == OK
    return folder / "out"


def test_a_further_voice_is_for_training_alone(two_voices):
    """Both voices are aligned; what is tested is learnt from neither; vocoders get recordings alone."""
    facts = Ragged(two_voices / "speech.safetensors").metadata
    assert facts["speakers"] == ["linda", "zoe"]
    data = MelData(str(two_voices / "speech.safetensors"), max_frames=400, buckets=2, repeats={"linda": 3})
    data.setup("fit")
    speakers = [int(data.store["speaker"][i][0]) for i in range(len(data.ids))]
    assert speakers.count(1) == 3
    assert {facts["texts"][i] for i in data.training_items} >= {"The gate is open.", "We sold the old house."}
    heard = {facts["texts"][i] for i in data.training_items}
    assert not heard & {facts["texts"][i] for i in data.validation_items}
    counts = [sum(batch.count(i) for batch in data.plan_epoch(0)) for i in data.training_items]
    assert counts == [1 if speakers[i] else 3 for i in data.training_items]
    audio = Ragged(two_voices / "audio.safetensors").metadata["ids"]
    assert len(audio) == len(TEXTS)


def test_voices_must_be_named_as_the_data_names_them(two_voices, capsys):
    data = MelData(str(two_voices / "speech.safetensors"), repeats={"anna": 2})
    data.setup("fit")
    data.check(MelSpec(), SYMBOLS, ["linda", "zoe", "more"])
    with pytest.raises(DataError, match="in their order"):
        data.check(MelSpec(), SYMBOLS, ["zoe", "linda"])
    with pytest.raises(DataError, match="repeats names .'anna'."):
        data.plan_epoch(0)
    source = ["prepare", "ljspeech", "--source", str(two_voices.parent / "own")]
    assert main([*source, "--also", "zoe", "--out", str(two_voices.parent / "no")]) == USAGE
    assert "NAME=DIR" in capsys.readouterr().err


def test_a_model_that_does_not_fit_the_data_is_refused(prepared):
    data = MelData(str(prepared / "speech.safetensors"))
    data.setup("fit")
    data.check(MelSpec(), SYMBOLS, ["linda"])
    with pytest.raises(DataError, match="n_mels: 100 != 80"):
        data.check(MelSpec(n_mels=100), SYMBOLS, ["linda"])
    with pytest.raises(DataError, match="token table"):
        data.check(MelSpec(), SYMBOLS[:-1], ["linda"])
    with pytest.raises(DataError, match="linda"):
        data.check(MelSpec(), SYMBOLS, [])


def test_segments_hold_what_the_recording_holds(prepared):
    data = WaveformData(str(prepared / "audio.safetensors"), RATE, segment=4096, gain_db=(0.0, 0.0))
    data.setup("fit")
    plan = data.plan_epoch(3)[0]
    batch = data.training_batch(plan)
    for row, (item, start, gain) in zip(batch["wav"], plan, strict=True):
        assert gain == 1.0
        assert torch.equal(row, data.audio[item][start : start + 4096].float() / 32768)
    with pytest.raises(DataError, match="22050"):
        WaveformData(str(prepared / "audio.safetensors"), 22050).setup("fit")
    with pytest.raises(DataError, match=r"lower data\.segment"):
        WaveformData(str(prepared / "audio.safetensors"), RATE, segment=10**7).setup("fit")


def archive(path, files):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_the_public_archive_is_fetched_and_unpacked(tmp_path):
    samples = (utter(TEXTS[0])[0].numpy() * 32767).astype("<i2")
    listing = "; a comment\npress-one: Press one to hear the menu.\ndigits/1: one\nbeep: [a beep]\n"
    files = {
        "press-one.sln16": samples.tobytes(),
        "digits/1.sln16": samples[:800].tobytes(),
        "beep.sln16": samples[:400].tobytes(),
        "core-sounds-en.txt": listing.encode(),
    }
    archive(tmp_path / "en.tar.gz", files)
    origin = (tmp_path / "{language}.tar.gz").as_uri().replace("%7B", "{").replace("%7D", "}")
    folder = ivr.fetch(tmp_path / "source", ["en"], origin, say=lambda text: None)
    clips = {clip.id: clip for clip in ivr.list_clips(folder)}
    assert {name: clip.text for name, clip in clips.items()} == {
        "en/press-one": TEXTS[0],
        "en/digits__1": "one",
        "en/beep": None,
    }
    assert np.allclose(clips["en/press-one"].read(16000), samples / 32768, atol=1e-6)
    (tmp_path / "en.tar.gz").unlink()
    ivr.fetch(folder, ["en"], origin)  # what is there is not fetched again
    with pytest.raises(DataError, match="--source DIR"):
        ivr.fetch(folder, ["es"], origin, say=lambda text: None)


def test_a_wrong_source_is_a_usage_error(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert (
        main(["prepare", "ivr", "--source", str(tmp_path / "empty"), "--out", str(tmp_path / "o")]) == USAGE
    )
    assert "no ivr recordings" in capsys.readouterr().err
    assert main(["prepare", "ljspeech", "--source", str(tmp_path / "empty")]) == USAGE
    assert "metadata.csv" in capsys.readouterr().err
