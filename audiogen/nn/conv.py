"""Convolutions over time that give the same result whole and in chunks."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.kernels import cpu

FEW = 70  # frames, with their history: what is a few launches' time elsewhere


class Pointwise(nn.Conv1d):
    """A convolution of one frame. On a CPU, without gradients, a product: the library prepares for longer."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, N) -> (B, C_out, N)."""
        if not x.is_cpu or torch.is_grad_enabled() or self.bias is None:
            return super().forward(x)
        weight = self.weight[:, :, 0].expand(len(x), -1, -1)
        return torch.baddbmm(self.bias[:, None], weight, x)


class StreamConv1d(nn.Conv1d):
    """A convolution with as many outputs as inputs, of stride 1, for whole signals and for chunks.

    Its edges see zeros. causal: output n sees inputs up to n; otherwise the kernel is centred, and an output
    waits for `lookahead` further inputs. The state of a stream is a tensor: the inputs (B, C, M) that later
    outputs still need.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        dilation: int = 1,
        groups: int = 1,
        causal: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, dilation=dilation, groups=groups, bias=bias)
        span = dilation * (kernel_size - 1)
        self.lookahead = 0 if causal else span // 2
        self.lookback = span - self.lookahead

    @property
    def span(self) -> cpu.Span:
        """Lookback and lookahead, for loops."""
        return cpu.Span(self.lookback, self.lookahead)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, N) -> (B, C_out, N)."""
        return self._convolve(self._padded(x, self.lookback, self.lookahead))

    def init_state(self, batch: int) -> Tensor:
        """The zeros before the first input."""
        return self.weight.new_zeros(batch, self.in_channels, self.lookback)

    def stream(self, state: Tensor, x: Tensor, last: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """The next inputs (B, C_in, n), n >= 0 -> state, outputs (B, C_out, m), the m inputs at their places.

        m = n when causal; otherwise outputs come `lookahead` inputs later, the rest with the last chunk.
        """
        seen, state, here = self.gather(state, x, last)
        empty = here.shape[-1] == 0  # which the operator refuses
        out = seen.new_zeros(len(seen), self.out_channels, 0) if empty else self._convolve(seen)
        return state, out, here

    def gather(self, state: Tensor, x: Tensor, last: bool) -> tuple[Tensor, Tensor, Tensor]:
        """What `stream` convolves: the inputs (B, C_in, M) seen from now on, state, m inputs as there."""
        x = self._padded(x, 0, self.lookahead) if last else x
        seen = torch.cat((state.mT, x.mT), dim=1).mT if self._by_sums(x) else torch.cat((state, x), dim=-1)
        count = max(0, seen.shape[-1] - self.lookback - self.lookahead)
        return seen, seen[..., count:], seen[..., self.lookback : self.lookback + count]

    def _convolve(self, seen: Tensor) -> Tensor:
        """Outputs (B, C_out, N - lookback - lookahead) of padded inputs."""
        count = seen.shape[-1] - self.lookback - self.lookahead
        if self.bias is None or not self._by_sums(seen):
            return self._by_product(seen) if self._is_small(count) else super().forward(seen)
        x, (first, *taps) = seen.mT, self.weight[:, 0].T.contiguous()
        y = torch.addcmul(self.bias, x[:, :count], first)
        for k, tap in enumerate(taps, 1):
            y.addcmul_(x[:, k * self.dilation[0] :][:, :count], tap)
        return y.mT

    def _is_small(self, count: int) -> bool:
        """Whether the library's preparations would take longer than a matrix product for so few outputs."""
        plain = self.groups == 1 and self.dilation[0] == 1 and not torch.is_grad_enabled()
        return plain and self.weight.is_cpu and count <= (64 if self.weight.dtype == torch.float64 else 8)

    def _by_product(self, seen: Tensor) -> Tensor:
        """Windows of the inputs times the weights."""
        windows = seen.unfold(2, self.kernel_size[0], 1).transpose(1, 2).flatten(2)
        return F.linear(windows, self.weight.flatten(1), self.bias).mT

    def _by_sums(self, x: Tensor) -> bool:
        """Whether to sum shifted inputs, frames first in memory: half a library call's time on a CPU."""
        depthwise = self.groups == self.in_channels == self.out_channels and self.bias is not None
        return depthwise and not torch.is_grad_enabled() and (x.is_cpu or x.shape[-1] <= FEW)

    def _padded(self, x: Tensor, before: int, after: int) -> Tensor:
        """Zeros around inputs (B, C, N), frames first in memory where that is quicker."""
        return F.pad(x.mT, (0, 0, before, after)).mT if self._by_sums(x) else F.pad(x, (before, after))


class OverlapState(NamedTuple):
    """sums (B, C, K - S): outputs later inputs still add to. skip: outputs before the first to be dropped."""

    sums: Tensor
    skip: int


class StreamConvTranspose1d(nn.ConvTranspose1d):
    """A transposed convolution that gives `rate` outputs for an input, for whole signals and for chunks.

    Its kernel lies centred over the outputs of an input, so that `lookahead` = (kernel_size - rate) / 2
    outputs wait for further inputs. Chunks are added where they overlap. Raises ValueError for a kernel that
    cannot be centred or leaves holes.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, rate: int) -> None:
        if kernel_size < rate or (kernel_size - rate) % 2:
            raise ValueError(
                f"kernel {kernel_size} is shorter than rate {rate} or longer by an odd number; use {2 * rate}"
            )
        self.rate = rate
        self.lookahead = (kernel_size - rate) // 2
        super().__init__(in_channels, out_channels, kernel_size, rate, padding=self.lookahead)

    def init_state(self, batch: int) -> OverlapState:
        """Nothing yet."""
        return OverlapState(
            self.weight.new_zeros(batch, self.out_channels, 2 * self.lookahead), self.lookahead
        )

    def stream(self, state: OverlapState, x: Tensor, last: bool = False) -> tuple[OverlapState, Tensor]:
        """The next inputs (B, C_in, n), n >= 0 -> state, the outputs (B, C_out, m) that are complete."""
        done = x.shape[-1] * self.rate
        sums = F.pad(state.sums, (0, done))
        if done:  # the operator refuses to do nothing
            sums = sums + F.conv_transpose1d(x, self.weight, None, self.rate)
        rest = sums[..., done:]
        if last:
            done += self.lookahead
        out = sums[..., state.skip : done]
        if self.bias is not None:
            out = out + self.bias[:, None]
        return OverlapState(rest, max(0, state.skip - done)), out
