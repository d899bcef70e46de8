"""A quick U-Net for complex spectra: bands as tokens, almost all of its work in matrix products.

Frequencies are folded into channels twice (256 bins -> 64 bands -> 16 bands). Local blocks then look at
neighbouring bands and frames, one network for all bands; global blocks see all bands at once over a second of
time. States are (B, N, F, C) in memory, so folding, unfolding and the products need no copies, and a
convolution over (N, F) sees them as channels-last. Nothing is normalised over time: a frame depends on its
receptive field alone.
"""

from __future__ import annotations

from itertools import cycle

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.nn.level_embedding import LevelEmbedding

FOLD = 4  # bins, then bands, that one step joins


class Modulation(nn.Module):
    """Scale and shift of features by the noise level (Perez et al. 2018); the identity at first."""

    def __init__(self, level: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(level, 2 * channels)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """x (B, N, ..., C), level (B, D) -> like x."""
        scale, shift = self.linear(level).view(len(x), *[1] * (x.ndim - 2), -1).chunk(2, dim=-1)
        return torch.addcmul(shift, x, 1 + scale)


def activated(x: Tensor) -> Tensor:
    """SiLU of a tensor that nobody else holds, in its own memory where no gradient is recorded."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


def convolved(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """A convolution over (N, F) of x (B, N, F, C), which stays as it is in memory."""
    return conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class LocalBlock(nn.Module):
    """Depthwise 3 x 3 convolution over frames and bands, normalisation, MLP, residual (ConvNeXt's block).

    level: width of the noise level's embedding, 0 for none. The residual branch starts at zero.
    """

    def __init__(self, channels: int, hidden: int, level: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.modulation = Modulation(level, channels) if level else None
        self.expand = nn.Linear(channels, hidden)
        self.contract = nn.Linear(hidden, channels)
        nn.init.zeros_(self.contract.weight)
        nn.init.zeros_(self.contract.bias)

    def forward(self, x: Tensor, level: Tensor | None) -> Tensor:
        """x (B, N, F, C) -> like x."""
        y = self.norm(convolved(x, self.depthwise))
        if self.modulation is not None and level is not None:
            y = self.modulation(y, level)
        return self.contract(activated(self.expand(y))).add_(x)


class GlobalBlock(nn.Module):
    """All bands of a frame mixed into `hidden` features, a dilated convolution of them over time, residual.

    The residual branch starts at zero.
    """

    def __init__(self, bands: int, channels: int, hidden: int, dilation: int, level: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.expand = nn.Linear(bands * channels, hidden)
        self.modulation = Modulation(level, hidden) if level else None
        self.conv = nn.Conv2d(hidden, hidden, (3, 1), padding=(dilation, 0), dilation=(dilation, 1))
        self.contract = nn.Linear(hidden, bands * channels)
        nn.init.zeros_(self.contract.weight)
        nn.init.zeros_(self.contract.bias)

    def forward(self, x: Tensor, level: Tensor | None) -> Tensor:
        """x (B, N, F, C) -> like x."""
        y = self.expand(self.norm(x).flatten(2))
        if self.modulation is not None and level is not None:
            y = self.modulation(y, level)
        y = convolved(F.silu(y)[:, :, None], self.conv)[:, :, 0].add_(y)
        return self.contract(activated(y)).view_as(x).add_(x)


class SubbandUNet(nn.Module):
    """Complex planes in, one complex plane out; 3.4 M parameters and 1.7 GFLOP a second of audio.

    planes: complex inputs. timed: whether it is told a noise level. bins: frequencies, a multiple of 16.
    fine, channels: widths at 64 and at 16 bands of 256 bins. hidden: width of the global blocks. blocks:
    pairs of a local and a global block. dilations: of the global blocks, in turn; the receptive field is
    2 (sum of the blocks' dilations + blocks + 2) + 1 frames. The output is a plane of its own plus every
    input plane times a complex gate of its bins, and zero at first. Raises ValueError for other numbers of
    bins.
    """

    def __init__(
        self,
        planes: int,
        *,
        timed: bool,
        bins: int = 256,
        fine: int = 40,
        channels: int = 80,
        hidden: int = 192,
        blocks: int = 5,
        expansion: int = 2,
        dilations: tuple[int, ...] = (1, 3, 9, 27),
    ) -> None:
        super().__init__()
        if bins % FOLD**2:
            raise ValueError(
                f"the subband network folds frequencies by {FOLD**2}, and {bins} is no multiple of it; "
                "choose an n_fft of 2 (16 k - 1), such as 510"
            )
        level = channels if timed else 0
        self.level = LevelEmbedding(channels) if timed else None
        bands = bins // FOLD**2
        self.stem = nn.Linear(2 * planes * FOLD, fine)
        self.encoder = LocalBlock(fine, expansion * fine, level)
        self.fold = nn.Linear(FOLD * fine, channels)
        self.position = nn.Parameter(0.02 * torch.randn(bands, channels))
        self.locals = nn.ModuleList(LocalBlock(channels, expansion * channels, level) for _ in range(blocks))
        self.globals = nn.ModuleList(
            GlobalBlock(bands, channels, hidden, dilation, level)
            for _, dilation in zip(range(blocks), cycle(dilations), strict=False)
        )
        self.unfold = nn.Linear(channels, FOLD * fine)
        self.decoder = LocalBlock(fine, expansion * fine, level)
        self.norm = nn.LayerNorm(2 * fine)
        self.head = nn.Linear(2 * fine, FOLD * 2 * (1 + planes))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:
        """x (B, 2 planes, F, N), level (B,) in about [-8, 8] if timed -> (B, 2, F, N).

        Planes are pairs of real and imaginary parts. Any number of frames; items do not meet.
        """
        planes = x.permute(0, 3, 2, 1).contiguous()  # (B, N, F, 2 planes)
        batch, frames, bins = planes.shape[:3]
        told = None if self.level is None or level is None else F.silu(self.level(level))
        fine = self.stem(planes.view(batch, frames, bins // FOLD, -1))
        fine = self.encoder(fine, told)
        y = self.fold(fine.view(batch, frames, bins // FOLD**2, -1)) + self.position
        for local, wide in zip(self.locals, self.globals, strict=True):
            y = wide(local(y, told), told)
        decoded = self.decoder(self.unfold(y).view_as(fine), told)
        out = self.head(self.norm(torch.cat([fine, decoded], dim=-1)))
        return gated(out.view(batch, frames, bins, -1, 2), planes.view(batch, frames, bins, -1, 2))


def gated(out: Tensor, planes: Tensor) -> Tensor:
    """out (B, N, F, 1 + K, 2): a plane and K complex gates of planes (B, N, F, K, 2) -> sum (B, 2, F, N)."""
    mixed, given = (torch.view_as_complex(part.float()) for part in (out, planes))
    return torch.view_as_real(mixed[..., 0] + (mixed[..., 1:] * given).sum(-1)).permute(0, 3, 2, 1)
