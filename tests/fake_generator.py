"""A generator whose every answer is known: Gaussian latents, sound that is the latents."""

import dataclasses
import functools

import torch

from audiogen.controls import Control
from audiogen.sampling.coefficients import ddim_weights
from audiogen.sampling.grids import uniform_t
from audiogen.sampling.noise import ItemNoise
from audiogen.sampling.oracles import Gaussian
from audiogen.sampling.paths import VPCosine, append_dims

PATH = VPCosine()
MEAN, STD = 0.3, 0.5
DIM, RATE = 2, 50


@dataclasses.dataclass
class GaussianGenerator:
    """Data of mean 0.3 and deviation 0.5, item by item; with `distilled` it jumps along the exact flow."""

    seeds: list
    frames: int
    distilled: bool = True
    calls: list = dataclasses.field(default_factory=list)
    sample_rate = RATE
    latent_rate = float(RATE)
    path = PATH

    def __post_init__(self):
        self.oracle = Gaussian(PATH, MEAN, STD)
        self.jump = self.jumped if self.distilled else None

    def estimate(self, x, t):
        self.calls.append(t)
        return self.oracle.denoise(x, t)

    def jumped(self, x, times):
        """The data of the DDIM step that ends where the exact flow does."""
        self.calls.append(times)
        t, s = times.double().unbind(-1)
        step = ddim_weights(PATH, t, s)
        ends = self.oracle.flow(x.double(), t, s)
        return ((ends - append_dims(step.x, x.ndim) * x) / append_dims(step.data, x.ndim)).to(x)

    def start(self):
        return ItemNoise(self.seeds).start(DIM, self.frames)

    def times(self, num_steps):
        return uniform_t(num_steps)

    def decode(self, latents):
        return latents[:, 0]

    def encode(self, wav):
        return torch.stack((wav, torch.zeros_like(wav)), dim=1)

    def only(self, items):
        return GaussianGenerator([self.seeds[n] for n in items], self.frames, self.distilled, self.calls)


class GaussianSystem:
    """What makes such generators."""

    sample_rate, window_seconds = RATE, 2.0

    def __init__(self, distilled=True):
        self.distilled, self.asked = distilled, []

    def generator(self, prompt, seeds, seconds, *, guidance=None, like=None):
        self.asked.append((prompt, list(seeds), seconds, guidance, like))
        self.made = GaussianGenerator(list(seeds), round(seconds * RATE), self.distilled)
        return self.made


class Wanted(Control):
    """Latents that are wished for exactly: the error is their mean square difference."""

    name, unit, enough = "wanted", "square", 1e-3

    def __init__(self, target, **options):
        super().__init__(**options)
        self.target = target

    def errors(self, sound):
        return (sound.latents - self.target).square().mean((1, 2))


def exact_start(target):
    """Noise that the exact flow turns into latents (B, D, L)."""
    flow = functools.partial(Gaussian(PATH, MEAN, STD).flow)
    one, zero = torch.ones(len(target), dtype=torch.float64), torch.zeros(len(target), dtype=torch.float64)
    return flow(target.double(), zero, one)


def target(seed=1, items=1):
    """Latents that the toy could make."""
    generator = torch.Generator().manual_seed(seed)
    return MEAN + STD * torch.randn(items, DIM, 2 * RATE, generator=generator)
