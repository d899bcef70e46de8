"""StableVC: the system, its sampler, guidance, voices and conversion of recordings."""

import pytest
import torch
from fake_content import FakeContent

from audiogen.audio import Audio
from audiogen.conversion import (
    Chunk,
    ConvertOptions,
    chunks,
    content_runs,
    convert_audio,
    convert_blocks,
    followed,
    joined,
    whole_frames,
)
from audiogen.nn.dit import without
from audiogen.nn.voice_network import memories
from audiogen.sampling.noise import ItemNoise
from audiogen.sampling.paths import StraightLine
from audiogen.systems.stablevc import StableVC
from audiogen.vocoders.griffin_lim import GriffinLim
from audiogen.voice import WrongVoice, load_voice, make_voice, reference_style, style_of

SMALL = {
    "vocabulary": 12,
    "channels": 16,
    "token_blocks": 1,
    "frame_blocks": 1,
    "flow_blocks": 2,
    "style_bins": 4,
    "stack": {"heads": 2, "hidden": 24, "kernel_size": 3},
    "style": {"channels": 8, "blocks": 1, "neck": 4},
}


class LearntGain(GriffinLim):
    """A vocoder with a parameter, as trained ones have."""

    def __init__(self, mel_spec):
        super().__init__(mel_spec, iterations=2)
        self.gain = torch.nn.Parameter(torch.ones(()))

    def stream(self, state, mel, last=False):
        state, wav = super().stream(state, mel, last)
        return state, self.gain * wav


def small(seed=0, **more):
    """A system whose every weight counts, with a content encoder and a vocoder."""
    torch.manual_seed(seed)
    system = StableVC(**{**SMALL, **more})
    for name, parameter in system.named_parameters():
        if "alpha" in name or not parameter.abs().max():
            torch.nn.init.normal_(parameter, std=0.3)
    system.content, system.vocoder = FakeContent(12), LearntGain(system.mel_spec)
    return system.eval()


def embed(wav, sample_rate):
    """A made-up speaker vector that depends on the recording."""
    return torch.nn.functional.normalize(torch.fft.rfft(wav)[:256].abs(), dim=0)


def speech(seconds=1.0, rate=16000, channels=1, seed=0, f0=150.0):
    """Something voiced whose loudness changes."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(round(seconds * rate)) / rate
    steps = torch.rand(channels, round(8 * seconds) + 1, generator=generator)
    loud = steps.repeat_interleave(rate // 8, dim=1)[:, : len(time)]
    tone = sum(torch.sin(2 * torch.pi * f0 * k * time) / k for k in range(1, 9))
    return Audio(0.2 * loud * tone + 1e-3 * torch.randn(channels, len(time), generator=generator), rate)


@pytest.fixture
def system():
    return small()


@pytest.fixture
def voice(system):
    return make_voice(system, [speech(1.0, seed=5), speech(0.7, seed=6, f0=210)], embed)


def batch_of(system, items=2, runs=6, frames=24):
    """Runs, durations and a memory of made-up references."""
    torch.manual_seed(3)
    tokens = torch.randint(12, (items, runs))
    durations = torch.full((items, runs), frames // runs)
    timbre = system.net.timbre(
        torch.randn(items, 80, 10), torch.ones(items, 10).bool(), torch.randn(items, 256)
    )
    style = system.net.style(torch.randn(items, 7, frames), torch.ones(items, frames).bool())
    return tokens, durations, memories(timbre, style)


def test_path_ends_are_data_and_noise():
    """t = 0: the paper's x_1 + sigma_min x_0; t = 1: noise alone."""
    path = StableVC(**SMALL).path
    assert path == StraightLine(1e-4)
    data, noise = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    assert torch.allclose(path.add_noise(data, noise, 0.0), data + 1e-4 * noise)
    assert torch.allclose(path.add_noise(data, noise, 1.0), noise)


@pytest.mark.parametrize("solver", ["euler", "ab2"])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_n_steps_call_the_network_n_times_guided_or_not(system, solver, steps, monkeypatch):
    given = batch_of(system)
    sizes = []
    monkeypatch.setattr(
        system.net.flow("teacher").head,
        "forward",
        lambda y: sizes.append(len(y)) or y[..., :1].expand(-1, -1, 80),
    )
    for scales, copies in (((None, None), 1), ((2.0, None), 2), ((1.5, 0.5), 3)):
        sizes.clear()
        options = ConvertOptions(steps, solver, *scales)
        system.sample(*given, [0, 1], options)
        assert sizes == [2 * copies] * steps
        assert system.nfe(options) == steps


