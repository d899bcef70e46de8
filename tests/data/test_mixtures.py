import itertools
import json
import random

import numpy as np
import pytest
import soundfile
import torch
from noisy_corpus import PROMPTS, RATE, write_ivr, write_noise, write_pairs

from audiogen.audio import read_audio
from audiogen.cli import OK, USAGE, main
from audiogen.data.mixing import Chances, SpeechInNoise
from audiogen.data.mixtures import MixtureData
from audiogen.data.noises import list_noises
from audiogen.data.store import DataError, Ragged, save_ragged


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("noisy")
    write_ivr(folder / "ivr")
    write_noise(folder / "noise")
    return folder


def prepare(corpus, out, *words):
    paths = ["--speech", corpus / "ivr", "--noise", corpus / "noise", "--out", out]
    return main(["prepare", "enhancement", *map(str, [*paths, *words])])


@pytest.fixture(scope="module")
def mixtures(corpus):
    assert prepare(corpus, corpus / "out", "--rooms", 1) == OK
    return corpus / "out"


def data(folder, **options):
    made = MixtureData(str(folder / "mixtures.safetensors"), **{"crop_s": 0.5, "batch_size": 4, **options})
    made.setup("fit")
    return made


def held_out(facts):
    splits = zip(facts["speech_ids"], facts["speech_splits"], strict=True)
    return {name for name, split in splits if split == "validation"}


def ratio_db(speech, noise):
    return 10 * torch.log10(speech.square().mean(-1) / noise.square().mean(-1))


def test_training_hears_neither_the_test_speaker_nor_the_test_fold(mixtures):
    facts = Ragged(mixtures / "mixtures.safetensors").metadata
    assert {name[:2] for name in facts["speech_ids"]} == {"en", "fr"}
    assert set(facts["voices"]) == {"allison", "june"}
    assert {name.split("/")[1][0] for name in facts["noise_ids"]} == {"1", "2"}
    kept = {
        n.split("/")[1]
        for n, s in zip(facts["speech_ids"], facts["speech_splits"], strict=True)
        if s != "train"
    }
    assert len(kept) == 1  # a prompt, in both languages
    assert facts["speech_splits"].count("validation") == 2
    assert facts["noise_splits"].count("validation") == 2  # a clip of each class
    assert facts["room_splits"] == ["train", "validation"]
    assert "Carlo Flora" in facts["attribution"]


def test_the_test_set_is_what_its_manifest_says(mixtures):
    entries = [json.loads(line) for line in (mixtures / "test" / "manifest.jsonl").read_text().splitlines()]
    assert [(e["noise_class"], e["snr_db"]) for e in entries] == list(
        itertools.product(["rain", "rooster"], [-5, 0, 5, 10, 15])
    )
    for entry in entries:
        clean, noisy = (
            read_audio(mixtures / "test" / part / f"{entry['id']}.flac")[0] for part in ("clean", "noisy")
        )
        assert len(clean) == len(noisy) == round(entry["seconds"] * RATE)
        assert len(clean) >= 4 * RATE
        peak = max(float(noisy.abs().max()), float(clean.abs().max()))
        assert 20 * np.log10(peak) == pytest.approx(entry["peak_db"], abs=0.02)
        assert all(name.startswith("it/") for name in entry["speech"])
        assert entry["fold"] == 4
        one, other = (torch.fft.rfft(wav, 2 * len(wav)) for wav in (noisy, clean))
        lag = int(torch.fft.irfft(torch.sgn(one * other.conj())).argmax())  # phases alone: tones are periodic
        assert entry["snr_db"] < 0 or lag == 0  # the reference is aligned, in rooms too
        if entry["room"] is None:
            assert ratio_db(clean, noisy - clean).item() == pytest.approx(entry["snr_db"], abs=0.01)
    assert [number for number, entry in enumerate(entries) if entry["room"]] == [0, 3, 6, 9]


