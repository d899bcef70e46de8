"""What all acoustic models promise, at a tiny size with random weights."""

import math

import pytest
import torch

from audiogen.report import StageTimer
from audiogen.speech import SpeechOptions
from audiogen.systems.comospeech import CoMoSpeech
from audiogen.systems.prodiff import ProDiff
from audiogen.text.frontend import TextFrontEnd
from audiogen.vocoders.griffin_lim import GriffinLim

SMALL = {
    "speakers": ("a", "b"),
    "default_steps": 2,
    "channels": 16,
    "encoder": {"blocks": 2, "hidden": 24, "kernel_size": 3},
    "denoiser": {"channels": 16, "blocks": 2, "hidden": 24},
}
SYSTEMS = {
    "prodiff": lambda: ProDiff(**SMALL, step_counts=(4, 2, 1), variances={"hidden": 8}),
    "comospeech": lambda: CoMoSpeech(**SMALL, teacher_steps=(8,), student_steps=(2, 1), duration_channels=8),
    "comospeech shifted": lambda: CoMoSpeech(
        **SMALL, teacher_steps=(2,), duration_channels=8, prior="shifted"
    ),
    "comospeech residual": lambda: CoMoSpeech(
        **SMALL, teacher_steps=(2,), duration_channels=8, prior="residual"
    ),
}


@pytest.fixture(scope="module", params=SYSTEMS)
def system(request):
    torch.manual_seed(0)
    model = SYSTEMS[request.param]()
    model.statistics.copy_(torch.tensor([[-5.0, 2.0], [5.3, 0.2], [1.0, 1.5]]))
    torch.nn.init.normal_(model.speaker.weight)
    duration = model.duration if isinstance(model, CoMoSpeech) else model.adaptor.duration
    torch.nn.init.constant_(duration.out.bias, math.log1p(5))  # about five frames a token
    model.vocoder = GriffinLim(model.mel_spec, iterations=1)
    return model.eval()


def speak(system, texts, seeds, speakers=None, **options):
    sentences = [TextFrontEnd()(text)[0] for text in texts]
    speakers = speakers or [0] * len(texts)
    timer = StageTimer()
    return system.synthesize_sentences(sentences, seeds, speakers, SpeechOptions(**options), timer)


TEXTS = ["Hello.", "A much longer sentence than the first one was.", "Press two, then wait."]


def test_an_item_sounds_the_same_in_any_batch(system):
    together = speak(system, TEXTS, [1, 2, 3])
    for i, text in enumerate(TEXTS):
        (alone,) = speak(system, [text], [i + 1])
        assert alone.wav.shape == together[i].wav.shape
        assert torch.allclose(alone.wav, together[i].wav, atol=1e-4)
        assert alone.timings == together[i].timings


def test_the_seed_decides_the_sound_and_nothing_else_does(system):
    first, again, other = (speak(system, TEXTS[:1], [seed])[0].wav for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_speakers_differ(system):
    a, b = speak(system, [TEXTS[1]] * 2, [1, 1], speakers=[0, 1])
    assert a.wav.shape != b.wav.shape or not torch.allclose(a.wav, b.wav)


def test_speed_scales_the_length(system):
    slow, fast = (speak(system, TEXTS[1:2], [1], speed=speed)[0].seconds for speed in (0.5, 2.0))
    assert slow / fast == pytest.approx(4, rel=0.25)


def test_timings_cover_words_in_order_within_the_audio(system):
    (audio,) = speak(system, TEXTS[2:], [1])
    words = [t for t in audio.timings if t.kind == "word"]
    phones = [t for t in audio.timings if t.kind == "phone"]
    assert [t.text.lower() for t in words] == ["press", "two", "then", "wait"]
    assert all(a.end_s <= b.start_s + 1e-9 for a, b in zip(words, words[1:], strict=False))
    assert all(t.end_s > t.start_s for t in phones)
    assert words[-1].end_s <= audio.seconds + system.mel_spec.hop_length / system.sample_rate
    assert words[0].start_s == phones[0].start_s


def test_long_text_equals_its_sentences_spoken_with_their_seeds(system):
    text = "Hello there. Press two, then wait. Goodbye."
    audio = system.synthesize(text, seed=3)
    assert torch.equal(audio.wav, system.synthesize(text, seed=3).wav)
    assert audio.wav[0, 0] == 0
    assert audio.wav[0, -1] == 0
    assert sum(t.kind == "word" for t in audio.timings) == 7


def test_without_a_vocoder_the_error_says_where_to_get_one(system, monkeypatch):
    monkeypatch.setattr(system, "vocoder", None)
    with pytest.raises(ValueError, match=r"audiogen\.load"):
        speak(system, TEXTS[:1], [0])
