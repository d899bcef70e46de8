"""MeLoDy as a whole: streams, continuation, prompts that change, and its file."""

import itertools

import pytest
import torch
from fake_music import DIM, FRAMES, PARTS, TOKENS, music_system, register

from audiogen import hub
from audiogen.music import MusicOptions, Passes, PromptPlan, continued, generate
from audiogen.report import StageTimer
from audiogen.systems.melody_music import MeLoDyMusic, assemble

SAMPLES = FRAMES * 128  # of a chunk
RATE = 24000
SECONDS = SAMPLES / RATE


@pytest.fixture
def system(monkeypatch):
    register(monkeypatch)
    return music_system()


def chunks(wav):
    return wav.shape[-1] / SAMPLES


def test_blocks_joined_are_as_long_as_asked(system):
    for seconds in (0.4 * SECONDS, 4 * SECONDS, 9.3 * SECONDS):
        wav = generate(system, "slow piano", seconds)
        assert wav.shape == (1, 1, round(seconds * RATE))
        assert wav.isfinite().all()


def test_stream_is_the_decoded_latents(system):
    """Whatever the rounds: the decoder goes on where it was."""
    made, state, timer = [], system.begin(1), StageTimer()
    for n in (4, 2, 2):
        state, latents = system.compose(state, ["slow piano"], [3], n, MusicOptions(), timer)
        made.append(latents)
    whole = system.coder.decode(torch.cat(made, -1))
    wav = generate(system, "slow piano", 8 * SECONDS, [3])
    torch.testing.assert_close(wav, whole, rtol=1e-4, atol=1e-4)


def test_endless_stream_begins_like_one_with_an_end(system):
    blocks = list(itertools.islice(system.stream("slow piano"), 3))
    endless, ending = torch.cat(blocks, -1), generate(system, "slow piano", 8 * SECONDS)
    n = endless.shape[-1]
    assert n > 7 * SAMPLES
    torch.testing.assert_close(endless, ending[..., :n], rtol=1e-4, atol=1e-4)


def test_beats_go_on_from_round_to_round(system):
    """75 beats a minute at 62.5 tokens a second; without a tempo there are none, then they begin anew."""
    state, timer, rate = system.begin(2), StageTimer(), 75 / 60 / 62.5
    told = []
    for caption in ("piano, 75 bpm", "piano, 75 bpm", "flute", "piano, 75 bpm"):
        state, _ = system.compose(state, [caption, "flute"], [0, 1], 1, MusicOptions(), timer)
        told.append(state.beats[:, -TOKENS:])
    count = torch.arange(2 * TOKENS) * rate
    torch.testing.assert_close(torch.cat((told[0], told[1]), 1)[0, :, 0], count % 1)
    assert not told[2].any()
    torch.testing.assert_close(told[3][0, :, 0], count[:TOKENS])
    assert float(told[3][0, :, 1].unique()) == pytest.approx(rate)
    assert not any(part[1].any() for part in told)


def test_the_tempo_of_a_caption_is_followed_in_beats(system):
    """Words that the models do not know tell a tempo all the same: as beats, of tokens and of latents."""
    fast, other = (generate(system, f"piano, {bpm} bpm", 4 * SECONDS, [3]) for bpm in (150, 75))
    assert not torch.allclose(fast, other, atol=1e-2)
    same = generate(system, "piano, 150.0 bpm", 4 * SECONDS, [3])
    torch.testing.assert_close(fast, same)


def test_memory_does_not_grow(system):
    state, timer = system.begin(1), StageTimer()
    sizes = []
    for _ in range(8):
        state, _ = system.compose(state, ["slow piano"], [0], 2, MusicOptions(), timer)
        sizes.append((state.tokens.shape[1], state.latents.shape[-1]))
    assert sizes[-1] == sizes[4] == (24, 3 * FRAMES)
    assert state.made == 16


