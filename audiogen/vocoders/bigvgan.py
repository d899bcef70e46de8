"""BigVGAN: HiFi-GAN's generator with periodic activations that make no aliases (Lee et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from audiogen.nn.snake import AntialiasedSnake
from audiogen.spectral import MelSpec
from audiogen.vocoders.hifigan import UpsamplingGenerator

clipped = partial(torch.clamp, min=-1.0, max=1.0)


class BigVGan(UpsamplingGenerator):
    """BigVGAN's generator; the defaults are the sizes of the paper (Lee et al. 2023, Table 5, 112M weights).

    own_height: SnakeBeta, otherwise Snake; log_scale: of their parameters. tanh: bounds the samples, which
    are clipped without; last_bias: of the last convolution (BigVGAN-v2 has neither). For the other arguments
    see `UpsamplingGenerator`.
    """

    def __init__(
        self,
        mel_spec: MelSpec,
        channels: int = 1536,
        rates: Sequence[int] = (4, 4, 2, 2, 2, 2),
        kernels: Sequence[int] = (8, 8, 4, 4, 4, 4),
        block_kernels: Sequence[int] = (3, 7, 11),
        block_dilations: Sequence[Sequence[int]] = ((1, 3, 5), (1, 3, 5), (1, 3, 5)),
        block_type: int = 1,
        *,
        own_height: bool = True,
        log_scale: bool = True,
        last_bias: bool = True,
        tanh: bool = True,
    ) -> None:
        def activation(width: int) -> AntialiasedSnake:
            return AntialiasedSnake(width, own_height=own_height, log_scale=log_scale)

        super().__init__(
            mel_spec,
            channels,
            rates,
            kernels,
            block_kernels,
            block_dilations,
            block_type,
            before=None,
            inside=activation,
            end=activation,
            bound=torch.tanh if tanh else clipped,
            last_bias=last_bias,
        )
