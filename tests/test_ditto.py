"""Steering: toys whose optimum is known, budgets, restarts, and MeLoDy as the generator."""

import math

import pytest
import torch
from fake_generator import RATE, STD, GaussianSystem, Wanted, exact_start, target
from fake_music import FRAMES, TOKENS, music_system, register

from audiogen.controls import (
    Inpaint,
    Intensity,
    Loop,
    Melody,
    Note,
    Outpaint,
    Structure,
    Tempo,
    Text,
    Tilt,
)
from audiogen.sampling import optimize
from audiogen.sampling.loop import run
from audiogen.steering import Like, SteerOptions
from audiogen.systems import ditto
from audiogen.systems.ditto import Search, steer
from audiogen.systems.melody import MeLoDy, sampling_plan
from audiogen.systems.melody_generator import MeLoDyGenerator

FREE = {"shell": False, "lr": 0.1, "steps": 150}


def steered(options=None, wish=None, distilled=True, **more):
    system = GaussianSystem(distilled)
    wishes = [Wanted(target())] if wish is None else wish
    return steer(system, "piano", wishes, SteerOptions(**(options or {})), **more), system


@pytest.mark.parametrize("decode_steps", [1, 2, 5])
def test_the_optimum_of_linear_gaussian_latents_is_reached(decode_steps):
    """One exact jump is optimised through; the piece is the target however many jumps it is decoded in."""
    found, _ = steered({**FREE, "decode_steps": decode_steps})
    assert found.errors[0].before > 0.2
    assert found.errors[0].after < 1e-4
    assert (found.latents - target()).abs().max() < 0.1
    assert found.audio.shape == (1, 2 * RATE)
    assert torch.equal(found.audio[0], found.latents[0, 0])
    assert found.stopped == "steps"
    assert not found.warnings


def test_the_noise_that_was_found_is_the_inverse_of_the_flow():
    wish = Wanted(target())
    system = GaussianSystem()
    generator = system.generator("", [0], 2.0)
    search = Search(generator, 2.0, [wish], SteerOptions(**FREE), 0.0)
    start, losses = search.optimised(generator.start(), None, None, None)
    assert losses.shape == (150, 1)
    assert (start - exact_start(target())).abs().max() < 0.1


def test_one_call_that_decodes_is_the_surrogate():
    found, _ = steered({"steps": 3, "decode_steps": 1})
    assert found.errors[0].after == found.errors[0].surrogate
    usual, _ = steered({"steps": 3})
    assert usual.errors[0].after == found.errors[0].after
    both, _ = steered({"steps": 3, "surrogate": 2})
    assert both.errors[0].after == both.errors[0].surrogate
    exact, _ = steered({"steps": 3, "decode_steps": 4})
    assert exact.errors[0].after == pytest.approx(found.errors[0].after, rel=1e-4)


@pytest.mark.parametrize("memory", ["plain", "checkpoint"])
def test_the_baseline_has_the_same_gradients_however_they_are_kept(memory):
    """Losses of all steps agree to the last bit; the last one is as good as a jump's."""
    options = {**FREE, "method": "ditto1", "baseline_steps": 6, "steps": 20}
    found, system = steered({**options, "memory": memory}, distilled=False)
    plain, _ = steered({**options, "memory": "plain"}, distilled=False)
    assert torch.equal(found.losses, plain.losses)
    assert found.errors[0].after < 0.3 * found.errors[0].before
    assert found.errors[0].after == found.errors[0].surrogate
    # before, the search and what its gradients repeat, after
    repeats = 1 if memory == "plain" else 2
    assert found.network_calls == 6 * (1 + 1 + 19 * repeats + 1)
    assert len(system.made.calls) == found.network_calls


def test_the_baseline_runs_backwards_with_bdia():
    options = {**FREE, "method": "ditto1", "baseline_steps": 6, "steps": 60, "memory": "reversible"}
    found, _ = steered(options, distilled=False)
    assert found.errors[0].after < 0.1 * found.errors[0].before


def test_a_network_that_cannot_jump_is_told_of():
    """And optimised through what is heard, unless another number of calls is asked for."""
    found, _ = steered({**FREE, "steps": 60, "decode_steps": 3}, distilled=False)
    assert any("takes 3 of its sampler" in warning for warning in found.warnings)
    assert found.errors[0].after == found.errors[0].surrogate < 0.1 * found.errors[0].before
    found, _ = steered({"steps": 2, "surrogate": 1}, distilled=False)
    assert found.errors[0].surrogate != pytest.approx(found.errors[0].after, rel=1e-3)


