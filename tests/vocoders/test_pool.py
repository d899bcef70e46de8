"""Streams in a pool are those of each alone: joining, leaving and waiting change nothing for the others."""

import random

import pytest
import torch

from audiogen.spectral import MelSpec
from audiogen.vocoders.pool import VocosPool
from audiogen.vocoders.vocos import Vocos

SPEC = MelSpec(n_mels=10, n_fft=64, win_length=64, hop_length=16)


def vocos(n_fft=64, source=False, seed=0):
    torch.manual_seed(seed)
    made = Vocos(SPEC, 12, 20, 3, n_fft=n_fft, causal=True, source=source).eval()
    for block in made.blocks:
        torch.nn.init.constant_(block.scale, 1.0)  # every block must be heard
    return made


def mels(*lengths):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(10, n, generator=generator) for n in lengths]


def step_all(pool, streams, seed):
    """Feed every stream to its end in random subsets, streams joining late -> what each one's slot gave."""
    chance = random.Random(seed)
    waiting, active, pieces = list(range(len(streams))), {}, [[] for _ in streams]
    at = [0] * len(streams)
    while waiting or active:
        while waiting and len(active) < pool.slots and chance.random() < 0.5:
            active[waiting.pop(0)] = pool.open()
        chosen = [k for k in active if chance.random() < 0.6]
        chance.shuffle(chosen)
        if chosen:
            frames = torch.stack([streams[k][:, at[k]] for k in chosen])
            for k, audio in zip(chosen, pool.step([active[k] for k in chosen], frames), strict=True):
                pieces[k].append(audio.cpu())
                at[k] += 1
        for k in [k for k in active if at[k] == streams[k].shape[1]]:
            pieces[k].append(pool.close(active.pop(k)).cpu())
    return [torch.cat(parts) for parts in pieces]


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize(
    ("n_fft", "source"), [(32, False), (64, False), (64, True)], ids=["two", "four", "source"]
)
def test_streams_in_random_subsets_are_each_decoded_whole(n_fft, source, graphs):
    """Seven streams of unlike lengths through three slots; without the delay, to 1e-5 of a whole pass."""
    vocoder, streams = vocos(n_fft, source), mels(9, 2, 30, 5, 17, 12, 8)
    pool = VocosPool(vocoder, 3, graphs=graphs)
    for seed in (0, 1):
        for stream, audio in zip(streams, step_all(pool, streams, seed), strict=True):
            with torch.inference_mode():
                expected = vocoder.decode(stream[None])[0, 0]
            assert torch.allclose(audio[pool.delay * pool.hop_length :], expected, atol=1e-5)
    assert pool.opened == frozenset()


def test_the_delay_is_half_a_window():
    assert VocosPool(vocos(32), 1).delay == 1
    assert VocosPool(vocos(64), 1).delay == 2


@pytest.mark.parametrize("graphs", [False, True])
def test_slots_that_are_not_named_stay_as_they_are(graphs):
    """Bit for bit, also those that are free, while others step, are reset, join and leave."""
    pool = VocosPool(vocos(source=True), 5, graphs=graphs)
    slots = [pool.open() for _ in range(4)]
    generator = torch.Generator().manual_seed(2)
    pool.step(slots, torch.randn(4, 10, generator=generator))
    before = [tensor[slots[:1] + [4]].clone() for tensor in pool.state]
    pool.step(slots[1:], torch.randn(3, 10, generator=generator))
    pool.reset(slots[2])
    pool.close(slots[1])
    assert pool.open() == slots[1]
    assert all(torch.equal(a, tensor[slots[:1] + [4]]) for a, tensor in zip(before, pool.state, strict=True))


def test_a_reset_slot_begins_anew():
    pool = VocosPool(vocos(source=True), 2)
    slot = pool.open()
    (stream,) = mels(6)
    runs = []
    for _ in range(2):
        runs.append([pool.step([slot], stream[:, n][None]) for n in range(6)])
        pool.reset(slot)
    assert torch.equal(torch.cat(runs[0]), torch.cat(runs[1]))


