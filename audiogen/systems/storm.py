"""StoRM: a predictor cleans speech, a diffusion model around its estimate restores what it smoothed away.

Lemercier et al. 2023, "StoRM: A Diffusion-based Stochastic Regeneration Model for Speech Enhancement and
Dereverberation"; without a predictor it is SGMSE+ (Richter et al. 2023). Both work on complex spectra with
compressed amplitudes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor, nn

from audiogen.enhancement import EnhanceOptions
from audiogen.enhancement_objectives import OBJECTIVES, WaveformLoss
from audiogen.metrics.signal import si_sdr
from audiogen.nn.ncsnpp import NCSNpp
from audiogen.nn.subband import SubbandUNet
from audiogen.report import StageTimer
from audiogen.sampling.grids import append_zero, uniform_lambda, uniform_t
from audiogen.sampling.loop import run
from audiogen.sampling.mean_paths import OUVE
from audiogen.sampling.noise import ItemNoise
from audiogen.sampling.plans import Plan, consistency, head, multistep, predictor_corrector
from audiogen.spectral import StftSpec
from audiogen.training.checkpoint import read_checkpoint, release_of
from audiogen.training.pictures import log_audio, log_mels
from audiogen.training.schedules import warmup_cosine

BACKBONES: dict[str, Callable[..., nn.Module]] = {"subband": SubbandUNet, "ncsnpp": NCSNpp}
MODES = ("joint", "separate", "alone", "frozen", "none")
SOLVERS: dict[str, Callable[..., Plan]] = {
    "multistep": partial(multistep, order=2),
    "predictor_corrector": predictor_corrector,
    "consistency": consistency,
}


@dataclass(frozen=True)
class Preset:
    """solver: one of SOLVERS. warm_start: time at which sampling starts, 1 = the whole path."""

    solver: str
    num_steps: int
    warm_start: float = 1.0


QUALITY = {
    "fast": Preset("multistep", 1, 0.5),
    "balanced": Preset("multistep", 8, 0.5),
    "best": Preset("multistep", 16, 0.5),
    "paper": Preset("predictor_corrector", 30),  # 60 evaluations, as SGMSE+ and StoRM were published
}
OWN_STEPS = (1, 2, 4, 8)  # of the samplers from whose states the score network learns
CONSISTENT = {
    "fast": Preset("consistency", 1),
    "balanced": Preset("consistency", 2),
    "best": Preset("consistency", 4),
}


@cache
def sampling_plan(path: OUVE, preset: Preset, t_eps: float) -> Plan:
    """The preset's solver from its start over t_eps, the least time the network knows, to the data."""
    n, start = preset.num_steps, preset.warm_start
    if not t_eps < start <= 1:
        raise ValueError(f"warm_start must lie above {t_eps}, where the network ends, up to 1, got {start}")
    if n == 1:
        times = torch.tensor([start, 0.0], dtype=torch.float64)
    elif preset.solver == "predictor_corrector":
        times = append_zero(uniform_t(n - 1, start=start, end=t_eps))
    else:
        times = append_zero(uniform_lambda(path, n - 1, start=start, end=t_eps))
    return SOLVERS[preset.solver](path, times)


