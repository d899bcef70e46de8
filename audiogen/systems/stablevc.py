"""StableVC: any voice to any voice, timbre and style apart, by flow matching (Yao et al. 2025).

arXiv 2412.04724. The paper's time runs from noise to data; here t = 0 is data and t = 1 noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache, partial
from typing import Any, Literal, get_args

import lightning.pytorch as L
import torch
from torch import Tensor, nn

from audiogen.audio import Audio
from audiogen.content import ContentEncoder
from audiogen.conversion import ConvertOptions, convert_audio
from audiogen.metrics.speaker import speaker_embedding
from audiogen.nn.dit import without
from audiogen.nn.dual_attention import Reading
from audiogen.nn.style import reverse_gradient
from audiogen.nn.voice_network import Stacked, Style, VoiceNetwork, memories
from audiogen.sampling.distillation import Example, flow_matching_example, mean_square, regression_loss
from audiogen.sampling.grids import uniform_t
from audiogen.sampling.guidance import batched, cfg
from audiogen.sampling.loop import Denoiser, run
from audiogen.sampling.noise import ItemNoise
from audiogen.sampling.paths import StraightLine, expand
from audiogen.sampling.plans import Plan, adams_bashforth, consistency
from audiogen.sampling.prediction import Velocity, to_x0
from audiogen.spectral import MelSpec
from audiogen.training.checkpoint import release_of
from audiogen.training.pictures import log_audio, log_mels
from audiogen.training.schedules import warmup_cosine
from audiogen.vocoders import MelVocoder
from audiogen.vocoders.griffin_lim import GriffinLim
from audiogen.voice import Voice, make_voice, reference_style

FORGET_SHARE = 0.1  # of the adversarial term in the loss (section 3.2)
KINDS = ("timbre", "style")
Solver = Literal["euler", "ab2"]
ORDERS: dict[str, int] = {"euler": 1, "ab2": 2}
Prior = Literal["zero", "residual"]
"""What the flow makes: "zero", the mel (the paper's); "residual", the mel less a first guess of it."""


@cache
def teacher_plan(path: StraightLine, solver: str, num_steps: int) -> Plan:
    """Adams-Bashforth on equal times; of order 1 it is Euler's method. NFE = num_steps."""
    return adams_bashforth(path, uniform_t(num_steps), order=ORDERS[solver])


@cache
def student_plan(path: StraightLine, num_steps: int) -> Plan:
    """Consistency sampling on equal times (Song et al. 2023, Algorithm 1). NFE = num_steps."""
    return consistency(path, uniform_t(num_steps))


class StableVC(L.LightningModule):
    """Content tokens in the voice of one reference and the style of another.

    See `VoiceNetwork` for the networks. vocabulary: number of content tokens. content: name of the content
    encoder that goes with them. speakers: how many the adversarial classifier of training can tell apart.
    embedding: size of the speaker vector. stack, token_blocks, frame_blocks, flow_blocks, style_bins, style:
    sizes. speaker_reading: see `Reading`. prior: see `Prior`; settle_steps: training steps during which the
    scale of its residual is measured. sigma_min: of the path. drop: how often training goes without a
    reference, of each. solver: one of `Solver`. student_steps: step counts in which the student speaks, none
    for a system without. timbre_scale, style_scale: guidance unless the user says otherwise, 1 = off: D +
    (timbre_scale - 1) (D - D without timbre) + (style_scale - 1) (D - D without style). temperature: of all
    noise that is drawn in sampling. Raises ValueError for names and sizes that are none of these.
    """

    key = "stablevc"

    def __init__(
        self,
        mel_spec: dict[str, Any] | None = None,
        vocabulary: int = 192,
        content: str | None = None,
        vocoder: str | None = "vocos-16k",
        speakers: int = 0,
        embedding: int = 256,
        channels: int = 192,
        token_blocks: int = 2,
        frame_blocks: int = 2,
        flow_blocks: int = 5,
        style_bins: int = 20,
        stack: dict[str, Any] | None = None,
        style: dict[str, Any] | None = None,
        speaker_reading: Reading = "keys",
        prior: Prior = "residual",
        settle_steps: int = 600,
        sigma_min: float = 1e-4,
        drop: float = 0.1,
        solver: Solver = "ab2",
        default_steps: int = 4,
        student_steps: tuple[int, ...] = (),
        timbre_scale: float = 1.0,
        style_scale: float = 1.0,
        temperature: float = 1.0,
        lr: float = 1e-3,
        lr_final: float = 1e-5,
        warmup_steps: int = 500,
        total_steps: int = 20000,
    ) -> None:
        super().__init__()
        _one_of("prior", prior, get_args(Prior))
        _one_of("solver", solver, get_args(Solver))
        self.save_hyperparameters()
        self.mel_spec = MelSpec(**(mel_spec or {}))
        self.sample_rate = self.mel_spec.sample_rate
        self.path = StraightLine(sigma_min)
        self.student_steps = tuple(student_steps)
        self.default_steps, self.temperature, self.solver = default_steps, temperature, solver
        self.own_scales = {"timbre": timbre_scale, "style": style_scale}
        self.style_bins, self.drop, self.settle_steps = style_bins, drop, settle_steps
        self.vocoder: MelVocoder | None = None
        self.content: ContentEncoder | None = None
        self.net = VoiceNetwork(
            self.mel_spec.n_mels,
            vocabulary,
            embedding,
            channels,
            token_blocks,
            frame_blocks,
            flow_blocks,
            style_bins,
            {"reading": speaker_reading, **(stack or {})},
            style or {},
            ("teacher", "student") if self.student_steps else ("teacher",),
            guessing=prior == "residual",
        )
        neck = self.net.style_encoder.neck
        self.classifier: nn.Module | None = None
        if speakers:
            self.classifier = nn.Sequential(nn.Linear(neck, 64), nn.ReLU(), nn.Linear(64, speakers))
        # mean and standard deviation of the training data's mels; the latter of what the guess leaves of them
        self.register_buffer("statistics", torch.tensor([0.0, 1.0]))
        self.register_buffer("sigma_data", torch.ones(()))
        self.statistics: Tensor
        self.sigma_data: Tensor

    def voice(self, references: Sequence[Audio]) -> Voice:
        """A voice of recordings of one speaker, to convert to. Raises ValueError for bad recordings."""
        return make_voice(self, references, speaker_embedding)

    def convert(
        self,
        source: Audio,
        voice: Voice,
        *,
        style: Audio | None = None,
        options: ConvertOptions | None = None,
        seed: int = 0,
    ) -> Audio:
        """What source says, in a voice; the same audio as `audiogen convert` with the same seed.

        style: recording whose intonation to take, by default the source. Raises ValueError for recordings in
        which nothing can be heard, and for options out of range.
        """
        options = options or ConvertOptions()
        told = None if style is None else reference_style(self, style, pitch=options.pitch)
        return convert_audio(self, source, voice, style=told, options=options, seed=seed)

    def standardise(self, mel: Tensor) -> Tensor:
        """Log-mel to the scale of the networks."""
        return (mel - self.statistics[0]) / self.statistics[1]

    def restore(self, mel: Tensor) -> Tensor:
        """Inverse of `standardise`."""
        return mel * self.statistics[1] + self.statistics[0]

    def velocity(self, role: str, condition: Mapping[str, Tensor], x: Tensor, t: Tensor) -> Tensor:
        """dx/dt by the flow of a role, x (B, n_mels, N), t (B,)."""
        return self.net.velocity(role, condition, x, self.path.lam(t).to(x.dtype))

    def estimate(self, role: str, x: Tensor, t: Tensor, condition: Any) -> Tensor:
        """The noised data, (mel - guess) / sigma_data, in a state x (B, n_mels, N) at times t (B,).

        shift: what a branch of guidance adds to its own data, because it has another guess; see `sample`.
        """
        if (shift := condition.get("shift")) is None:
            return to_x0(Velocity(), self.velocity(role, condition, x, t), x, t, self.path)
        moved = x + expand(self.path.alpha(t).to(x.device), x) * shift
        return to_x0(Velocity(), self.velocity(role, condition, moved, t), moved, t, self.path) - shift

    def references(self, batch: Mapping[str, Any]) -> tuple[Stacked, Style]:
        """What is heard of a batch's references; in training some items go without one or the other."""
        mel, mask = self.standardise(batch["reference"]), batch["reference_mask"]
        timbre = self.net.timbre(mel, mask, batch["embedding"])
        style = self.net.style(batch["prosody"], batch["mask"])
        heard = memories(timbre, style)
        if self.training:
            kept = torch.rand(2, len(mel), device=mel.device) >= self.drop
            shares = {f"{kind}_share": keep.to(mel) for kind, keep in zip(KINDS, kept, strict=True)}
            heard = {name: {**memory, **shares} for name, memory in heard.items()}
        return heard, style

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """L_CFM + L_dur + 0.1 L_GRL (section 3.2), and the error of the guess."""
        mel = self.standardise(batch["mel"])
        heard, style = self.references(batch)
        hidden = self.net.hidden(batch["tokens"], batch["token_mask"], heard)
        condition = self.net.condition(hidden, batch["durations"], heard, "teacher")
        loss = self.guess_loss(mel, condition) + self.duration_loss(hidden, batch)
        loss = loss + self.regression("teacher", self.example(mel, condition), condition)
        if self.classifier is not None:
            told = self.classifier(reverse_gradient(style.mean))
            forgotten = nn.functional.cross_entropy(told, batch["speaker"])
            loss = loss + FORGET_SHARE * self.noted("speaker", forgotten)
        return loss

    def noised(self, mel: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """What the flow makes of a standardised mel (B, n_mels, N), of variance about 1."""
        return (mel - condition["guess"].detach()) / self.sigma_data * condition["mask"][:, None]

    def example(self, mel: Tensor, condition: Mapping[str, Tensor]) -> Example:
        """Velocities at uniform times (Lipman et al. 2023, equation 14)."""
        data = self.noised(mel, condition)
        t = torch.rand(len(mel), device=mel.device)
        return flow_matching_example(self.path, data, torch.randn_like(data), t)

    def regression(self, role: str, example: Example, condition: Mapping[str, Tensor]) -> Tensor:
        """Mean square error of a role's velocity over real cells."""
        velocity = partial(self.velocity, role, condition)
        return self.noted("flow", regression_loss(velocity, example, mask=condition["mask"][:, None]))

    def guess_loss(self, mel: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """Half the mean square error of the guess; at first it also sets the scale of what is left."""
        if self.net.guess is None:
            return mel.new_zeros(())
        error = mean_square(condition["guess"], mel, condition["mask"][:, None])
        if self.training and self.global_step < self.settle_steps:
            self.sigma_data.lerp_(error.detach().mean().sqrt(), 0.02)
        return self.noted("guess", error.mean() / 2)

    def duration_loss(self, hidden: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Mean square error of ln(frames + 1) over the runs that no crop has cut."""
        mask: Tensor = batch["token_mask"]
        error = self.net.log_durations(hidden, mask) - torch.log1p(batch["durations"].float())
        inner = torch.zeros_like(mask)
        inner[:, 1:-1] = mask[:, 2:]
        return self.noted("duration", (error.square() * inner).sum() / inner.sum().clamp(min=1))

    def noted(self, name: str, value: Tensor) -> Tensor:
        """The value, logged."""
        stage = "train" if self.training or getattr(self._trainer, "training", False) else "val"
        self.log(f"{stage}/{name}", value, prog_bar=True, batch_size=1)
        return value

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """The losses, and a conversion of clips to themselves against the recordings."""
        mel = self.standardise(batch["mel"])
        heard, _ = self.references(batch)
        hidden = self.net.hidden(batch["tokens"], batch["token_mask"], heard)
        condition = self.net.condition(hidden, batch["durations"], heard, "teacher")
        self.guess_loss(mel, condition)
        self.duration_loss(hidden, batch)
        self.regression("teacher", self.example(mel, condition), condition)
        sampled = self.sample(batch["tokens"], batch["durations"], heard, range(len(mel)), ConvertOptions())
        distance = ((sampled - mel).abs() * condition["mask"][:, None]).sum()
        self.noted("l1", distance / (condition["mask"].sum() * self.mel_spec.n_mels))
        if batch_idx == 0:
            count = int(condition["mask"][0].sum())
            self.log_sample(batch["ids"][0], mel[0, :, :count], sampled[0, :, :count])

    def log_sample(self, name: str, recorded: Tensor, sampled: Tensor) -> None:
        """Both standardised mels (n_mels, N) as pictures, the sample as audio, and how far gates are open."""
        log_mels(self, f"{name}/recording, sample", [recorded, sampled])
        vocoder = self.vocoder or GriffinLim(self.mel_spec).to(self.device)
        wav = vocoder.decode(self.restore(sampled[None]).float())
        log_audio(self, f"{name}/sample", wav[0], self.sample_rate)
        for stack, blocks in self.net.stacks().items():
            self.noted(f"gate_{stack}", blocks.gates().abs().mean())

    def steps(self, options: ConvertOptions) -> tuple[str, int]:
        """Which flow speaks, and in how many steps."""
        count = self.default_steps if options.num_steps is None else options.num_steps
        return ("student" if count in self.student_steps else "teacher"), count

    def scales(self, options: ConvertOptions) -> dict[str, float]:
        """Guidance of timbre and style where it is not 1. Raises ValueError where a student is guided."""
        role, count = self.steps(options)
        asked = {"timbre": options.timbre_scale, "style": options.style_scale}
        if role == "student" and any(scale not in (None, 1.0) for scale in asked.values()):
            raise ValueError(
                f"{count} steps are the student's, which cannot be guided: leave the scales out, or take "
                f"other steps than {', '.join(map(str, self.student_steps))}"
            )
        own = dict.fromkeys(KINDS, 1.0) if role == "student" else self.own_scales
        scales = {kind: own[kind] if scale is None else scale for kind, scale in asked.items()}
        return {kind: scale for kind, scale in scales.items() if scale != 1}

    def plan(self, options: ConvertOptions) -> Plan:
        """The rows that options ask for; a guided call counts once in its `nfe`. Raises ValueError."""
        role, count = self.steps(options)
        if role == "student":
            return student_plan(self.path, count)
        solver: str = self.solver if options.solver is None else options.solver
        _one_of("solver", solver, get_args(Solver))
        return teacher_plan(self.path, solver, count)

    def nfe(self, options: ConvertOptions) -> int:
        """Network evaluations of `sample`. Raises ValueError for options that it cannot follow."""
        self.scales(options)
        return self.plan(options).nfe

    @torch.no_grad()
    def sample(
        self,
        tokens: Tensor,
        durations: Tensor,
        heard: Stacked,
        seeds: Sequence[int],
        options: ConvertOptions,
        *,
        first_frame: int = 0,
    ) -> Tensor:
        """Runs (B, S) with durations (B, S) in a voice -> standardised mel (B, n_mels, N).

        Runs of 0 frames at an item's end are padding. seeds: one an item; the noise is that of its seed and
        of the frame, counted from first_frame. Raises ValueError for options that it cannot follow.
        """
        (role, _), scales, plan = self.steps(options), self.scales(options), self.plan(options)
        full, denoise = self.guided(role, tokens, durations, heard, scales)
        mask = full["mask"][:, None]
        noise = ItemNoise(seeds, device=mask.device, first_frame=first_frame)
        start = self.temperature * noise.start(self.mel_spec.n_mels, mask.shape[-1]) * mask
        data = run(plan, denoise, start, noise=lambda row, x: self.temperature * noise(row, x) * mask)
        return (full["guess"] + self.sigma_data * data) * mask

    def guided(
        self, role: str, tokens: Tensor, durations: Tensor, heard: Stacked, scales: Mapping[str, float]
    ) -> tuple[dict[str, Tensor], Denoiser]:
        """What a role's flow is told, and its estimates, guided away from those without what scales name.

        A branch that is told less has another guess, so its data are others: it is asked about its own state
        at the same place of the mel's path, and answers in the full one's data.
        """
        full = self.told(tokens, durations, heard, role)
        if not scales:
            return full, partial(self.estimate, role, condition=full)
        less = []
        for kind in scales:
            deaf = {name: without(memory, kind) for name, memory in heard.items()}
            branch = self.told(tokens, durations, deaf, role)
            less.append({**branch, "shift": (full["guess"] - branch["guess"]) / self.sigma_data})
        whole = {**full, "shift": torch.zeros_like(full["guess"])}
        # weights of differences from the last branch, here the full one: 1 - scale
        denoise = cfg(
            batched(partial(self.estimate, role), [*less, whole]), [1 - scale for scale in scales.values()]
        )
        return full, denoise

    def told(self, tokens: Tensor, durations: Tensor, heard: Stacked, role: str) -> dict[str, Tensor]:
        """Runs with durations (B, S) -> what the flow of a role is told."""
        mask = durations.flip(1).cumsum(1).flip(1) > 0
        return self.net.condition(self.net.hidden(tokens, mask, heard), durations, heard, role)

    def release(self) -> dict[str, Any]:
        """Name in SYSTEMS and hyper-parameters of what this run makes."""
        hparams = {**self.hparams, "mel_spec": asdict(self.mel_spec), "speakers": 0}
        return release_of(self.key, hparams, training_only=("classifier.",))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let a checkpoint say how to rebuild the system."""
        checkpoint["release"] = self.release()

    def release_state(self) -> dict[str, Tensor]:
        """The tensors of the model itself."""
        parts = ("vocoder.", "content.", "classifier.")
        return {key: value for key, value in self.state_dict().items() if not key.startswith(parts)}

    def on_fit_start(self) -> None:
        """Take the data's statistics; refuse data made for another front end or other tokens."""
        if (data := getattr(self.trainer, "datamodule", None)) is not None:
            data.check(
                self.mel_spec, self.hparams["vocabulary"], self.style_bins, self.hparams["speakers"] or None
            )
            self.statistics.copy_(data.statistics())

    def configure_optimizers(self) -> Any:
        """AdamW with a warm-up and a cosine decay."""
        learning = [p for p in self.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(learning, lr=self.hparams["lr"], betas=(0.9, 0.98), weight_decay=0.01)
        return {"optimizer": optimizer, "lr_scheduler": warmup_cosine(optimizer, self.hparams)}


def _one_of(what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise ValueError(f"unknown {what} {name!r}; use one of {', '.join(known)}")
