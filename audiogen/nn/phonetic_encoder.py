"""What is said in each frame of a mel: a small ConvNeXt with a bottleneck, over phones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.nn.conv import StreamConv1d
from audiogen.nn.convnext import ConvNeXtBlock


class PhoneticEncoder(nn.Module):
    """Log-mels to bottleneck features and from these to phones, one a frame.

    A frame sees blocks (kernel_size - 1) / 2 + 2 neighbours on either side. The features have mean zero and
    variance one over their channels, so that distances between them are angles.
    """

    def __init__(
        self,
        n_mels: int,
        classes: int,
        channels: int = 256,
        hidden: int = 640,
        blocks: int = 6,
        kernel_size: int = 7,
        bottleneck: int = 64,
    ) -> None:
        super().__init__()
        self.stem = StreamConv1d(n_mels, channels, 5)
        self.blocks = nn.ModuleList(ConvNeXtBlock(channels, hidden, kernel_size) for _ in range(blocks))
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.narrow = nn.Linear(channels, bottleneck)
        self.classify = nn.Linear(bottleneck, classes)

    def forward(self, mel: Tensor, mask: Tensor) -> Tensor:
        """mel (B, n_mels, N), about unit variance, mask (B, 1, N) of frames that count -> (B, N, bottleneck).

        Padding changes nothing, and its own features are those of zeros.
        """
        x = self.stem(mel * mask)
        for block in self.blocks:
            x = block(x * mask)
        x = self.narrow(self.norm((x * mask).transpose(1, 2)))
        return F.layer_norm(x, x.shape[-1:])

    def logits(self, features: Tensor) -> Tensor:
        """Features (B, N, bottleneck) -> scores of the phones (B, classes, N)."""
        return self.classify(features).transpose(1, 2)


@torch.no_grad()
def k_means(x: Tensor, count: int, iterations: int = 25, seed: int = 0) -> Tensor:
    """Centres (count, D) of vectors x (N, D) by Lloyd's algorithm (1982), a function of x and the seed.

    It starts from vectors drawn at random; a cluster that has lost all its vectors moves to the one farthest
    from its centre. Raises ValueError for fewer vectors than clusters.
    """
    if not 0 < count <= len(x):
        raise ValueError(
            f"cannot make {count} clusters of {len(x)} vectors; give more speech or ask for fewer"
        )
    generator = torch.Generator().manual_seed(seed)
    centres = x[torch.randperm(len(x), generator=generator)[:count].to(x.device)].clone()
    for _ in range(iterations):
        owner, distance = _owners(x, centres)
        sums = torch.zeros_like(centres).index_add_(0, owner, x)
        counts = torch.bincount(owner, minlength=count)
        centres = sums / counts.clamp(min=1)[:, None]
        if len(empty := (counts == 0).nonzero()[:, 0]):
            centres[empty] = x[distance.topk(len(empty)).indices]
    return centres


@torch.no_grad()
def nearest(x: Tensor, centres: Tensor) -> Tensor:
    """The number (...) of the centre, of (V, D), that each vector of x (..., D) is nearest to."""
    return _owners(x.flatten(0, -2), centres)[0].reshape(x.shape[:-1])


def _owners(x: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest centre of each vector (N,) and the squared distance to it (N,), in pieces."""
    owners, distances = [], []
    for piece in torch.split(x, 16384):
        squares = centres.square().sum(1) - 2 * piece @ centres.T
        least, owner = squares.min(1)
        owners.append(owner)
        distances.append(least + piece.square().sum(1))
    return torch.cat(owners), torch.cat(distances)
