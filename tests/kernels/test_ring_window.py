"""The last frames of streams that come and go."""

import pytest
import torch

from audiogen.kernels.ring_window import ring_window, ring_window_reference


def state(slots, size, channels, dtype=torch.float32, device="cpu"):
    ring = torch.zeros(slots, size, channels, dtype=dtype, device=device)
    return ring, torch.zeros(slots, dtype=torch.int64, device=device)


def test_windows_are_the_last_frames_with_zeros_before_the_first():
    frames = torch.randn(7, 5)
    ring, position = state(3, 4, 5)
    slots = torch.tensor([1])
    padded = torch.cat((torch.zeros(3, 5), frames))
    for n in range(7):
        window = ring_window(frames[n : n + 1], ring, position, slots)
        assert torch.equal(window[0], padded[n : n + 4])
        position[slots] += 1
    assert not ring[[0, 2]].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("size", "channels"), [(1, 3), (4, 8), (7, 300)])
def test_kernel_is_the_reference(device, dtype, size, channels):
    """Over more steps than the ring has entries, of slots in any order at positions of their own."""
    generator = torch.Generator().manual_seed(0)
    rings = [state(4, size, channels, dtype, device) for _ in range(2)]
    for chosen in ([3, 1], [1], [1, 3, 0], [3], [0, 1], [1]):
        slots = torch.tensor(chosen, device=device)
        frames = torch.randn(len(chosen), channels, generator=generator).to(device, dtype)
        found, expected = (
            step(frames, ring, position, slots)
            for step, (ring, position) in zip((ring_window, ring_window_reference), rings, strict=True)
        )
        assert torch.equal(found, expected)
        for ring, position in rings:
            position[slots] += 1
            assert torch.equal(ring, rings[0][0])
    assert not rings[0][0][2].any()


def test_operands_that_do_not_fit_are_refused():
    ring, position = state(3, 4, 5)
    slots = torch.tensor([1])
    with pytest.raises(ValueError, match=r"needs frames \(B, 5\)"):
        ring_window(torch.zeros(1, 6), ring, position, slots)
    with pytest.raises(ValueError, match=r"positions \(3,\)"):
        ring_window(torch.zeros(1, 5), ring, position[:2], slots)
    with pytest.raises(ValueError, match="dtype of a contiguous ring"):
        ring_window(torch.zeros(1, 5).double(), ring, position, slots)