def test_slots_in_a_tensor_are_those_in_a_list():
    (stream,) = mels(4)
    pool = VocosPool(vocos(), 2)
    first, second = pool.open(), pool.open()
    for n in range(4):
        frame = stream[:, n][None]
        assert torch.equal(pool.step([first], frame), pool.step(torch.tensor([second]), frame))
    assert pool.step([], torch.zeros(0, 10)).shape == (0, 16)


@pytest.mark.parametrize("graphs", [False, True])
def test_a_pool_made_in_inference_mode_runs_outside_it(graphs):
    frame = mels(1)[0].T
    with torch.inference_mode():
        pool = VocosPool(vocos(), 1, graphs=graphs)
        slot = pool.open()
        first = pool.step([slot], frame)
    pool.reset(slot)
    assert torch.equal(pool.step([slot], frame), first)


def test_a_pool_in_bfloat16_is_near_the_one_in_float32():
    """A hundredth of the signal, as the 8 bits of its numbers let one expect."""
    (stream,) = mels(40)
    pools = [VocosPool(vocos(), 1, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)]
    exact, near = (
        torch.cat([pool.step([0], stream[:, n][None])[0] for n in range(40)])
        for pool in pools
        if pool.open() == 0
    )
    assert near.dtype == torch.float32
    assert (near - exact).square().mean() < 0.03**2 * exact.square().mean()
    assert not torch.equal(near, exact)


def test_traffic_is_the_weights_once_and_the_state_of_every_stream():
    """Counted by hand for a stack of one block."""
    pool = VocosPool(Vocos(SPEC, 8, 16, 1, n_fft=32, causal=True), 2, dtype=torch.bfloat16)
    stack = 8 * 10 * 7 + 8 + 2 * 8 + (8 * 7 + 8 + 2 * 8 + 2 * 8 * 16 + 16 + 8 + 8)
    head = 2 * 8 + 34 * 8 + 34
    stream = 2 * 7 * (10 + 8) + 2 * (8 + 4 * 16 + 4 * 16) + 4 * (10 + 16)
    assert [pool.traffic(n) for n in (0, 3)] == [2 * stack + 4 * head, 2 * stack + 4 * head + 3 * stream]


def test_misuse_is_named():
    pool = VocosPool(vocos(), 2)
    slot = pool.open()
    frame = torch.zeros(1, 10)
    with pytest.raises(ValueError, match="causal=True"):
        VocosPool(Vocos(SPEC, 8, 8, 1, n_fft=64), 2)
    with pytest.raises(ValueError, match="at least one slot, got 0"):
        VocosPool(vocos(), 0)
    with pytest.raises(ValueError, match="slot 1 is not open"):
        pool.step([slot, 1], frame.expand(2, -1))
    with pytest.raises(ValueError, match=r"one frame a step, got slots \[0, 0\]"):
        pool.step([slot, slot], frame.expand(2, -1))
    with pytest.raises(ValueError, match=r"needs frames \(1, 10\), got \(1, 9\)"):
        pool.step([slot], frame[:, :9])
    pool.open()
    with pytest.raises(ValueError, match="all 2 slots are in use"):
        pool.open()
    pool.close(slot)
    with pytest.raises(ValueError, match="slot 0 is not open"):
        pool.close(slot)


@pytest.mark.cuda
@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("source", [False, True])
def test_a_pool_on_a_gpu_is_the_one_on_a_cpu(graphs, source):
    host, streams = vocos(64, source), mels(9, 2, 30, 5, 17, 12, 8)
    device = vocos(64, source).cuda()
    pool = VocosPool(device, 6, graphs=graphs)
    found = step_all(pool, [stream.cuda() for stream in streams], 0)
    for stream, audio in zip(streams, found, strict=True):
        expected = host.decode(stream[None])[0, 0]
        assert torch.allclose(audio[pool.delay * pool.hop_length :], expected, atol=2e-4)
