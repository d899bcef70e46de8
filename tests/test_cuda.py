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
