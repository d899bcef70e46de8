"""Fast generative audio: `audiogen.load(name)` gives a system that speaks; importing this costs nothing."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audiogen.audio import Audio as Audio
    from audiogen.hub import load as load

    __version__: str

__all__ = ["Audio", "__version__", "load"]

_HOMES = {"Audio": "audiogen.audio", "load": "audiogen.hub"}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and only then: torch takes seconds, `audiogen --help` should not."""
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module 'audiogen' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)


def _version() -> str:
    """The installed version; a checkout that was never installed has none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("audiogen")
    except PackageNotFoundError:
        return "0+unknown"
