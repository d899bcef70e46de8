"""The picture of README: drawn of any speech, small enough for a page."""

import sys
from pathlib import Path

import torch
from PIL import Image

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import figure_speech  # noqa: E402

from audiogen.audio import Audio, Timing  # noqa: E402


def test_a_picture_shows_when_there_is_sound(tmp_path):
    """Two seconds, silence before noise: columns of the spectrogram are dark, then not."""
    wav = torch.zeros(1, 32000)
    wav[:, 16000:] = 0.1 * torch.randn(16000, generator=torch.Generator().manual_seed(0))
    audio = Audio(wav, 16000, (Timing("noise", 1.0, 2.0, "word"), Timing("n", 1.0, 1.1, "phone")))
    figure_speech.draw(audio, tmp_path / "a.png")
    picture = torch.tensor(list(Image.open(tmp_path / "a.png").convert("L").getdata())).view(400, 1000)
    spectrogram = picture[200:340].float()
    assert spectrogram[:, 100:400].mean() < 10 < 100 < spectrogram[:, 600:900].mean()


def test_the_committed_picture_is_small():
    assert figure_speech.FIGURE.stat().st_size < 150_000
    assert Image.open(figure_speech.FIGURE).size == (1000, 400)
