"""Consistency distillation of a singing CoMoSpeech."""

from __future__ import annotations

from audiogen.systems.comospeech_distill import CoMoSpeechDistill
from audiogen.systems.comospeech_sing import CoMoSpeechSing


class CoMoSpeechSingDistill(CoMoSpeechDistill, CoMoSpeechSing):
    """`CoMoSpeechDistill` of a `CoMoSpeechSing`, which is what is released."""
