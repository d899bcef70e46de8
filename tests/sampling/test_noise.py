"""Per-item noise: published test vectors, independence of the batch and of blocks, and the normal law."""

from __future__ import annotations

import math

import pytest
import torch

from audiogen.sampling.noise import ItemNoise, philox

WEYL = (0x9E3779B9, 0xBB67AE85)


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0,) * 4, (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_published_words(counter, key, words):
    """Known answers of Philox-4x32-10 from Random123 (Salmon et al. 2011)."""
    keys = torch.tensor([[(k + r * w) % 2**32 for k, w in zip(key, WEYL, strict=True)] for r in range(10)])
    assert tuple(int(word) for word in philox(*(torch.tensor(c) for c in counter), keys)) == words


def by_definition(seed, counter):
    """The four normals of one counter by Box-Muller of its Philox words: two cosines, two sines."""
    low, high = seed % 2**32, seed // 2**32 % 2**32
    keys = torch.tensor([[(low + r * WEYL[0]) % 2**32, (high + r * WEYL[1]) % 2**32] for r in range(10)])
    words = [int(word) for word in philox(*(torch.tensor(c) for c in counter), keys)]
    radii = [math.sqrt(-2 * math.log((word + 0.5) / 2**32)) for word in words[:2]]
    angles = [2 * math.pi * word / 2**32 for word in words[2:]]
    return [r * f(a) for f in (math.cos, math.sin) for r, a in zip(radii, angles, strict=True)]


def test_noise_is_box_muller_of_philox():
    """From the definition: seed 2^40 + 5, row 2, channels 4 to 7 (block 1), frame 9."""
    noise = ItemNoise([2**40 + 5])(2, torch.empty(1, 8, 12, dtype=torch.float64))
    assert noise[0, 4:, 9].tolist() == pytest.approx(by_definition(2**40 + 5, (9, 1, 3, 0)), rel=1e-12)


def test_complex_noise_has_half_the_variance_in_each_component():
    """From the definition: the imaginary part has counter word 1 where the real one, as before, has 0."""
    z = ItemNoise([2**40 + 5])(2, torch.empty(1, 8, 12, dtype=torch.complex128))[0, 4:, 9] * math.sqrt(2)
    assert z.real.tolist() == pytest.approx(by_definition(2**40 + 5, (9, 1, 3, 0)), rel=1e-12)
    assert z.imag.tolist() == pytest.approx(by_definition(2**40 + 5, (9, 1, 3, 1)), rel=1e-12)
    z = ItemNoise(range(8)).start(80, 500, dtype=torch.complex64)
    assert z.dtype == torch.complex64
    n = z.numel()
    assert abs(float(z.abs().square().mean()) - 1) < 5 / math.sqrt(n)
    # z^2 vanishes on average only if the components are uncorrelated and equally large
    assert abs(complex((z * z).mean())) < 5 * math.sqrt(2 / n)
    real = ItemNoise(range(8)).start(80, 500)
    assert torch.allclose(z.real, real * math.sqrt(0.5), rtol=1e-6, atol=1e-7)


def test_combine_adds_weighted_draws():
    source = ItemNoise([4, 9])
    for frames in (12_000, 30):  # the first makes the words of one draw at a time
        x = torch.empty(2, 5, frames, dtype=torch.float64)
        both = source.combine(x, {1: 0.5, 7: -2.0})
        assert torch.allclose(both, 0.5 * source(0, x) - 2 * source(6, x), rtol=1e-12, atol=1e-14)
    other = source.combine(x, {1: 1.0}, stream=1)
    assert other[0, 0, 3] == pytest.approx(by_definition(4, (3, 0, 1, 2))[0], rel=1e-12)


def test_blocks_do_not_show():
    """Large tensors are filled in blocks of items and frames; every part is that of a small tensor."""
    seeds = list(range(40))
    whole = ItemNoise(seeds)(0, torch.empty(40, 60, 200, dtype=torch.float64))  # 120,000 counters
    for i in (0, 17, 39):
        for first in range(0, 200, 50):
            part = ItemNoise([i], first_frame=first)(0, torch.empty(1, 60, 50, dtype=torch.float64))
            assert torch.equal(whole[i, :, first : first + 50], part[0])
    long = ItemNoise([3, 4])(0, torch.empty(2, 4, 300_000))  # more frames than are made together
    for i, first in ((0, 262_100), (1, 0), (1, 262_140), (1, 299_900)):
        part = ItemNoise([3 + i], first_frame=first)(0, torch.empty(1, 4, 100))
        assert torch.equal(long[i, :, first : first + 100], part[0])
    wide = ItemNoise([3])(0, torch.empty(1, 200_000, 1, dtype=torch.float64))  # more channels than a block
    assert torch.equal(wide[0, :60], ItemNoise([3])(0, torch.empty(1, 60, 1, dtype=torch.float64))[0])
    assert ItemNoise([3])(0, torch.empty(1, 4, 0)).shape == (1, 4, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_items_noise_does_not_depend_on_the_batch(dtype):
    """Bit for bit: alone or together, short or padded, fewer channels, from any first frame."""
    seeds = [3, -7, 2**63 + 11]
    whole = ItemNoise(seeds)(1, torch.empty(3, 80, 301, dtype=dtype))
    for i, seed in enumerate(seeds):
        for frames in (1, 2, 7, 100, 301):
            short = ItemNoise([seed])(1, torch.empty(1, 80, frames, dtype=dtype))
            assert torch.equal(short[0], whole[i, :, :frames])
        for first in (1, 13, 64, 300):
            chunk = ItemNoise([seed], first_frame=first)(1, torch.empty(1, 79, 301 - first, dtype=dtype))
            assert torch.equal(chunk[0], whole[i, :79, first:])
    assert torch.equal(ItemNoise(seeds[::-1])(1, torch.empty(3, 80, 301, dtype=dtype)), whole.flip(0))


def test_ranks_and_dtypes():
    three = ItemNoise([1, 2])(0, torch.empty(2, 6, 5))
    assert torch.equal(ItemNoise([1, 2])(0, torch.empty(2, 2, 3, 5)), three.reshape(2, 2, 3, 5))
    assert torch.equal(ItemNoise([1, 2])(0, torch.empty(2, 5)), three[:, 0])
    assert three.dtype == torch.float32
    assert ItemNoise([1])(0, torch.empty(1, 6, 5, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert ItemNoise([1, 2]).start(6, 5).shape == (2, 6, 5)


def test_every_coordinate_changes_the_noise():
    source = ItemNoise([0, 1, 2**32])
    draws = torch.stack([source.start(80, 50), *(source(row, torch.empty(3, 80, 50)) for row in range(3))])
    assert len(draws.unique()) > 0.999 * draws.numel()


def test_moments_are_those_of_the_normal_law():
    """320,000 values: each moment within five of its own standard deviations."""
    noise = ItemNoise(range(8)).start(80, 500, dtype=torch.float64).flatten()
    n = noise.numel()
    assert abs(float(noise.mean())) < 5 / math.sqrt(n)
    assert abs(float(noise.var()) - 1) < 5 * math.sqrt(2 / n)
    assert abs(float((noise**3).mean())) < 5 * math.sqrt(15 / n)
    assert abs(float((noise**4).mean()) - 3) < 5 * math.sqrt(96 / n)


def test_distribution_function_is_the_normal_one():
    """Kolmogorov-Smirnov distance below its 0.1 % point, and as many values beyond four deviations as due."""
    noise = ItemNoise(range(8)).start(80, 500, dtype=torch.float64).flatten().sort().values
    n = noise.numel()
    ranks = torch.arange(n, dtype=torch.float64) / n
    assert float((torch.special.ndtr(noise) - ranks).abs().max()) < 1.95 / math.sqrt(n)
    expected = n * 2 * float(torch.special.ndtr(torch.tensor(-4.0, dtype=torch.float64)))
    assert abs(int((noise.abs() > 4).sum()) - expected) < 5 * math.sqrt(expected)


def test_neighbours_are_uncorrelated():
    """Frames, channels (within and across a counter's four lanes), rows, and seeds that differ in one bit.

    Squares too: Box-Muller with a bad source keeps values uncorrelated but ties their sizes.
    """
    source = ItemNoise([0, 1, 2, 3])
    first, second = (source(row, torch.empty(4, 80, 500, dtype=torch.float64)) for row in (0, 1))
    pairs = {
        "frames": (first[..., :-1], first[..., 1:]),
        "seeds": (first[:-1], first[1:]),
        "rows": (first, second),
        "start": (first, source.start(80, 500, dtype=torch.float64)),
        **{f"channels {lag} apart": (first[:, :-lag], first[:, lag:]) for lag in (1, 2, 3, 4)},
    }
    for name, (a, b) in pairs.items():
        for power in (1, 2):
            both = torch.stack([(a**power).flatten(), (b**power).flatten()])
            assert abs(float(torch.corrcoef(both)[0, 1])) < 5 / math.sqrt(both.shape[1]), (name, power)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="one seed per item"):
        ItemNoise([])
    with pytest.raises(ValueError, match="first_frame"):
        ItemNoise([1], first_frame=-1)
    for x in (
        torch.empty(3, 4, 5),
        torch.empty(2),
        torch.empty(2, 4, dtype=torch.int64),
        torch.empty(2, 3, device="meta"),
    ):
        with pytest.raises(ValueError, match="noise for 2 items"):
            ItemNoise([1, 2])(0, x)