def test_polish_closes_the_gap_of_a_poor_surrogate():
    options = {"shell": False, "lr": 0.1, "steps": 100, "surrogate": 1}
    poor, _ = steered(options, distilled=False)
    polished, _ = steered({**options, "polish": 50}, distilled=False)
    assert polished.errors[0].after < 0.1 * poor.errors[0].after
    assert polished.steps == 150


def test_restarts_are_runs_of_their_own_and_the_best_is_heard():
    together, _ = steered({"steps": 5, "restarts": 3, "seed": 7})
    assert together.losses.shape == (5, 3)
    alone = [steered({"steps": 5, "seed": 7 + n})[0] for n in range(3)]
    for n, found in enumerate(alone):
        torch.testing.assert_close(together.losses[:, n], found.losses[:, 0], rtol=1e-5, atol=0)
    best = min(alone, key=lambda found: found.errors[0].after)
    assert together.seed == best.seed
    assert together.errors[0].after == pytest.approx(best.errors[0].after, rel=1e-5)
    assert torch.allclose(together.audio, best.audio, atol=1e-5)


def test_the_shell_keeps_the_norm_of_the_noise():
    """A target far outside of what noise becomes: on the shell the latents stay as large as they were."""
    far = Wanted(target() + 5)
    on, off = (steered({"steps": 60, "lr": 0.2, "shell": shell}, [far])[0] for shell in (True, False))
    assert float(off.latents.sub(0.3).norm()) > 2 * float(on.latents.sub(0.3).norm())
    assert float(on.latents.sub(0.3).norm()) == pytest.approx(float(on_norm()), rel=1e-2)


def on_norm():
    """Of the unsteered latents around their mean."""
    system = GaussianSystem()
    return STD * system.generator("", [0], 2.0).start().norm()


def test_what_got_worse_is_not_heard():
    found, _ = steered({"steps": 1}, [Wanted(target())])
    assert found.errors[0].after == found.errors[0].before  # one step: only the seed was looked at
    assert any("nothing better" in warning for warning in found.warnings)
    assert torch.equal(found.audio, found.unsteered)


class Clock:
    """Seconds that pass when the generator works."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


def test_a_budget_is_kept_and_the_best_so_far_is_returned(monkeypatch):
    """A call takes a second: what is heard costs 2 before and 2 after; steps fill the rest."""
    clock = Clock()
    for module in (optimize, ditto):
        monkeypatch.setattr(module, "time", clock)

    class Slow(Wanted):
        def losses(self, sound):
            return super().losses(sound)

        def bound(self, coder):
            def slow(x, t, jump=coder.jumped):
                clock.now += 1
                return jump(x, t)

            coder.jump = slow
            return self

    found, _ = steered({"budget_s": 11.0, "steps": 70, "decode_steps": 2}, [Slow(target())])
    assert found.stopped == "budget"
    assert found.steps == 7
    assert found.errors[0].after < found.errors[0].before
    assert found.per_step == pytest.approx(1.0)
    assert clock.now <= 12  # and one call for the surrogate's own error


def test_a_cancelled_search_returns_the_best_so_far():
    seen = []
    found, _ = steered({"steps": 50}, progress=seen.append, cancelled=lambda: len(seen) >= 7)
    assert found.stopped == "cancelled"
    assert found.steps == len(seen) == 7
    assert found.errors[0].after < found.errors[0].before
    assert [now.step for now in seen] == list(range(1, 8))
    assert {now.steps for now in seen} == {50}
    assert seen[-1].loss == pytest.approx(float(found.losses.min()))


def test_a_search_ends_when_all_is_granted():
    found, _ = steered({**FREE, "early_stop": True})
    assert found.stopped == "enough"
    assert 1 < found.steps < 150
    assert found.errors[0].after <= 1.1e-3


def test_controls_are_weighed():
    """Two wishes that exclude each other are met in between, nearer to the heavier one."""
    near, far = target(1), target(2)
    wishes = [Wanted(near, weight=3.0), Wanted(far, weight=1.0)]
    found, _ = steered({"shell": False, "lr": 0.1, "steps": 150}, wishes)
    torch.testing.assert_close(found.latents, 0.75 * near + 0.25 * far, atol=0.05, rtol=0)


def test_a_recording_is_inverted_and_comes_back():
    """What is begun from is the recording: with nothing to change it stays, to the inversion's order."""
    wav = 0.3 + STD * torch.randn(1, 2 * RATE, generator=torch.Generator().manual_seed(3))
    system = GaussianSystem()
    coder = system.generator("", [0], 2.0)
    wish = Wanted(coder.encode(wav))
    found = steer(system, "", [wish], SteerOptions(steps=1, inversion_steps=200), source=wav)
    assert found.errors[0].before < 1e-3
    *_, guidance, like = system.asked[-1]
    assert guidance == 1.0
    assert torch.equal(like.wav, wav)


