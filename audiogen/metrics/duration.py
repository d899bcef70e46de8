"""How long the speech lasts, without the silence around it."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import pad

SAMPLE_RATE = 16000
FRAME_LENGTH = 400
HOP_LENGTH = 160
THRESHOLD_DB = 40.0


def trim_silence(wav: Tensor) -> Tensor:
    """Cut wav (T,) at 16 kHz to the part between its first and last frame within 40 dB of the loudest.

    Frames are 25 ms every 10 ms, compared by RMS; a digitally silent signal is returned whole.
    """
    frames = pad(wav, (FRAME_LENGTH // 2, FRAME_LENGTH // 2)).unfold(-1, FRAME_LENGTH, HOP_LENGTH)
    power = frames.square().mean(-1)
    loud = (power > power.max() * 10 ** (-THRESHOLD_DB / 10)).nonzero()
    if len(loud) == 0:
        return wav
    return wav[int(loud[0]) * HOP_LENGTH : (int(loud[-1]) + 1) * HOP_LENGTH]
