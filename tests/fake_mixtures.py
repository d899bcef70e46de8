"""Noisy speech that needs no files: harmonic tones in white noise."""

import lightning.pytorch as L
import torch
from torch.utils.data import DataLoader


def mixtures(items, samples, seed=0):
    """Clean and noisy (items, samples), the noisy ones of peak 1."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.arange(samples) / 16000
    f0 = 120 + 120 * torch.rand(items, 1, generator=generator)
    loud = 0.6 + 0.4 * torch.sin(2 * torch.pi * 3 * t)
    clean = sum(torch.sin(2 * torch.pi * k * f0 * t) / k for k in range(1, 8)) * loud
    noisy = clean + 0.4 * torch.randn(items, samples, generator=generator)
    peak = noisy.abs().amax(1, keepdim=True)
    return clean / peak, noisy / peak


class FakeMixtures(L.LightningDataModule):
    """Batches as `MixtureData` gives them."""

    def __init__(self, items: int = 8, samples: int = 8000, batch_size: int = 4) -> None:
        super().__init__()
        clean, noisy = mixtures(items, samples)
        self.items = [
            {"clean": c, "noisy": n, "ids": f"tone{i}"}
            for i, (c, n) in enumerate(zip(clean, noisy, strict=True))
        ]
        self.batch_size = batch_size

    def train_dataloader(self):
        return DataLoader(self.items, self.batch_size)

    def val_dataloader(self):
        return DataLoader(self.items[:2], self.batch_size)
