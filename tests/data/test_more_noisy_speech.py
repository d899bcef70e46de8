"""Synthetic voices and generated noises beside a small corpus."""

import numpy as np
import pytest
import torch
from noisy_corpus import RATE, write_ivr, write_noise, write_texts

from audiogen.audio import read_audio
from audiogen.cli import OK, USAGE, main
from audiogen.data import ivr, more_noisy_speech
from audiogen.data.more_noisy_speech import KINDS, NOISE_S, babble, coloured, generate_noises, gusts, hum
from audiogen.data.noises import list_noises
from audiogen.data.store import Ragged


def spectrum(wav):
    return np.fft.rfft(wav.double().numpy() * np.hanning(len(wav)))


def test_noises_are_files_in_the_layout_of_the_corpus_and_come_out_the_same(tmp_path):
    clips = ivr.list_clips(write_ivr(tmp_path / "ivr"))
    found = list_noises(generate_noises(tmp_path / "a", 2, clips, RATE, seed=3))
    assert [noise.id for noise in found] == [f"{kind}/0-{n:03d}-A" for kind in sorted(KINDS) for n in (0, 1)]
    generate_noises(tmp_path / "b", 3, clips, RATE, seed=5)  # of which nothing stays
    again = list_noises(generate_noises(tmp_path / "b", 2, clips, RATE, seed=3))
    other = list_noises(generate_noises(tmp_path / "c", 2, clips, RATE, seed=4))
    for one, same, different in zip(found, again, other, strict=True):
        wav = read_audio(one.path, RATE)
        assert wav.shape == (1, NOISE_S * RATE)
        assert wav.abs().max().item() == pytest.approx(0.9, abs=1e-3)
        assert torch.equal(wav, read_audio(same.path, RATE))
        assert not torch.equal(wav, read_audio(different.path, RATE))


def test_coloured_noise_falls_with_frequency_and_does_not_change_with_time():
    slopes = []
    for seed in range(20):
        wav = coloured(np.random.default_rng(seed), RATE)
        power = np.abs(spectrum(wav)) ** 2
        bands = [np.log10(power[round(5 * f) : round(10 * f)].mean()) * 10 for f in 100 * 2.0 ** np.arange(6)]
        slopes.append(np.polyfit(range(6), bands, 1)[0])
        halves = wav.view(2, -1).square().mean(1)
        assert 0.5 < (halves[0] / halves[1]).item() < 2
    assert -12 < min(slopes) < max(slopes) < 3
    assert max(slopes) - min(slopes) > 4  # a power law of its own each


def test_gusts_swell():
    ranges = []
    for seed in range(10):
        level = (
            gusts(np.random.default_rng(seed), RATE)[: 50 * 1600].view(50, -1).square().mean(1).log10() * 10
        )
        ranges.append((level.max() - level.min()).item())
    assert np.median(ranges) > 8


def test_hum_is_harmonics_of_the_mains_or_of_a_motor():
    """Steady hum: three quarters of its power lie within 1 Hz of multiples of 50 or 60 Hz."""
    steady = []
    for seed in range(12):
        power = np.abs(spectrum(hum(np.random.default_rng(seed), RATE))) ** 2
        hertz = np.arange(len(power)) / NOISE_S
        near = [np.abs((hertz + base / 2) % base - base / 2) < 1 for base in (50, 60)]
        steady.append(max(power[n].sum() for n in near) / power.sum() > 0.75)
    assert 2 <= sum(steady) <= 10


def test_babble_is_of_the_clips(tmp_path):
    clips = ivr.list_clips(write_ivr(tmp_path / "ivr"))[:3]
    wav = babble(np.random.default_rng(0), clips, RATE)
    # the clips are a second long, one after another: so is what they sum to
    assert wav.shape == (NOISE_S * RATE,)
    basis = torch.stack([clip.read(RATE) for clip in clips])
    for second in wav.view(5, RATE):
        rest = second - torch.linalg.lstsq(basis.T, second[:, None]).solution[:, 0] @ basis
        assert rest.square().mean() < 1e-4 * second.square().mean()


def prepare(folder, *words):
    write_noise(folder / "noise")
    paths = ["--speech", folder / "ivr", "--noise", folder / "noise", "--out", folder / "out", "--rooms", 0]
    return main(["prepare", "enhancement", *map(str, [*paths, *words])])


def test_readers_and_noises_are_to_learn_from_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(more_noisy_speech, "READERS", ("espeak:en-us+f3", "espeak:en-us+Andy"))
    write_texts(write_ivr(tmp_path / "ivr"))
    assert prepare(tmp_path, "--reader-minutes", 0.1, "--generated", 1) == OK
    store = Ragged(tmp_path / "out" / "mixtures.safetensors")
    facts = store.metadata
    for name in more_noisy_speech.READERS:
        seconds = sum(store["speech"].length(i) for i, v in enumerate(facts["voices"]) if v == name) / RATE
        assert 6 <= seconds < 9
    assert {f"{kind}/0-000-A" for kind in KINDS} < set(facts["noise_ids"])
    manifest = (tmp_path / "out" / "test" / "manifest.jsonl").read_text()
    assert "espeak" not in manifest
    assert "hum" not in manifest


def test_without_texts_readers_have_nothing_to_read(tmp_path, capsys):
    write_ivr(tmp_path / "ivr")
    assert prepare(tmp_path, "--reader-minutes", 1) == USAGE
    assert "no English" in capsys.readouterr().err
