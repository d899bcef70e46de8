"""The content encoder as a system: trained, given a codebook, saved, and used."""

from pathlib import Path

import pytest
import torch
from fake_voices import PHONES, SPEAKERS, clip, write_voices

import audiogen
from audiogen import hub
from audiogen.content import Content
from audiogen.data.phone_frames import UNKNOWN, PhoneFrameData
from audiogen.data.store import DataError, Ragged
from audiogen.spectral import MelSpec
from audiogen.systems.phonetic_encoder import PhoneticContent
from audiogen.text.symbols import SYMBOLS
from audiogen.training.checkpoint import load_checkpoint
from audiogen.training.cli import main as fit

CONFIGS = Path(__file__).parents[1] / "configs"
NET = {"channels": 16, "hidden": 32, "blocks": 1, "bottleneck": 8}


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    return write_voices(tmp_path_factory.mktemp("voices") / "voices.safetensors")


@pytest.fixture(scope="module")
def fitted():
    torch.manual_seed(0)
    system = PhoneticContent(net=NET, codes=12).eval()
    system.fit_codebook([clip("ann", k)[0] for k in range(3)])
    return system


@pytest.fixture(scope="module")
def checkpoint(voices, tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(run)  # where checkpoints go
        words = ["fit", "-c", str(CONFIGS / "phonetic_encoder_tiny.yaml")]
        fit([*words, "--data.init_args.path", str(voices)])
    return run / "runs" / "phonetic_encoder_tiny" / "last.ckpt"


def test_the_tiny_config_trains(checkpoint):
    system = load_checkpoint(checkpoint)
    assert not system.has_codebook
    assert any(p.abs().sum() > 0 for p in system.parameters())


def test_phones_are_learnt_and_found_in_a_new_voice(voices):
    """A few steps tell six synthetic phones apart in a voice that was never heard."""
    torch.manual_seed(0)
    system = PhoneticContent(
        net=NET, codes=24, warp=0.05, stretch=0.1, lr=1e-2, warmup_steps=5, total_steps=150
    )
    system.log_dict = lambda *args, **options: None
    data = PhoneFrameData(str(voices), frames=60, batch_size=8, batches_per_epoch=150)
    data.setup("fit")
    optimizer = system.configure_optimizers()["optimizer"]
    for number, batch in enumerate(data.train_dataloader()):
        optimizer.zero_grad()
        system.training_step(batch, number).backward()
        optimizer.step()
    system.eval()
    mel, phones = clip("dot", 999)
    mask = torch.ones(1, 1, mel.shape[-1], dtype=torch.bool)
    guess = system.net.logits(system.features(mel[None], mask)).argmax(1)[0]
    assert (guess == phones).float().mean() > 0.85
    system.fit_codebook([data.store["mel"][i] for i in data.labelled_items])
    tokens = system.encode_mel(mel[None], torch.tensor([mel.shape[-1]])).tokens[0]
    purity = sum(int(torch.bincount(phones[tokens == t]).max()) for t in tokens.unique()) / len(tokens)
    assert purity > 0.85


def test_an_item_is_encoded_as_if_it_were_alone(fitted):
    generator = torch.Generator().manual_seed(0)
    wav, lengths = 0.1 * torch.randn(3, 16000, generator=generator), torch.tensor([16000, 9001, 300])
    together = fitted.encode(wav, lengths)
    assert isinstance(together, Content)
    # frame n lies around sample 256 n; what is shorter than half a window is filled up
    assert together.lengths.tolist() == [63, 36, 3]
    for row, length in enumerate(lengths.tolist()):
        alone = fitted.encode(wav[row : row + 1, :length], lengths[row : row + 1])
        frames = int(together.lengths[row])
        assert torch.equal(together.tokens[row, :frames], alone.tokens[0])
        assert together.tokens[row, frames:].sum() == 0


def test_the_level_does_not_matter(fitted):
    wav = 0.1 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([8000])
    assert torch.equal(fitted.encode(wav, lengths).tokens, fitted.encode(0.2 * wav, lengths).tokens)


def test_it_is_a_content_encoder(fitted):
    assert (fitted.sample_rate, fitted.frame_rate, fitted.vocabulary) == (16000, 62.5, 12)
    assert fitted.codebook.shape == (12, 8)


def test_the_codebook_is_saved_with_the_weights(fitted, tmp_path):
    hub.save(fitted, tmp_path / "encoder.safetensors")
    again = audiogen.load(tmp_path / "encoder.safetensors")
    assert again.has_codebook
    assert torch.equal(again.codebook, fitted.codebook)
    wav = 0.1 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(
        again.encode(wav, torch.tensor([8000])).tokens, fitted.encode(wav, torch.tensor([8000])).tokens
    )


def test_faults_name_their_remedy(fitted):
    with pytest.raises(ValueError, match="prepare codebook"):
        PhoneticContent(net=NET).encode(torch.ones(1, 800), torch.tensor([800]))
    with pytest.raises(ValueError, match="wav must be"):
        fitted.encode(torch.ones(800), torch.tensor([800]))
    with pytest.raises(ValueError, match="1..800"):
        fitted.encode(torch.ones(1, 800), torch.tensor([0]))


def test_crops_are_a_function_of_seed_and_epoch_and_keep_out_test_voices(voices):
    data = PhoneFrameData(str(voices), frames=48, batch_size=4, batches_per_epoch=30, unlabelled=0.5)
    data.setup("fit")
    plan = data.plan_epoch(3)
    assert plan == data.plan_epoch(3) != data.plan_epoch(4)
    drawn = {data.ids[i] for batch in plan for i, _ in batch}
    held_out = set(Ragged(voices).metadata["held_out"])
    assert not drawn & held_out
    assert {name.split("/")[0] for name in drawn} == set(SPEAKERS) - {"dot"}
    share = sum(data.speakers[i] == "cid" for batch in plan for i, _ in batch) / 120
    assert 0.35 < share < 0.65
    batch = data.batch(plan[0])
    assert batch["mel"].shape == (4, 80, 48)
    for row, (item, start) in enumerate(plan[0]):
        assert torch.equal(batch["phones"][row], data.store["phones"][item][start : start + 48].long())


def test_validation_marks_new_voices_and_pads_with_unknown(voices):
    data = PhoneFrameData(str(voices))
    data.setup("fit")
    (batch,) = list(data.val_dataloader())
    assert batch["ids"] == ["ann/5", "bob/5", "dot/5"]
    assert batch["new"].tolist() == [False, False, True]
    inside = batch["mask"][:, 0]
    assert bool((batch["phones"][~inside] == UNKNOWN).all())
    assert set(batch["phones"][inside].tolist()) <= set(PHONES)


def test_data_that_does_not_fit_is_refused(voices):
    data = PhoneFrameData(str(voices), repeats={"eve": 2})
    with pytest.raises(DataError, match="eve"):
        data.setup("fit")
    data = PhoneFrameData(str(voices))
    data.setup("fit")
    with pytest.raises(DataError, match="n_mels"):
        data.check(MelSpec(n_mels=40), SYMBOLS)
    with pytest.raises(DataError, match="token table"):
        data.check(MelSpec(), SYMBOLS[:-1])
