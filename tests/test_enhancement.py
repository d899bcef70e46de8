import numpy as np
import pytest
import soundfile
import torch
from fake_enhancer import HOP, FakeEnhancer

from audiogen.audio import Audio, AudioError, AudioReader, Resampler, resample, soft_limit
from audiogen.enhancement import Chunking, EnhanceOptions, InMemory, enhance_audio, enhance_blocks, survey
from audiogen.report import StageTimer

RATE = 16000
SHORT = Chunking(1.0, 0.25, 0.125)
CHUNK, STRIDE = 16000, 12032  # of SHORT, in whole hops: 125 and 125 - 31


def noise(samples, channels=1, seed=0, level=0.1):
    return level * torch.randn(channels, samples, generator=torch.Generator().manual_seed(seed)).clamp(-3, 3)


def speech_like(rate, seconds, channels=1):
    """Tones below 3 kHz, so that every rate from 8 kHz can hold them."""
    t = torch.arange(round(rate * seconds)) / rate
    pitches = torch.tensor([110, 331, 970])[:, None]
    return torch.stack(
        [0.2 * torch.sin(2 * torch.pi * (c + 1) * pitches * t).sum(0) for c in range(channels)]
    )


def enhanced(wav, rate=RATE, system=None, chunking=SHORT, **options):
    system = system or FakeEnhancer(1.0)
    return enhance_audio(system, Audio(wav, rate), EnhanceOptions(**options), chunking=chunking).wav


LENGTHS = [1, 2, HOP, CHUNK - 1, CHUNK, CHUNK + 1, CHUNK + HOP]
LENGTHS += [CHUNK + n * STRIDE + d for n in (1, 2) for d in (-HOP - 1, -1, 0, 1, HOP)]


@pytest.mark.parametrize("samples", LENGTHS)
def test_what_a_system_leaves_alone_comes_back_sample_by_sample(samples):
    system = FakeEnhancer(1.0)
    wav = noise(samples)
    wav -= wav.mean()
    assert torch.allclose(enhanced(wav, system=system), wav, atol=1e-6)
    lengths = [shape[1] for shape, _, _ in system.calls]
    assert max(lengths, default=0) <= CHUNK
    assert samples <= CHUNK or min(lengths) > CHUNK - HOP  # none lacks the context of the others
    starts = [offset for _, _, offset in system.calls]
    assert starts == sorted(set(starts))


@pytest.mark.parametrize("samples", [CHUNK + 5, CHUNK + STRIDE - 1, CHUNK + STRIDE + 300, 4 * CHUNK + 77])
def test_chunks_are_heard_as_one_pass(samples):
    """A filter of frames, and noise that is a function of the place: cut into chunks it is all the same."""
    wav = noise(samples)
    system = FakeEnhancer(0.5, noise=5.0, filtering=True)
    whole = enhanced(wav, system=system, chunking=Chunking(60.0))
    assert len(system.calls) == 1
    parts = enhanced(wav, system=system)
    assert len(system.calls) > 2
    assert (whole - 0.5 * (wav - wav.mean())).square().mean() > 1e-4  # noise there is, and plenty
    assert torch.allclose(parts, whole, atol=1e-5)


class FreshNoise(FakeEnhancer):
    """Noise of the call, not of the place: what a system must not do."""

    def enhance(self, wav, seeds, options, timer, *, offset=0):
        return super().enhance(wav, [offset + 1], options, timer, offset=0)


def seam_energy(system, samples):
    """Energy at the seams, over that elsewhere, of the result for quiet noise."""
    starts = range(STRIDE, samples - CHUNK + STRIDE, STRIDE)
    wav = enhanced(noise(samples, level=1e-3), system=system)[0]
    assert len(system.calls) == len(starts) + 1
    seams = torch.zeros(samples, dtype=torch.bool)
    for start in starts:
        seams[start + 1500 : start + 2500] = True  # the middle of the overlap
    return float(wav[seams].square().mean() / wav[~seams].square().mean())


def test_seams_are_as_loud_as_the_rest():
    """Noise of the place: no difference. Fresh noise in each chunk: up to half of the energy goes."""
    samples = CHUNK + 20 * STRIDE
    assert seam_energy(FakeEnhancer(0.5, noise=50.0), samples) == pytest.approx(1, abs=0.03)
    assert seam_energy(FreshNoise(0.5, noise=50.0), samples) < 0.8


class Steps(FakeEnhancer):
    """Gives the number of the call, whatever it hears."""

    def enhance(self, wav, seeds, options, timer, *, offset=0):
        super().enhance(wav, seeds, options, timer, offset=offset)
        return torch.full_like(wav, 0.1 * len(self.calls))