def test_one_euler_step_is_the_formula(system):
    """The residual is the noise less the velocity at t = 1, up to sigma_min."""
    tokens, durations, heard = batch_of(system)
    condition = system.told(tokens, durations, heard, "teacher")
    noise = ItemNoise([4, 9]).start(80, 24)
    v = system.velocity("teacher", condition, noise, torch.ones(2))
    found = system.sample(tokens, durations, heard, [4, 9], ConvertOptions(1, "euler"))
    assert torch.allclose(found, condition["guess"] + system.sigma_data * (noise - v), atol=1e-4)


def test_guidance_is_the_formula(system):
    """D + (w_t - 1)(D - D without timbre) + (w_s - 1)(D - D without style), of mels, at one Euler step."""
    tokens, durations, heard = batch_of(system)
    system.sigma_data.fill_(0.5)

    def mel(*deaf):
        """What one step gives that starts at the same place of the mel's own path."""
        told = {name: without(memory, *deaf) for name, memory in heard.items()}
        return system.sample(tokens, durations, told, [0, 1], ConvertOptions(1))

    full, no_timbre, no_style = mel(), mel("timbre"), mel("style")
    assert (full - no_timbre).abs().max() > 1e-2
    assert (full - no_style).abs().max() > 1e-3
    guided = system.sample(tokens, durations, heard, [0, 1], ConvertOptions(1, None, 1.5, 3.0))
    expected = full + 0.5 * (full - no_timbre) + 2.0 * (full - no_style)
    assert torch.allclose(guided, expected, atol=1e-3)


def test_gates_at_zero_make_the_style_unheard():
    system = StableVC(**SMALL).eval()
    torch.nn.init.normal_(system.net.flow("teacher").head.weight)
    tokens, durations, _ = batch_of(system)
    timbre = system.net.timbre(torch.randn(2, 80, 10), torch.ones(2, 10).bool(), torch.randn(2, 256))
    sampled = [
        system.sample(
            tokens,
            durations,
            memories(timbre, system.net.style(torch.randn(2, 7, n), torch.ones(2, n).bool())),
            [0, 1],
            ConvertOptions(2),
        )
        for n in (24, 40)
    ]
    assert torch.equal(*sampled)


def test_an_item_is_the_same_in_any_batch(system):
    """Alone, or padded beside a longer one."""
    tokens, durations, heard = batch_of(system)
    durations[0, 4:] = 0
    together = system.sample(tokens, durations, heard, [7, 8], ConvertOptions(3))
    first = {name: {k: v[:1] for k, v in memory.items()} for name, memory in heard.items()}
    alone = system.sample(tokens[:1, :4], durations[:1, :4], first, [7], ConvertOptions(3))
    assert torch.allclose(together[:1, :, :16], alone, atol=1e-4)
    assert not together[0, :, 16:].any()
    other = system.sample(tokens[:1, :4], durations[:1, :4], first, [8], ConvertOptions(3))
    assert not torch.allclose(other, alone, atol=1e-2)


def test_permuted_reference_frames_change_nothing(system):
    tokens, durations, _ = batch_of(system)
    mel, speaker = torch.randn(2, 80, 15), torch.randn(2, 256)
    style = system.net.style(torch.randn(2, 7, 24), torch.ones(2, 24).bool())
    found = [
        system.sample(
            tokens,
            durations,
            memories(system.net.timbre(given, torch.ones(2, 15).bool(), speaker), style),
            [0, 1],
            ConvertOptions(2),
        )
        for given in (mel, mel[:, :, torch.randperm(15)])
    ]
    assert torch.allclose(*found, atol=1e-4)


def test_merged_runs_expand_to_the_sources_frames(system):
    """With kept durations every frame has the token it had."""
    source = speech(2.3, seed=1)
    tokens, runs = content_runs(system, source.wav[0])
    assert int(runs.sum()) == source.wav.shape[-1] // 256 + 1
    assert bool((tokens[1:] != tokens[:-1]).all())
    again = torch.repeat_interleave(tokens, runs)
    direct = system.content.encode(source.wav, torch.tensor([source.wav.shape[-1]])).tokens[0]
    middles = ((2 * torch.arange(len(again)) + 1) * len(direct)) // (2 * len(again))
    assert torch.equal(again, direct[middles])


