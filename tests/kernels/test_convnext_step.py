"""A causal ConvNeXt block, one frame at a time, in slots that are each at a place of their own."""

import pytest
import torch

from audiogen.kernels.convnext_step import (
    ConvNeXtWeights,
    Tiles,
    convnext_step,
    convnext_step_reference,
    tiles,
)
from audiogen.nn.convnext import ConvNeXtBlock


def block(channels=6, hidden=10, taps=7):
    """A causal block whose every weight matters."""
    torch.manual_seed(0)
    made = ConvNeXtBlock(channels, hidden, taps, causal=True)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made


@pytest.mark.parametrize("taps", [1, 3, 7])
def test_steps_in_slots_are_the_block_over_the_whole(taps):
    """Three streams, begun one after the other in slots of any order, against the causal block."""
    network, x = block(taps=taps).double(), torch.randn(3, 6, 19, dtype=torch.float64)
    weights = ConvNeXtWeights.of(network, torch.float64)
    ring, position = torch.zeros(5, taps, 6, dtype=torch.float64), torch.zeros(5, dtype=torch.int64)
    slot, begins, outputs = [4, 0, 2], [0, 5, 2], torch.zeros_like(x)
    with torch.inference_mode():
        for time in range(24):
            running = [k for k in (1, 2, 0) if begins[k] <= time < begins[k] + 19]
            slots = torch.tensor([slot[k] for k in running])
            frames = torch.stack([x[k, :, time - begins[k]] for k in running])
            y = convnext_step(frames, ring, position, slots, weights)
            position[slots] += 1
            for k, one in zip(running, y, strict=True):
                outputs[k, :, time - begins[k]] = one
        assert torch.allclose(outputs, network(x), rtol=0, atol=1e-12)


def test_other_slots_are_left_alone():
    weights = ConvNeXtWeights.of(block())
    ring, position = torch.randn(4, 7, 6), torch.tensor([3, 9, 0, 20])
    before = ring.clone()
    convnext_step(torch.randn(2, 6), ring, position, torch.tensor([3, 1]), weights)
    assert torch.equal(ring[[0, 2]], before[[0, 2]])
    changed = (ring != before).any(2).nonzero().tolist()
    assert changed == [[1, 9 % 7], [3, 20 % 7]]


def test_gradients_reach_the_frame():
    """Under autograd the reference runs."""
    network = block().double()
    weights = ConvNeXtWeights.of(network, torch.float64)
    ring, position = torch.randn(2, 7, 6, dtype=torch.float64), torch.tensor([4, 5])
    slots = torch.tensor([1])

    def step(x):
        return convnext_step(x, ring.clone(), position, slots, weights)

    assert torch.autograd.gradcheck(step, torch.randn(1, 6, dtype=torch.float64, requires_grad=True))


def test_operands_that_do_not_fit_are_refused():
    weights = ConvNeXtWeights.of(block())
    ring, position, slots = torch.zeros(3, 7, 6), torch.zeros(3, dtype=torch.int64), torch.tensor([0])
    with pytest.raises(ValueError, match=r"needs x \(B, 6\).*got x \(1, 5\)"):
        convnext_step(torch.zeros(1, 5), ring, position, slots, weights)
    with pytest.raises(ValueError, match=r"ring \(S, 7, 6\).*ring \(3, 6, 6\)"):
        convnext_step(torch.zeros(1, 6), ring[:, 1:], position, slots, weights)
    with pytest.raises(ValueError, match=r"ring \(torch.bfloat16\).*one dtype"):
        convnext_step(torch.zeros(1, 6), ring.bfloat16(), position, slots, weights)


@pytest.mark.parametrize("streams", [5, 16, 100, 256, 1000, 4096])
@pytest.mark.parametrize(("channels", "hidden"), [(256, 768), (512, 1536), (24, 40), (384, 1000)])
def test_tiles_cover_every_hidden_unit_once(streams, channels, hidden):
    cut = tiles(streams, channels, hidden)
    assert isinstance(cut, Tiles)
    covered = cut.splits * cut.each * cut.columns
    assert hidden <= covered < hidden + (cut.each + 1) * cut.columns
    assert cut.rows >= 16
    assert cut.columns >= 16  # a matrix product on tensor cores


def test_few_streams_spread_the_weights_and_many_do_not_repeat_the_work():
    assert tiles(16, 256, 768).splits == 768 // 16
    assert tiles(4096, 256, 768).splits == 1


@pytest.mark.parametrize(
    ("streams", "channels", "hidden", "dtype"),
    [
        (1, 24, 40, torch.float32),
        (3, 24, 40, torch.bfloat16),
        (5, 24, 40, torch.float32),
        (18, 72, 33, torch.bfloat16),
    ],
    ids=str,
)
def test_kernel_is_the_reference(device, streams, channels, hidden, dtype):
    """A row at a time and in tiles, of sizes that fill no block, on slots in any order."""
    weights = ConvNeXtWeights.of(block(channels, hidden).to(device), dtype)
    generator = torch.Generator().manual_seed(1)
    count = streams + 2
    rings = [torch.randn(count, 7, channels, generator=generator).to(device, dtype)]
    rings.append(rings[0].clone())
    position = torch.randint(0, 40, (count,), generator=generator, dtype=torch.int32).to(device)
    slots = torch.randperm(count, generator=generator)[:streams].to(device)
    x = torch.randn(streams, channels, generator=generator).to(device, dtype)
    found = convnext_step(x, rings[0], position, slots, weights)
    expected = convnext_step_reference(x, rings[1], position, slots, weights)
    scale = float(expected.abs().max())
    tolerance = 1e-5 if dtype == torch.float32 else 0.02
    assert torch.allclose(found, expected, rtol=0, atol=tolerance * scale)
    assert torch.equal(*rings)


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("streams", [1, 4, 5, 16, 100, 256, 1024])
@pytest.mark.parametrize(("channels", "hidden"), [(256, 768), (512, 1536), (384, 1152)])
def test_kernel_is_the_reference_at_full_size(streams, channels, hidden, dtype):
    """Against the reference in float64."""
    network = block(channels, hidden)
    torch.nn.init.normal_(network.expand.weight, std=channels**-0.5)
    torch.nn.init.normal_(network.contract.weight, std=hidden**-0.5)
    weights = ConvNeXtWeights.of(network.cuda(), dtype)
    exact = ConvNeXtWeights(*(weight.double() for weight in weights))
    ring = torch.randn(streams + 3, 7, channels, device="cuda").to(dtype)
    position = torch.randint(0, 40, (streams + 3,), device="cuda")
    slots = torch.randperm(streams + 3, device="cuda")[:streams]
    x = torch.randn(streams, channels, device="cuda").to(dtype)
    expected = convnext_step_reference(x.double(), ring.double(), position, slots, exact)
    found = convnext_step(x, ring, position, slots, weights).double()
    scale = float(expected.abs().max())
    tolerance = 1e-5 if dtype == torch.float32 else 0.02
    assert float((found - expected).abs().max()) < tolerance * scale
