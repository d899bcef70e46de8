"""Crops of captioned music: aligned, padded, repeatable, in words of a closed vocabulary."""

import pytest
import torch
from fake_music import DIM, FRAMES, TOKENS, VOCABULARY, item, write_latents, write_waveforms

from audiogen.data.coded_music import PreparedMusic, encode_music
from audiogen.data.music_latents import Clock, MusicLatentData
from audiogen.data.store import DataError
from audiogen.semantic import ChromaTokenizer
from audiogen.text.captions import CaptionVocabulary
from audiogen.vocoders.autoencoder import Autoencoder


@pytest.fixture
def data(tmp_path):
    module = MusicLatentData(
        str(write_latents(tmp_path / "x.safetensors")), FRAMES, TOKENS, 3, batch_size=4, batches_per_epoch=6
    )
    module.setup("fit")
    return module


def test_crops_are_aligned(data):
    """The latents of a frame are those of the token it lies in."""
    table = torch.randn(VOCABULARY, DIM, generator=torch.Generator().manual_seed(0)).half().float()
    for plan in data.plan_epoch(0):
        batch = data.batch(plan)
        assert batch["latents"].shape == (4, DIM, 3 * FRAMES)
        assert batch["frames"].all()
        expected = table[batch["tokens"]].repeat_interleave(FRAMES // TOKENS, 1).mT
        assert torch.equal(batch["latents"], expected)


def test_batches_repeat_and_epochs_differ(data):
    a, b, c = (data.batch(data.plan_epoch(epoch)[2]) for epoch in (1, 1, 2))
    assert a["captions"] == b["captions"]
    assert torch.equal(a["tokens"], b["tokens"])
    assert not torch.equal(a["tokens"], c["tokens"])


def test_items_keep_to_their_split_and_all_are_used(data):
    used = {crop.index for epoch in range(3) for plan in data.plan_epoch(epoch) for crop in plan}
    assert used == {n for n in range(24) if n % 6 > 1}
    held_out = {crop.index for plan in data.validation_plan() for crop in plan}
    assert held_out == {0, 6, 12, 18}


def test_beats_are_counted_from_the_first_beat_of_the_item(tmp_path):
    """At 10 tokens and 2 beats a second, the first beat at 0.1 s: token n has (n - 1) / 5 beats behind it."""
    path = write_latents(tmp_path / "x.safetensors", beats=True)
    data = MusicLatentData(str(path), FRAMES, TOKENS, 3, batch_size=4, untold=0.5)
    data.setup("fit")
    told = 0
    for plan in data.plan_epoch(0)[:20]:
        batch = data.batch(plan)
        for row, crop in enumerate(plan):
            first = int(crop.start * (24 - 3 * TOKENS + 1))
            count = (torch.arange(first, first + 3 * TOKENS) - 1) / 5 % 1
            beats = batch["beats"][row]
            if beats.any():
                told += 1
                away = (beats[:, 0] - count).abs()
                assert float(torch.minimum(away, 1 - away).max()) < 1e-5
                torch.testing.assert_close(beats[:, 1], torch.full((3 * TOKENS,), 0.2))
    assert 20 < told < 60  # of 80, half are not told
    validation = data.batch(data.validation_plan()[0])
    assert bool(validation["beats"].any(2).all(1).all())


def test_without_a_first_beat_none_are_told(data):
    assert not data.batch(data.plan_epoch(0)[0])["beats"].any()


def test_short_items_are_padded(tmp_path):
    path = write_latents(tmp_path / "x.safetensors", tokens=7)
    data = MusicLatentData(str(path), FRAMES, TOKENS, 3, batch_size=2)
    data.setup("fit")
    batch = data.batch(data.plan_epoch(0)[0])
    assert batch["frames"].sum(1).tolist() == [21, 21]
    assert batch["token_mask"].sum(1).tolist() == [7, 7]
    assert not batch["latents"][:, :, 21:].any()


def test_some_batches_are_shorter(tmp_path):
    path = write_latents(tmp_path / "x.safetensors")
    data = MusicLatentData(str(path), FRAMES, TOKENS, 3, short=1.0, batches_per_epoch=50)
    data.setup("fit")
    assert {plan[0].chunks for plan in data.plan_epoch(0)} == {1, 2, 3}


def test_training_captions_stay_in_the_vocabulary_and_validation_keeps_its_own(data):
    vocabulary = CaptionVocabulary.of(data.all_captions(), 100)
    captions = [c for plan in data.plan_epoch(0) for c in data.batch(plan)["captions"]]
    assert not [caption for caption in captions if vocabulary.unknown(caption)]
    assert len(set(captions)) > 15
    first = data.batch(data.validation_plan()[0])
    facts = item(0)[0]
    assert first["captions"][0] == f"solo piano in {facts['key']} at {facts['bpm']} bpm"
    assert first["ids"][:2] == ["tune0", "tune6"]


def test_clock():
    assert Clock(120, 16).grid == (15, 2)
    Clock(120, 16).check(46.875, 6.25)
    with pytest.raises(DataError, match="120 frames at 50 Hz are not as long as 16 tokens"):
        Clock(120, 16).check(50, 6.25)
    with pytest.raises(ValueError, match="a chunk needs"):
        Clock(0, 4)


def test_the_file_of_prepare_latents_is_what_it_reads(tmp_path):
    """From sound through the real tokenizer and an untrained autoencoder to a batch."""
    write_waveforms(tmp_path, ["train"] * 3 + ["test"])
    coder = Autoencoder(channels=8, hidden=8, encoder_blocks=(1, 1), decoder_blocks=(1, 1)).eval()
    encode_music(
        tmp_path / "latents.safetensors", PreparedMusic(tmp_path), coder, ChromaTokenizer(vocabulary=9)
    )
    data = MusicLatentData(str(tmp_path / "latents.safetensors"), batch_size=2, chunks=1)
    data.setup("fit")
    assert (data.latent_dim, data.vocabulary, data.training, data.held_out) == (64, 9, [0, 1, 2], [3])
    batch = data.batch(data.plan_epoch(0)[0])
    assert batch["latents"].shape == (2, 64, 120)
    assert batch["tokens"].shape == (2, 16)
    assert batch["frames"].all()
    assert not CaptionVocabulary.of(data.all_captions(), 64).unknown(batch["captions"][0])
