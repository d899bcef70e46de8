"""ConvNeXt blocks over time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.kernels import cpu
from audiogen.nn.conv import StreamConv1d


class ChannelNorm(nn.Module):
    """Layer normalisation of (B, C, N) over C."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, N) -> (B, C, N)."""
        y = F.layer_norm(x.transpose(1, 2), self.scale.shape, self.scale, self.shift, 1e-6)
        return y.transpose(1, 2)


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, normalisation, pointwise MLP, scaled residual (Liu et al. 2022, Fig.

    4, in one dimension).

    `layer_scale` starts the residual branch small, so that a deep stack begins near the identity. The state
    of a stream is its convolution's.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        kernel_size: int = 7,
        layer_scale: float = 0.1,
        *,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.depthwise = StreamConv1d(channels, channels, kernel_size, groups=channels, causal=causal)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.expand = nn.Linear(channels, hidden)
        self.contract = nn.Linear(hidden, channels)
        self.scale = nn.Parameter(torch.full((channels,), layer_scale))

    @property
    def lookahead(self) -> int:
        """Outputs that wait for further inputs."""
        return self.depthwise.lookahead

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """x (B, C, N) -> (B, C, N); a condition (B, C, N) is added to what the residual branch sees."""
        y = self.depthwise(x if condition is None else x + condition)
        return self._pointwise(x, self.norm(y.transpose(1, 2)))

    def init_state(self, batch: int) -> Tensor:
        """The zeros before the first input."""
        return self.depthwise.init_state(batch)

    def stream(self, state: Tensor, x: Tensor, last: bool = False) -> tuple[Tensor, Tensor]:
        """The next inputs (B, C, n) -> state, the outputs that are complete (B, C, m)."""
        if not cpu.takes_loops(x):
            state, y, here = self.depthwise.stream(state, x, last)
            return state, self._pointwise(here, self.norm(y.transpose(1, 2)))
        conv = self.depthwise
        seen, state, here = conv.gather(state, x, last)
        if here.shape[-1] == 0:
            return state, here
        taps, bias = conv.weight[:, 0], conv.bias
        assert bias is not None
        y = cpu.depthwise_norm(seen.transpose(1, 2), taps, bias, conv.dilation[0], self.norm)
        return state, self._pointwise(here, y)

    def _pointwise(self, here: Tensor, y: Tensor) -> Tensor:
        """The input (B, C, N) and its normalised convolution (B, N, C) -> (B, C, N)."""
        y = self.contract(F.gelu(self.expand(y)))
        # frames first in memory without gradients, as the next block wants them
        out = None if torch.is_grad_enabled() else y
        return torch.addcmul(here.transpose(1, 2), self.scale, y, out=out).transpose(1, 2)
