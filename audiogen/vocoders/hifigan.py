"""HiFi-GAN: transposed convolutions and residual blocks from mel frames to samples (Kong et al. 2020)."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.nn.conv import StreamConv1d, StreamConvTranspose1d
from audiogen.nn.streams import Chain, Crop, Mean, Pointwise, Residual
from audiogen.spectral import MelSpec

Activation = Callable[[int], nn.Module]  # channels -> a layer that streams

leaky_relu = partial(F.leaky_relu, negative_slope=0.1)
last_leaky_relu = partial(F.leaky_relu, negative_slope=0.01)


class UpsamplingGenerator(nn.Module):
    """What HiFi-GAN and BigVGAN have in common: stages that raise the rate and halve the channels.

    A stage is a transposed convolution and the mean of residual blocks with kernels of several lengths.
    rates: of the stages; their product is the hop. kernels: of the transposed convolutions. block_kernels and
    block_dilations: a residual block each. block_type 1 follows every dilated convolution by another; 2 does
    not. Activations: `before` the transposed convolutions (None for none), `inside` the blocks, at the `end`
    in front of the last convolution. bound: what keeps the samples in [-1, 1].

    A frame gives hop_length samples. With centred frames half a hop at both ends is dropped, so that a frame
    lies in the middle of its samples. Raises ValueError for sizes that do not fit each other.
    """

    def __init__(
        self,
        mel_spec: MelSpec,
        channels: int,
        rates: Sequence[int],
        kernels: Sequence[int],
        block_kernels: Sequence[int],
        block_dilations: Sequence[Sequence[int]],
        block_type: int,
        *,
        before: Activation | None,
        inside: Activation,
        end: Activation,
        bound: Callable[[Tensor], Tensor],
        last_bias: bool = True,
    ) -> None:
        super().__init__()
        check_sizes(mel_spec, channels, rates, kernels, block_kernels, block_dilations, block_type)
        self.mel_spec = mel_spec
        parts: OrderedDict[str, nn.Module] = OrderedDict(pre=StreamConv1d(mel_spec.n_mels, channels, 7))
        stages = []
        for rate, kernel in zip(rates, kernels, strict=True):
            sizes = zip(block_kernels, block_dilations, strict=True)
            blocks = [residual_block(channels // 2, *each, block_type, inside) for each in sizes]
            stages.append(upsampling_stage(channels, kernel, rate, blocks, before))
            channels //= 2
        parts["stages"] = Chain(*stages)
        parts["end"] = end(channels)
        parts["post"] = StreamConv1d(channels, 1, 7, bias=last_bias)
        parts["bound"] = Pointwise(bound)
        for module in (*parts["stages"].modules(), parts["post"]):
            if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)):
                nn.init.normal_(module.weight, std=0.01)
        self.network = Chain(parts)
        hop = mel_spec.hop_length if mel_spec.center else 0
        self.crop = Crop(hop // 2, hop - hop // 2)

    @property
    def lookahead(self) -> int:
        """Frames beyond the next one that the audio up to a frame waits for."""
        frames = math.ceil(self.network.lookahead / self.mel_spec.hop_length)
        return max(0, frames if self.mel_spec.center else frames - 1)

    @property
    def lookahead_ms(self) -> float:
        """The same in milliseconds."""
        return 1000 * self.lookahead / self.mel_spec.frame_rate

    def decode(self, mel: Tensor) -> Tensor:
        """mel (B, n_mels, N), N >= 1 -> waveform (B, 1, N hop_length); N - 1 hops if centred."""
        return self.crop(self.network(mel))

    forward = decode

    def init_state(self, batch: int) -> tuple[Any, ...]:
        """The start of `batch` streams."""
        return self.network.init_state(batch), self.crop.init_state(batch)

    def stream(
        self, state: tuple[Any, ...], mel: Tensor, last: bool = False
    ) -> tuple[tuple[Any, ...], Tensor]:
        """The next frames (B, n_mels, n), n >= 0 -> state, the audio (B, 1, T) that is complete.

        Joined, the audio is that of `decode`. The last chunk ends the stream.
        """
        network, audio = self.network.stream(state[0], mel, last)
        crop, audio = self.crop.stream(state[1], audio, last)
        return (network, crop), audio


def upsampling_stage(
    channels: int, kernel: int, rate: int, blocks: Sequence[nn.Module], before: Activation | None
) -> Chain:
    """`rate` values, of half as many channels, for each of `channels` (Kong et al. 2020, Fig. 1)."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if before is not None:
        layers["before"] = before(channels)
    layers["up"] = StreamConvTranspose1d(channels, channels // 2, kernel, rate)
    layers["blocks"] = Mean(blocks)
    return Chain(layers)


def residual_block(
    channels: int, kernel: int, dilations: Sequence[int], block_type: int, activation: Activation
) -> Chain:
    """Residual blocks one after another, one for each dilation (Kong et al. 2020, section 2.2)."""
    blocks = []
    for dilation in dilations:
        layers: list[nn.Module] = [
            activation(channels),
            StreamConv1d(channels, channels, kernel, dilation=dilation),
        ]
        if block_type == 1:
            layers += [activation(channels), StreamConv1d(channels, channels, kernel)]
        blocks.append(Residual(*layers))
    return Chain(*blocks)


def check_sizes(
    mel_spec: MelSpec,
    channels: int,
    rates: Sequence[int],
    kernels: Sequence[int],
    block_kernels: Sequence[int],
    block_dilations: Sequence[Sequence[int]],
    block_type: int,
) -> None:
    """Raises ValueError, with the values, for sizes that make no generator."""
    if math.prod(rates) != mel_spec.hop_length:
        raise ValueError(
            f"the product of rates {list(rates)} is {math.prod(rates)}, not hop_length "
            f"{mel_spec.hop_length}; choose rates that multiply to the hop"
        )
    if len(rates) != len(kernels):
        raise ValueError(f"{len(rates)} rates need as many kernels, not {len(kernels)}: {list(kernels)}")
    if not block_kernels or len(block_kernels) != len(block_dilations):
        raise ValueError(
            f"{len(block_kernels)} block_kernels need as many block_dilations, at least one, not "
            f"{len(block_dilations)}"
        )
    if even := [kernel for kernel in block_kernels if kernel % 2 == 0]:
        raise ValueError(f"block_kernels {even} are even and cannot be centred; use odd ones")
    if block_type not in (1, 2):
        raise ValueError(f"block_type {block_type!r} is unknown; use 1 or 2")
    if channels % 2 ** len(rates):
        raise ValueError(f"{channels} channels cannot be halved {len(rates)} times; use a multiple")


class HiFiGan(UpsamplingGenerator):
    """HiFi-GAN's generator; the defaults are the paper's V1 (Kong et al. 2020, Table 5).

    For the arguments see `UpsamplingGenerator`.
    """

    def __init__(
        self,
        mel_spec: MelSpec,
        channels: int = 512,
        rates: Sequence[int] = (8, 8, 2, 2),
        kernels: Sequence[int] = (16, 16, 4, 4),
        block_kernels: Sequence[int] = (3, 7, 11),
        block_dilations: Sequence[Sequence[int]] = ((1, 3, 5), (1, 3, 5), (1, 3, 5)),
        block_type: int = 1,
    ) -> None:
        super().__init__(
            mel_spec,
            channels,
            rates,
            kernels,
            block_kernels,
            block_dilations,
            block_type,
            before=lambda _: Pointwise(leaky_relu),
            inside=lambda _: Pointwise(leaky_relu),
            end=lambda _: Pointwise(last_leaky_relu),
            bound=torch.tanh,
        )