def test_a_hole_begins_from_noise_and_the_rest_from_the_recording():
    wav = 0.3 + STD * torch.randn(1, 2 * RATE, generator=torch.Generator().manual_seed(3))
    system = GaussianSystem()
    inpaint = Inpaint(wav, RATE, [(0.5, 1.0)])
    found = steer(system, "", [inpaint], SteerOptions(steps=1, inversion_steps=200))
    assert found.errors[0].before < 1e-3
    assert system.asked[-1][-1].unknown == ((0.5, 1.0),)
    assert float((found.latents[0, 0, 25:50] - wav[0, 25:50]).abs().mean()) > 0.1
    assert torch.equal(found.audio[:, :20], wav[:, :20])
    inside = found.latents[0, 0, 26:49]
    assert torch.equal(found.audio[0, 26:49], inside)


def test_an_outpaint_tells_the_generator_what_went_before():
    wav = torch.randn(1, 4 * RATE)
    system = GaussianSystem()
    found = steer(system, "", [Outpaint(wav, RATE, overlap_s=0.5)], SteerOptions(steps=2))
    assert system.asked[-1][-1].skip_s == pytest.approx(3.5)
    assert found.audio.shape[-1] == 4 * RATE + 2 * RATE - RATE // 2
    looped = steer(system, "", [Loop(overlap_s=0.5)], SteerOptions(steps=2))
    assert looped.audio.shape[-1] == looped.unsteered.shape[-1] == 2 * RATE - RATE // 2


def test_what_cannot_be_made_is_refused():
    with pytest.raises(ValueError, match="one control at least"):
        steered(wish=[])
    with pytest.raises(ValueError, match="ask for 2.00 s or less"):
        steered({"seconds": 3.0})
    for options, message in (
        ({"steps": -1}, "steps must be 0"),
        ({"restarts": 0}, "restarts must be 1"),
        ({"budget_s": 0.0}, "budget_s must be positive"),
        ({"lr": math.inf}, "lr must be positive"),
        ({"method": "doodl"}, "use ditto2 or ditto1"),
        ({"memory": "swap"}, "use checkpoint, reversible or plain"),
    ):
        with pytest.raises(ValueError, match=message):
            SteerOptions(**options)


# MeLoDy


@pytest.fixture
def system(monkeypatch):
    register(monkeypatch)
    return music_system()


def test_the_generator_makes_what_the_model_samples(system):
    """Same noise, same plan, same network: the latents of `MeLoDy.sample` bit for bit."""
    generator = system.generator("slow piano", [3, 4], 2 * system.chunk_seconds, guidance=2.0)
    assert isinstance(generator, MeLoDyGenerator)
    assert generator.tokens.shape == (2, 2 * TOKENS)
    expected = system.diffusion.sample(
        generator.tokens,
        ["slow piano"] * 2,
        [3, 4],
        num_steps=3,
        guidance=2.0,
        beats=system.beats(["slow piano"] * 2, 2 * TOKENS),
    )
    with torch.no_grad():
        found = run(sampling_plan(3, False), generator.estimate, generator.start())
    assert torch.equal(found, expected)
    again = generator.only([1])
    with torch.no_grad():
        one = run(sampling_plan(3, False), again.estimate, again.start())
    torch.testing.assert_close(one[0], expected[1], rtol=1e-4, atol=1e-5)


def test_gradients_go_from_sound_to_noise_and_not_to_the_network(system):
    generator = system.generator("slow piano", [3], system.chunk_seconds)
    assert generator.latent_rate * system.chunk_seconds == pytest.approx(FRAMES)
    x = generator.start().requires_grad_()
    wav = generator.decode(generator.estimate(x, torch.ones(1)))
    (gradient,) = torch.autograd.grad(wav.square().sum(), x)
    assert bool(gradient.isfinite().all())
    assert float(gradient.norm()) > 0
    assert not any(p.requires_grad for p in (*system.diffusion.parameters(), *system.coder.parameters()))


def test_a_network_that_jumps_nowhere_is_the_estimate(system):
    told = MeLoDy(**{**system.diffusion.hparams, "jumps": True})
    told.load_state_dict(system.diffusion.state_dict(), strict=False)
    jumping = MeLoDyGenerator(
        told, system.coder, torch.zeros(1, TOKENS, dtype=torch.int64), ["piano"], [1], 1
    )
    assert jumping.jump is not None
    x, t = jumping.start(), torch.tensor([0.5])
    with torch.no_grad():
        assert torch.equal(jumping.estimate(x, t), jumping.jump(x, torch.tensor([[0.5, 0.5]])))


