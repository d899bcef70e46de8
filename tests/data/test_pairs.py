import math

import pytest
import torch
from synthetic_corpus import RATE

from audiogen.data.pairs import Pairs, build_pairs
from audiogen.data.store import Ragged
from audiogen.data.waveforms import WaveformData
from audiogen.spectral import mel_spectrogram
from audiogen.systems.prodiff import ProDiff


@pytest.fixture(scope="module")
def folder(prepared):
    """The prepared corpus with the pairs of a model that returns the recordings' own mels."""
    system = ProDiff(channels=16, denoiser={"channels": 16, "blocks": 1, "hidden": 16})
    system.resynthesize = lambda batch, seeds, steps: batch["mel"]
    store = Ragged(prepared / "speech.safetensors")
    count = build_pairs(prepared, system, 4)
    assert count == len(store.metadata["ids"]) - len(store.metadata["held_out"])
    return prepared


def test_mel_and_audio_of_a_pair_keep_step(folder):
    """Away from the edges, the mel of a cut of audio is the cut of the mel."""
    pairs = Pairs(str(folder / "pairs.safetensors"), 8192)
    for number, offset in ((0, 5), (3, 1000), (5, 77)):
        audio, mel, _ = pairs.cut(number, offset, 1.0)
        own = mel_spectrogram(audio[None], pairs.mel_spec)[0]
        assert own.shape == mel.shape
        assert (own - mel)[:, 3:-3].abs().mean() < 0.02


def test_a_gain_moves_both_sides(folder):
    pairs = Pairs(str(folder / "pairs.safetensors"), 8192)
    (quiet, quiet_mel, _), (loud, loud_mel, _) = (pairs.cut(1, 2, gain) for gain in (1.0, 2.0))
    assert torch.equal(2 * quiet, loud)
    above = quiet_mel > math.log(1e-5) + 0.1
    assert torch.allclose((loud_mel - quiet_mel)[above], torch.tensor(math.log(2.0)), atol=1e-5)


def test_half_of_every_batch_comes_from_pairs(folder):
    data = WaveformData(
        str(folder / "audio.safetensors"), RATE, batch_size=4, pairs=str(folder / "pairs.safetensors")
    )
    data.setup("fit")
    batch = data.training_batch(data.plan_epoch(0)[0])
    assert batch["wav"].shape == (4, 8192)
    assert batch["mel"].shape == (4, 80, 33)
    assert torch.equal(batch["mel"][:2], mel_spectrogram(batch["wav"][:2], data.pairs.mel_spec))
    assert set(batch["ids"][2:]) <= set(data.pairs.ids)


def test_resynthesis_has_the_recordings_length(folder):
    from audiogen.data.mels import MelData

    torch.manual_seed(0)
    system = ProDiff(channels=16, denoiser={"channels": 16, "blocks": 1, "hidden": 16}).eval()
    data = MelData(str(folder / "speech.safetensors"))
    data.setup("fit")
    batch = data.batch(data.training_items[:1])
    mel = system.resynthesize(batch, [0], 4)
    assert mel.shape == batch["mel"].shape
    assert torch.equal(mel, system.resynthesize(batch, [0], 4))