def test_a_saved_voice_is_the_references_themselves(system, voice, tmp_path):
    voice.save(tmp_path / "anna.voice")
    again = load_voice(tmp_path / "anna.voice", system)
    assert (again.model, again.f0_hz, again.seconds) == (voice.model, voice.f0_hz, voice.seconds)
    source = speech(0.9, seed=2)
    direct = convert_audio(system, source, voice, style=voice.style)
    cached = convert_audio(system, source, again, style=again.style)
    assert torch.equal(direct.wav, cached.wav)
    assert 150 < voice.f0_hz < 210
    assert voice.seconds == pytest.approx(1.7)


def test_a_voice_of_another_model_or_none_is_refused(system, voice, tmp_path):
    voice.save(tmp_path / "anna.voice")
    with pytest.raises(WrongVoice, match="was made with the model"):
        load_voice(tmp_path / "anna.voice", small(seed=1))
    (tmp_path / "noise.voice").write_bytes(b"12345678")
    with pytest.raises(WrongVoice, match="is no voice"):
        load_voice(tmp_path / "noise.voice", system)
    with pytest.raises(FileNotFoundError, match="voice create"):
        load_voice(tmp_path / "nobody.voice", system)


@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (44100, 2), (8000, 1)])
def test_kept_durations_give_a_result_as_long_as_the_source(system, voice, rate, channels):
    source = speech(1.3, rate, channels)
    made = convert_audio(system, source, voice, options=ConvertOptions(2, keep_duration=True))
    assert made.sample_rate == 16000
    assert made.wav.shape[0] == 1
    assert made.seconds == pytest.approx(1.3, abs=1e-3)
    assert not made.wav.requires_grad


def test_tempo_and_length_are_followed(system, voice):
    source = speech(1.5)
    fast = convert_audio(system, source, voice, options=ConvertOptions(1, keep_duration=True, tempo=1.5))
    assert fast.seconds == pytest.approx(1.0, abs=0.1)
    fixed = convert_audio(system, source, voice, options=ConvertOptions(1, seconds=2.0))
    assert fixed.seconds == pytest.approx(2.0, abs=1e-3)
    free = convert_audio(system, source, voice, options=ConvertOptions(1))
    assert free.seconds != fixed.seconds


def test_seed_and_style_tell_results_apart(system, voice):
    source, other = speech(1.0), speech(1.2, seed=9, f0=260)

    def made(style=None, **more):
        return convert_audio(system, source, voice, style=style, options=ConvertOptions(2), **more).wav

    assert torch.equal(made(), made())
    assert not torch.allclose(made(), made(seed=1), atol=1e-3)
    styled, own = (made(reference_style(system, audio)) for audio in (other, source))
    assert not torch.allclose(styled, own, atol=1e-3)


def test_pitch_moves_the_style_curve(system):
    plain, raised = (reference_style(system, speech(1.0), pitch=semitones) for semitones in (0.0, 6.0))
    assert not torch.allclose(plain.mean, raised.mean, atol=1e-4)


def test_chunks_are_whole_runs_with_context_and_cover_all():
    torch.manual_seed(0)
    runs = torch.randint(1, 12, (200,))
    plan = chunks(runs, 150, 40)
    assert len(plan) > 5
    assert plan[0].begin == 0
    assert plan[-1].end == plan[-1].last == 200
    ends = runs.cumsum(0)
    for one, two in zip(plan, plan[1:], strict=False):
        assert one.end == two.begin
        assert two.first < two.begin < one.last
        assert 20 <= int(ends[one.last - 1] - ends[one.end - 1]) < 20 + 12
        assert 20 <= int(ends[two.begin - 1] - ends[two.first - 1]) < 20 + 12
    assert chunks(torch.tensor([5]), 150, 40) == [Chunk(0, 0, 1, 1)]


def test_a_result_follows_the_sources_prosody_run_by_run():
    runs = torch.tensor([2, 4, 1])
    assert followed(runs, runs).tolist() == list(range(7))
    assert followed(runs, torch.tensor([1, 8, 2])).tolist() == [1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]


def test_joined_chunks_of_one_signal_are_the_signal():
    whole = torch.randn(3, 60)
    places = [[0, 0, 20, 26], [15, 20, 42, 45], [38, 42, 60, 60]]
    pieces = [whole[:, first:last] for first, _, _, last in places]
    assert torch.allclose(joined(pieces, places), whole, atol=1e-6)


def test_a_long_source_in_chunks_has_all_its_frames(system, voice):
    """Chunks meet the same noise at a frame, whatever chunk it is in."""
    source = speech(4.0, seed=3)
    options = ConvertOptions(1, keep_duration=True)
    blocks = convert_blocks(system, source, voice, options=options, chunk_s=1.0, overlap_s=0.4)
    made = torch.cat(list(blocks), dim=-1)
    assert made.shape == (1, 64000)
    assert bool(torch.isfinite(made).all())
    assert len(system.content.calls) == 1