def test_tokens_of_a_recording_are_told_and_holes_are_written(system):
    wav = torch.rand(1, 4 * system.chunk_samples, generator=torch.Generator().manual_seed(0)) * 0.3
    spoken = system.tokenizer.encode(wav)
    seconds = 4 * system.chunk_seconds
    whole = system.generator("piano", [0], seconds, like=Like(wav)).tokens
    assert torch.equal(whole, spoken[:, : 4 * TOKENS])
    hole = (1 / 4 * seconds, 2 / 4 * seconds)
    holed = system.generator("piano", [0, 1], seconds, like=Like(wav, unknown=[hole])).tokens
    outside = [n for n in range(4 * TOKENS) if not TOKENS <= n < 2 * TOKENS]
    assert torch.equal(holed[0, outside], spoken[0, outside])
    assert not torch.equal(holed[:, TOKENS : 2 * TOKENS], spoken[:, TOKENS : 2 * TOKENS].expand(2, -1))
    half = system.generator("piano", [0], seconds, like=Like(wav, skip_s=seconds / 2)).tokens
    assert torch.equal(half[:, : 2 * TOKENS], spoken[:, 2 * TOKENS : 4 * TOKENS])
    expected = system.lm.extend(
        spoken[:, : 4 * TOKENS], ["piano"], [0], 2 * TOKENS, choice=steered_choice(), guidance=1.5, first=16
    )
    assert torch.equal(half[:, 2 * TOKENS :], expected)


def steered_choice():
    from audiogen.systems.melody_music import STEERED_CHOICE

    return STEERED_CHOICE


@pytest.mark.parametrize("method", ["ditto2", "ditto1"])
def test_melody_is_steered(system, method):
    wishes = [Intensity([(0, -35)]), Melody([Note(0, 1, 67)])]
    seconds = 2 * system.chunk_seconds
    options = SteerOptions(seconds, steps=6, lr=0.2, method=method, baseline_steps=2, decode_steps=1)
    found = steer(system, "slow piano", wishes, options)
    assert found.losses[:, 0].min() < 0.9 * found.losses[0, 0]
    assert found.audio.shape[-1] == round(seconds * system.sample_rate)
    assert bool(found.audio.isfinite().all())
    again = steer(system, "slow piano", wishes, options)
    assert torch.equal(again.audio, found.audio)
    with torch.inference_mode():
        inside = steer(system, "slow piano", wishes, options)
    assert torch.equal(inside.losses, found.losses)


def test_a_text_is_judged_by_the_network(system):
    """By the same noise every time; two judges that are told alike find nothing."""
    generator = system.generator("piano", [0, 1], system.window_seconds)
    latents = torch.randn(2, *generator.start().shape[1:]).requires_grad_()
    found = generator.caption_loss(latents, "flute")
    assert found.shape == (2,)
    assert torch.equal(found, generator.caption_loss(latents, "flute"))
    (gradient,) = torch.autograd.grad(found[0], latents)
    assert bool(gradient[0].any())
    assert not bool(gradient[1].any())
    assert not torch.equal(found, generator.caption_loss(latents, "slow violin in a minor"))
    generator._judges = lambda caption, chunks: [generator.estimate] * 2
    assert not bool(generator.caption_loss(latents, "flute").any())
    steered = steer(system, "piano", [Text("flute")], SteerOptions(steps=5, lr=0.1, restarts=2))
    assert bool((steered.losses.amin(0) < steered.losses[0]).all())


def test_pieces_beyond_a_window_are_refused(system):
    with pytest.raises(ValueError, match="up to"):
        system.generator("piano", [0], 5 * system.chunk_seconds)


@pytest.mark.cuda
def test_steering_on_a_gpu_is_that_on_the_cpu(system):
    wishes = [Intensity([(0, -35)]), Melody([Note(0, 1, 67)]), Structure("AB"), Tempo(200.0), Tilt(-3.0)]
    options = SteerOptions(steps=3, lr=0.1)
    here = steer(system, "slow piano", wishes, options)
    there = steer(system.cuda(), "slow piano", wishes, options)
    assert there.audio.is_cuda
    torch.testing.assert_close(there.losses[0].cpu(), here.losses[0], rtol=1e-2, atol=1e-3)
    assert there.losses.min() < there.losses[0].min()
