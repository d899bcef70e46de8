"""The phonetic encoder's network, k-means, and the disturbance of voices."""

import math

import pytest
import torch

from audiogen.nn.perturbation import band_centres, colour, perturb, stretch, warp_frequencies
from audiogen.nn.phonetic_encoder import PhoneticEncoder, k_means, nearest
from audiogen.spectral import MelSpec, mel_spectrogram

SPEC = MelSpec()


def tone_mel(hz):
    t = torch.arange(8192) / SPEC.sample_rate
    return mel_spectrogram(0.5 * torch.sin(2 * torch.pi * hz * t)[None], SPEC)[..., 8:24]


def test_padding_does_not_change_the_features():
    torch.manual_seed(0)
    net = PhoneticEncoder(80, 9, channels=16, hidden=24, blocks=2, bottleneck=8).eval()
    mel = torch.randn(1, 80, 21)
    alone = net(mel, torch.ones(1, 1, 21, dtype=torch.bool))
    padded = torch.cat([mel, torch.randn(1, 80, 11)], -1)
    mask = (torch.arange(32) < 21)[None, None]
    together = net(padded.repeat(2, 1, 1), mask.repeat(2, 1, 1))
    assert torch.allclose(together[:, :21], alone.expand(2, -1, -1), atol=1e-5)
    assert net.logits(alone).shape == (1, 9, 21)
    assert torch.allclose(alone.mean(-1), torch.zeros(1, 21), atol=1e-5)


def test_a_frame_sees_its_stated_neighbours():
    net = PhoneticEncoder(4, 3, channels=8, hidden=8, blocks=2, kernel_size=5, bottleneck=4)
    mel = torch.randn(1, 4, 41, requires_grad=True)
    (net(mel, torch.ones(1, 1, 41))[0, 20] * torch.arange(4)).sum().backward()
    seen = mel.grad[0].abs().sum(0).nonzero()[:, 0]
    reach = 2 * (5 - 1) // 2 + 2
    assert seen.tolist() == list(range(20 - reach, 20 + reach + 1))


def test_k_means_finds_separate_clusters():
    generator = torch.Generator().manual_seed(0)
    centres = 10 * torch.eye(5)
    owner = torch.arange(500) % 5
    x = centres[owner] + 0.1 * torch.randn(500, 5, generator=generator)
    # whatever start the seed draws, each cluster is in the end one of the five or a part of one
    found = k_means(x, 8, iterations=50, seed=1)
    token = nearest(x, found)
    for number in token.unique():
        assert len(owner[token == number].unique()) == 1
    assert torch.equal(k_means(x, 8, iterations=50, seed=1), found)
    for number, centre in enumerate(found):
        if bool((token == number).any()):
            assert torch.allclose(centre, x[token == number].mean(0), atol=1e-4)


def test_the_nearest_is_that_of_all_distances():
    generator = torch.Generator().manual_seed(0)
    x, centres = torch.randn(3, 50, 6, generator=generator), torch.randn(11, 6, generator=generator)
    assert torch.equal(nearest(x, centres), torch.cdist(x, centres).argmin(-1))


def test_more_clusters_than_vectors_is_refused():
    with pytest.raises(ValueError, match="cannot make 4 clusters of 3"):
        k_means(torch.randn(3, 2), 4)


def test_a_warped_tone_is_the_tone_of_the_warped_frequency():
    mel = tone_mel(1000)
    for factor in (0.85, 1.0, 1.2):
        moved = warp_frequencies(mel, torch.tensor([factor]), SPEC)
        assert int(moved[0, :, 8].argmax()) == pytest.approx(
            int(tone_mel(1000 * factor)[0, :, 8].argmax()), abs=1
        )
    assert torch.allclose(warp_frequencies(mel, torch.ones(1), SPEC), mel, atol=1e-4)


def test_each_item_is_warped_by_its_own_factor():
    mel, factors = torch.randn(3, 80, 5), torch.tensor([0.9, 1.0, 1.1])
    together = warp_frequencies(mel, factors, SPEC)
    for row in range(3):
        alone = warp_frequencies(mel[row : row + 1], factors[row : row + 1], SPEC)
        assert torch.allclose(together[row], alone[0])


def test_band_centres_ascend_to_the_top():
    centres = band_centres(SPEC)
    assert bool((centres.diff() > 0).all())
    assert 0 < centres[0] < centres[-1] < 8000


def test_colour_is_the_same_in_every_frame_and_smooth():
    torch.manual_seed(0)
    added = colour(torch.zeros(4, 80, 6))
    assert torch.equal(added, added[..., :1].expand_as(added))
    assert added.diff(dim=1).abs().max() < 0.25 * added.abs().max()
    # by design the variance of band b is the sum of cos^2 over orders k, times strength^2 / k
    many = colour(torch.zeros(4000, 80, 1))[:, 0, 0]
    expected = sum(math.cos(math.pi * k * 0.5 / 80) ** 2 * 0.25 / k for k in range(1, 5))
    assert many.var().item() == pytest.approx(expected, rel=0.1)


def test_perturbation_keeps_to_the_front_ends_range():
    torch.manual_seed(0)
    mel = tone_mel(500).repeat(3, 1, 1)
    changed = perturb(mel, SPEC)
    assert changed.shape == mel.shape
    assert changed.min() >= math.log(SPEC.floor)
    assert not torch.allclose(changed[0], changed[1])


def test_stretching_keeps_mels_and_phones_together():
    ramp = torch.arange(40.0).expand(1, 3, 40)
    phones, mask = torch.arange(40)[None], torch.ones(1, 1, 40, dtype=torch.bool)
    for factor in (0.8, 1.0, 1.25):
        mel, said, inside = stretch(ramp, phones, mask, factor)
        assert mel.shape[-1] == said.shape[-1] == inside.shape[-1] == round(40 * factor)
        assert (mel[0, 0] - said[0]).abs().max() <= 0.5 + 1e-3
