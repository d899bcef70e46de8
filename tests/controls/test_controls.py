"""Controls: known answers, masks, gradients, what is heard in the end."""

import math

import numpy as np
import pytest
import torch

from audiogen.controls import (
    Control,
    Dynamics,
    Inpaint,
    Intensity,
    Loop,
    Match,
    Melody,
    Note,
    Onsets,
    Outpaint,
    Sound,
    Structure,
    Tempo,
    Text,
    Tilt,
    combined,
)
from audiogen.controls.sound import FRAME_RATE

RATE = 24000
SECONDS = 6.0


class Frames:
    """A coder whose latents are the samples of a hop, one frame each."""

    sample_rate, latent_rate = RATE, 50.0

    def encode(self, wav):
        hop = RATE // 50
        return torch.nn.functional.pad(wav, (0, -wav.shape[-1] % hop)).unflatten(-1, (-1, hop)).mT

    def decode(self, latents):
        return latents.mT.flatten(1)


def sound_of(wav):
    """A recording as the coder gives it."""
    coder = Frames()
    return Sound(coder.encode(wav), RATE, coder.latent_rate, coder.decode)


def seconds_of(n):
    return torch.arange(n) / RATE


def tune(pitches, seconds=SECONDS, level=0.2):
    """Tones of equal length."""
    t = seconds_of(round(seconds * RATE))
    number = (t / seconds * len(pitches)).long().clamp(max=len(pitches) - 1)
    hz = 440 * 2 ** ((torch.tensor(pitches, dtype=torch.float32)[number] - 69) / 12)
    return level * torch.sin(2 * torch.pi * hz * t)[None]


def notes(pitches, seconds=SECONDS):
    each = seconds / len(pitches)
    return [Note(n * each, (n + 1) * each, pitch) for n, pitch in enumerate(pitches)]


def noise(seconds=SECONDS, seed=0, items=1):
    return 0.1 * torch.randn(items, round(seconds * RATE), generator=torch.Generator().manual_seed(seed))


def clicks(bpm, seconds=SECONDS, first=0.2):
    wav = torch.zeros(1, round(seconds * RATE))
    moments = torch.arange(first, seconds, 60 / bpm)
    for moment in moments:
        start = round(float(moment) * RATE)
        wav[:, start : start + 240] = 0.5 * noise(0.01)[:, : wav.shape[-1] - start] / 0.1
    return wav, moments.tolist()


def error(control, wav):
    return float(control.errors(sound_of(wav))[0])


def test_intensity_is_the_square_of_what_is_missing():
    """A curve of the music itself is met; 6.02 dB louder, its square is left."""
    wav = noise() * torch.linspace(0.2, 1, round(SECONDS * RATE))
    control = Intensity.of(wav, RATE)
    assert error(control, wav) < 1e-4
    assert error(control, 2 * wav) == pytest.approx(20 * math.log10(2) ** 2 * 20, rel=1e-2)
    assert {level for _, level in Intensity.of(torch.zeros(1, RATE), RATE).curve} == {-80}


def test_dynamics_are_a_shape_at_any_level():
    """Minus a correlation: of the smoothed loudness of the music with the curve, by NumPy."""
    wav = noise() * torch.linspace(0.2, 1, round(SECONDS * RATE)) ** 2
    rise = Dynamics([(0, -40), (SECONDS, -20)])
    loudness = [level for _, level in Intensity.of(wav, RATE).curve]
    expected = np.corrcoef(loudness, np.arange(len(loudness)))[0, 1]
    assert error(rise, wav) == pytest.approx(1 - expected, abs=1e-4)
    assert error(rise, 0.1 * wav) == pytest.approx(1 - expected, abs=1e-3)
    assert error(Dynamics([(0, -20), (SECONDS, -40)]), wav) == pytest.approx(1 + expected, abs=1e-4)
    assert error(Dynamics.of(wav, RATE), wav) < 1e-5


def test_the_curve_runs_straight_and_stays_level_outside():
    control = Intensity([(1.0, -40), (3.0, -20), (4.0, None), (5.0, -30)])
    target = control.target(6 * FRAME_RATE)
    at = [float(target[round(s * FRAME_RATE)]) for s in (0, 1, 2, 3, 5.5)]
    assert at == pytest.approx([-40, -40, -30, -20, -30], abs=1e-4)
    cares = control.cares(6 * FRAME_RATE)
    assert not bool(cares[4 * FRAME_RATE : 5 * FRAME_RATE].any())
    assert int(cares.sum()) == 5 * FRAME_RATE


