import torch

from audiogen.nn.discriminators import (
    Discriminators,
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
)
from audiogen.nn.spectral_loss import resolutions, spectral_losses
from audiogen.spectral import MelSpec, mel_filters
from audiogen.systems.vocoder import Vocoder


def features(*scores):
    return [[torch.ones(1, 2), torch.tensor([[s]])] for s in scores]


def test_hinge_losses_have_their_known_values():
    assert discriminator_loss(features(1.0, 2.0), features(-1.0, -3.0)) == 0
    assert discriminator_loss(features(0.0), features(0.5)) == 1 + 1.5
    assert generator_loss(features(0.5, -1.5)) == 0.5


def test_feature_matching_is_relative_and_zero_for_equals():
    assert feature_matching_loss(features(0.0), features(9.0)) == 0
    double = [[2 * torch.ones(1, 2), torch.zeros(1, 1)]]
    assert feature_matching_loss(features(0.0), double) == 1


def test_every_discriminator_sees_its_view():
    outputs = Discriminators((2, 3), (64, 128), channels=4)(torch.randn(2, 1001))
    assert len(outputs) == 4
    assert outputs[0][-1].shape[-1] == 2
    assert outputs[1][-1].shape[-1] == 3


def test_each_side_is_trained_by_its_own_loss_alone():
    torch.manual_seed(0)
    system = Vocoder(channels=8, hidden=16, blocks=1, periods=(2,), n_ffts=(64,), discriminator_channels=4)
    system.log_dict = lambda *a, **k: None
    real, source = torch.randn(1, 2048), torch.randn(1, 2048, requires_grad=True)
    system.adversarial_losses(real, source).backward()
    mixed = [p.grad.clone() for p in system.discriminators.parameters()]
    system.zero_grad()
    discriminator_loss(system.discriminators(real), system.discriminators(source.detach())).backward()
    alone = [p.grad for p in system.discriminators.parameters()]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(mixed, alone, strict=True))
    assert source.grad.abs().sum() > 0


def test_spectral_losses_vanish_for_equals_and_measure_a_gain():
    wav = 0.3 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    specs = resolutions(MelSpec())
    assert max(float(loss) for loss in spectral_losses(wav, wav, specs)) == 0
    stft, mel = spectral_losses(2 * wav, wav, specs)
    assert abs(float(mel) - 0.6931) < 0.02
    assert abs(float(stft) - (1 + 0.6931)) < 0.02


def test_no_mel_filter_of_a_loss_is_empty():
    for spec in resolutions(MelSpec()):
        assert (mel_filters(spec).sum(1) > 0).all()
