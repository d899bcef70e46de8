"""Semantic tokens: pitch classes, onsets and loudness of known sounds; clusters that are there."""

import math
import sys
import types

import pytest
import torch

from audiogen import hub, semantic
from audiogen.nn.kmeans import kmeans, nearest
from audiogen.semantic import ChromaTokenizer, TransformersTokenizer

RATE = 24000


def tone(pitch, seconds=1.0, level=0.2):
    """A MIDI pitch with four harmonics."""
    t = torch.arange(int(seconds * RATE)) / RATE
    hz = 440 * 2 ** ((pitch - 69) / 12)
    return level * sum(torch.sin(2 * math.pi * k * hz * t) / k for k in range(1, 5))


@pytest.fixture(scope="module")
def tokenizer():
    recordings = [torch.cat([tone(pitch, 1.0) for pitch in range(48 + k, 84, 5)]) for k in range(5)]
    return ChromaTokenizer(vocabulary=24).fit(recordings)


def test_clusters_far_apart_are_found():
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(7, 5, generator=generator) * 20
    points = centres.repeat(50, 1) + 0.1 * torch.randn(350, 5, generator=generator)
    found = kmeans(points, 7, generator)
    assert (torch.cdist(centres, found).amin(1) < 0.1).all()
    assert torch.equal(nearest(found, found), torch.arange(7))
    with pytest.raises(ValueError, match="3 points cannot have 7 centroids"):
        kmeans(points[:3], 7, generator)


def test_points_that_repeat_leave_every_centroid_on_one():
    points = torch.tensor([[0.0], [0.0], [0.0], [1.0]])
    assert sorted(kmeans(points, 2, torch.Generator().manual_seed(0))[:, 0].tolist()) == [0, 1]
    assert torch.isfinite(kmeans(points, 3, torch.Generator().manual_seed(0))).all()


@pytest.mark.parametrize("pitch", [40, 45, 50, 61, 70, 83, 95])
def test_the_strongest_pitch_class_is_the_tone_s(pitch):
    features = ChromaTokenizer().features(tone(pitch)[None])[0, 2:5, :24].mean(0)
    register = 0 if pitch < 60 else 1
    assert int(features[12 * register : 12 * register + 12].argmax()) == pitch % 12


def test_pitch_classes_are_those_of_tones_an_octave_apart():
    filters = semantic.chroma_filters(RATE, 4096)[12:]
    for a, b in ((440.0, 880.0), (523.25, 1046.5)):
        rows = [filters[:, round(hz * 4096 / RATE)].argmax() for hz in (a, b)]
        assert rows[0] == rows[1]


def test_timbre_does_not_depend_on_loudness_and_loudness_does():
    features = ChromaTokenizer().features(torch.stack([tone(60), 0.5 * tone(60)]))[:, 3]
    assert torch.allclose(features[0, 24:30], features[1, 24:30], atol=0.15)
    assert float(features[0, -2] - features[1, -2]) == pytest.approx(2 * math.log(2), abs=0.01)


def test_an_onset_is_told_where_it_is():
    wav = torch.cat((torch.zeros(10 * 3840 + 700), tone(60, 2.0)))[None]
    onsets = ChromaTokenizer().onsets(wav)[0, :-2]  # where the tone is cut off clicks
    assert int(onsets.argmax()) == 10
    assert onsets[:9].max() == 0
    assert onsets[12:].max() < 0.2 * onsets[10]


@pytest.mark.parametrize("samples", [1, 3839, 3840, 3841, 30000])
def test_a_token_stands_for_a_hop(tokenizer, samples):
    tokens = tokenizer.encode(0.1 * torch.randn(2, samples))
    assert tokens.shape == (2, math.ceil(samples / tokenizer.hop_length))
    assert tokens.dtype == torch.int64
    assert tokens.min() >= 0
    assert tokens.max() < tokenizer.vocabulary
    assert tokenizer.frame_rate == RATE / 3840


def test_one_sound_has_one_token_and_others_have_others(tokenizer):
    tokens = [tokenizer.encode(tone(pitch)[None])[0, 2:5].tolist() for pitch in (48, 53, 58, 63)]
    assert all(len(set(row)) == 1 for row in tokens)
    assert len({row[0] for row in tokens}) == 4


def test_fitting_repeats_and_its_state_is_all_there_is(tokenizer):
    recordings = [torch.cat([tone(pitch, 1.0) for pitch in range(48 + k, 84, 5)]) for k in range(5)]
    again = ChromaTokenizer(vocabulary=24).fit(recordings)
    assert torch.equal(again.centroids, tokenizer.centroids)
    loaded = ChromaTokenizer(vocabulary=24)
    loaded.load_state_dict(tokenizer.state_dict())
    wav = torch.randn(1, 9000)
    assert torch.equal(loaded.encode(wav), tokenizer.encode(wav))


def test_a_tokenizer_is_released_like_a_system(tokenizer, tmp_path):
    hub.save(tokenizer, tmp_path / "model.safetensors")
    again = hub.load(tmp_path / "model.safetensors")
    wav = torch.randn(1, 9000)
    assert torch.equal(again.encode(wav), tokenizer.encode(wav))


def test_hops_that_cannot_be_divided_are_refused():
    with pytest.raises(ValueError, match="hop_length 1001 is no multiple of 8"):
        ChromaTokenizer(hop_length=1001)


def test_an_encoder_of_transformers_needs_the_package(monkeypatch):
    monkeypatch.setattr(semantic, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install transformers"):
        TransformersTokenizer("m-a-p/MERT-v1-95M")


def test_tokens_of_an_encoder_of_transformers(monkeypatch):
    """A stand-in whose hidden states are the samples of every 320th place, and one frame too few."""

    class Encoder(torch.nn.Module):
        config = types.SimpleNamespace(hidden_size=1)

        def forward(self, wav, output_hidden_states):
            states = wav[:, ::320, None][:, :-1]
            return types.SimpleNamespace(hidden_states=[states * layer for layer in range(9)])

    asked = {}

    def from_pretrained(name, **options):
        asked.update(name=name, **options)
        return Encoder()

    package = types.SimpleNamespace(AutoModel=types.SimpleNamespace(from_pretrained=from_pretrained))
    monkeypatch.setattr(semantic, "find_spec", lambda name: True)
    monkeypatch.setitem(sys.modules, "transformers", package)
    steps = torch.arange(8).repeat_interleave(1920)[None] / 8.0
    tokenizer = TransformersTokenizer("some/encoder", layer=2, vocabulary=8)
    assert asked == {"name": "some/encoder", "trust_remote_code": False, "use_safetensors": True}
    tokenizer.fit(list(steps))
    assert sorted(tokenizer.centroids[:, 0].tolist()) == pytest.approx([2 * k / 8 for k in range(8)])
    assert len(set(tokenizer.encode(steps)[0].tolist())) == 8
    assert tokenizer.frame_rate == 12.5