def test_a_melody_is_heard_and_another_is_not():
    pitches = [67, 72, 76, 64]
    wav = tune(pitches)
    assert error(Melody(notes(pitches)), wav) < 8  # frames at the borders hear two notes
    assert error(Melody(notes([p + 12 for p in pitches])), wav) < 8
    assert error(Melody(notes([p + 1 for p in pitches])), wav) > 95
    right, wrong = (Melody(notes([p + k for p in pitches])).losses(sound_of(wav)) for k in (0, 1))
    assert float(right) < 0.5 < 2 < float(wrong)
    assert error(Melody.of(wav, RATE), wav) < 1
    rests = torch.cat((wav, torch.zeros_like(wav)), -1)
    assert max(note.end_s for note in Melody.of(rests, RATE).notes) < SECONDS + 0.2
    with pytest.raises(ValueError, match="has no melody"):
        Melody.of(torch.zeros(1, RATE), RATE)


def test_the_highest_note_leads_and_rests_mean_anything():
    control = Melody([Note(0, 2, 60), Note(1, 2, 67), Note(3, 4, 62)])
    target = control.target(5 * FRAME_RATE)
    assert [int(target[round(s * FRAME_RATE)]) for s in (0.5, 1.5, 2.5, 3.5)] == [0, 7, -1, 2]
    half = tune([62, 60, 61, 62, 61, 61], 6.0)
    assert error(Melody([Note(0, 1, 62), Note(3, 4, 62)]), half) < 8


def test_the_form_that_was_played_fits_best():
    parts = {"A": tune([64] * 4, 1.5) + 0.02 * noise(1.5), "B": 2 * noise(1.5, 1)}
    wav = torch.cat([parts[letter] for letter in "ABBA"], -1)
    errors = {form: error(Structure(form), wav) for form in ("ABBA", "ABAB", "AABB", "AAAA")}
    assert min(errors, key=errors.get) == "ABBA"
    # unlike parts are opposites of each other, cosines -1 where 0 is asked for
    assert errors["ABBA"] == pytest.approx(0.5, abs=0.15)
    assert error(Structure("AB.."), wav) == pytest.approx(error(Structure("ABBA"), wav), abs=0.3)
    assert error(Structure.of(wav, RATE), wav) < 1e-6


def test_a_dot_is_any_part():
    wanted, counts = Structure("A.BA").target(8)
    assert counts[:2, :2].all()
    assert not counts[2:4].any()
    assert wanted[0, 7] == 1
    assert wanted[0, 5] == 0


def test_beats_at_the_tempo_are_found_whatever_their_phase():
    for first in (0.1, 0.33):
        wav, _ = clicks(120, first=first)
        errors = {bpm: error(Tempo(bpm), wav) for bpm in (60, 90, 110, 120, 130, 180, 240)}
        assert min(errors, key=errors.get) == 120
        assert errors[120] < 0.5
        assert errors[90] > 0.8


def test_onsets_at_their_moments():
    wav, moments = clicks(100)
    assert error(Onsets(moments), wav) < 0.5
    assert error(Onsets([moment + 0.25 for moment in moments[:-1]]), wav) > 0.8


def test_tilt_is_a_difference_of_slopes():
    assert error(Tilt(-4.0), noise()) == pytest.approx(4.0, abs=0.4)
    assert float(Tilt(-4.0).losses(sound_of(noise()))) == pytest.approx(16, abs=3)


def test_a_recording_matches_itself_and_less_another():
    a, b = noise(), tune([60, 64, 67])
    assert error(Match(a, RATE), a) < 1e-6
    assert error(Match(a, RATE), b) > 100
    assert error(Match(a, RATE), 2 * a) == pytest.approx(6.02**2 / 2, rel=0.1)  # of means, not of deviations
    with pytest.raises(ValueError, match="resample"):
        Match(a, 16000).errors(sound_of(a))


