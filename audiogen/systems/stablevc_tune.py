"""StableVC tuned by its conversions: nobody recorded how they should be, but one can hear how they are."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.audio import resample
from audiogen.metrics.speaker import HOP, SAMPLE_RATE, STRETCH, mel_energies, released_encoder
from audiogen.nn.harmonics import intonation_evidence
from audiogen.nn.perturbation import perturb
from audiogen.nn.voice_network import Stacked, memories
from audiogen.sampling.loop import run
from audiogen.systems.stablevc import teacher_plan
from audiogen.systems.stablevc_distill import TaughtStableVC
from audiogen.training.checkpoint import load_weights, read_weights
from audiogen.vocoders import require_same_spec

CERTAINTY = 30.0  # nepers for a unit of evidence: recordings have .1 more for their own pitch than for others


class StableVCTune(TaughtStableVC):
    """A trained converter whose conversions are judged in training.

    Every crop is also said in the voice of another item of its batch, or in one that nobody has: that item's
    references with frequencies moved and coloured. The gradients of its few steps are kept. A speaker
    encoder, through the vocoder, must find the result like the references (the speaker consistency loss of
    Casanova et al. 2022, YourTTS, section 2.1) and by `margin` less like its own voice; a phonetic encoder
    must hear in it, frame by frame, what it hears in the crop; and its harmonics must follow the intonation
    that was asked for rather than others, which is the crop's or another item's.

    teacher: checkpoint or released weights of a `StableVC` with a vocoder that has gradients; what is
    released is the same system with other weights. phones: those of a `PhoneticContent`. likeness, content:
    weights of the judges; intonation: of whose pitch is heard. invented: share of voices that nobody has;
    warp: most that their frequencies are moved by, as a logarithm. other_style: share of batches with the
    other item's intonation. steps: of which the numbers of steps are drawn. recorded_every: of so many
    batches one is also learnt as recorded, as in the training before. Raises ValueError for weights of other
    systems.
    """

    def __init__(
        self,
        teacher: str,
        phones: str,
        likeness: float = 1.0,
        content: float = 0.2,
        intonation: float = 0.3,
        margin: float = 0.2,
        invented: float = 0.7,
        warp: float = 0.35,
        other_style: float = 0.5,
        steps: tuple[int, ...] = (1, 2, 2, 2),
        recorded_every: int = 1,
        lr: float = 1.5e-4,
        lr_final: float = 1e-5,
        warmup_steps: int = 40,
        total_steps: int = 1000,
    ) -> None:
        key, hparams, state = read_weights(teacher)
        if key != self.key:
            raise ValueError(f"{teacher} holds a {key}; the teacher must be a {self.key}")
        self.released_hparams = {**hparams, "speakers": 0}
        super().__init__(**{**self.released_hparams, "settle_steps": 0})
        self.save_hyperparameters()
        self.load_state_dict(state)
        # in a tuple they are no part of this module: they are neither trained nor saved
        self.judges: tuple[Any, ...] = (
            self._judge(str(hparams["vocoder"]), "decode"),
            self._judge(phones, "phones"),
            deepcopy(released_encoder()).requires_grad_(False),
        )

    def _judge(self, name: str, what: str) -> Any:
        """The system of that name, which is only asked. Raises ValueError for one that cannot `what`."""
        key, judge = load_weights(name)
        if not hasattr(judge, what):
            raise ValueError(f"{name} holds a {key}, which has no {what!r}")
        require_same_spec(self.mel_spec, judge.mel_spec)
        return judge.eval().requires_grad_(False)

    def on_fit_start(self) -> None:
        """Check that the data fits, and bring the judges to where they are needed."""
        super().on_fit_start()
        for judge in self.judges:
            judge.to(self.device)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The judges' losses, and of some batches those of recordings."""
        own = self.voices(batch["reference"], batch["embedding"])
        others = torch.arange(len(own), device=own.device).roll(1)
        reference, target = self.targets(batch["reference"][others], own[others])
        timbre = self.net.timbre(self.standardise(reference), batch["reference_mask"][others], target)
        told = others if float(torch.rand(())) < self.hparams["other_style"] else others.roll(-1)
        heard = memories(timbre, self.net.style(batch["prosody"][told], batch["mask"][told]))
        mel = self.restore(self.converted(batch, heard))
        wav, stretch = self.spoken(mel)
        loss = self.hparams["likeness"] * self.likeness_loss(self.vectors(wav), target, own)
        loss = loss + self.hparams["content"] * self.content_loss(mel, batch)
        loss = loss + self.hparams["intonation"] * self.intonation_loss(wav, stretch, batch, told)
        if batch_idx % self.hparams["recorded_every"] == 0:
            loss = loss + super().training_step(batch, batch_idx)
        return loss

    def targets(self, reference: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """References (B, n_mels, M) and their speaker vectors (B, E), some in voices that nobody has."""
        new = torch.rand(len(vectors), device=vectors.device) < self.hparams["invented"]
        if new.any():
            reference, vectors = reference.clone(), vectors.clone()
            reference[new] = perturb(reference[new], self.mel_spec, self.hparams["warp"], gain=0.0)
            with torch.no_grad():
                vectors[new] = self.vectors(self.spoken(reference[new])[0])
        return reference, vectors

    def converted(self, batch: Mapping[str, Any], heard: Stacked) -> Tensor:
        """Each crop as heard says -> standardised mel (B, n_mels, N), by a number of steps that is drawn."""
        hidden = self.net.hidden(batch["tokens"], batch["token_mask"], heard)
        condition = self.net.condition(hidden, batch["durations"], heard, "teacher")
        mask = condition["mask"][:, None]
        steps = self.hparams["steps"][int(torch.randint(len(self.hparams["steps"]), ()))]
        start = self.temperature * torch.randn_like(batch["mel"]) * mask
        estimate = partial(self.estimate, "teacher", condition=condition)
        data = run(teacher_plan(self.path, self.solver, steps), estimate, start)
        return (condition["guess"] + self.sigma_data * data) * mask

    @torch.no_grad()
    def voices(self, reference: Tensor, vectors: Tensor) -> Tensor:
        """Speaker vectors (B, E), zeros replaced by what is heard in the references (B, n_mels, M)."""
        unknown = vectors.abs().sum(1) == 0
        if unknown.any():
            vectors = vectors.clone()
            vectors[unknown] = self.vectors(self.spoken(reference[unknown])[0])
        return vectors

    def spoken(self, mel: Tensor) -> tuple[Tensor, slice]:
        """Log-mel (B, n_mels, N) -> wav (B, T) of a stretch that the speaker encoder hears at once."""
        frames = 1 + -(-STRETCH * HOP * self.sample_rate // (SAMPLE_RATE * self.mel_spec.hop_length))
        place = int(torch.randint(max(1, mel.shape[-1] - frames + 1), ()))
        stretch = slice(place, place + frames)
        wav: Tensor = self.judges[0].decode(mel[..., stretch]).flatten(1)
        return wav, stretch

    def vectors(self, wav: Tensor) -> Tensor:
        """Speaker vectors (B, E) of wav (B, T)."""
        energies = mel_energies(resample(wav, self.sample_rate, SAMPLE_RATE))[:, :STRETCH]
        vectors: Tensor = self.judges[2](F.pad(energies, (0, 0, 0, STRETCH - energies.shape[1])))
        return vectors

    def intonation_loss(self, wav: Tensor, stretch: slice, batch: Mapping[str, Any], told: Tensor) -> Tensor:
        """Cross-entropy of whose pitch wav (B, T), a stretch of the crops, follows: that told, or others.

        told: numbers of the items whose pitch it should be, stretched to the crops' lengths. That pitches
        compete, and level speech with them, keeps voices from buzzing so as to seem to follow any.
        """
        frames = torch.arange(batch["mask"].shape[1], device=wav.device)
        here = batch["mask"].sum(1, keepdim=True)

        def curve(items: Tensor) -> Tensor:
            there = batch["mask"][items].sum(1, keepdim=True)
            place = ((frames + 0.5) * there / here).long().minimum(there - 1)
            return batch["prosody"][items, 0].gather(1, place)[:, stretch]

        curves = [curve(items) for items in (told, told.roll(1), told.roll(-1))]
        curves.append(torch.zeros_like(curves[0]))
        voiced = (batch["prosody"][:, 1] * batch["mask"])[:, stretch]
        spec = self.mel_spec
        evidence = intonation_evidence(
            wav, torch.stack(curves, 1), voiced, spec.sample_rate, spec.n_fft, spec.hop_length
        )
        right = torch.zeros(len(wav), dtype=torch.long, device=wav.device)
        self.noted("followed", (evidence.argmax(1) == 0).float().mean())
        return self.noted("intonation", F.cross_entropy(CERTAINTY * evidence, right))

    def likeness_loss(self, heard: Tensor, target: Tensor, own: Tensor) -> Tensor:
        """What speaker vectors (B, E) lack of the target's, and of a margin from the crops' own: cosines."""
        near, far = ((heard * voice).sum(1) for voice in (target, own))
        self.noted("likeness", near.mean())
        self.noted("nearer", (near > far).float().mean())
        return (1 - near).mean() + (far - near + self.hparams["margin"]).relu().mean()

    def content_loss(self, mel: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Cross-entropy of the phones in a conversion, from those in the crop, a mean over frames."""
        judge = self.judges[1]
        mask = batch["mask"][:, None]

        def heard(mel: Tensor) -> Tensor:
            logits: Tensor = judge.net.logits(judge.features(mel, mask))
            return logits.log_softmax(1)

        with torch.no_grad():
            wanted = heard(batch["mel"]).exp()
        entropy = -(wanted * heard(mel)).sum(1) * batch["mask"]
        return self.noted("content", entropy.sum() / batch["mask"].sum())