def test_the_recipe_is_a_function_of_its_seed(corpus, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert prepare(corpus, tmp_path / name, "--rooms", 0, "--seed", seed) == OK
    first, same, other = (
        {path.name: path.read_bytes() for path in sorted((tmp_path / name / "test").rglob("*.*"))}
        for name in "abc"
    )
    assert first == same != other
    packed = [Ragged(tmp_path / name / "mixtures.safetensors") for name in "ab"]
    assert packed[0].metadata == packed[1].metadata
    assert torch.equal(packed[0]["speech"].values, packed[1]["speech"].values)
    with pytest.raises(DataError, match="holds no rooms"):
        data(tmp_path / "a")
    assert data(tmp_path / "a", room_probability=0.0).training_batch([("0", 0)])["clean"].shape == (1, 8000)


def test_items_depend_on_seed_epoch_and_position_alone(mixtures):
    source = data(mixtures)
    whole = source.training_batch([("3", number) for number in range(6)])
    again = data(mixtures, batch_size=2).training_batch([("3", 5), ("3", 2)])
    for name in ("clean", "noisy"):
        assert torch.equal(whole[name][[5, 2]], again[name])
    assert whole["ids"][5] == again["ids"][0]
    for other in (source.training_batch([("4", 5)]), data(mixtures, seed=1).training_batch([("3", 5)])):
        assert not torch.equal(whole["noisy"][5:], other["noisy"])
    assert source.plan_epoch(3)[1] == [("3", number) for number in range(4, 8)]


def test_training_resumes_in_the_middle_of_an_epoch(mixtures):
    unbroken, broken = data(mixtures).train_dataloader(), data(mixtures).train_dataloader()
    expected = list(itertools.islice(unbroken, 3))[2]
    list(itertools.islice(broken, 2))
    resumed = data(mixtures).train_dataloader()
    resumed.load_state_dict(broken.state_dict())
    assert torch.equal(next(iter(resumed))["noisy"], expected["noisy"])
    assert len(resumed) == 250


def test_levels_and_ratios_lie_where_they_were_asked_for(mixtures):
    batch = data(mixtures, room_probability=0.0, gain_db=(-6.0, -1.0)).training_batch(
        [("0", number) for number in range(40)]
    )
    clean, noisy = batch["clean"], batch["noisy"]
    assert clean.shape == noisy.shape == (40, 8000)
    peaks = 20 * torch.log10(noisy.abs().amax(-1))
    assert peaks.min() >= -6.001
    assert peaks.max() <= -0.999
    ratios = ratio_db(clean, noisy - clean)
    assert ratios.min() >= -6.01
    assert ratios.max() <= 14.01
    assert ratios.max() - ratios.min() > 10


def test_a_room_leaves_the_direct_path_as_the_target(mixtures):
    """Nothing but the room differs between the two draws, so the clean speech is the same up to its level."""
    dry, wet = (data(mixtures, room_probability=p, gain_db=(0.0, 0.0)) for p in (0.0, 1.0))
    one, other = (source.training_batch([("0", 7)]) for source in (dry, wet))
    cosine = torch.nn.functional.cosine_similarity(one["clean"], other["clean"])
    assert cosine.item() == pytest.approx(1, abs=1e-5)
    assert torch.nn.functional.cosine_similarity(one["noisy"], other["noisy"]).item() < 0.99


def test_speeds_move_the_pitch():
    """A tone of 1 kHz that is played at 0.8 of its speed has 800 Hz."""
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(RATE) / RATE)
    source = SpeechInNoise(FakeStore(tone), "train", Chances(room_probability=0.0, speeds=(0.8,)))
    clean = source.draw(random.Random(0), 8000).clean
    assert clean.shape == (8000,)
    assert int(torch.fft.rfft(clean).abs().argmax()) * RATE / 8000 == 800


class FakeStore(dict):
    """One voice that says `wav`, and white noise."""

    def __init__(self, wav):
        column = lambda one: type("Column", (list,), {"values": one, "offsets": [0, len(one)]})([one])  # noqa: E731
        samples, noise = ((x * 20000).short() for x in (wav, torch.rand(9000) - 0.5))
        super().__init__(speech=column(samples), noise=column(noise), talker=[], noise_source=[])
        self.metadata = {
            "sample_rate": RATE,
            "speech_ids": ["a"],
            "voices": ["x"],
            "speech_splits": ["train"],
            "noise_ids": ["n"],
            "noise_splits": ["train"],
            "room_splits": [],
        }


def test_validation_is_always_the_same_and_of_held_out_parts(mixtures):
    first, second = (
        list(data(mixtures, validation_items=6, validation_s=0.4).val_dataloader()) for _ in range(2)
    )
    assert [len(batch["ids"]) for batch in first] == [4, 2]
    facts = Ragged(mixtures / "mixtures.safetensors").metadata
    kept = held_out(facts)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one["noisy"], other["noisy"])
        assert {name.split("+")[0] for name in one["ids"]} <= kept
        assert torch.allclose(one["noisy"].abs().amax(-1), torch.ones(1))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--test-speaker", "nobody"], "there are: allison, carlo, june"),
        (["--test-fold", 9], "there are: 1, 2, 4"),
    ],
)
def test_tests_that_leave_nothing_are_refused(corpus, tmp_path, capsys, words, message):
    assert prepare(corpus, tmp_path, "--rooms", 0, *words) == USAGE
    assert message in capsys.readouterr().err


