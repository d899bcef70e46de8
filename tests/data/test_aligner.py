import torch
from synthetic_corpus import RATE, TEXTS, utter

from audiogen.data.aligner import PAUSE, Aligner, cepstra
from audiogen.data.speech import frame_durations, plausible
from audiogen.spectral import MelSpec
from audiogen.text.symbols import BOUNDARY, MARKS


def test_known_boundaries_are_found():
    spoken = [utter(text, seed) for seed, text in enumerate(TEXTS)]
    tokens = [[PAUSE if s == BOUNDARY or s in MARKS else s for s in symbols] for _, symbols, _ in spoken]
    found = Aligner(RATE).align([wav for wav, _, _ in spoken], tokens)
    errors = torch.cat([(f.starts - truth).abs() for f, (_, _, truth) in zip(found, spoken, strict=True)])
    assert errors.quantile(0.5) < 0.012  # one hop is 8 ms, the window 25 ms
    assert errors.quantile(0.9) < 0.030


def test_cepstra_have_one_row_a_hop():
    assert cepstra(torch.randn(16000), 16000, 128).shape == (126, 13)


def test_frame_durations_fill_the_piece_and_keep_boundaries():
    spec = MelSpec()
    durations = frame_durations(torch.tensor([0.0, 0.1, 0.1, 0.35, 0.5]), 32, spec)
    assert durations.tolist() == [7, 0, 15, 10]  # frame n is centred at 16 n ms


def test_a_bad_score_is_an_outlier_among_good_ones():
    assert plausible([-50.0, -51.0, -49.5, -50.5, -90.0]) == [True, True, True, True, False]
