"""What only a GPU shows; run with `pytest -m cuda`."""

import pytest
import torch

import audiogen

pytestmark = pytest.mark.cuda


@pytest.mark.parametrize("steps", [4, 2, 1])
def test_the_voice_sounds_the_same_on_a_gpu(steps):
    text = "Your call is important to us. Please stay on the line."
    host, device = (
        audiogen.load("prodiff", device=name).synthesize(text, num_steps=steps) for name in ("cpu", "cuda")
    )
    assert host.wav.shape == device.wav.shape
    assert torch.allclose(host.wav, device.wav, atol=5e-3)


def test_a_stream_sounds_the_same_on_a_gpu():
    from audiogen.speech import join

    voice = audiogen.load("prodiff", device="cuda")
    text = "Your call is important to us. Please stay on the line."
    joined, whole = join(list(voice.stream(text))), voice.synthesize(text)
    assert joined.wav.device.type == "cpu"
    assert joined.wav.shape == whole.wav.shape
    assert torch.allclose(joined.wav, whole.wav, atol=5e-3)


def test_sampling_does_not_wait_for_the_host():
    from audiogen.sampling.loop import run
    from audiogen.systems.prodiff import ProDiff

    system = ProDiff(
        step_counts=(4,), channels=16, denoiser={"channels": 16, "blocks": 1, "hidden": 16}
    ).cuda()
    x = torch.randn(2, 80, 64, device="cuda")
    plan = system.plan(4)
    run(plan, lambda x, t: x, x)  # the first call may set things up
    torch.cuda.set_sync_debug_mode("error")
    try:
        run(plan, lambda x, t: x, x)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", ["ddim", "unipc", "runge_kutta", "sde_multistep"])
def test_a_run_replays_as_a_cuda_graph(name):
    """Captured once and replayed on other states, a run gives what the loop gives."""
    from audiogen.sampling import plans
    from audiogen.sampling.loop import run
    from audiogen.sampling.noise import ItemNoise
    from audiogen.sampling.paths import VPLinear

    plan = getattr(plans, name)(VPLinear(), [0.9, 0.6, 0.3, 0.1, 0.0])
    noise = ItemNoise([1, 2], device="cuda")

    def sample(x):
        return run(plan, lambda x, t: torch.tanh(x) * (1 - t[:, None, None]), x, noise=noise)

    with torch.no_grad():
        static = torch.zeros(2, 80, 64, device="cuda")
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            sample(static)  # uploads the labels and warms up
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = sample(static)
        x = torch.randn(2, 80, 64, device="cuda")
        static.copy_(x)
        graph.replay()
        assert torch.allclose(captured, sample(x), rtol=0, atol=1e-6)


def test_noise_is_the_same_on_every_device():
    from audiogen.sampling.noise import ItemNoise

    host, device = (ItemNoise([1, 2], device=name).start(80, 300) for name in ("cpu", "cuda"))
    assert torch.allclose(host, device.cpu(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("jumps", [False, True])
def test_latents_of_music_are_the_same_on_a_gpu(jumps):
    """From the same tokens, whose chances may round to either side: with known music and with guidance."""
    from audiogen.systems.melody import Kept, MeLoDy

    torch.manual_seed(0)
    model = MeLoDy(8, 16, 12, 4, 3, {"width": 32, "blocks": 2, "heads": 2, "size": 8}, jumps=jumps).eval()
    torch.nn.init.normal_(model.net.exit.weight, std=0.2)
    tokens, known = torch.randint(16, (2, 12)), torch.randn(2, 8, 36)
    mask = torch.arange(36).expand(2, -1) < 12
    made = [
        model.to(name)
        .sample(tokens.to(name), ["a", "b"], [1, 2], num_steps=4, kept=Kept(known.to(name), mask.to(name)))
        .cpu()
        for name in ("cpu", "cuda")
    ]
    assert torch.equal(made[1][..., :12], known[..., :12])
    assert torch.allclose(*made, atol=1e-2)