def test_kept_chunks_are_bit_identical(system, monkeypatch):
    """What a window of the diffusion gives back for chunks it was given is what it was given."""
    windows, sample = [], system.diffusion.sample

    def watched(*args, **options):
        windows.append((options["kept"], sample(*args, **options)))
        return windows[-1][1]

    monkeypatch.setattr(system.diffusion, "sample", watched)
    generate(system, "slow piano", 8 * SECONDS, options=MusicOptions(advance=2))
    (_, first), (kept, second), (_, third) = windows
    assert torch.equal(second[..., : 2 * FRAMES], first[..., -2 * FRAMES :])
    assert torch.equal(third[..., : 2 * FRAMES], second[..., -2 * FRAMES :])
    assert kept.mask[0].sum() == 2 * FRAMES


def test_items_of_a_batch_are_the_items_alone(system):
    captions, seeds = ["slow piano", "flute", "slow piano"], [1, 2, 1]
    together = generate(system, captions, 6 * SECONDS, seeds)
    for i in range(2):
        alone = generate(system, captions[i], 6 * SECONDS, seeds[i : i + 1])
        torch.testing.assert_close(together[i], alone[0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(together[0], together[2], rtol=1e-3, atol=1e-3)
    assert not torch.allclose(together[0], together[1], atol=1e-2)


def test_prompts_change_at_chunk_borders(system):
    plan = PromptPlan("slow piano", [(5 * SECONDS, "flute in A minor")])
    heard = []

    def prompts(second):
        heard.append((round(second / SECONDS), plan.at(second)))
        return [plan.at(second)]

    options = MusicOptions(advance=1)
    wav = torch.cat(list(system.stream(prompts, options=options, seconds=6 * SECONDS)), -1)
    assert heard == [(0, "slow piano"), (4, "slow piano"), (5, "flute in A minor")]
    same = generate(system, "slow piano", 6 * SECONDS, options=options)
    border = 5 * SAMPLES - 1024  # the decoder looks ahead
    assert torch.allclose(wav[..., :border], same[..., :border], atol=1e-4)
    assert not torch.allclose(wav[..., 5 * SAMPLES :], same[..., 5 * SAMPLES :], atol=1e-2)


def test_prompt_plan():
    plan = PromptPlan("a", [(20, "c"), (10, "b")])
    assert [plan.at(s) for s in (0, 9.9, 10, 19, 20, 100)] == ["a", "a", "b", "b", "c", "c"]
    assert plan.captions == ["a", "b", "c"]
    for wrong in ([(0, "b")], [(5, "b"), (5, "c")], [(-1, "b")]):
        with pytest.raises(ValueError, match="different seconds above 0"):
            PromptPlan("a", wrong)


def test_music_goes_on_from_a_recording(system):
    """The recording comes back but for a short fade; what follows depends on it; nothing is left out."""
    torch.manual_seed(0)
    before = 0.1 * torch.randn(1, round(2.5 * SAMPLES))
    wav = torch.cat(list(continued(system, before, "slow piano", 0, MusicOptions(), 3 * SECONDS)), -1)
    assert wav.shape == (1, 1, before.shape[-1] + 3 * SAMPLES)
    fade = round(0.03 * RATE)
    assert torch.equal(wav[0, :, : before.shape[-1] - fade], before[:, :-fade])
    new = torch.cat(list(system.stream("slow piano", before=before[None], seconds=3 * SECONDS)), -1)
    assert torch.equal(wav[..., -3 * SAMPLES :], new)
    other = torch.cat(list(system.stream("slow piano", before=3 * before[None], seconds=3 * SECONDS)), -1)
    assert not torch.allclose(new, other, atol=1e-2)


def test_the_lead_is_the_copy_of_the_recording(system):
    before = 0.1 * torch.randn(1, 1, 2 * SAMPLES)
    with_lead = torch.cat(list(system.stream("piano", before=before, lead=500, seconds=2 * SECONDS)), -1)
    state = system.begin(1, before)
    assert state.tokens.shape[1] == 2 * TOKENS
    state, latents = system.compose(state, ["piano"], [0], 2, MusicOptions(), StageTimer())
    copy = system.coder.decode(torch.cat((system.coder.encode(before), latents), -1))
    torch.testing.assert_close(with_lead, copy[..., 2 * SAMPLES - 500 :], rtol=1e-4, atol=1e-4)


def test_a_recording_shorter_than_a_chunk_is_refused(system):
    with pytest.raises(ValueError, match="can go on from 0.06 s or more, got 0.03 s"):
        next(system.stream("piano", before=torch.zeros(1, 1, SAMPLES // 2)))


def test_passes_are_counted(system):
    """10 s in the paper: a token for each of 25 a second, and T evaluations of the network."""
    options = MusicOptions(num_steps=5, guidance=1.0, lm_guidance=1.0)
    assert system.passes(4 * SECONDS, options) == Passes(4 * TOKENS, 5)
    assert system.passes(8 * SECONDS, options) == Passes(8 * TOKENS, 15)
    assert system.passes(8 * SECONDS, MusicOptions(num_steps=5, advance=1, lm_guidance=2.0)) == Passes(
        2 * 8 * TOKENS, 2 * 25
    )
    assert Passes(3, 4).total == 7


def test_options_that_do_not_fit(system):
    for options, told in (
        (MusicOptions(opening=5), "opening of 5"),
        (MusicOptions(advance=4), "advance of 4"),
    ):
        with pytest.raises(ValueError, match=told):
            generate(system, "piano", 9 * SECONDS, options=options)
    with pytest.raises(ValueError, match="opening must be 1"):
        MusicOptions(opening=0)
    with pytest.raises(ValueError, match="seconds must be positive"):
        generate(system, "piano", 0)
    with pytest.raises(ValueError, match="2 seeds need as many captions"):
        next(system.stream(["piano"], [0, 1]))


def test_stages_are_timed(system):
    timer = StageTimer()
    list(system.stream("piano", seconds=SECONDS, timer=timer))
    assert set(timer.seconds) == {"io", "lm", "diffusion", "decoder"}


def test_one_file_holds_all_parts(system, tmp_path):
    hub.save(system, tmp_path / "model.safetensors")
    again = hub.load(tmp_path)
    assert torch.equal(*(generate(s, "slow piano", 2 * SECONDS) for s in (system, again)))
    assert again.unknown_words("slow theremin") == ["theremin"]


def test_parts_are_assembled(system, tmp_path):
    files = {}
    for name in PARTS:
        files[name] = str(tmp_path / f"{name}.safetensors")
        hub.save(getattr(system, name), files[name])
    codec = system.autoencoder.train()  # a part may be a checkpoint of training, too
    files["autoencoder"] = str(tmp_path / "codec.ckpt")
    torch.save({"release": codec.release(), "state_dict": codec.state_dict()}, files["autoencoder"])
    codec.eval()
    made = assemble(files)
    assert torch.equal(*(generate(s, "slow piano", 2 * SECONDS) for s in (system, made)))
    with pytest.raises(ValueError, match="no part 'drums'"):
        assemble({**files, "drums": files["lm"]})
    del files["tokenizer"]
    with pytest.raises(ValueError, match="lacks its tokenizer"):
        assemble(files)


@pytest.mark.parametrize(
    ("part", "change", "told"),
    [
        ("lm", {"vocabulary": 5}, "differ in their tokens"),
        ("lm", {"context": 16}, "remembers 16 tokens; a window has 16"),
        ("tokenizer", {"vocabulary": 5}, "tokens of the tokenizer"),
        ("autoencoder", {"latents": DIM + 1}, "differ in their latents"),
        ("tokenizer", {"hop": 400}, "another than in training"),
    ],
)
def test_parts_that_do_not_fit_are_refused(monkeypatch, part, change, told):
    register(monkeypatch)
    hparams = {**PARTS[part]["hparams"], **change}
    with pytest.raises(ValueError, match=told):
        MeLoDyMusic({**PARTS, part: {**PARTS[part], "hparams": hparams}})
