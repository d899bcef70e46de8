"""Fundamental frequency on the frames of a mel front end."""

from __future__ import annotations

from typing import Any

from audiogen.spectral import MelSpec


def pitch(samples: Any, spec: MelSpec, f0_range: tuple[float, float], resolution: float = 0.1) -> Any:
    """F0 in Hz (N,), 0 = unvoiced, by probabilistic YIN (Mauch & Dixon 2014), on the frames of `spec`.

    resolution: step of its search in semitones, which costs its square in time.
    """
    import librosa
    import numpy as np

    f0, voiced, _ = librosa.pyin(**_framing(samples, spec, f0_range), resolution=resolution)
    return np.where(voiced, np.nan_to_num(f0), 0.0).astype(np.float32)


def fast_pitch(samples: Any, spec: MelSpec, f0_range: tuple[float, float]) -> Any:
    """`pitch` in a quarter of the time: a coarse search, then refined.

    Voicing and octave are those of a search in steps of a quarter semitone; plain YIN (de Cheveigne and
    Kawahara 2002), which has no grid, gives the value wherever it is within half a semitone of that.
    """
    import librosa
    import numpy as np

    coarse = pitch(samples, spec, f0_range, resolution=0.25)
    exact = librosa.yin(**_framing(samples, spec, f0_range))
    near = np.abs(np.log2(exact / np.maximum(coarse, 1.0))) < 1 / 24
    return np.where(near, exact, coarse).astype(np.float32)


def _framing(samples: Any, spec: MelSpec, f0_range: tuple[float, float]) -> dict[str, Any]:
    """What librosa's trackers are given: the samples, at least a window of them, on the frames of `spec`."""
    import numpy as np

    return {
        "y": np.pad(samples, (0, max(0, spec.n_fft - len(samples)))),
        "fmin": f0_range[0],
        "fmax": f0_range[1],
        "sr": spec.sample_rate,
        "frame_length": spec.n_fft,
        "hop_length": spec.hop_length,
    }
