"""Measures of music on sounds whose answers are known."""

import math

import pytest
import torch

from audiogen.metrics.music import (
    FamilyClassifier,
    adherence,
    estimate_key,
    estimate_tempo,
    frechet_distance,
    matrix_root,
    moments,
    tempo_agrees,
    timbre,
)

RATE = 24000
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 11)}


def tone(pitch, seconds, partials):
    """A MIDI pitch whose k-th partial has the size partials(k), dying away."""
    t = torch.arange(int(seconds * RATE)) / RATE
    hz = 440 * 2 ** ((pitch - 69) / 12)
    waves = sum(partials(k) * torch.sin(2 * math.pi * k * hz * t) for k in range(1, 9) if k * hz < RATE / 2)
    return 0.1 * waves * (-2 * t).exp()


def tune(tonic, mode, beat_s=0.5, partials=lambda k: 1 / k):
    """The scale up and down, and its tonic triad, a note a beat."""
    steps = [*SCALES[mode], 12, *reversed(SCALES[mode]), 0, SCALES[mode][2], 7, 12]
    return torch.cat([tone(60 + tonic + step, beat_s, partials) for step in steps])


TIMBRES = {
    "bright": lambda k: 1.0,
    "hollow": lambda k: k % 2 / k,
    "dull": lambda k: 0.2 ** (k - 1),
}


@pytest.fixture(scope="module")
def classifier():
    wavs = [tune(tonic, "major", partials=part) for part in TIMBRES.values() for tonic in (-8, -3, 0, 5)]
    return FamilyClassifier.fit(wavs, [name for name in TIMBRES for _ in range(4)], RATE)


def test_the_distance_of_gaussians_has_its_closed_form():
    """Axes alike: squared offsets of means and of deviations, where sample moments are made exact."""
    torch.manual_seed(0)
    white = torch.randn(400, 3, dtype=torch.float64)
    white = white - white.mean(0)
    values, vectors = torch.linalg.eigh(white.T.cov())
    white = white @ vectors / values.sqrt() @ vectors.T
    a = white * torch.tensor([1.0, 2.0, 3.0]) + torch.tensor([0.0, 1.0, 0.0])
    b = white.flip(0) * torch.tensor([2.0, 2.0, 0.5]) + torch.tensor([2.0, 1.0, 0.0])
    assert frechet_distance(a, b) == pytest.approx(4 + (1 - 2) ** 2 + 0 + (3 - 0.5) ** 2, rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b))


def test_the_distance_does_not_depend_on_the_axes_and_matches_scipy():
    from scipy.linalg import sqrtm

    torch.manual_seed(1)
    a, b = torch.randn(50, 4).double() @ torch.randn(4, 4).double(), torch.randn(70, 4).double()
    turn = torch.linalg.qr(torch.randn(4, 4).double())[0]
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(frechet_distance(a, b), rel=1e-8)
    cross = sqrtm((a.T.cov() @ b.T.cov()).numpy()).real.trace()
    offset = float((a.mean(0) - b.mean(0)).square().sum())
    expected = offset + float(a.T.cov().trace() + b.T.cov().trace()) - 2 * cross
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_unlike_collections_are_refused():
    with pytest.raises(ValueError, match="too few or not of one width"):
        frechet_distance(torch.zeros(5, 2), torch.zeros(5, 3))
    with pytest.raises(ValueError, match="too few"):
        frechet_distance(torch.zeros(1, 2), torch.zeros(5, 2))


def test_a_root_squared_is_the_matrix():
    x = torch.randn(5, 9, dtype=torch.float64)
    assert torch.allclose(matrix_root(x @ x.T) @ matrix_root(x @ x.T), x @ x.T)


def test_moments_are_of_windows_and_of_all_where_there_is_less():
    frames = torch.tensor([[1.0, 3.0, 5.0, 5.0, 9.0]])
    assert moments(frames, 2).tolist() == [[2.0, 1.0], [5.0, 0.0]]
    assert moments(frames[:, :1], 2).tolist() == [[1.0, 0.0]]


def test_timbre_is_the_same_at_any_loudness():
    wav = tune(0, "major")
    assert torch.allclose(timbre(wav, RATE)[:, :10], timbre(0.5 * wav, RATE)[:, :10], atol=0.1)


@pytest.mark.parametrize("name", TIMBRES)
def test_a_timbre_is_recognised_in_other_notes(classifier, name):
    wav = tune(2, "minor", 0.4, TIMBRES[name])
    assert classifier.classify(0.4 * wav, RATE) == name
    assert sum(classifier.scores(wav, RATE).values()) == pytest.approx(1, abs=1e-5)


def test_one_family_teaches_nothing():
    with pytest.raises(ValueError, match="two families"):
        FamilyClassifier.fit([torch.randn(RATE)], ["piano"], RATE)


@pytest.mark.parametrize("bpm", [72, 100, 132])
def test_a_tempo_is_that_of_the_beats(bpm):
    beat = torch.zeros(round(60 * RATE / bpm))
    beat[:1200] = 0.5 * torch.randn(1200, generator=torch.Generator().manual_seed(0))
    assert tempo_agrees(estimate_tempo(beat.repeat(round(15 * bpm / 60)), RATE), bpm)


def test_silence_has_no_tempo():
    assert estimate_tempo(torch.zeros(3 * RATE), RATE) == 0


def test_octaves_of_a_tempo():
    assert tempo_agrees(107, 100)
    assert not tempo_agrees(109, 100)
    assert not tempo_agrees(200, 100)
    assert tempo_agrees(52, 100, octaves=True)
    assert tempo_agrees(310, 100, octaves=True)
    assert not tempo_agrees(140, 100, octaves=True)


@pytest.mark.parametrize(("tonic", "mode"), [(0, "major"), (9, "minor"), (-5, "major"), (3, "minor")])
def test_a_key_is_that_of_the_scale(tonic, mode):
    assert estimate_key(tune(tonic, mode), RATE) == (tonic % 12, mode)


def test_adherence_tells_each_fact_apart(classifier):
    wav = tune(0, "major", 0.5, TIMBRES["dull"]).repeat(2)
    facts = {"family": "dull", "bpm": 120, "tonic": 0, "mode": "major"}
    found = adherence(wav, RATE, facts, classifier)
    assert all(found[name] for name in ("family", "tempo_octaves", "key", "tonic", "mode"))
    wrong = adherence(wav, RATE, {"family": "bright", "bpm": 87, "tonic": 1, "mode": "minor"}, classifier)
    assert not any(wrong.values())
