"""Structural similarity of spectrograms."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_window(size: int = 11, sigma: float = 1.5) -> Tensor:
    """Normalised Gaussian (size,)."""
    x = torch.arange(size, dtype=torch.float32) - size // 2
    window = torch.exp(-x.square() / (2 * sigma**2))
    return window / window.sum()


def ssim(a: Tensor, b: Tensor, data_range: float) -> Tensor:
    """Structural similarity (Wang et al. 2004, eq. 13) of images (B, H, W) -> (B, H, W), 1 where they agree.

    Gaussian window of 11 with sigma 1.5 and zero padding; data_range: difference of the largest and smallest
    value.
    """
    window = gaussian_window().to(a)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    stacked = torch.stack([a, b, a * a, b * b, a * b], dim=1).flatten(0, 1)[:, None]
    blurred = F.conv2d(stacked, window[None, None, :, None], padding=(5, 0))
    blurred = F.conv2d(blurred, window[None, None, None, :], padding=(0, 5))
    mean_a, mean_b, aa, bb, ab = blurred.view(len(a), 5, *a.shape[1:]).unbind(1)
    variances = aa - mean_a.square() + bb - mean_b.square()
    covariance = ab - mean_a * mean_b
    return ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a.square() + mean_b.square() + c1) * (variances + c2)
    )