def test_a_chunk_fades_into_the_next_in_the_middle_of_the_overlap():
    wav = noise(CHUNK + 2 * STRIDE)
    wav = wav / (wav - wav.mean()).abs().max()
    out = enhanced(wav, system=Steps())[0]
    fade, margin = 2000, (31 * HOP - 2000) // 2
    edges = [STRIDE + margin, 2 * STRIDE + margin]
    assert torch.allclose(out[: edges[0]], torch.tensor(0.1))
    for number, edge in enumerate(edges, 1):
        middle = 0.1 * number + 0.1 * (torch.arange(fade) + 0.5) / fade
        assert torch.allclose(out[edge : edge + fade], middle, atol=1e-5)
    assert torch.allclose(out[edges[1] + fade :], torch.tensor(0.3))


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_keeps_length_alignment_and_what_the_band_holds(rate, channels):
    wav = speech_like(rate, 2.2, channels)
    out = enhanced(wav, rate)
    assert out.shape == wav.shape
    inner = slice(rate // 10, -rate // 10)
    assert torch.allclose(out[:, inner], wav[:, inner], atol=2e-3)


@pytest.mark.parametrize("rate", [8000, 44100, 96000, 12345])
@pytest.mark.parametrize("samples", [1, 2, 3, 100, 44101])
def test_any_length_comes_back_at_any_rate(rate, samples):
    out = enhanced(noise(samples), rate)
    assert out.shape == (1, samples)
    assert bool(torch.isfinite(out).all())


def test_channels_are_enhanced_apart_at_their_own_level_with_one_noise():
    wav = noise(30000, 1)
    system = FakeEnhancer(0.5, noise=0.3, filtering=True)
    both = enhanced(torch.cat([wav, 0.01 * wav, noise(30000, 1, seed=5)]), system=system)
    alone = enhanced(wav, system=system)
    assert torch.allclose(both[0], alone[0], atol=1e-6)
    assert torch.allclose(both[1], 0.01 * alone[0], atol=1e-6)
    assert system.calls[0][0][0] == 3
    many = enhanced(noise(2000, 20), system=(system := FakeEnhancer(1.0)))
    assert many.shape == (20, 2000)
    assert [shape[0] for shape, _, _ in system.calls] == [8, 8, 4]


def test_silence_stays_silence():
    system = FakeEnhancer(0.5, noise=0.3)
    assert not enhanced(torch.zeros(2, 40000), system=system).any()
    assert not enhanced(torch.full((1, 40000), 0.25), 44100, system=system).any()  # an offset is no sound
    assert system.calls == []
    mixed = enhanced(torch.cat([noise(40000), torch.zeros(1, 40000)]), system=system)
    assert mixed[0].any()
    assert not mixed[1].any()
    late = torch.cat([torch.zeros(1, 40000), noise(1000)], dim=-1)
    system.calls.clear()
    assert not enhanced(late, system=system)[:, : 2 * STRIDE].any()
    assert len(system.calls) < 3  # nothing is made of the silent beginning


def test_an_offset_goes_and_clipping_and_overshoots_stay_in_range():
    wav = speech_like(RATE, 2.0)
    wav -= wav.mean()
    assert torch.allclose(enhanced(wav + 0.3), wav, atol=1e-5)
    for loud in (2 * wav / wav.abs().max(), 40 * wav, (9 * wav).clamp(-1, 1)):
        out = enhanced(loud, system=FakeEnhancer(1.3))
        assert out.abs().max() < 1
        assert torch.corrcoef(torch.cat((out, loud)))[0, 1] > 0.97
        integers = (out * 32768).round().to(torch.int32)
        assert integers.min() >= -32768
        assert integers.max() <= 32767


def test_the_limiter_bends_only_what_is_too_loud():
    wav = torch.linspace(-3, 3, 6001)
    out = soft_limit(wav)
    quiet = wav.abs() <= 0.95
    assert torch.equal(out[quiet], wav[quiet])
    assert out.abs().max() * 32768 <= 32767
    assert (out.diff() >= 0).all()
    assert out.diff()[2951:3049].allclose(wav.diff()[2951:3049], atol=1e-6)
    slope = (soft_limit(torch.tensor([0.951])) - 0.95).item() / 0.001
    assert slope == pytest.approx(1, abs=0.02)  # no corner at the knee


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_damage_is_named_by_its_first_place(value):
    wav = noise(40000, 2)
    wav[1, 30001:] = value
    wav[0, 35000] = value
    with pytest.raises(ValueError, match=rf"sample 30001 \(1.875 s\) of channel 1 is {value}"):
        enhanced(wav)


def test_a_model_that_fails_says_so():
    system = FakeEnhancer(float("nan"))
    with pytest.raises(ValueError, match="the model gave NaN"):
        enhanced(noise(2000), system=system)


def test_nothing_gives_nothing():
    assert enhanced(torch.zeros(2, 0), 44100).shape == (2, 0)


def test_the_seed_is_the_file_s_alone():
    wav, system = noise(20000), FakeEnhancer(0.5, noise=0.4)
    audio = Audio(wav, RATE)
    one, same, other = (enhance_audio(system, audio, seed=seed).wav for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quality": "perfect"}, "unknown quality 'perfect'; use one of fast, balanced, best"),
        ({"num_steps": -1}, "steps -1 is not a number of steps"),
        ({"warm_start": 0.0}, "warm_start 0.0 is out of range"),
        ({"warm_start": 1.1}, "warm_start 1.1 is out of range"),
        ({"num_steps": 101}, "at most 100"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    system = FakeEnhancer()
    with pytest.raises(ValueError, match=message):
        enhanced(noise(2000), system=system, **options)
    assert system.calls == []


@pytest.mark.parametrize("wrong", [(1.0, 0.6, 0.1), (1.0, 0.2, 0.3), (1.0, 0.2, 0.0)])
def test_chunks_that_cannot_be_made_are_refused(wrong):
    with pytest.raises(ValueError, match="fade <= overlap <= half a chunk"):
        Chunking(*wrong)


class Endless:
    """Ten minutes of stereo at 44.1 kHz that exist a block at a time; `read` counts what was asked for."""

    sample_rate, channels, seconds = 44100, 2, 600

    def __init__(self):
        self.read = 0

    def blocks(self):
        self.read = 0
        block = noise(self.sample_rate, 2)
        for _ in range(self.seconds):
            self.read += self.sample_rate
            yield block


def test_ten_minutes_of_stereo_are_held_two_chunks_at_a_time():
    source, written, behind, largest = Endless(), 0, 0, 0
    for block in enhance_blocks(FakeEnhancer(1.0), source, EnhanceOptions()):
        written += block.shape[-1]
        largest = max(largest, block.shape[-1])
        behind = max(behind, source.read - written)
    assert written == 600 * 44100
    assert behind <= 21 * 44100  # of 600 s
    assert largest <= 10 * 44100


def test_the_time_is_accounted_for_by_stage():
    timer = StageTimer()
    source = InMemory(Audio(noise(90000), 44100))
    blocks = enhance_blocks(FakeEnhancer(), source, EnhanceOptions(), timer=timer)
    assert sum(block.shape[-1] for block in blocks) == 90000
    assert set(timer.seconds) == {"io", "acoustic"}
    assert min(timer.seconds.values()) > 0
    found = survey(source)
    assert found.samples == 90000
    assert found.mean.item() == pytest.approx(noise(90000).mean().item(), abs=1e-7)


def test_a_file_is_read_in_blocks_as_often_as_wanted(tmp_path):
    wav = np.random.default_rng(0).uniform(-0.5, 0.5, (100001, 3)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", wav, 44100, subtype="FLOAT")
    reader = AudioReader(tmp_path / "a.wav")
    assert (reader.sample_rate, reader.channels) == (44100, 3)
    for _ in range(2):
        blocks = list(reader.blocks(4096))
        assert max(block.shape[1] for block in blocks) == 4096
        assert np.array_equal(torch.cat(blocks, dim=1).T, wav)


def test_what_is_no_file_or_no_audio_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such audio file"):
        AudioReader(tmp_path / "none.wav")
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    with pytest.raises(AudioError, match="convert it to WAV"):
        AudioReader(tmp_path / "bad.wav")


@pytest.mark.parametrize(("rate", "new_rate"), [(44100, 16000), (16000, 44100), (16000, 16000)])
def test_blocks_are_resampled_as_the_whole(rate, new_rate):
    wav = speech_like(rate, 1.0, 2)
    resampler = Resampler(rate, new_rate, 2)
    parts = [resampler(block, last=n == 9) for n, block in enumerate(wav.split(wav.shape[1] // 10, dim=-1))]
    out, expected = torch.cat(parts, dim=-1), resample(wav, rate, new_rate)
    assert out.shape == expected.shape
    assert torch.allclose(out[:, 2000:-2000], expected[:, 2000:-2000], atol=2e-3)


class OnDevice(FakeEnhancer):
    """A system that knows where it is, as a LightningModule does, and refuses what is elsewhere."""

    @property
    def device(self):
        return self.gain.device

    def enhance(self, wav, seeds, options, timer, *, offset=0):
        assert wav.device == self.device
        return super().enhance(wav, seeds, options, timer, offset=offset)


@pytest.mark.cuda
def test_chunks_are_enhanced_where_the_system_is():
    wav = noise(40000, 2)
    wav -= wav.mean(-1, keepdim=True)
    out = enhanced(wav, system=OnDevice(0.5).cuda())
    assert out.device.type == "cpu"
    assert torch.allclose(out, wav / 2, atol=1e-6)
