"""Wishes for music as losses with gradients: what `systems.ditto` steers by."""

from __future__ import annotations

from audiogen.controls.control import Control, combined
from audiogen.controls.levels import Dynamics, Intensity, Tilt
from audiogen.controls.likeness import JointEmbedding, Match, Text
from audiogen.controls.melody import Melody, Note
from audiogen.controls.regions import Inpaint, Loop, Outpaint
from audiogen.controls.rhythm import Onsets, Tempo
from audiogen.controls.sound import Coder, Sound, Spans
from audiogen.controls.structure import Structure

__all__ = [
    "Coder",
    "Control",
    "Dynamics",
    "Inpaint",
    "Intensity",
    "JointEmbedding",
    "Loop",
    "Match",
    "Melody",
    "Note",
    "Onsets",
    "Outpaint",
    "Sound",
    "Spans",
    "Structure",
    "Tempo",
    "Text",
    "Tilt",
    "combined",
]
