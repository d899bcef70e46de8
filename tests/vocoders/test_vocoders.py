import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audiogen.spectral import MelSpec, mel_spectrogram
from audiogen.vocoders import MelSpecMismatch, require_same_spec
from audiogen.vocoders.griffin_lim import GriffinLim
from audiogen.vocoders.vocos import Vocos

SPEC = MelSpec()
torch.manual_seed(0)
VOCOS = {
    f"causal={causal} source={source} n_fft={n_fft}": Vocos(
        SPEC, 16, 24, 2, n_fft=n_fft, causal=causal, source=source
    )
    for causal in (False, True)
    for source in (False, True)
    for n_fft in (512, 1024)
}


def streamed(vocoder, mel, cuts):
    """Audio of mel cut at random places, some chunks empty."""
    edges = [0, *sorted(cut % (mel.shape[-1] + 1) for cut in cuts), mel.shape[-1]]
    state, audio = vocoder.init_state(len(mel)), []
    for k, (a, b) in enumerate(zip(edges, edges[1:], strict=False)):
        state, chunk = vocoder.stream(state, mel[..., a:b], last=k + 2 == len(edges))
        audio.append(chunk)
    return torch.cat(audio, dim=-1)


@pytest.mark.parametrize("vocoder", [*VOCOS.values(), GriffinLim(SPEC, 2)], ids=[*VOCOS, "griffin-lim"])
@pytest.mark.parametrize("frames", [4, 5, 33])
def test_frames_minus_one_hops_of_audio_come_out(vocoder, frames):
    assert vocoder.decode(torch.randn(2, 80, frames)).shape == (2, 1, (frames - 1) * 256)


@pytest.mark.parametrize("vocoder", [*VOCOS.values(), GriffinLim(SPEC, 2)], ids=[*VOCOS, "griffin-lim"])
@given(cuts=st.lists(st.integers(0, 10**6), max_size=40))
@settings(max_examples=8, deadline=None)
def test_any_chunks_joined_are_the_whole(vocoder, cuts):
    mel = torch.randn(2, 80, 37, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.allclose(streamed(vocoder, mel, cuts), vocoder.decode(mel), atol=1e-5)


@pytest.mark.parametrize("name", VOCOS)
def test_frame_by_frame_is_the_whole_and_waits_for_the_look_ahead(name):
    """The audio up to a frame is out as soon as `lookahead` frames after it are in, and no later."""
    vocoder = VOCOS[name]
    mel = torch.randn(1, 80, 50)
    with torch.inference_mode():
        whole = vocoder.decode(mel)
        state, out = vocoder.init_state(1), []
        for n in range(50):
            state, chunk = vocoder.stream(state, mel[..., n : n + 1], last=n == 49)
            out.append(chunk)
            if n < 49:
                assert sum(c.shape[-1] for c in out) == max(0, n - vocoder.lookahead) * 256
    assert torch.allclose(torch.cat(out, dim=-1), whole, atol=1e-5)


@pytest.mark.parametrize("name", VOCOS)
def test_later_frames_do_not_change_what_is_out(name):
    vocoder = VOCOS[name]
    mel = torch.randn(1, 80, 60)
    changed = mel.clone()
    changed[..., 45:] += 1.0
    with torch.inference_mode():
        a, b = vocoder.decode(mel), vocoder.decode(changed)
    done = (44 - vocoder.lookahead) * 256
    assert torch.equal(a[..., :done], b[..., :done])
    assert not torch.equal(a[..., done:], b[..., done:])


def test_causal_vocoders_hear_the_past_only():
    assert {name: v.lookahead for name, v in VOCOS.items() if "causal=True" in name} == {
        "causal=True source=False n_fft=512": 0,
        "causal=True source=False n_fft=1024": 1,
        "causal=True source=True n_fft=512": 0,
        "causal=True source=True n_fft=1024": 1,
    }
    assert VOCOS["causal=False source=False n_fft=1024"].lookahead == 3 + 2 * 3 + 1
    assert VOCOS["causal=False source=False n_fft=1024"].lookahead_ms == 160.0


def test_streams_of_a_batch_are_those_of_each_alone():
    vocoder = VOCOS["causal=True source=True n_fft=512"]
    mel = torch.randn(3, 80, 20)
    with torch.inference_mode():
        together = streamed(vocoder, mel, [3, 9])
        alone = torch.cat([streamed(vocoder, one[None], [3, 9]) for one in mel])
    assert torch.allclose(together, alone, atol=1e-5)


def test_a_silent_network_speaks_its_source():
    """Filters of gain one let the pulse train through: overlap-add gives it back at its frequency."""
    vocoder = Vocos(SPEC, 8, 8, 1, n_fft=512, source=True)
    for parameter in (vocoder.head.weight, vocoder.head.bias):
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        vocoder.head.bias[2 * 257 :] = -100.0  # no noise
        head = vocoder.source.tracker.head
        torch.nn.init.zeros_(head.weight)
        head.bias.fill_(-1000.0)
        head.bias[48] = 0.0  # two octaves above 50 Hz
        wav = vocoder.decode(torch.randn(1, 80, 63))[0, 0]
    spectrum = torch.fft.rfft(wav * torch.hann_window(len(wav))).abs()
    hz = torch.arange(len(spectrum)) * 16000 / len(wav)
    harmonic = ((hz / 200 - (hz / 200).round()).abs() < 0.02) & (hz > 100)
    assert spectrum[harmonic].square().sum() > 0.999 * spectrum.square().sum()
    assert abs(float(wav.std()) - 1) < 0.05


def test_griffin_lim_brings_the_spectrogram_back():
    generator = torch.Generator().manual_seed(0)
    t = torch.arange(16000) / 16000
    wav = sum(torch.sin(2 * torch.pi * 150 * k * t) / k for k in range(1, 20)) * 0.1
    wav = (wav + 0.003 * torch.randn(16000, generator=generator))[None]
    mel = mel_spectrogram(wav, SPEC)
    again = mel_spectrogram(GriffinLim(SPEC).decode(mel)[:, 0], SPEC)
    frames = min(mel.shape[-1], again.shape[-1])
    loud = mel[..., :frames] > -4
    assert (mel[..., :frames] - again[..., :frames])[loud].abs().mean() < 0.25
    assert torch.equal(GriffinLim(SPEC).decode(mel), GriffinLim(SPEC).decode(mel))


def test_vocos_inverts_a_spectrum_its_head_predicts():
    """With the stack cut short to a constant head, the waveform is the inverse STFT of that constant."""
    vocos = Vocos(SPEC, 8, 8, 1, n_fft=512)
    torch.nn.init.zeros_(vocos.head.weight)
    torch.nn.init.zeros_(vocos.head.bias)
    spectrum = torch.ones(1, 257, 9, dtype=torch.complex64)
    expected = torch.istft(spectrum, 512, 256, window=torch.hann_window(512))
    assert torch.allclose(vocos.decode(torch.randn(1, 80, 9))[:, 0], expected, atol=1e-6)


@pytest.mark.parametrize("source", [False, True])
def test_magnitudes_are_bounded(source):
    vocos = Vocos(SPEC, 8, 8, 1, source=source)
    torch.nn.init.constant_(vocos.head.bias, 1000.0)
    assert torch.isfinite(vocos.decode(torch.randn(1, 80, 9))).all()


def test_unlike_front_ends_are_refused_by_name():
    require_same_spec(SPEC, MelSpec())
    with pytest.raises(MelSpecMismatch, match=r"hop_length: 256 != 200.*MelSpec.*MelSpec"):
        require_same_spec(SPEC, MelSpec(hop_length=200))
