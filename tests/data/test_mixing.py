import math
import random

import numpy as np
import pytest
import torch

from audiogen.data.mixing import Chances, Recording, as_float, as_int16, mix, reverberate
from audiogen.data.rooms import cut, decay_time, draw_room, responses, simulate_one

RATE = 16000


@pytest.mark.parametrize("snr_db", [-6.0, 0.0, 14.0])
def test_a_mixture_has_its_signal_to_noise_ratio(snr_db):
    speech, noise = torch.randn(5000), 30 * torch.randn(5000)
    added = mix(speech, noise, snr_db) - speech
    assert 10 * torch.log10(speech.square().mean() / added.square().mean()).item() == pytest.approx(
        snr_db, abs=1e-3
    )
    assert torch.corrcoef(torch.stack((added, noise)))[0, 1] > 1 - 1e-5


def test_silence_has_no_ratio():
    with pytest.raises(ValueError, match="the noise is silent"):
        mix(torch.randn(9), torch.zeros(9), 0.0)
    with pytest.raises(ValueError, match="the speech is silent"):
        mix(torch.zeros(9), torch.randn(9), 0.0)


@pytest.mark.parametrize(("length", "taps"), [(1, 1), (100, 1), (100, 37), (37, 100)])
def test_reverberation_is_convolution(length, taps):
    wav, response = torch.randn(length), torch.randn(taps)
    expected = np.convolve(wav.numpy(), response.numpy())[:length]
    assert np.allclose(reverberate(wav, response), expected, atol=1e-5)


def test_passages_hold_sound_wherever_it_is_rare():
    """A hundredth of the recording sounds; ten draws of a fifth of it find the sound nine times in ten."""
    samples = torch.zeros(10000, dtype=torch.int16)
    samples[4000:4100] = 1000
    recording = Recording(samples)
    found = [recording.passage(random.Random(seed), 2000) for seed in range(100)]
    assert sum(bool(wav.any()) for _, wav in found) > 80
    for start, wav in found:
        assert torch.equal(wav, as_float(samples[start : start + 2000]))
    wrapped = [recording.passage(random.Random(seed), 30000, around=True) for seed in range(5)]
    for start, wav in wrapped:
        assert torch.equal(wav, as_float(samples.roll(-start).repeat(3)))


def test_integers_keep_what_they_can():
    wav = torch.linspace(-1.2, 1.2, 1001)
    assert (as_float(as_int16(wav)) - wav.clamp(-1, 1)).abs().max() <= 1 / 32768


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"snr_db": (3.0, 1.0)}, "is no range"),
        ({"room_probability": 1.5}, "is no probability"),
        ({"speeds": ()}, "out of range"),
        ({"speeds": (1.0, 3.0)}, "out of range"),
    ],
)
def test_chances_that_are_none_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Chances(**wrong)


def test_decay_of_an_exponential():
    t60 = 0.5
    response = torch.randn(RATE, generator=torch.Generator().manual_seed(0)) * 10 ** (
        -3 * torch.arange(RATE) / RATE / t60
    )
    assert decay_time(response, RATE) == pytest.approx(t60, rel=0.05)
    exact = 10 ** (-3 * torch.arange(RATE, dtype=torch.float64) / RATE / t60)
    assert decay_time(exact, RATE) == pytest.approx(t60, abs=2 / RATE)
    assert len(cut(exact)) == pytest.approx(t60 * RATE, abs=2)  # 60 dB down


@pytest.mark.parametrize("seed", range(20))
def test_rooms_hold_what_is_in_them(seed):
    room = draw_room(random.Random(seed), RATE)
    for place in (room.microphone, room.talker, room.noise):
        assert all(0.4 <= x <= side - 0.4 for x, side in zip(place, room.size, strict=True))
    samples = room.distance_m * RATE / 343
    assert samples == pytest.approx(round(samples), abs=1e-6)
    assert 0.4 < room.distance_m < 2.6
    assert 0.2 <= room.t60_s <= 1


@pytest.fixture(scope="module")
def room():
    return simulate_one(RATE, 0, 3)


def test_a_response_begins_with_the_direct_path_and_reflects_where_the_walls_are(room):
    """First reflection: the nearest of the six mirror images of the talker (Allen & Berkley 1979)."""
    place, wanted = room.room, []
    for axis, side in enumerate(place.size):
        for wall in (0.0, side):
            image = list(place.talker)
            image[axis] = 2 * wall - image[axis]
            wanted.append((math.dist(image, place.microphone) - place.distance_m) * RATE / 343)
    first = round(min(wanted))
    assert room.talker[0] == 1
    assert room.talker[1 : first - 45].abs().max() < 0.01
    assert room.talker[first - 3 : first + 4].abs().max() > 0.1
    assert room.decay_s == pytest.approx(place.t60_s, rel=0.3)


def test_a_room_is_a_function_of_its_seed(room):
    again = simulate_one(RATE, 0, 3)
    assert again.room == room.room
    assert torch.equal(again.talker, room.talker)
    assert torch.equal(again.noise_source, room.noise_source)
    assert len({draw_room(random.Random(seed), RATE).t60_s for seed in range(9)}) == 9


def test_without_the_library_the_remedy_is_told(room, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    with pytest.raises(ValueError, match=r"pip install 'audiogen\[rooms\]'"):
        responses(room.room, RATE)
