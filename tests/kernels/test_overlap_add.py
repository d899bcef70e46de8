"""Overlap-add of streams is the inverse STFT of each whole."""

import pytest
import torch

from audiogen.kernels.overlap_add import overlap_add, overlap_add_reference


def state(slots, width, hop, dtype=torch.float32, device="cpu"):
    return [torch.zeros(slots, width - hop, dtype=dtype, device=device) for _ in range(2)]


@pytest.mark.parametrize(("width", "hop"), [(16, 8), (16, 4), (24, 8), (64, 8)])
def test_a_stream_is_torch_s_inverse_stft(width, hop):
    """From its first sample to its last, half a window later; the other slot stays empty."""
    window = torch.hamming_window(width, dtype=torch.float64)
    spectrum = torch.randn(width // 2 + 1, 9, dtype=torch.complex128)
    spectrum.imag[[0, -1]] = 0
    audio, weight = state(2, width, hop, torch.float64)
    slots, zeros = torch.tensor([1]), torch.zeros(1, width, dtype=torch.float64)
    frames = [frame[None] for frame in torch.fft.irfft(spectrum.T, width)]
    out = [overlap_add(frame, audio, weight, slots, window) for frame in frames]
    out += [overlap_add(zeros, audio, weight, slots, zeros[0]) for _ in range(width // hop - 1)]
    expected = torch.istft(spectrum, width, hop, window=window)
    found = torch.cat(out, dim=1)[0, width // 2 :][: len(expected)]
    assert torch.allclose(found, expected, atol=1e-12)
    assert not audio[0].any()


def test_where_no_window_has_passed_there_is_silence():
    """A Hann window begins with zero: its first sample says nothing."""
    audio, weight = state(1, 8, 4)
    slots = torch.tensor([0])
    out = overlap_add(torch.ones(1, 8), audio, weight, slots, torch.hann_window(8))
    assert out[0, 0] == 0
    assert out.isfinite().all()


def test_gradients_reach_the_frames():
    window = torch.hann_window(8, dtype=torch.float64)
    frames = torch.randn(2, 8, dtype=torch.float64, requires_grad=True)

    def add(frames):
        audio, weight = state(3, 8, 4, torch.float64)
        return overlap_add(frames, audio, weight + 0.5, torch.tensor([2, 0]), window)

    assert torch.autograd.gradcheck(add, frames)


def test_operands_that_do_not_fit_are_refused():
    slots = torch.tensor([0])
    with pytest.raises(ValueError, match="hop divides W"):
        overlap_add(torch.zeros(1, 8), *state(1, 8, 3), slots, torch.zeros(8))
    with pytest.raises(ValueError, match=r"slots \(1,\)"):
        overlap_add(torch.zeros(2, 8), *state(1, 8, 4), slots, torch.zeros(8))
    with pytest.raises(ValueError, match="agree in shape and dtype"):
        overlap_add(torch.zeros(1, 8), *state(1, 8, 4), slots, torch.zeros(8).double())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("width", "hop"), [(6, 6), (10, 5), (1120, 280)])
def test_kernel_is_the_reference(device, dtype, width, hop):
    """Also of hops that fill no block and of a window without overlap; other slots stay as they are."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(2, width, generator=generator).to(device, dtype)
    carried = torch.rand(2, 4, width - hop, generator=generator).to(device)
    states = [carried.clone().unbind() for _ in range(2)]
    window, slots = torch.hann_window(width, device=device), torch.tensor([3, 1], device=device)
    found = overlap_add(frames, *states[0], slots, window)
    expected = overlap_add_reference(frames, *states[1], slots, window)
    assert found.dtype == dtype
    assert torch.allclose(found, expected, rtol=1e-5 if dtype == torch.float32 else 0.01, atol=1e-5)
    for mine, its, old in zip(*states, carried, strict=True):
        assert torch.allclose(mine, its, atol=1e-6)
        assert torch.equal(mine[[0, 2]], old[[0, 2]])
