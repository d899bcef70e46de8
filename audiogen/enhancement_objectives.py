"""What StoRM's networks see of spectra, what they learn to predict, and the error that they learn by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from audiogen.metrics.signal import si_sdr
from audiogen.sampling.mean_paths import OUVE
from audiogen.sampling.paths import expand
from audiogen.sampling.prediction import EDM, Score, from_x0, to_x0
from audiogen.spectral import as_channels, as_complex

MOST_DB = 30.0  # SI-SDR beyond which there is nothing to gain
FEWEST = 20 * 256 + 512  # samples of PESQ's first window over disturbances


@dataclass(frozen=True)
class Objective(ABC):
    """How the networks see spectra and what they learn to predict; end: the mean of the path.

    path: of the diffusion. data_std, residual_std: root mean square, over complex bins, of clean spectra and
    of what the predictor leaves of them, the scales of what networks see and predict. level: sigma / alpha at
    which a consistency model returns its input; 0 for all others.
    """

    path: OUVE
    data_std: float
    residual_std: float
    level: float = 0.0

    @abstractmethod
    def predict(self, net: nn.Module, noisy: Tensor) -> Tensor:
        """The predictor's clean spectrum (B, F, N)."""

    @abstractmethod
    def predictor_loss(self, estimate: Tensor, clean: Tensor) -> Tensor:
        """Error of the predictor -> scalar."""

    @abstractmethod
    def output(self, net: nn.Module, x: Tensor, t: Tensor, given: Sequence[Tensor], end: Tensor) -> Tensor:
        """What the score network says of the state x (B, F, N) at times t (B,), given clean-ish spectra."""

    @abstractmethod
    def denoised(self, out: Tensor, x: Tensor, t: Tensor, end: Tensor) -> Tensor:
        """Estimate of the clean spectrum from that output."""

    @abstractmethod
    def score_loss(self, out: Tensor, clean: Tensor, x: Tensor, t: Tensor, end: Tensor) -> Tensor:
        """Error of that output -> scalar."""


class Preconditioned(Objective):
    """The score network predicts what the predictor left, preconditioned as in EDM (Karras et al. 2022).

    With u = x - end the path has no mean: u = alpha (clean - end) + sigma z. Networks see inputs and predict
    targets of about unit variance at every time, and start at: the noisy spectrum, a Wiener-like share of u.
    """

    @property
    def kind(self) -> EDM:
        """Prediction type of the residual."""
        return EDM(self.residual_std, self.level)

    def predict(self, net: nn.Module, noisy: Tensor) -> Tensor:
        """See `Objective`; the network predicts a correction of the noisy spectrum."""
        scaled = as_channels([noisy / self.data_std])
        return noisy + self.data_std * as_complex(net(scaled))

    def predictor_loss(self, estimate: Tensor, clean: Tensor) -> Tensor:
        """Squared error of the complex spectrum and of its magnitudes, relative to the data's power."""
        error = estimate - clean
        power = error.real.square() + error.imag.square()
        magnitudes = (estimate.abs() - clean.abs()).square()
        return (power + magnitudes).mean() / (2 * self.data_std**2)

    def output(self, net: nn.Module, x: Tensor, t: Tensor, given: Sequence[Tensor], end: Tensor) -> Tensor:
        """See `Objective`; the network is told log(alpha / sigma)."""
        scale = expand(self.kind.input_scale(self.path.at(t)), x)
        planes = [scale * (x - end), *(plane / self.data_std for plane in given)]
        return as_complex(net(as_channels(planes), self.path.lam(t).float()))

    def denoised(self, out: Tensor, x: Tensor, t: Tensor, end: Tensor) -> Tensor:
        """See `Objective`."""
        return end + to_x0(self.kind, out, x - end, t, self.path)

    def score_loss(self, out: Tensor, clean: Tensor, x: Tensor, t: Tensor, end: Tensor) -> Tensor:
        """Squared error of the output, which weights the denoised data by 1 / c_out^2 (EDM's weighting)."""
        error = out - from_x0(self.kind, clean - end, x - end, t, self.path)
        return (error.real.square() + error.imag.square()).mean()


class Published(Objective):
    """Score matching as released with the papers: the score is minus the network's output over t.

    Networks see spectra as they are and log t; the predictor's output is its estimate.
    """

    def predict(self, net: nn.Module, noisy: Tensor) -> Tensor:
        """See `Objective`."""
        return as_complex(net(as_channels([noisy])))

    def predictor_loss(self, estimate: Tensor, clean: Tensor) -> Tensor:
        """Half the squared error (Lemercier et al. 2023), a mean over bins."""
        return (estimate - clean).abs().square().mean() / 2

    def output(self, net: nn.Module, x: Tensor, t: Tensor, given: Sequence[Tensor], end: Tensor) -> Tensor:
        """See `Objective`; the score (B, F, N)."""
        return as_complex(net(as_channels([x, *given]), torch.log(t))) / -expand(t.double(), x)

    def denoised(self, out: Tensor, x: Tensor, t: Tensor, end: Tensor) -> Tensor:
        """See `Objective`."""
        return to_x0(Score(), out, x, t, self.path, y=end)

    def score_loss(self, out: Tensor, clean: Tensor, x: Tensor, t: Tensor, end: Tensor) -> Tensor:
        """Half of |sigma score + z|^2, a mean over bins (Richter et al. 2023, equation 15)."""
        sigma = expand(self.path.sigma(t), x)
        error = sigma * (out - from_x0(Score(), clean, x, t, self.path, y=end))
        return error.abs().square().mean() / 2


OBJECTIVES: dict[str, type[Objective]] = {"edm": Preconditioned, "score": Published}


class WaveformLoss:
    """What a predictor's waveform lacks: of the loudness that PESQ hears, and of the samples.

    perceptual: weight of the distance of PESQ (ITU-T P.862) as torch-pesq makes it differentiable, sdr: of
    SI-SDR in dB. The first alone lets everything go that PESQ does not hear. Raises ValueError without the
    extra `perceptual` where it is needed.
    """

    def __init__(self, perceptual: float, sdr: float, sample_rate: int) -> None:
        self.perceptual, self.sdr = perceptual, sdr
        self.distance: nn.Module | None = None
        if perceptual:
            try:
                from torch_pesq import PesqLoss
            except ImportError as error:
                raise ValueError(
                    f"perceptual {perceptual} needs torch-pesq: pip install 'audiogen[perceptual]'"
                ) from error
            self.distance = PesqLoss(1.0, sample_rate)

    def __call__(self, estimate: Tensor, clean: Tensor) -> Tensor:
        """Waveforms (B, T) -> weighted sum of both, a scalar. Raises ValueError for too few samples."""
        loss = -self.sdr * si_sdr(estimate, clean).clamp(max=MOST_DB).mean()
        if self.distance is not None:
            if estimate.shape[-1] < FEWEST:
                raise ValueError(
                    f"{estimate.shape[-1]} samples are too few for PESQ ({FEWEST}): raise data.crop_s"
                )
            # it writes into what it is given
            heard = self.distance.to(clean.device)(clean.float().clone(), estimate.float().clone())
            loss = loss + self.perceptual * heard.mean()
        return loss