def test_noise_needs_names_that_tell_its_fold(tmp_path, capsys, corpus):
    with pytest.raises(DataError, match="holds no noise; get ESC-50"):
        list_noises(tmp_path)
    soundfile.write(tmp_path / "rain.wav", np.ones(9), RATE)
    with pytest.raises(DataError, match="FOLD-CLIP-TAKE"):
        list_noises(tmp_path)
    (tmp_path / "rain.wav").rename(tmp_path / "3-77-B-10.wav")
    (noise,) = list_noises(tmp_path)
    assert (noise.kind, noise.fold, noise.clip) == ("10", 3, "77")


def test_short_sounds_lose_the_silence_they_were_filled_up_with(corpus):
    lengths = {noise.kind: len(noise.read(RATE)) for noise in list_noises(corpus / "noise")}
    assert lengths["rain"] == pytest.approx(RATE, abs=20)
    assert lengths["rooster"] == pytest.approx(RATE / 5, abs=60)


def test_voicebank_keeps_two_speakers_for_validation(tmp_path):
    names = ["p226_001", "p232_001", "p232_002", "p287_005"]
    write_pairs(tmp_path / "clean_trainset_28spk_wav", tmp_path / "noisy_trainset_28spk_wav", names, 48000)
    words = ["prepare", "voicebank", "--source", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(words) == OK
    store = Ragged(tmp_path / "out" / "mixtures.safetensors")
    splits = dict(zip(store.metadata["ids"], store.metadata["splits"], strict=True))
    assert {name for name, split in splits.items() if split == "train"} == {"p232_001", "p232_002"}
    source = data(tmp_path / "out", crop_s=0.3)
    batch = source.training_batch([("0", number) for number in range(8)])
    assert set(batch["ids"]) == {"p232_001", "p232_002"}
    ratios = ratio_db(batch["clean"], batch["noisy"] - batch["clean"])
    assert (ratios - 6.02 - 10 * np.log10(3)).abs().max() < 4  # white noise loses two thirds of its band
    for batch in source.val_dataloader():
        assert set(batch["ids"]) <= {"p226_001", "p287_005"}
        assert not batch["noisy"][:, -1].any()  # 4 s are wanted and 0.6 s there: silence fills up


def test_pairs_are_split_by_folders_or_by_lot(tmp_path):
    for split in ("train", "valid"):
        write_pairs(tmp_path / split / "clean", tmp_path / split / "noisy", [f"{split}{n}" for n in range(2)])
    write_pairs(tmp_path / "lot" / "clean", tmp_path / "lot" / "noisy", [f"x{n}" for n in range(10)])
    for source, expected in ((tmp_path, 2), (tmp_path / "lot", 3)):
        words = ["--source", str(source), "--out", str(tmp_path / "out"), "--validation-share", "0.3"]
        assert main(["prepare", "pairs", *words]) == OK
        facts = Ragged(tmp_path / "out" / "mixtures.safetensors").metadata
        assert facts["splits"].count("validation") == expected


def test_pairs_without_a_twin_or_of_unequal_length_are_refused(tmp_path, capsys):
    def run():
        code = main(["prepare", "pairs", "--source", str(tmp_path), "--out", str(tmp_path / "out")])
        return code, capsys.readouterr().err

    assert "there is no folder" in run()[1]
    write_pairs(tmp_path / "clean", tmp_path / "noisy", ["a", "b"])
    (tmp_path / "noisy" / "b.wav").rename(tmp_path / "noisy" / "c.wav")
    assert run()[0] == USAGE
    assert "2 recordings have no twin, such as b" in run()[1]
    soundfile.write(tmp_path / "noisy" / "b.wav", np.zeros(99), RATE)
    (tmp_path / "noisy" / "c.wav").unlink()
    assert "b.wav has 99 samples" in run()[1]


def test_data_for_something_else_is_refused(tmp_path, mixtures):
    save_ragged(tmp_path / "mixtures.safetensors", {"audio": [torch.zeros(3)]}, {"sample_rate": RATE})
    with pytest.raises(DataError, match="audiogen prepare enhancement"):
        data(tmp_path)
    with pytest.raises(DataError, match="16000 Hz, the model wants 8000 Hz"):
        data(mixtures, sample_rate=8000)
    with pytest.raises(DataError, match="lower data.crop_s"):
        data(mixtures, crop_s=PROMPTS * 2.0).training_batch([("0", 0)])
    with pytest.raises(ValueError, match="gain_db"):
        data(mixtures, gain_db=(0.0, 3.0))
