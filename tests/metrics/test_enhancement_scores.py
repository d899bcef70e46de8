import sys
import types

import numpy as np
import pytest
import torch

from audiogen.metrics.enhancement import compare, estoi, mean_of, means, pesq_wb, same_length
from audiogen.metrics.signal import si_sdr

RATE = 16000


def modulated(seconds=2.0, seed=0):
    """Noise that swells and fades as syllables do."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    return torch.from_numpy(rng.standard_normal(len(t)) * (0.1 + np.sin(2 * np.pi * 2 * t) ** 2)).float()


@pytest.mark.parametrize("ratio_db", [-5.0, 0.0, 12.0])
def test_si_sdr_of_noise_at_right_angles_is_its_level(ratio_db):
    """Distortion orthogonal to the target: 20 log10 of the ratio of their norms, at any scale and offset."""
    t = torch.arange(1600, dtype=torch.float64) / 1600
    target, noise = torch.sin(2 * torch.pi * 40 * t), torch.sin(2 * torch.pi * 90 * t)
    estimate = 0.3 * (target + 10 ** (-ratio_db / 20) * noise) + 0.7
    assert si_sdr(estimate[None], target[None]).item() == pytest.approx(ratio_db, abs=1e-9)


def test_estoi_of_a_signal_with_itself_is_one_and_less_with_noise():
    wav = modulated()
    assert estoi(wav, wav) == pytest.approx(1, abs=1e-4)
    near, far = (estoi(wav + level * torch.randn(len(wav)), wav) for level in (0.1, 2.0))
    assert 1 > near > far
    assert estoi(wav[:2000], wav[:2000]) is None


def test_pesq_is_the_mean_of_the_parts_that_hold_speech(monkeypatch):
    def pesq(rate, reference, degraded, mode):
        assert (rate, mode) == (16000, "wb")
        assert len(reference) == len(degraded) <= 20 * RATE
        if reference[0] < 0:
            raise RuntimeError("No utterances detected")
        return float(reference[0])

    module = types.ModuleType("pesq")
    module.pesq = pesq
    monkeypatch.setitem(sys.modules, "pesq", module)
    reference = torch.zeros(60 * RATE)
    for part, value in enumerate((2.0, -1.0, 4.0)):
        reference[20 * RATE * part] = value
    assert pesq_wb(reference + 1, reference) == pytest.approx(3.0)
    assert pesq_wb(reference[20 * RATE : 40 * RATE] + 1, reference[20 * RATE : 40 * RATE]) is None


def test_silence_has_no_scores_and_means_leave_it_out():
    nothing = compare(torch.zeros(9), torch.randn(9))
    assert nothing == {"pesq_wb": None, "estoi": None, "si_sdr_db": None}
    some = {"pesq_wb": 2.0, "estoi": None, "si_sdr_db": 5.0}
    assert means([nothing, some, {**some, "pesq_wb": 3.0}]) == {
        "pesq_wb": 2.5,
        "estoi": None,
        "si_sdr_db": 5.0,
    }
    assert mean_of([]) is None


def test_nearly_equal_lengths_are_cut_and_others_refused():
    one, other = same_length(torch.zeros(RATE), torch.zeros(RATE + 1000), "a", "b")
    assert len(one) == len(other) == RATE
    with pytest.raises(ValueError, match=r"a has 1.00 s and its reference b 2.00 s"):
        same_length(torch.zeros(RATE), torch.zeros(2 * RATE), "a", "b")
