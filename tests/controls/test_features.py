"""Features of controls: those of librosa and scipy, or closed forms, and their gradients."""

import librosa
import numpy as np
import pytest
import scipy.signal
import torch

from audiogen.controls import features
from audiogen.controls.sound import FRAME_RATE, Sound, within

RATE = 24000
HOP = RATE // FRAME_RATE


def noise(seconds=2.0, seed=0, items=1):
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(items, round(seconds * RATE), generator=generator)


def tone(hz, seconds=1.0, level=0.3):
    return level * torch.sin(2 * torch.pi * hz * torch.arange(round(seconds * RATE)) / RATE)[None]


def sound(wav):
    return Sound.of(wav, RATE)


def mel_power(wav, n_fft, n_mels):
    return librosa.feature.melspectrogram(
        y=wav[0].numpy(), sr=RATE, n_fft=n_fft, hop_length=HOP, n_mels=n_mels, pad_mode="reflect"
    )


def test_loudness_is_that_of_librosa():
    wav = noise() * torch.linspace(0.01, 3, 2 * RATE)
    expected = librosa.feature.rms(y=wav[0].numpy(), frame_length=2048, hop_length=HOP)[0]
    found = features.rms_db(sound(wav))[0].numpy()
    np.testing.assert_allclose(found, 20 * np.log10(expected), atol=0.05)
    assert float(features.rms_db(sound(torch.zeros(1, RATE)))[0, 0]) == pytest.approx(-80, abs=0.01)


def test_smoothing_is_that_of_scipy():
    curve = torch.randn(2, 120, generator=torch.Generator().manual_seed(0))
    expected = scipy.signal.savgol_filter(curve.numpy(), 51, 2, mode="nearest")
    np.testing.assert_allclose(features.smooth(curve, 1.0).numpy(), expected, atol=1e-5)


def test_smoothing_keeps_parabolas():
    t = torch.linspace(-1, 1, 201)
    curve = (3 * t.square() - t + 2)[None]
    torch.testing.assert_close(features.smooth(curve, 1.0)[:, 30:-30], curve[:, 30:-30], atol=1e-4, rtol=0)


@pytest.mark.parametrize("pitch", range(60, 84))
def test_pitch_class_of_a_tone_stands_out(pitch):
    """For two octaves above middle C, as librosa's chroma says."""
    wav = tone(440 * 2 ** ((pitch - 69) / 12))
    shares = features.chroma(sound(wav))[0]
    torch.testing.assert_close(shares.sum(-1), torch.ones(len(shares)))
    middle = shares[10:-10]
    assert set(middle.argmax(-1).tolist()) == {pitch % 12}
    assert float(middle[:, pitch % 12].min()) > 0.6
    theirs = librosa.feature.chroma_stft(y=wav[0].numpy(), sr=RATE, n_fft=4096, hop_length=HOP)
    assert set(theirs.argmax(0)[10:-10]) == {pitch % 12}


def test_pitch_classes_below_middle_c_are_not_heard_and_silence_says_nothing():
    shares = features.chroma(sound(tone(130.8) + 0.1 * tone(659.3)))[0, 10:-10]
    assert set(shares.argmax(-1).tolist()) == {4}
    silent = features.chroma(sound(torch.zeros(1, RATE)))[0]
    assert float((silent - 1 / 12).abs().max()) < 0.05


def test_cepstrum_is_that_of_librosa():
    wav = noise() + tone(500, 2.0)
    decibels = librosa.power_to_db(mel_power(wav, 2048, 80), top_db=None)
    expected = librosa.feature.mfcc(S=decibels, n_mfcc=20)[1:].T
    np.testing.assert_allclose(features.mfcc(sound(wav))[0].numpy(), expected, atol=0.05)


def test_onset_strength_is_that_of_librosa():
    wav = noise() * (torch.sin(torch.arange(2 * RATE) / 2000) > 0)
    decibels = librosa.power_to_db(mel_power(wav, 1024, 40) + 1e-3, top_db=None)
    expected = librosa.onset.onset_strength(S=decibels, sr=RATE, hop_length=HOP, center=False)
    found = features.onset_strength(sound(wav))[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3 * expected.max())


@pytest.mark.parametrize("slope", [0.0, -3.0, -6.0, 3.0])
def test_tilt_of_shaped_noise_is_its_slope(slope):
    """Power that falls as f to the power of slope / 3.01 falls by the slope in an octave."""
    spectrum = torch.fft.rfft(noise(20.0))
    hz = torch.fft.rfftfreq(20 * RATE, 1 / RATE).clamp(min=20)
    wav = torch.fft.irfft(spectrum * (hz / 1000) ** (slope / 6.0206))
    cares = torch.ones(wav.shape[-1] // HOP + 1, dtype=torch.bool)
    assert float(features.spectral_tilt(sound(wav), cares)) == pytest.approx(slope, abs=0.1)


def test_similarity_of_parts_that_return():
    """Two timbres in the order A B B A: 1 where alike, below 0 where not."""
    a, b = torch.randn(2, 19, generator=torch.Generator().manual_seed(0))
    rows = torch.stack([a] * 5 + [b] * 10 + [a] * 5)[None]
    matrix = features.self_similarity(rows)[0]
    assert float(matrix[0, 17]) == pytest.approx(1)
    assert float(matrix[0, 7]) == pytest.approx(-1)  # with two of them, one is the other's opposite
    assert features.pooled(rows, 0.1)[0].shape == (4, 19)
    torch.testing.assert_close(features.pooled(rows, 0.1)[0, 0], a)


def test_spans_hold_their_start_and_not_their_end():
    assert within(torch.tensor([0.0, 1.0, 1.5, 2.0]), [(1.0, 2.0)]).tolist() == [False, True, True, False]


def test_a_sound_is_decoded_once_and_not_before_it_is_heard():
    calls = []
    found = Sound(torch.zeros(1, 2, 50), RATE, 50.0, lambda z: calls.append(1) or z.sum(1).repeat(1, HOP))
    assert not calls
    features.rms_db(found), features.chroma(found), features.mfcc(found)
    assert len(calls) == 1