class StoRM(L.LightningModule):
    """Enhancement of 16 kHz speech: a predictor, and a diffusion from its estimate to clean speech.

    stft: fields of `StftSpec`. path: fields of `OUVE`; t_eps: least time the score network is asked about.
    predictor: "joint" trains both networks on one loss (the paper's), "separate" both at once without letting
    the score's loss reach the predictor, "alone" only the predictor, "frozen" only the score network, "none"
    has no predictor (SGMSE+). predictor_from: checkpoint of a StoRM whose predictor to begin with. objective:
    "edm" or "score" (see OBJECTIVES). data_std, residual_std: see `Objective`. backbone: one of BACKBONES,
    predictor_net and score_net its arguments. alpha: the predictor's share of the loss. perceptual, sdr: what
    `WaveformLoss` adds to the errors of what both networks take for clean; trained ones gain by them what the
    ear misses. own_states: share of training steps in which the score network learns from states that its own
    sampler came to (Lay et al. 2024, "Single and Few-step Diffusion for Generative Speech Enhancement"), not
    from clean speech with noise: of few steps it then makes the most. consistent: whether the score network
    is a consistency model, as `StoRMDistill` makes it of one with objective "edm". Raises ValueError for
    names that are none of these and for a predictor_from that does not fit.
    """

    def __init__(
        self,
        stft: dict[str, Any] | None = None,
        sample_rate: int = 16000,
        path: dict[str, Any] | None = None,
        t_eps: float = 0.03,
        predictor: str = "separate",
        predictor_from: str | None = None,
        objective: str = "edm",
        data_std: float = 0.1,
        residual_std: float = 0.05,
        backbone: str = "subband",
        predictor_net: dict[str, Any] | None = None,
        score_net: dict[str, Any] | None = None,
        alpha: float = 0.5,
        perceptual: float = 0.0,
        sdr: float = 0.0,
        own_states: float = 0.0,
        consistent: bool = False,
        lr: float = 1e-3,
        lr_final: float = 1e-5,
        warmup_steps: int = 200,
        total_steps: int = 10000,
    ) -> None:
        super().__init__()
        _one_of("predictor", predictor, MODES)
        _one_of("objective", objective, OBJECTIVES)
        _one_of("backbone", backbone, BACKBONES)
        if predictor == "frozen" and predictor_from is None:
            raise ValueError("a frozen predictor needs predictor_from: the checkpoint that it comes from")
        if consistent and objective != "edm":
            raise ValueError(f"a consistency model needs objective 'edm', not {objective!r}")
        self.save_hyperparameters()
        self.stft = StftSpec(**(stft or {}))
        self.sample_rate, self.hop_length = sample_rate, self.stft.hop_length
        self.path, self.t_eps = OUVE(**(path or {})), t_eps
        self.mode, self.alpha = predictor, alpha
        self.waveform_loss: WaveformLoss | None = None
        self.presets = CONSISTENT if consistent else QUALITY
        level = float(torch.exp(-self.path.lam(t_eps))) if consistent else 0.0
        self.objective = OBJECTIVES[objective](self.path, data_std, residual_std, level)
        make = partial(BACKBONES[backbone], bins=self.stft.n_freqs)
        planes = 2 if predictor == "none" else 3  # the state, the noisy spectrum, the predictor's
        self.predictor = None if predictor == "none" else make(1, timed=False, **(predictor_net or {}))
        self.score = None if predictor == "alone" else make(planes, timed=True, **(score_net or {}))
        if predictor_from is not None:
            self.take_predictor(predictor_from)
        if self.predictor is not None and predictor == "frozen":
            self.predictor.requires_grad_(False)

    def take_predictor(self, checkpoint: str) -> None:
        """Load the predictor of a training checkpoint. Raises ValueError if there is none that fits."""
        key, hparams, state = read_checkpoint(checkpoint)
        prefix = "predictor."
        found = {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
        if self.predictor is None or key != "storm" or not found:
            raise ValueError(f"{checkpoint} holds no predictor for this system; train one with StoRM")
        if (theirs := StftSpec(**(hparams["stft"] or {}))) != self.stft:
            raise ValueError(f"{checkpoint} was trained on {theirs}, not on {self.stft}; use its stft")
        for name in ("objective", "data_std"):
            if hparams[name] != self.hparams[name]:
                raise ValueError(f"{checkpoint} has {name} {hparams[name]!r}, not {self.hparams[name]!r}")
        try:
            self.predictor.load_state_dict(found)
        except RuntimeError as error:
            raise ValueError(f"the predictor of {checkpoint} does not fit predictor_net: {error}") from error

    def release(self) -> dict[str, Any]:
        """Name in SYSTEMS and hyper-parameters of what this run makes."""
        mode = self.mode if self.mode in ("alone", "none") else "joint"
        settled = {"stft": asdict(self.stft), "predictor": mode, "predictor_from": None}
        return release_of("storm", {**self.hparams, **settled})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let a checkpoint say how to rebuild the system."""
        checkpoint["release"] = self.release()

    def on_fit_start(self) -> None:
        """Make the loss of waveforms, if there is to be one. Raises ValueError without what it needs."""
        weights = self.hparams["perceptual"], self.hparams["sdr"]
        self.waveform_loss = WaveformLoss(*weights, self.sample_rate) if any(weights) else None

    def predict(self, noisy: Tensor) -> Tensor:
        """Noisy spectrum (B, F, N) -> the mean that the diffusion ends at: the predictor's, or itself."""
        return noisy if self.predictor is None else self.objective.predict(self.predictor, noisy)

    def output(self, x: Tensor, t: Tensor, noisy: Tensor, end: Tensor) -> Tensor:
        """The score network's word on a state (B, F, N) at times (B,), as `Objective.output` has it."""
        assert self.score is not None, "`preset` lets a predictor alone take no steps"
        given = [noisy] if self.predictor is None else [noisy, end]
        return self.objective.output(self.score, x, t, given, end)

    def denoiser(self, noisy: Tensor, end: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """The score network as denoise(x, t), for one noisy spectrum and the path's mean (B, F, N)."""
        return lambda x, t: self.objective.denoised(self.output(x, t, noisy, end), x, t, end)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The predictor's error and the score network's at random times, weighted by alpha."""
        clean, noisy = (self.stft.analyse(batch[name]) for name in ("clean", "noisy"))
        with torch.set_grad_enabled(self.mode != "frozen"):
            end = self.predict(noisy)
        self.log("train/residual_std", (end - clean).detach().abs().square().mean().sqrt())
        losses = []
        if self.mode in ("joint", "separate", "alone"):
            losses.append(self.objective.predictor_loss(end, clean) + self.waveform(end, batch["clean"]))
            self.log("train/predictor", losses[-1], prog_bar=True)
        if self.score is not None:
            known = end if self.mode == "joint" else end.detach()
            own = self.hparams["own_states"] > 0 and float(torch.rand(())) < self.hparams["own_states"]
            loss, estimate = (self.own_loss if own else self.score_loss)(clean, noisy, known)
            losses.append(loss + self.waveform(estimate, batch["clean"]))
            self.log("train/score", losses[-1], prog_bar=True)
        return losses[0] if len(losses) == 1 else self.alpha * losses[0] + (1 - self.alpha) * losses[1]

    def waveform(self, spec: Tensor, wav: Tensor) -> Tensor:
        """What `WaveformLoss` says of a spectrum (B, F, N), which should be that of wav (B, T) -> scalar."""
        if self.waveform_loss is None:
            return wav.new_zeros(())
        return self.waveform_loss(self.stft.synthesise(spec, wav.shape[-1]), wav)

    def score_loss(self, clean: Tensor, noisy: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """Error of the score network at one uniform time in [t_eps, 1] an item, and its clean spectra."""
        t = self.t_eps + (1 - self.t_eps) * torch.rand(len(clean), device=clean.device)
        x = self.path.add_noise(clean, torch.randn_like(clean), t, y=end)
        out = self.output(x, t, noisy, end)
        loss = self.objective.score_loss(out, clean, x, t, end)
        return loss, self.objective.denoised(out, x, t, end)

    def own_loss(self, clean: Tensor, noisy: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """Error of the clean spectra of a step that its sampler takes, at random, and those (B, F, N).

        The steps before it are taken without gradients.
        """
        steps = OWN_STEPS[int(torch.randint(len(OWN_STEPS), ()))]
        row = int(torch.randint(steps, ()))
        start = self.presets["balanced"].warm_start
        plan = sampling_plan(self.path, Preset("multistep", steps, start), self.t_eps)
        denoise = self.denoiser(noisy, end)
        with torch.no_grad():
            x = end + float(self.path.sigma(start)) * torch.randn_like(end)
            x = run(head(plan, row), denoise, x, y=end) if row else x
        estimate = denoise(x, plan.labels[row].to(x.real).expand(len(x)))
        return self.objective.predictor_loss(estimate, clean), estimate

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """SI-SDR of the default preset and of the predictor alone; the first items in TensorBoard."""
        clean, noisy = batch["clean"], batch["noisy"]
        steps = {} if self.predictor is None else {"predictor": 0}
        if self.score is not None:
            steps["enhanced"] = self.presets["balanced"].num_steps
        for name, num_steps in steps.items():
            wav = self.enhance(noisy, range(len(noisy)), EnhanceOptions(num_steps=num_steps), StageTimer())
            ratio = si_sdr(wav, clean).mean()
            self.log(f"val/si_sdr_{name}", ratio, prog_bar=True, batch_size=len(clean))
            if batch_idx == 0:
                log_audio(self, f"{batch['ids'][0]}/{name}", wav, self.sample_rate)
                spectra = [self.stft.analyse(w[:1])[0].abs().add(1e-3).log() for w in (noisy, wav, clean)]
                log_mels(self, f"{batch['ids'][0]}/noisy, {name}, clean", spectra)
        self.log("val/si_sdr_noisy", si_sdr(noisy, clean).mean(), batch_size=len(clean))

    def configure_optimizers(self) -> Any:
        """AdamW with a warm-up and a cosine decay."""
        learning = [p for p in self.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(learning, lr=self.hparams["lr"], betas=(0.9, 0.98), weight_decay=0.01)
        return {"optimizer": optimizer, "lr_scheduler": warmup_cosine(optimizer, self.hparams)}

    def preset(self, options: EnhanceOptions) -> Preset:
        """The preset that options name, with their changes; a predictor alone has 0 steps at any quality.

        Raises ValueError for an unknown quality and for steps that this system cannot take.
        """
        _one_of("quality", options.quality, self.presets)
        preset = self.presets[options.quality]
        steps = preset.num_steps if options.num_steps is None else options.num_steps
        if options.num_steps is None and self.score is None:
            steps = 0
        if steps == 0 and self.predictor is None:
            raise ValueError("num_steps must be 1 or more: this system has no predictor to speak alone")
        if steps and self.score is None:
            raise ValueError(
                "num_steps must be 0: this system is a predictor that no diffusion was trained for"
            )
        return Preset(preset.solver, steps, min(preset.warm_start, options.warm_start))

    def nfe(self, options: EnhanceOptions) -> int:
        """Network evaluations of `enhance`, the predictor's among them."""
        preset = self.preset(options)
        sampler = sampling_plan(self.path, preset, self.t_eps).nfe if preset.num_steps else 0
        return sampler + (self.predictor is not None)

    @torch.inference_mode()
    def enhance(
        self,
        wav: Tensor,
        seeds: Sequence[int],
        options: EnhanceOptions,
        timer: StageTimer,
        *,
        offset: int = 0,
    ) -> Tensor:
        """Noisy speech (B, T) at `sample_rate`, T >= 1, peaks about 1 -> enhanced (B, T).

        seeds: one an item; the same seed and item give the same result in any batch. offset: sample of the
        whole recording at which wav starts, a multiple of `hop_length`, so that overlapping chunks of one
        recording meet the same noise. Raises ValueError for an offset or options out of range.
        """
        if offset < 0 or offset % self.hop_length:
            raise ValueError(f"offset must be a multiple of {self.hop_length} samples, got {offset}")
        preset = self.preset(options)
        with timer.stage("predictor"):
            noisy = self.stft.analyse(wav)
            spec = self.predict(noisy)
        if preset.num_steps:
            with timer.stage("sampler"):
                spec = self.sample(noisy, spec, seeds, preset, first_frame=offset // self.hop_length)
        with timer.stage("synthesis"):
            return self.stft.synthesise(spec, wav.shape[-1])

    def sample(
        self, noisy: Tensor, end: Tensor, seeds: Sequence[int], preset: Preset, *, first_frame: int = 0
    ) -> Tensor:
        """Run the preset's plan from around `end` -> clean spectrum (B, F, N)."""
        plan = sampling_plan(self.path, preset, self.t_eps)
        noise = ItemNoise(seeds, device=noisy.device, first_frame=first_frame)
        start = noise.start(*noisy.shape[1:], dtype=noisy.dtype)
        sigma = float(self.path.sigma(preset.warm_start))
        return run(plan, self.denoiser(noisy, end), end + sigma * start, y=end, noise=noise)


def _one_of(what: str, name: str, known: Sequence[str] | dict[str, Any]) -> None:
    if name not in known:
        raise ValueError(f"unknown {what} {name!r}; use one of {', '.join(known)}")
