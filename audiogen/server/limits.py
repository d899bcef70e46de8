"""What a request may ask for, and how many may wait."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Limits:
    """All above 0; raises ValueError otherwise.

    text: characters. upload_mb: a request's body, in 10^6 bytes. seconds: of a recording that is sent, or of
    music. request_s: from a request's arrival to the last byte of its answer. queue: requests of one model
    that wait or are at work; more are refused. batch: of them spoken together or taking turns at most, and
    sentences in one call of a model.
    """

    text: int = 4096
    upload_mb: float = 50.0
    seconds: float = 600.0
    request_s: float = 300.0
    queue: int = 64
    batch: int = 8

    def __post_init__(self) -> None:
        """Refuse what would let nothing through."""
        for field in fields(self):
            if not (value := getattr(self, field.name)) > 0:
                raise ValueError(
                    f"a limit of {value:g} for {field.name} lets nothing through; use more than 0"
                )
