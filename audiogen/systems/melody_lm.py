"""The language model of MeLoDy (Lam et al. 2023, section 4.1): semantic tokens from a caption, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from audiogen.caption_model import CaptionModel
from audiogen.nn.beats import hidden_beats
from audiogen.nn.lm import Choice, TokenDecoder, continue_tokens
from audiogen.sampling.noise import ItemNoise

LM_STREAM = 1  # of the items' noise: the diffusion has stream 0


class MeLoDyLM(CaptionModel):
    """p(token | tokens before it, caption), a LLaMA-style decoder with the caption as its prefix.

    vocabulary: values of a token. context: tokens it is trained on and remembers at most. captions: "words",
    the encoder that ships, or "clap"; caption_net: its options. words: its vocabulary, taken from the data
    and released with the model; max_words leaves room for more. In training captions are hidden with
    probability caption_drop, and tokens it looks back at are others with token_noise: little music is soon
    known by heart. beats: it is told the beats that the music is to have, beyond the paper; they are hidden
    with the caption.
    """

    key = "melody_lm"

    def __init__(
        self,
        vocabulary: int = 512,
        context: int = 128,
        net: dict[str, Any] | None = None,
        captions: Literal["words", "clap"] = "words",
        caption_net: dict[str, Any] | None = None,
        words: Sequence[str] = (),
        max_words: int = 512,
        caption_drop: float = 0.1,
        token_noise: float = 0.1,
        beats: bool = False,
        lr: float = 1e-3,
        lr_final: float = 1e-5,
        warmup_steps: int = 200,
        total_steps: int = 6000,
        weight_decay: float = 0.1,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.context = context
        self.decoder = TokenDecoder(vocabulary, **(net or {}), beats=beats)
        width = self.decoder.table.embedding_dim
        self.make_captions(width, captions, words, max_words, caption_net)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Cross-entropy of every token; captions are hidden now and then, for guidance."""
        hidden = torch.rand(len(batch["tokens"]), device=self.device) < self.hparams["caption_drop"]
        loss, right = self.losses(batch, hidden, self.hparams["token_noise"])
        self.log("train/nats", loss, prog_bar=True)
        self.log("train/right", right)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """The same on held-out music, with captions and without: the difference is what captions tell."""
        size = len(batch["tokens"])
        loss, right = self.losses(batch)
        alone, _ = self.losses(batch, torch.ones(size, dtype=torch.bool, device=self.device))
        for name, value in (("nats", loss), ("nats_without_caption", alone), ("right", right)):
            self.log(f"val/{name}", value, prog_bar=name == "nats", batch_size=size)

    def losses(
        self, batch: dict[str, Any], hidden: Tensor | None = None, noise: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Nats a token, and the share of tokens that were thought the likeliest.

        hidden: (B,), whose captions are not told; noise: share of the tokens seen that are others.
        """
        tokens, mask = batch["tokens"], batch["token_mask"]
        seen = tokens[:, :-1]
        if noise:
            other = torch.randint_like(seen, self.decoder.vocabulary)
            seen = torch.where(torch.rand(seen.shape, device=seen.device) < noise, other, seen)
        beats = hidden_beats(batch.get("beats"), hidden)
        logits = self.decoder(seen, self.heard(batch["captions"], hidden=hidden), beats)
        loss = F.cross_entropy(logits[mask].float(), tokens[mask])
        return loss, (logits.argmax(-1) == tokens)[mask].float().mean()

    @torch.inference_mode()
    def extend(
        self,
        tokens: Tensor,
        captions: Sequence[str],
        seeds: Sequence[int],
        n: int,
        *,
        choice: Choice | None = None,
        guidance: float = 1.0,
        first: int = 0,
        beats: Tensor | None = None,
    ) -> Tensor:
        """Tokens (B, T) so far, T >= 0 -> the next n (B, n).

        Only the last `context` - n of them are looked at. seeds: one an item; first: number of the first new
        token in the whole piece, so that its chance does not depend on the pieces in which it is made. beats:
        (B, T + n, 2) of the tokens there and the new ones, None = unknown. Raises ValueError unless
        1 <= n <= context.
        """
        if not 1 <= n <= self.context:
            raise ValueError(f"{n} tokens at a time cannot be made; use 1 to {self.context}")
        tokens = tokens[:, max(0, tokens.shape[1] - (self.context - n)) :]
        if beats is not None:
            beats = beats[:, beats.shape[1] - n - tokens.shape[1] :]
        words = self.heard(captions)
        conditions = [words] if guidance == 1 else [words, self.captions.none(words)]
        noise = ItemNoise(seeds, device=self.device, first_frame=first)
        like = torch.empty(len(seeds), 1, n, dtype=torch.float64, device=self.device)
        uniforms = torch.special.ndtr(noise.combine(like, {0: 1.0}, stream=LM_STREAM)[:, 0])
        return continue_tokens(
            self.decoder, tokens, conditions, uniforms, choice or Choice(), guidance, beats
        )