def test_content_of_pieces_is_that_of_the_whole(system, monkeypatch):
    monkeypatch.setattr("audiogen.conversion.CONTENT_S", 0.96)
    monkeypatch.setattr("audiogen.conversion.CONTENT_EDGE_S", 0.32)
    wav = speech(3.1, seed=4).wav[0]
    pieces = content_runs(system, wav)
    assert len(system.content.calls) == 3  # the last takes what is left
    monkeypatch.setattr("audiogen.conversion.CONTENT_S", 30.0)
    whole = content_runs(system, wav)
    assert int(pieces[1].sum()) == int(whole[1].sum())
    a, b = (torch.repeat_interleave(*found) for found in (pieces, whole))
    assert (a == b).float().mean() > 0.9  # frames of 16 ms beside tokens of 20 ms round to a neighbour


def test_whole_frames_follow_their_sums():
    exact = torch.tensor([1.4, 1.4, 1.4, 0.2, 7.6])
    assert whole_frames(exact).tolist() == [1, 2, 1, 1, 8]
    assert int(whole_frames(exact, 40).sum()) == 40
    assert whole_frames(exact, 5).tolist() == [1] * 5
    with pytest.raises(ValueError, match="5 sounds do not fit into 4 frames"):
        whole_frames(exact, 4)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (Audio(torch.full((1, 8000), torch.nan), 16000), "sample 0 .* is NaN"),
        (Audio(torch.zeros(1, 8000), 16000), "is silent"),
        (Audio(torch.randn(1, 100), 16000), "is too short: 0.006 s"),
        (Audio(torch.zeros(2, 0), 16000), "is too short"),
    ],
)
def test_bad_recordings_are_told(system, voice, audio, message):
    with pytest.raises(ValueError, match=message):
        convert_audio(system, audio, voice)
    with pytest.raises(ValueError, match=f"reference 1 .*{message}"):
        make_voice(system, [audio], embed)
    with pytest.raises(ValueError, match=message):
        reference_style(system, audio)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": 0}, "use 1 or more"),
        ({"tempo": 9.0}, "use 0.25 to 4"),
        ({"pitch": 30.0}, "use -24 to 24"),
        ({"timbre_scale": -1.0}, "timbre_scale -1.0 is out of range"),
        ({"seconds": 0.0}, "use more than 0"),
        ({"seconds": 1.0, "keep_duration": True}, "choose one"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ConvertOptions(**options)


def test_what_a_system_cannot_do_is_refused(system, voice):
    with pytest.raises(ValueError, match="unknown solver 'heun'"):
        system.nfe(ConvertOptions(2, "heun"))
    with pytest.raises(ValueError, match="unknown prior"):
        StableVC(prior="mean")
    with pytest.raises(ValueError, match="at least one recording"):
        make_voice(system, [], embed)
    system.content = None
    with pytest.raises(ValueError, match="lacks its content encoder"):
        convert_audio(system, speech(), voice)


def test_the_prior_zero_has_no_guess():
    system = small(prior="zero")
    tokens, durations, heard = batch_of(system)
    assert system.net.guess is None
    assert not system.told(tokens, durations, heard, "teacher")["guess"].any()
    assert system.sample(tokens, durations, heard, [0, 1], ConvertOptions(2)).shape == (2, 80, 24)


def test_style_of_curves_is_one_batch(system):
    style = style_of(torch.randn(7, 21), system)
    assert style.mask.shape == (1, 6)


@pytest.mark.cuda
def test_a_gpu_converts_as_the_cpu_does(voice, system, tmp_path):
    """Kept durations, so that rounding changes no length; a voice file moves to where the system is."""
    voice.save(tmp_path / "anna.voice")
    source, options = speech(1.0), ConvertOptions(3, keep_duration=True, timbre_scale=1.5)
    on_cpu = convert_audio(system, source, voice, options=options)
    system.cuda()
    moved = load_voice(tmp_path / "anna.voice", system)
    on_gpu = convert_audio(system, source, moved, options=options)
    assert moved.timbre.mask.is_cuda
    assert on_cpu.wav.shape == on_gpu.wav.shape
    tokens, durations, heard = batch_of(system.cpu())
    told = {name: {k: v.cuda() for k, v in memory.items()} for name, memory in heard.items()}
    one = system.sample(tokens, durations, heard, [0, 1], options)
    other = system.cuda().sample(tokens.cuda(), durations.cuda(), told, [0, 1], options)
    assert torch.allclose(one, other.cpu(), atol=1e-2)
