"""Many streams of one causal Vocos, stepped together frame by frame on the fused kernels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.kernels.backend import power_of_2
from audiogen.kernels.convnext_step import ConvNeXtWeights, convnext_step
from audiogen.kernels.graph import GraphRunner
from audiogen.kernels.overlap_add import overlap_add
from audiogen.kernels.polar import polar
from audiogen.kernels.ring_window import ring_window
from audiogen.nn.source import PhaseState, Source, advance
from audiogen.vocoders.vocos import LOG_MAX, Vocos


class VocosPool:
    """Slots for streams that come and go, each at a position of its own; a step serves any subset.

    The samples of all steps of a slot, without its first `delay` hops and with what `close` gives, are those
    of `Vocos.decode`. Memory is taken once, and a step neither allocates state nor waits for the device.

    vocos: causal; its weights are copied. slots: streams at a time. dtype: of the stack, float32 or bfloat16;
    head, phases and samples stay in float32. graphs: replay a CUDA graph for each power of two of streams;
    free places in it go to a spare slot.
    """

    def __init__(
        self, vocos: Vocos, slots: int, *, dtype: torch.dtype = torch.float32, graphs: bool = False
    ) -> None:
        if vocos.lookahead != vocos.istft.lookahead:
            raise ValueError(
                "a pool steps frame by frame: it needs a causal vocoder without refinements, "
                "Vocos(..., causal=True)"
            )
        if slots < 1:
            raise ValueError(f"a pool needs at least one slot, got {slots}")
        self.vocos, self.slots, self.graphs = vocos, slots, graphs
        self.hop_length = vocos.mel_spec.hop_length
        self.delay = vocos.n_fft // 2 // self.hop_length
        self._spare = slots
        self._free = list(range(slots - 1, -1, -1))
        self._runners: dict[int, GraphRunner[Tensor]] = {}
        with torch.inference_mode(False), torch.no_grad():  # it may outlive the mode it is made in
            self._weigh(dtype)
            self._lay_out(dtype)

    def _weigh(self, dtype: torch.dtype) -> None:
        """Copy the weights, in the dtype and layout of the kernels."""
        vocos = self.vocos
        self._stem = vocos.stem.weight.detach().transpose(1, 2).flatten(1).to(dtype, copy=True)
        assert vocos.stem.bias is not None
        self._stem_bias = vocos.stem.bias.detach().to(dtype, copy=True)
        norm = vocos.stem_norm
        self._stem_norm = (norm.weight.detach().to(dtype, copy=True), norm.bias.detach().to(dtype, copy=True))
        self._blocks = [ConvNeXtWeights.of(block, dtype) for block in vocos.blocks]
        norm, head = vocos.head_norm, vocos.head
        # a phase in bfloat16 would be off by a hundredth
        self._head_norm = (norm.weight.detach().float().clone(), norm.bias.detach().float().clone())
        self._head = (head.weight.detach().float().clone(), head.bias.detach().float().clone())

    def _lay_out(self, dtype: torch.dtype) -> None:
        """Zeros for every slot and the spare one."""
        vocos, count = self.vocos, self.slots + 1
        taps, mels = vocos.stem.kernel_size[0], vocos.mel_spec.n_mels
        device = self._stem.device
        rest = vocos.n_fft - self.hop_length
        self._position = torch.zeros(count, dtype=torch.int64, device=device)
        self._one = torch.ones(1, dtype=torch.int64, device=device)
        self._frames = torch.zeros(count, taps, mels, dtype=dtype, device=device)
        self._rings = [
            torch.zeros(count, *weights.depthwise.shape, dtype=dtype, device=device)
            for weights in self._blocks
        ]
        self._audio = torch.zeros(count, rest, device=device)
        self._weight = torch.zeros(count, rest, device=device)
        self._tracker: tuple[Tensor, ...] = ()
        self._phase: tuple[Tensor, ...] = ()
        if vocos.source is not None:
            self._tracker = tuple(state.clone() for state in vocos.source.tracker.init_state(count))
            self._phase = tuple(self._position.new_zeros(count, dtype=torch.float64) for _ in range(2))

    @property
    def state(self) -> tuple[Tensor, ...]:
        """All that is kept for the slots, (slots + 1, ...) each; the last row is the spare slot."""
        return (
            self._position, self._frames, *self._rings, self._audio, self._weight,
            *self._tracker, *self._phase,
        )  # fmt: skip

    @property
    def weights(self) -> tuple[Tensor, ...]:
        """All that a step reads of the network but the source."""
        blocks = (weight for weights in self._blocks for weight in weights)
        return (self._stem, self._stem_bias, *self._stem_norm, *blocks, *self._head_norm, *self._head)

    def traffic(self, streams: int) -> int:
        """Bytes that a step of so many streams moves at least.

        Weights are read once; of a ring all frames but one are read and one is written; what is carried
        otherwise is read and written; a mel frame comes in, samples go out.
        """
        position, frames, *rest = self.state
        rings, carried = rest[: len(self._rings)], rest[len(self._rings) :]
        tracker = () if self.vocos.source is None else self.vocos.source.tracker.parameters()
        once = sum(weight.nbytes for weight in (*self.weights, *tracker))
        kept = sum(t[0].nbytes for t in (frames, *rings)) + 2 * sum(t[0].nbytes for t in (position, *carried))
        return once + streams * (kept + 4 * (self.vocos.mel_spec.n_mels + self.hop_length))

    @property
    def opened(self) -> frozenset[int]:
        """Slots in use."""
        return frozenset(range(self.slots)) - frozenset(self._free)

    def open(self) -> int:
        """A slot at the start of a new stream. Raises ValueError when all are in use."""
        if not self._free:
            raise ValueError(f"all {self.slots} slots are in use: close one, or make a larger pool")
        slot = self._free.pop()
        self.reset(slot)
        return slot

    @torch.no_grad()
    def reset(self, slot: int) -> None:
        """Begin a new stream in an open slot, from silence."""
        self._check([slot])
        for tensor in self.state:
            tensor[slot].zero_()

    @torch.no_grad()
    def close(self, slot: int) -> Tensor:
        """End the stream of an open slot and free it -> the samples (W / 2 - hop,) that this completes."""
        self._check([slot])
        self._free.append(slot)
        rest = (self.delay - 1) * self.hop_length
        return self._audio[slot, :rest] / self._weight[slot, :rest].clamp(min=1e-11)

    @torch.no_grad()
    def step(self, slots: Sequence[int] | Tensor, frames: Tensor) -> Tensor:
        """One log-mel frame (B, n_mels) of each of these slots -> the next samples (B, hop_length), float32.

        slots: B distinct open slots; a tensor on the pool's device is trusted to be that, and not looked at.
        Raises ValueError for slots that are not open or named twice, and for frames of another shape.
        """
        expected = (len(slots), self.vocos.mel_spec.n_mels)
        if frames.shape != expected:
            raise ValueError(
                f"a step of {len(slots)} slots needs frames {expected}, got {tuple(frames.shape)}"
            )
        if not isinstance(slots, Tensor):
            self._check(slots)
            slots = torch.tensor(slots, dtype=torch.int64, device=self._position.device)
        if len(slots) == 0:
            return self._audio.new_zeros(0, self.hop_length)
        return self._replay(slots, frames) if self.graphs else self._step(slots, frames)

    def _check(self, slots: Sequence[int]) -> None:
        known = self.opened
        if wrong := [slot for slot in slots if slot not in known]:
            raise ValueError(f"slot {wrong[0]} is not open: take one from open()")
        if len(set(slots)) < len(slots):
            raise ValueError(f"a slot takes one frame a step, got slots {list(slots)}")

    def _replay(self, slots: Tensor, frames: Tensor) -> Tensor:
        """The step on a power of two of places, those without a stream taken by the spare slot."""
        count, places = len(slots), power_of_2(len(slots))
        slots, frames = slots.long(), frames.float()
        if places > count:
            slots = F.pad(slots, (0, places - count), value=self._spare)
            frames = F.pad(frames, (0, 0, 0, places - count))
        if places not in self._runners:
            examples = (torch.full_like(slots, self._spare), torch.zeros_like(frames))
            self._runners[places] = GraphRunner(self._step, *examples)
        return self._runners[places](slots, frames)[:count].clone()

    def _step(self, slots: Tensor, frames: Tensor) -> Tensor:
        x = self._stem_step(slots, frames.to(self._frames.dtype))
        for weights, ring in zip(self._blocks, self._rings, strict=True):
            x = convnext_step(x, ring, self._position, slots, weights)
        x = F.layer_norm(x.float(), x.shape[1:], *self._head_norm, self.vocos.head_norm.eps)
        out = F.linear(x, *self._head)
        bins = self.vocos.n_fft // 2 + 1
        spectrum = polar(out, bins, LOG_MAX)
        if self.vocos.source is not None:
            noise = out[:, None, 2 * bins :]
            spectrum = spectrum * self._turns(self.vocos.source, slots, frames, noise)[:, 0]
        self._position.index_add_(0, slots, self._one.expand(len(slots)))
        waves = torch.fft.irfft(spectrum, self.vocos.n_fft)
        return overlap_add(waves, self._audio, self._weight, slots, self.vocos.istft.window)

    def _stem_step(self, slots: Tensor, frames: Tensor) -> Tensor:
        """The first convolution and its norm, (B, n_mels) -> (B, C)."""
        window = ring_window(frames, self._frames, self._position, slots).flatten(1)
        x = F.linear(window, self._stem, self._stem_bias)
        return F.layer_norm(x, x.shape[1:], *self._stem_norm, self.vocos.stem_norm.eps)

    def _turns(self, source: Source, slots: Tensor, frames: Tensor, log_noise: Tensor) -> Tensor:
        """The source's phases in this frame, as unit complex numbers (B, 1, W // 2 + 1)."""
        before = tuple(state[slots] for state in self._tracker)
        after, scores = source.tracker.stream(before, frames.unsqueeze(2))
        f0 = source.tracker.frequency(scores)
        phase = PhaseState(*(value[slots] for value in self._phase))
        phase, cycles, slopes = advance(phase, f0, source.hop_length / source.sample_rate)
        for state, value in zip((*self._tracker, *self._phase), (*after, *phase), strict=True):
            state[slots] = value
        noise = source.noise[self._position[slots] % len(source.noise)].unsqueeze(1)
        return source.turns(cycles, f0, slopes, noise, log_noise)
