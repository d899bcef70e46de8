"""Music in other keys and tempi: what is told of it is what is heard."""

import random

import pytest
import torch
from fake_music import write_waveforms

from audiogen.cli import OK, main
from audiogen.data.captions import facts_of
from audiogen.data.coded_music import PreparedMusic, encode_music
from audiogen.data.music_latents import MusicLatentData
from audiogen.data.scores import Note
from audiogen.data.store import DataError
from audiogen.data.variants import retold, variants_of
from audiogen.semantic import ChromaTokenizer
from audiogen.text.keys import spoken
from audiogen.vocoders.autoencoder import Autoencoder

RATE = 24000
SCALE = tuple(Note(n, 1, 60 + step) for n, step in enumerate((0, 2, 4, 5, 7, 9, 11, 12)))


def facts(bpm=120.0):
    return facts_of(["piano"], ["piano"], SCALE, bpm, len(SCALE) * 60 / bpm, "mf", "legato")


@pytest.mark.parametrize(("faster", "higher"), [(0, 0), (3, 3), (-4, 1), (12, 12), (4, -3)])
def test_facts_are_those_of_the_notes_moved(faster, higher):
    """As `facts_of` tells them of notes that were transposed, at the other tempo."""
    bpm = 96.0 * 2 ** (faster / 12)
    moved = [Note(note.start, note.length, note.pitch + higher) for note in SCALE]
    expected = facts_of(["piano"], ["piano"], moved, bpm, len(SCALE) * 60 / bpm, "mf", "legato")
    assert retold(facts(96.0), faster, higher) == expected


def test_the_first_beat_comes_earlier_in_what_is_played_faster():
    told = {**facts(), "first_beat_s": 0.5}
    assert retold(told, 12, 12)["first_beat_s"] == 0.25


def beats(pitch_class, bpm, seconds=6.0):
    """A tone of three octaves that begins anew at every beat."""
    t = torch.arange(round(seconds * RATE)) / RATE
    hz = 440 * 2 ** ((pitch_class - 9) / 12)
    tone = sum(torch.sin(2 * torch.pi * hz * 2**k * t) for k in (-2, -1, 0, 1))
    return 0.1 * tone * torch.exp(-6 * (t * bpm / 60 % 1))


class Open(ChromaTokenizer):
    """A tokenizer whose tokens tell the strongest pitch class."""

    def tokens_of(self, features):
        return features[..., 12:24].argmax(-1)


def test_variants_sound_as_their_facts_say():
    wav = beats(0, 60)
    found = variants_of(wav, facts(60.0), Open(), 40, random.Random(1))
    assert len(found) == 40
    assert len({variant.facts["key"] for variant in found}) == 12
    assert len({variant.facts["bpm"] for variant in found}) > 4
    for tokens, told in found:
        assert len(tokens) == pytest.approx(6 * 6.25 * 60 / told["bpm"], abs=1)
        assert tokens[2:-2].mode().values == told["tonic"]


def test_what_is_not_known_has_no_variants():
    assert variants_of(torch.zeros(RATE), {"instruments": ["harp"]}, Open(), 3, random.Random(0)) == []


@pytest.fixture
def music(tmp_path):
    """Chords in A minor, some held out, as `prepare music` writes them."""
    write_waveforms(tmp_path, ["train", "test", "train", "train"])
    manifest = tmp_path / "manifest.jsonl"
    more = '"notes_per_s": 4.0, "density": "flowing", "dynamics": "p", "loudness": "soft", "moods": ["sad"]'
    more += ', "tempo": "fast", "articulation": "legato", "players": 1, "key": "A minor"'
    manifest.write_text(manifest.read_text().replace('"key": "A minor"', more))
    return tmp_path


def test_variants_are_of_training_items_and_have_tokens_alone(music):
    coder = Autoencoder(channels=8, hidden=8, encoder_blocks=(1, 1), decoder_blocks=(1, 1)).eval()
    prepared, path = PreparedMusic(music), music / "latents.safetensors"
    tokenizer = ChromaTokenizer(vocabulary=9).fit(prepared.wav(n) for n in prepared.training())
    encode_music(path, prepared, coder, tokenizer)
    data = MusicLatentData(str(path), batch_size=8, chunks=1, varied=0.5)
    with pytest.raises(DataError, match="has no variants, but data.init_args.varied is 0.5"):
        data.setup("fit")
    encode_music(path, prepared, coder, tokenizer, variants=12)
    data = MusicLatentData(str(path), batch_size=8, chunks=1, varied=0.5, drop=0.0, batches_per_epoch=40)
    data.setup("fit")
    assert len(data.variant_facts) == 3 * 12
    share, named = 0.0, 0
    keys = {spoken(tonic, "minor") for tonic in range(12)}
    for plan in data.plan_epoch(0):
        batch = data.batch(plan)
        assert batch["token_mask"].any(1).all()
        for crop, frames, caption in zip(plan, batch["frames"], batch["captions"], strict=True):
            assert frames.any() != crop.variant
            share += crop.variant / 320
            told = (data.variant_facts if crop.variant else data.facts)[crop.index]
            said = {key for key in keys if key in caption}
            assert said <= {told["key"]}
            named += crop.variant and bool(said)
    assert share == pytest.approx(0.5, abs=0.1)
    assert named > 40
    assert not any(crop.variant for plan in data.validation_plan() for crop in plan)


def test_prepare_latents_counts_them(music, capsys):
    from audiogen import hub
    from audiogen.systems.autoencoder import AudioAutoencoder

    sizes = {"latents": 4, "hop_length": 256, "n_fft": 1024, "channels": 8, "hidden": 16}
    small = {"encoder_blocks": (1, 1), "decoder_blocks": (1, 1), "periods": (2,), "n_ffts": (256,)}
    hub.save(AudioAutoencoder(**sizes, **small), music / "codec.safetensors")
    words = ["prepare", "latents", "--source", music, "--autoencoder", music / "codec.safetensors"]
    assert main([*map(str, words), "--vocabulary", "6", "--variants", "2"]) == OK
    assert "4 pieces, 3 to train on and 6 variants" in capsys.readouterr().err
