import json

import pytest
import torch
from fake_system import FakeSpeech, FakeVocoder, register
from safetensors.torch import load_file, save_file

import audiogen
from audiogen import hub
from audiogen import weights as files
from audiogen.vocoders import MelSpecMismatch
from audiogen.vocoders.griffin_lim import GriffinLim


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A folder of two released fakes, in the place of the models of this checkout."""
    register(monkeypatch)
    for name, system in (("speech", FakeSpeech(vocoder="voc")), ("voc", FakeVocoder())):
        (tmp_path / name).mkdir()
        hub.save(system, tmp_path / name / files.WEIGHTS)
    monkeypatch.setattr(files, "MODEL_FOLDERS", (tmp_path / "absent", tmp_path))
    return tmp_path


def test_saved_system_comes_back_with_weights_hparams_and_vocoder(models):
    system = FakeSpeech(speakers=("zoe",), vocoder="voc")
    torch.nn.init.constant_(system.gain, 0.25)
    hub.save(system, models / "own.safetensors")
    loaded = audiogen.load(models / "own.safetensors")
    assert isinstance(loaded, FakeSpeech)
    assert loaded.gain.item() == 0.25
    assert loaded.speakers == ("zoe",)
    assert isinstance(loaded.vocoder, FakeVocoder)
    assert not loaded.training
    assert not loaded.vocoder.training


def test_attached_vocoder_is_not_saved_again(models):
    hub.save(hub.load("speech"), models / "again.safetensors")
    assert set(load_file(models / "again.safetensors")) == {"gain"}
    assert hub.load(models / "again.safetensors").vocoder is not None


def test_system_may_choose_the_tensors_it_releases(models, monkeypatch):
    monkeypatch.setattr(FakeSpeech, "release_state", lambda self: {"only": torch.ones(2)}, raising=False)
    taken = []
    monkeypatch.setattr(
        FakeSpeech, "load_release_state", lambda self, state: taken.append(state), raising=False
    )
    hub.save(FakeSpeech(), models / "own.safetensors")
    hub.load(models / "own.safetensors")
    assert set(taken[0]) == {"only"}


def test_name_folder_and_file_lead_to_the_same_weights(models):
    weights = models / "speech" / files.WEIGHTS
    assert files.locate("speech") == files.locate(models / "speech") == files.locate(weights) == weights


def test_checkpoint_of_a_training_run_loads_too(models):
    state = {"gain": torch.tensor(0.125)}
    release = {"system": "fake", "hparams": {"speakers": ["zoe"], "vocoder": "voc"}}
    torch.save({"release": release, "state_dict": state}, models / "last.ckpt")
    system = hub.load(models / "last.ckpt")
    assert (system.gain.item(), system.speakers) == (0.125, ("zoe",))
    assert isinstance(system.vocoder, FakeVocoder)
    assert hub.provenance(models / "last.ckpt")["vocoder"] == "voc"


@pytest.mark.parametrize("name", ["nobody", "no/such/file.safetensors", "", ".", "../speech"])
def test_unknown_model_names_the_known_ones(models, name):
    with pytest.raises(files.UnknownModel, match="speech, voc"):
        hub.load(name)


def test_corrupt_files_are_told_apart_from_unknown_models(models):
    weights = (models / "speech" / files.WEIGHTS).read_bytes()
    path = models / "bad.safetensors"
    for content in (weights[:-1], weights[:20], b"", b"\xff" * 64, b"PK\x03\x04 a pickle"):
        path.write_bytes(content)
        with pytest.raises(files.CorruptWeights, match=r"bad\.safetensors"):
            hub.load(path)


@pytest.mark.parametrize(
    ("metadata", "tensors"),
    [
        (None, {"gain": torch.tensor(0.5)}),
        ({"system": "fake"}, {"gain": torch.tensor(0.5)}),
        ({"system": "fake", "hparams": "{"}, {"gain": torch.tensor(0.5)}),
        ({"system": "fake", "hparams": "[1]"}, {"gain": torch.tensor(0.5)}),
        ({"system": "unheard", "hparams": "{}"}, {"gain": torch.tensor(0.5)}),
        ({"system": "fake", "hparams": '{"no_such": 1}'}, {"gain": torch.tensor(0.5)}),
        ({"system": "fake", "hparams": "{}"}, {"other": torch.tensor(0.5)}),
        ({"system": "fake", "hparams": "{}"}, {"gain": torch.ones(3)}),
        ({"system": "fake", "hparams": "{}"}, {"gain": torch.tensor(torch.nan)}),
    ],
)
def test_file_that_is_not_a_whole_model_is_refused(models, metadata, tensors):
    save_file(tensors, models / "odd.safetensors", metadata)
    with pytest.raises(files.CorruptWeights, match=r"odd\.safetensors"):
        hub.load(models / "odd.safetensors")


def test_vocoder_with_another_front_end_is_refused_naming_both(models):
    hub.save(FakeVocoder({"n_mels": 100}), models / "other.safetensors")
    with pytest.raises(MelSpecMismatch, match=r"n_mels: 80 != 100") as caught:
        hub.load("speech", vocoder=models / "other.safetensors")
    assert "n_mels=80" in str(caught.value)
    assert "n_mels=100" in str(caught.value)


def test_griffin_lim_only_when_asked_for(models):
    assert isinstance(hub.load("speech", vocoder="griffin-lim").vocoder, GriffinLim)
    assert isinstance(hub.load("speech").vocoder, FakeVocoder)


def test_speaking_model_is_no_vocoder(models):
    with pytest.raises(files.UnknownModel, match="no vocoder"):
        hub.load("speech", vocoder="speech")


def test_device_that_is_not_there_is_refused_and_auto_falls_back(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert hub.resolve_device("auto") == hub.resolve_device("cpu") == torch.device("cpu")
    for name in ("cuda", "cuda:1", "abacus", "mps:7"):
        with pytest.raises(ValueError, match=name):
            hub.resolve_device(name)


def test_cuda_index_is_checked(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert hub.resolve_device("auto") == torch.device("cuda")
    assert hub.resolve_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(ValueError, match="cuda:1"):
        hub.resolve_device("cuda:1")


def test_failed_save_leaves_the_old_file_and_no_litter(models, monkeypatch):
    path = models / "speech" / files.WEIGHTS
    before = path.read_bytes()

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(hub, "save_file", full)
    with pytest.raises(OSError, match="disk full"):
        hub.save(FakeSpeech(), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [files.WEIGHTS]


def test_hyper_parameters_must_be_plain(models):
    system = FakeSpeech()
    system.hparams["mel_spec"] = object()
    with pytest.raises(ValueError, match="plain values"):
        hub.save(system, models / "own.safetensors")


def test_only_systems_can_be_saved(tmp_path):
    system = torch.nn.Linear(2, 2)
    system.hparams = {}
    with pytest.raises(ValueError, match="Linear"):
        hub.save(system, tmp_path / "own.safetensors")


def test_provenance_states_names_and_digests(models):
    origin = hub.provenance("speech")
    assert (origin["model"], origin["vocoder"]) == ("speech", "voc")
    assert origin["model_sha256"] == hub.sha256(models / "speech" / files.WEIGHTS)
    assert len(origin["vocoder_sha256"]) == 64
    assert hub.provenance("speech", "griffin-lim")["vocoder"] == "griffin-lim"
    assert json.dumps(origin)
