"""Training of the audio autoencoder: each loss has its known values, a tiny run learns and is released."""

import math

import pytest
import torch
from fitting import fit
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from audiogen import hub
from audiogen.data.waveforms import WaveformData
from audiogen.nn.discriminators import least_squares_discriminator_loss, least_squares_generator_loss
from audiogen.systems.autoencoder import AudioAutoencoder
from audiogen.training.checkpoint import read_checkpoint

TINY = {
    "latents": 4,
    "hop_length": 64,
    "n_fft": 256,
    "channels": 8,
    "hidden": 16,
    "encoder_blocks": (1, 1),
    "decoder_blocks": (1, 1),
    "periods": (2,),
    "n_ffts": (64,),
    "discriminator_channels": 4,
    "loss_n_ffts": (256,),
}


@pytest.fixture
def system():
    torch.manual_seed(0)
    system = AudioAutoencoder(16000, **TINY)
    system.log_dict = system.log = lambda *a, **k: None
    return system


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory):
    """The checkpoint of the tiny configuration, and of the same in bfloat16."""
    folder = tmp_path_factory.mktemp("melody_vae")
    data = ("--data.init_args.path", str(prepared / "audio.safetensors"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        half = fit("melody_vae_tiny", prepared, folder, *data, "--trainer.precision", "bf16-mixed")
        half = half.rename(folder / "half.ckpt")
        longer = ("--trainer.max_steps", "40", "--model.init_args.total_steps", "40")
        later = ("--model.init_args.adversarial_from", "30", "--model.init_args.lr", "0.003")
        return fit("melody_vae_tiny", prepared, folder, *data, *longer, *later), half


def test_least_squares_losses_have_their_known_values():
    def features(*scores):
        return [[torch.ones(1, 2), torch.tensor([[s]])] for s in scores]

    assert least_squares_discriminator_loss(features(1.0, 1.0), features(0.0, 0.0)) == 0
    assert least_squares_discriminator_loss(features(3.0), features(0.5)) == 4 + 0.25
    assert least_squares_generator_loss(features(1.0, 0.0)) == 0.5


def test_the_head_s_losses_vanish_for_the_recording_s_own_magnitudes_and_turns(system):
    from audiogen.nn.clock import turned

    spectrum = system.generator.spectrum(0.3 * torch.randn(2, 2048))
    turns = torch.nn.functional.pad(turned(spectrum, 64), (0, 0, 0, 1))
    assert system.head_losses(spectrum.abs(), turns, spectrum).abs() < 1e-5
    opposite = system.head_losses(spectrum.abs(), turns + torch.pi, spectrum)
    assert abs(opposite - 2 * system.hparams.weight_frequency) < 1e-4
    louder = system.head_losses(4 * spectrum.abs(), turns, spectrum)  # roots are twice what they should be
    expected = (3 + math.log(4)) * system.hparams.weight_magnitude + system.hparams.weight_root
    assert abs(louder - expected) < 1e-2


def test_each_side_is_trained_by_its_own_loss_alone(system):
    real, fake = torch.randn(1, 1024), torch.randn(1, 1024, requires_grad=True)
    system.adversarial_losses(real, fake).backward()
    mixed = [p.grad.clone() for p in system.discriminators.parameters()]
    system.zero_grad()
    outputs = system.discriminators(real), system.discriminators(fake.detach())
    least_squares_discriminator_loss(*outputs).backward()
    alone = [p.grad for p in system.discriminators.parameters()]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(mixed, alone, strict=True))
    assert fake.grad.abs().sum() > 0


def test_a_tiny_run_learns(trained):
    events = EventAccumulator(str(sorted(trained[0].parent.glob("version_*"))[-1]))
    events.Reload()
    losses = [event.value for event in events.Scalars("train/frequency")]
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])
    assert len(events.Scalars("train/stft")) == 38  # from step 2 on
    assert len(events.Scalars("train/discriminators")) == 10  # from step 30 on
    assert events.Tags()["audio"]


def test_its_latents_have_about_unit_variance(trained, prepared):
    data = WaveformData(str(prepared / "audio.safetensors"), 16000, segment=4096, batch_size=8)
    data.setup("fit")
    system = hub.load(trained[0])
    with torch.inference_mode():
        latents = torch.cat(
            [system.encode(data.training_batch(plan)["wav"][:, None]) for plan in data.plan_epoch(0)[:20]]
        )
    deviations = latents.transpose(0, 1).flatten(1).std(1)
    assert ((deviations > 0.6) & (deviations < 1.6)).all()


def test_bf16_trains(trained):
    state = torch.load(trained[1], weights_only=True)["current_model_state"]
    assert all(torch.isfinite(value).all() and value.dtype != torch.bfloat16 for value in state.values())


def test_what_is_released_rebuilds_the_same_autoencoder(trained, tmp_path):
    system = hub.load(trained[0])
    hub.save(system, tmp_path / "model.safetensors")
    again = hub.load(tmp_path / "model.safetensors")
    assert read_checkpoint(trained[0])[0] == "autoencoder"
    assert not hasattr(again, "discriminators")
    latents = torch.randn(1, 4, 9)
    with torch.inference_mode():
        assert torch.equal(again.decode(latents), system.decode(latents))