def test_holes_do_not_count_and_what_is_around_them_is_kept():
    """A coder of samples: the error is the mean square over the rest, summed to the hop's mean."""
    known, made = noise(), noise(seed=1)
    control = Inpaint(known, RATE, [(2.0, 4.0)]).bound(Frames())
    mixed = known.clone()
    mixed[:, 2 * RATE : 4 * RATE] = made[:, 2 * RATE : 4 * RATE]
    assert error(control, mixed) == 0
    outside = torch.cat((known - made).split(2 * RATE, -1)[::2], -1)
    assert error(control, made) == pytest.approx(float(outside.square().mean()), rel=1e-4)
    heard = control.finish(made, RATE)
    fade = round(0.03 * RATE) + 1
    assert torch.equal(heard[:, : 2 * RATE - fade], known[:, : 2 * RATE - fade])
    assert torch.equal(heard[:, 4 * RATE + fade :], known[:, 4 * RATE + fade :])
    assert torch.equal(heard[:, 2 * RATE : 4 * RATE], made[:, 2 * RATE : 4 * RATE])
    assert torch.equal(control.finish(known, RATE), known)


def test_music_goes_on_from_a_recording():
    before, new = noise(3.0), noise(4.0, 1)
    control = Outpaint(before, RATE, overlap_s=1.0).bound(Frames())
    going = torch.cat((before[:, -RATE:], new), -1)
    assert error(control, going) == 0
    assert error(control, new) > 1e-3
    heard = control.finish(going, RATE)
    torch.testing.assert_close(heard, torch.cat((before, new), -1))
    assert control.at(RATE // 2).shape[-1] == 3 * RATE // 2


def test_a_loop_has_no_seam():
    """Where the end has become the start, repeating it is going on; a piece that repeats has no error."""
    period = noise(5.0)
    piece = torch.cat((period, period[:, :RATE]), -1)
    control = Loop(overlap_s=1.0)
    assert error(control, piece) == 0
    torch.testing.assert_close(control.finish(piece, RATE), period)
    other = noise(6.0, 3)
    assert error(control, other) == pytest.approx(2 * 0.01, rel=0.05)
    looped = control.finish(other, RATE)
    assert looped.shape[-1] == 5 * RATE
    # its first sample goes on where its last one stops
    assert float((looped[:, 0] - other[:, 5 * RATE]).abs()) < 1e-3
    with pytest.raises(ValueError, match="twice as long"):
        Loop(overlap_s=4.0).errors(sound_of(piece))


class Letters:
    """A joint space of two dimensions: loudness of the left and right half of the sound."""

    def text(self, caption):
        return torch.tensor([1.0, 0.0]) if caption == "early" else torch.tensor([0.0, 1.0])

    def sound(self, wav, sample_rate):
        return wav.square().unflatten(-1, (2, -1)).mean(-1)


def test_a_text_is_as_far_as_its_vectors_are():
    wav = noise()
    wav[:, wav.shape[-1] // 2 :] = 0
    early, late = (Text(caption, Letters()).bound(Frames()) for caption in ("early", "late"))
    assert error(early, wav) == pytest.approx(0, abs=1e-6)
    assert error(late, wav) == pytest.approx(1)
    with pytest.raises(ValueError, match="give the text an embedding"):
        Text("early").bound(Frames())


MASKED = {
    "dynamics": lambda ignore: Dynamics([(0, -30), (6, -20)], ignore=ignore),
    "intensity": lambda ignore: Intensity([(0, -30), (6, -20)], ignore=ignore),
    "melody": lambda ignore: Melody([Note(0, 6, 67)], ignore=ignore),
    "structure": lambda ignore: Structure("ABCA", ignore=ignore),
    "tilt": lambda ignore: Tilt(-3.0, ignore=ignore),
    "tempo": lambda ignore: Tempo(100.0, ignore=ignore),
    "onsets": lambda ignore: Onsets([0.5, 3.0, 5.0], ignore=ignore),
    "match": lambda ignore: Match(noise(2.0, 5), RATE, ignore=ignore),
    "loop": lambda ignore: Loop(overlap_s=3.0, ignore=ignore),
    "inpaint": lambda ignore: Inpaint(noise(6.0, 6), RATE, [(5.0, 5.5)], ignore=ignore).bound(Frames()),
    "outpaint": lambda ignore: Outpaint(noise(6.0, 7), RATE, overlap_s=5.0, ignore=ignore).bound(Frames()),
}


@pytest.mark.parametrize("name", MASKED)
def test_nothing_is_wished_where_it_is_ignored(name):
    """Other sound in the middle of an ignored span changes neither loss nor error; else it does."""
    wav, other = noise(), noise()
    other[:, round(2.0 * RATE) : round(3.0 * RATE)] = 3 * tune([61, 70], 1.0)
    for control, same in ((MASKED[name]([(1.2, 3.8)]), True), (MASKED[name]([]), False)):
        for measure in (control.errors, control.losses):
            a, b = (float(measure(sound_of(w))[0]) for w in (wav, other))
            if same:
                assert a == pytest.approx(b, rel=1e-3, abs=1e-4)
            elif name != "melody" or measure == control.losses:
                assert a != pytest.approx(b, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("name", MASKED)
def test_gradients_are_those_of_finite_differences(name):
    """Of the loss along random directions, in float64."""
    generator = torch.Generator().manual_seed(1)
    control = MASKED[name]([])
    wav = noise().double() + 0.2 * tune([67, 64, 72, 71]).double()
    way = 0.1 * torch.randn(wav.shape, generator=generator, dtype=torch.float64)

    def loss(w):
        return control.losses(sound_of(w))[0]

    wav.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(wav), wav)
    with torch.no_grad():
        h = 1e-6  # features have kinks
        expected = (loss(wav + h * way) - loss(wav - h * way)) / (2 * h)
    assert float((gradient * way).sum()) == pytest.approx(float(expected), rel=2e-2, abs=1e-6)
    assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("name", MASKED)
def test_silence_has_finite_gradients_and_items_do_not_mix(name):
    control = MASKED[name]([])
    wav = torch.cat((torch.zeros(1, round(SECONDS * RATE)), noise())).requires_grad_()
    losses = control.losses(sound_of(wav))
    (gradient,) = torch.autograd.grad(losses[0], wav)
    assert bool(gradient.isfinite().all())
    assert not bool(gradient[1].any())
    torch.testing.assert_close(control.losses(sound_of(wav[1:].detach()))[0], losses[1].detach())


def test_losses_are_weighed_and_summed():
    sound = sound_of(noise())
    intensity, tilt = Intensity([(0, -30)], weight=2.0), Tilt(-3.0, weight=0.5)
    expected = 2 / 40 * intensity.losses(sound) + 0.5 / 4 * tilt.losses(sound)
    torch.testing.assert_close(combined([intensity, tilt], sound), expected)
    with pytest.raises(ValueError, match="one control at least"):
        combined([], sound)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Intensity([]), "rising seconds"),
        (lambda: Intensity([(1, -20), (1, -30)]), "rising seconds"),
        (lambda: Intensity([(0, None)]), "no level at all"),
        (lambda: Intensity([(0, 3.0)]), "beyond -80 to 0 dB"),
        (lambda: Dynamics([(0, -20), (1, -20)]), "stay level"),
        (lambda: Intensity([(0, -20)], weight=0), "must be positive"),
        (lambda: Intensity([(0, -20)], ignore=[(3, 2)]), "3s:2s of intensity"),
        (lambda: Melody([]), "no notes"),
        (lambda: Melody([Note(1, 1, 60)]), "end after"),
        (lambda: Structure("A"), "two letters"),
        (lambda: Structure("A1"), "two letters"),
        (lambda: Tempo(500), "30 to 300"),
        (lambda: Onsets([-1.0]), "0 s or later"),
        (lambda: Tilt(math.nan), "number of dB"),
        (lambda: Inpaint(noise(1.0), RATE, []), "needs a hole"),
        (lambda: Outpaint(noise(1.0), RATE, overlap_s=2.0), "fit the recording of 1.00 s"),
        (lambda: Loop(overlap_s=0.0), "must be positive"),
        (lambda: Text(" "), "is empty"),
        (lambda: Text("piano", ignore=[(0, 1)]), "whole piece"),
    ],
)
def test_wishes_that_make_no_sense_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_every_control_says_what_its_error_is():
    kinds = Control.__subclasses__()
    kinds += [kind for parent in kinds for kind in parent.__subclasses__()]
    ours = [kind for kind in kinds if kind.__module__.startswith("audiogen.")]
    named = [kind for kind in ours if hasattr(kind, "name")]
    assert len({kind.name for kind in named}) == len(named) == 12
    assert all(kind.unit and kind.enough >= 0 for kind in named)
