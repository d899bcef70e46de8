"""k-means."""

from __future__ import annotations

import torch
from torch import Tensor

ROWS = 8192  # points compared with all centroids at a time


def nearest(points: Tensor, centroids: Tensor) -> Tensor:
    """points (N, D), centroids (K, D) -> the index of the nearest centroid of each (N,)."""
    half = 0.5 * centroids.square().sum(1)
    return torch.cat([(half - piece @ centroids.T).argmin(1) for piece in torch.split(points, ROWS)])


def kmeans(points: Tensor, count: int, generator: torch.Generator, rounds: int = 30) -> Tensor:
    """Centroids (count, D) of points (N, D) by Lloyd's rounds from a k-means++ start (Arthur & V. 2007).

    A centroid without points moves to the point that is farthest from its own. Raises ValueError for fewer
    points than centroids.
    """
    if len(points) < count:
        raise ValueError(f"{len(points)} points cannot have {count} centroids; use fewer, or more data")
    centroids = _spread(points, count, generator)
    for _ in range(rounds):
        labels = nearest(points, centroids)
        sums = torch.zeros_like(centroids).index_add_(0, labels, points)
        sizes = torch.bincount(labels, minlength=count)
        means = sums / sizes.clamp(min=1)[:, None]
        empty = (sizes == 0).nonzero()[:, 0]
        if len(empty):
            distance = (points - means[labels]).square().sum(1)
            means[empty] = points[distance.topk(len(empty)).indices]
        if torch.equal(means, centroids):
            break
        centroids = means
    return centroids


def _spread(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Points drawn one after another, each with a chance as its squared distance from those drawn."""
    first = int(torch.randint(len(points), (1,), generator=generator))
    chosen = [first]
    distance = (points - points[first]).square().sum(1)
    while len(chosen) < count:
        # points that repeat each other leave nothing to choose by
        chance = distance if bool(distance.sum() > 0) else torch.ones_like(distance)
        index = int(torch.searchsorted(chance.cumsum(0), _uniform(generator) * chance.sum()))
        chosen.append(min(index, len(points) - 1))
        distance = torch.minimum(distance, (points - points[chosen[-1]]).square().sum(1))
    return points[chosen]


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))
