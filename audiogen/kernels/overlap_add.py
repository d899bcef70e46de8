"""The inverse STFT's last step for streams: window, overlap and add one frame, give one hop of samples."""

from __future__ import annotations

import torch
from torch import Tensor

from audiogen.kernels.backend import cdiv, jit, launch, power_of_2, takes_kernel, tl, wants_gradient

LEAST = 1e-11  # where less window than this has passed, nothing can be said about the sample


def overlap_add_reference(
    frames: Tensor, audio: Tensor, weight: Tensor, slots: Tensor, window: Tensor
) -> Tensor:
    """Samples that are complete once these frames are added, divided by the sum of squared windows.

    frames (B, W): one frame in time (the inverse FFT of a spectrum) of each stream. audio, weight
    (S, W - hop) float32: what every slot carries of earlier frames and of their squared windows, written in
    place; hop divides W, and zeros begin a new stream. slots (B,) int, distinct; the others are not touched.
    window (W,). Returns (B, hop) in the dtype of the frames.

    Chained over a stream this is `torch.istft(center=True)` with W / 2 more samples at its head, also where
    few windows overlap. A frame and a window of zeros bring out what is left at its end.
    """
    hop = frames.shape[1] - audio.shape[1]
    added = window * frames.to(audio.dtype)
    # what is carried ends where the new frame has a hop of its own
    total = torch.cat([audio[slots], torch.zeros_like(added[:, :hop])], 1) + added
    passed = torch.cat([weight[slots], torch.zeros_like(added[:, :hop])], 1) + window.square()
    audio[slots], weight[slots] = total[:, hop:], passed[:, hop:]
    ready = passed[:, :hop] > LEAST
    samples = torch.where(ready, total[:, :hop] / passed[:, :hop].clamp(min=LEAST), 0.0)
    return samples.to(frames.dtype)


def overlap_add(frames: Tensor, audio: Tensor, weight: Tensor, slots: Tensor, window: Tensor) -> Tensor:
    """`overlap_add_reference` in one launch on CUDA; the reference elsewhere and under autograd.

    Raises ValueError unless the shapes fit together, hop divides W, and the state is contiguous float32 like
    the window (or all float64, on the reference).
    """
    width, carried = frames.shape[-1], audio.shape[-1]
    hop = width - carried
    if hop < 1 or width % hop or frames.shape != (len(slots), width) or window.shape != (width,):
        raise ValueError(
            "overlap_add needs frames (B, W), slots (B,), window (W,) and a state (S, W - hop) whose hop "
            f"divides W, got frames {tuple(frames.shape)}, slots {tuple(slots.shape)}, window "
            f"{tuple(window.shape)} and state {tuple(audio.shape)}"
        )
    if audio.shape != weight.shape or not audio.dtype == weight.dtype == window.dtype:
        raise ValueError(
            f"audio ({tuple(audio.shape)}, {audio.dtype}), weight ({tuple(weight.shape)}, {weight.dtype}) "
            f"and window ({window.dtype}) must agree in shape and dtype"
        )
    fits = audio.dtype == torch.float32 and audio.is_contiguous() and weight.is_contiguous()
    operands = (frames, audio, weight, slots, window)
    if not fits or not takes_kernel(*operands) or wants_gradient(*operands):
        return overlap_add_reference(frames, audio, weight, slots, window)
    frames, slots, window = frames.contiguous(), slots.contiguous(), window.contiguous()
    samples = frames.new_empty(len(frames), hop)
    if len(frames):
        block = min(256, power_of_2(hop))
        launch(
            _overlap_add_kernel, (len(frames), cdiv(hop, block)), frames,
            frames, audio, weight, slots, window, samples,
            HOP=hop, PARTS=width // hop, LEAST=LEAST, BLOCK=block,
        )  # fmt: skip
    return samples


@jit
def _overlap_add_kernel(
    frames_ptr, audio_ptr, weight_ptr, slots_ptr, window_ptr, samples_ptr,
    HOP: tl.constexpr, PARTS: tl.constexpr, LEAST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = i < HOP
    slot = tl.load(slots_ptr + row).to(tl.int64)
    carried = slot * (HOP * (PARTS - 1)) + i
    # a thread owns a column of samples a hop apart: it reads part p before it writes there part p + 1
    for p in tl.static_range(PARTS):
        w = tl.load(window_ptr + p * HOP + i, mask=inside, other=0.0)
        total = w * tl.load(frames_ptr + (row * PARTS + p) * HOP + i, mask=inside, other=0.0).to(tl.float32)
        passed = w * w
        if p < PARTS - 1:
            total += tl.load(audio_ptr + carried + p * HOP, mask=inside, other=0.0)
            passed += tl.load(weight_ptr + carried + p * HOP, mask=inside, other=0.0)
        if p == 0:
            sample = tl.where(passed > LEAST, total / tl.maximum(passed, LEAST), 0.0)
            tl.store(samples_ptr + row * HOP + i, sample, mask=inside)
        else:
            tl.store(audio_ptr + carried + (p - 1) * HOP, total, mask=inside)
            tl.store(weight_ptr + carried + (p - 1) * HOP, passed, mask=inside)
