"""Speaker embeddings: by definition with random weights, and who is heard with the released ones."""

import librosa
import numpy as np
import pytest
import torch

import audiogen
from audiogen.metrics.speaker import SpeakerEncoder, mel_energies, speaker_embedding, without_silence

RATE = 16000


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return SpeakerEncoder().eval()


def voice(pitch, seconds=3.0, rate=RATE):
    t = torch.arange(round(seconds * rate)) / rate
    return 0.1 * sum(torch.sin(2 * torch.pi * pitch * k * t) / k for k in range(1, 12))


def test_mel_energies_are_librosas():
    wav = voice(140)
    expected = librosa.feature.melspectrogram(y=wav.numpy(), sr=RATE, n_fft=400, hop_length=160, n_mels=40)
    assert np.allclose(mel_energies(wav).T.numpy(), expected, rtol=1e-3, atol=1e-5)


def test_an_embedding_is_a_unit_vector_of_the_mean_stretch(encoder):
    wav = voice(140, 3.0)
    embedding = encoder.embed(wav)
    assert embedding.shape == (256,)
    assert embedding.norm().item() == pytest.approx(1, abs=1e-5)
    energies = mel_energies(wav)
    # 301 frames: from 0, from 77 and from 154 (147 frames, over three quarters of a stretch)
    last = torch.cat([energies[154:], torch.zeros(154 + 160 - 301, 40)])
    with torch.no_grad():
        mean = encoder(torch.stack([energies[:160], energies[77:237], last])).mean(0)
    assert torch.allclose(embedding, mean / mean.norm(), atol=1e-4)


def test_level_and_long_silences_do_not_matter(encoder):
    wav = voice(140, 2.4)
    assert torch.allclose(encoder.embed(wav * 0.01), encoder.embed(wav * 0.03), atol=1e-5)
    with_gap = torch.cat([wav[:RATE], torch.zeros(2 * RATE), wav[RATE:]])
    assert abs(len(without_silence(with_gap)) - len(wav)) <= 8 * 480
    assert torch.equal(without_silence(wav), wav[: len(wav) // 480 * 480])


def test_any_rate_and_a_short_clip():
    at_16k = speaker_embedding(voice(140, 0.4), RATE)
    at_24k = speaker_embedding(voice(140, 0.4, 24000), 24000)
    assert at_16k @ at_24k > 0.99


def test_what_cannot_be_embedded_is_refused(encoder):
    for wav in (torch.zeros(RATE), torch.zeros(0), torch.ones(1, RATE)):
        with pytest.raises(ValueError, match="needs sound"):
            encoder.embed(wav)


def test_the_released_encoder_hears_who_speaks():
    """Sentences of a shipped voice are alike, and unlike the same an octave lower."""
    voice = audiogen.load("prodiff")
    texts = ("Please hold the line.", "Your call is important to us.", "The number is not in service.")
    wavs = [voice.synthesize(text).wav[0] for text in texts]
    one, other, third = (speaker_embedding(wav, RATE) for wav in wavs)
    lower = speaker_embedding(wavs[0], RATE // 2)  # as if it had been recorded at half the rate
    assert min(one @ other, one @ third, other @ third) > 0.75
    assert max(lower @ other, lower @ third) < 0.6
