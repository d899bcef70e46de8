"""Other voices from the same mel: what an encoder of content must not hear is changed at random."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.spectral import MelSpec, mel_filters


def warp_frequencies(mel: Tensor, factors: Tensor, spec: MelSpec) -> Tensor:
    """Move what lies at frequency f to f times the item's factor; mel (B, n_mels, N), factors (B,).

    A factor above 1 is a shorter vocal tract and a higher pitch at once. Bands are interpolated linearly;
    beyond the ends the outermost band is repeated.
    """
    centres = band_centres(spec).to(mel)
    wanted = centres / factors[:, None]
    upper = torch.searchsorted(centres, wanted).clamp(1, len(centres) - 1)
    low, high = centres[upper - 1], centres[upper]
    share = ((wanted - low) / (high - low)).clamp(0, 1)[..., None]
    frames = mel.shape[-1]
    below = mel.gather(1, (upper - 1)[..., None].expand(-1, -1, frames))
    above = mel.gather(1, upper[..., None].expand(-1, -1, frames))
    return below + share * (above - below)


def band_centres(spec: MelSpec) -> Tensor:
    """Centre of gravity of each mel band in Hz (n_mels,), ascending."""
    filters = mel_filters(spec)
    frequencies = torch.linspace(0, spec.sample_rate / 2, filters.shape[1])
    return (filters @ frequencies) / filters.sum(1)


def colour(mel: Tensor, strength: float = 0.5, waves: int = 4) -> Tensor:
    """Add a random smooth curve over the bands to each item's log-mel (B, n_mels, N): microphone and glottis.

    Cosines of half to waves / 2 periods, of deviations strength / sqrt(order) nepers.
    """
    bands = mel.shape[1]
    order = torch.arange(1, waves + 1, device=mel.device, dtype=mel.dtype)
    position = (torch.arange(bands, device=mel.device, dtype=mel.dtype) + 0.5) / bands
    basis = torch.cos(math.pi * order[:, None] * position) * strength / order.sqrt()[:, None]
    return mel + (torch.randn(len(mel), waves, device=mel.device) @ basis)[..., None]


def perturb(
    mel: Tensor,
    spec: MelSpec,
    warp: float = 0.22,
    gain: float = 1.0,
    floor: tuple[float, float] = (-11.5, -7.0),
) -> Tensor:
    """Another speaker, level, colour and background of log-mels (B, n_mels, N), drawn for each item.

    warp: greatest logarithm of the factor of frequencies. gain: greatest change of level in nepers. floor:
    range of the logarithm of faint noise that joins. Time is left alone.
    """

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(len(mel), device=mel.device)

    changed = colour(warp_frequencies(mel, uniform(-warp, warp).exp(), spec))
    changed = changed + uniform(-gain, gain)[:, None, None]
    noise = uniform(*floor)[:, None, None] + 0.3 * torch.randn_like(mel)
    return torch.logaddexp(changed, noise).clamp(min=math.log(spec.floor))


def stretch(mel: Tensor, phones: Tensor, mask: Tensor, factor: float) -> tuple[Tensor, Tensor, Tensor]:
    """Slow speech down by a factor: mel (B, n_mels, N), phones (B, N), mask (B, 1, N), each of new length.

    Mels are interpolated linearly, the others take the nearest frame.
    """
    frames = max(1, round(mel.shape[-1] * factor))
    nearest = ((torch.arange(frames, device=mel.device) + 0.5) / factor).long().clamp(max=mel.shape[-1] - 1)
    longer = F.interpolate(mel, size=frames, mode="linear", align_corners=False)
    return longer, phones[:, nearest], mask[..., nearest]
