"""Lhotse manifests of prepared speech, for people and other toolkits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from audiogen.data.clips import Clip
from audiogen.data.speech import Piece


def write_cuts(path: Path, pieces: Sequence[Piece], language: str) -> None:
    """One Lhotse cut a piece (JSON lines, gzip), its supervision with text, speaker and aligned tokens."""
    from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
    from lhotse.supervision import AlignmentItem

    recordings = {
        p.clip.path: Recording.from_file(p.clip.path, recording_id=p.clip.id.replace("/", "_"))
        for p in pieces
    }
    cuts = []
    for piece in pieces:
        recording = recordings[piece.clip.path]
        name = piece.id.replace("/", "_")
        # a resampled length can overshoot the recording by a rounding error
        duration = min(piece.end_s, recording.duration) - piece.start_s
        starts = piece.starts_s.tolist()
        phones = [
            AlignmentItem(token.symbol, round(a, 4), round(b - a, 4))
            for token, a, b in zip(piece.tokens, starts, starts[1:], strict=False)
        ]
        supervision = SupervisionSegment(
            id=name,
            recording_id=recording.id,
            start=0.0,
            duration=duration,
            text=piece.text,
            language=language,
            speaker=piece.clip.speaker,
            alignment={"phone": phones},
        )
        cuts.append(MonoCut(name, piece.start_s, duration, 0, [supervision], recording=recording))
    CutSet.from_cuts(cuts).to_file(path)


def write_heldout(path: Path, clips: Sequence[Clip], test_ids: Sequence[str]) -> None:
    """`id|text|recording` of the test clips, the manifest that `audiogen evaluate tts` reads."""
    wanted = set(test_ids)
    rows = [f"{c.id.replace('/', '_')}|{c.text}|{c.path.resolve()}" for c in clips if c.id in wanted]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
