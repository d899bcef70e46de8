"""The demo's work is that of the command line: same words and seed, same sound."""

import fake_content
import fake_enhancer
import fake_music
import fake_steering
import gradio as gr
import pytest
import torch
from fake_system import FakeSpeech, front_end, register
from test_stablevc import embed, small

from audiogen import hub, weights
from audiogen.audio import Audio, read_audio
from audiogen.conversion import ConvertOptions, convert_audio
from audiogen.demo import compose, convert, enhance, models, speak, steer
from audiogen.demo.account import Account
from audiogen.demo.curves import points, shape
from audiogen.demo.errors import readable
from audiogen.demo.models import COMPOSE, CONVERT, ENHANCE, SPEAK, Shelf
from audiogen.enhancement import EnhanceOptions, enhance_audio
from audiogen.music import MusicOptions, generate
from audiogen.speech import SpeechItem, SpeechOptions, join, stable_seed
from audiogen.speech import speak as speak_all

TEXT = "one two/three~ four"


@pytest.fixture(autouse=True)
def installed(tmp_path, monkeypatch):
    """A folder of models, a fake for each task."""
    register(monkeypatch)
    fake_enhancer.register(monkeypatch)
    fake_content.register(monkeypatch)
    fake_music.register(monkeypatch)
    monkeypatch.setitem(models.TASKS, "fake", SPEAK)
    monkeypatch.setitem(models.TASKS, "fakeenhancer", ENHANCE)
    monkeypatch.setattr("audiogen.systems.stablevc.speaker_embedding", embed)
    monkeypatch.setattr(speak, "TextFrontEnd", lambda language: FrontEnd())
    monkeypatch.setattr(models, "warm_up", lambda system: None)
    monkeypatch.chdir(tmp_path)
    hub.save(fake_content.FakeContent(12), "content.safetensors")
    made = {
        "voice": FakeSpeech(),
        "cleaner": fake_enhancer.FakeEnhancer(),
        "changer": small(content="content.safetensors", vocoder="griffin-lim"),
        "band": fake_music.music_system(),
    }
    for name, system in made.items():
        (tmp_path / "models" / name).mkdir(parents=True)
        hub.save(system, tmp_path / "models" / name / weights.WEIGHTS)
    monkeypatch.setattr(weights, "MODEL_FOLDERS", (tmp_path / "models",))


class FrontEnd:
    """The fake front end, whole and sentence by sentence."""

    def __call__(self, text):
        return front_end(text)

    sentences = __call__


@pytest.fixture
def shelf():
    return Shelf("cpu")


def test_models_stand_where_they_belong(shelf):
    found = {task: shelf.names(task) for task in (SPEAK, ENHANCE, CONVERT, COMPOSE)}
    assert found == {SPEAK: ["voice"], ENHANCE: ["cleaner"], CONVERT: ["changer"], COMPOSE: ["band"]}


def test_a_given_path_comes_first_and_is_named_by_its_end(shelf, tmp_path):
    hub.save(FakeSpeech(), tmp_path / "mine.safetensors")
    path = str(tmp_path / "mine.safetensors")
    assert Shelf("cpu", {SPEAK: [path]}).choices(SPEAK) == [("mine", path), ("voice", "voice")]
    assert models.label("models/voice/model.safetensors") == "voice"
    with pytest.raises(weights.UnknownModel, match="nowhere"):
        Shelf("cpu", {COMPOSE: ["nowhere.safetensors"]})
    with pytest.raises(weights.UnknownModel, match="of system 'fake'; to compose, give one of melody_music"):
        Shelf("cpu", {COMPOSE: [path]})


def test_a_model_is_loaded_once_and_says_so(shelf):
    told = []
    first = shelf.get(SPEAK, "voice", lambda share, doing: told.append((share, doing)))
    assert shelf.get(SPEAK, "voice", lambda *_: told.append("again")) is first
    assert [doing.split(" (")[0] for _, doing in told] == ["loading voice", "first use of voice"]
    shares = [share for share, _ in told]
    assert shares == sorted(shares)


def test_a_model_of_another_task_is_refused(shelf):
    with pytest.raises(weights.UnknownModel, match="'voice' cannot compose"):
        shelf.get(COMPOSE, "voice")


def test_a_broken_file_hides_no_other_model(shelf, tmp_path):
    (tmp_path / "models" / "broken").mkdir()
    (tmp_path / "models" / "broken" / weights.WEIGHTS).write_bytes(b"none")
    assert shelf.names(SPEAK) == ["voice"]


def expected_speech(seed=3, **options):
    pieces = speak_all(
        FakeSpeech(), [SpeechItem("0", TEXT, seed, "bert")], SpeechOptions(**options), front_end=front_end
    )
    return join([piece.audio for piece in pieces])


def test_streamed_speech_is_that_of_the_command_line(shelf):
    words = speak.Words(TEXT, "voice", "bert", 4, 3, 1.25)
    states = [
        (playback.seconds, account, last, transcript.marks())
        for playback, transcript, account, last in speak.stream(shelf, words)
    ]
    expected = expected_speech(num_steps=4, speed=1.25)
    *_, (playback, _, _, _) = speak.stream(shelf, words)
    assert torch.allclose(playback.wav, expected.wav, atol=1e-6)
    seconds = [state[0] for state in states]
    assert len(seconds) > 3
    assert seconds == sorted(seconds)
    assert [state[2] for state in states] == [False] * (len(states) - 1) + [True]
    account = states[-1][1]
    assert account.audio_s == pytest.approx(expected.seconds)
    assert dict(account.facts) == {"model": "voice", "speaker": "bert", "steps": 4, "seed": 3}
    assert 0 < account.first_s < 60
    assert states[0][1].first_s == account.first_s


def test_both_sides_of_a_comparison_come_of_the_same_seed(shelf):
    """The fake's sound depends on the seed alone, so that the two are the same."""
    results, line = speak.compare(shelf, speak.Words(TEXT, "voice", "bert", None, 3), (1, 4))
    assert [dict(account.facts)["steps"] for _, account in results] == [1, 4]
    for audio, _ in results:
        assert torch.allclose(audio.wav, expected_speech().wav, atol=1e-6)
    assert line == "Same seed, 1 and 4 steps: their spectra are 0.00 dB apart."


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"text": "!"}, "nothing to say"),
        ({"text": "a", "steps": 3}, "3 steps; use one of 1, 2, 4"),
        ({"text": "a", "speaker": "zoe"}, "zoe"),
        ({"text": "a", "speed": 9.0}, "speed 9.0 is out of range"),
        ({"text": "a" * 2001}, "2001 characters.*audiogen tts"),
    ],
)
def test_what_cannot_be_said_is_told_with_a_remedy(shelf, words, message):
    with pytest.raises(ValueError, match=message):
        list(speak.stream(shelf, speak.Words(model="voice", **words)))


def test_step_counts_of_hyper_parameters():
    assert speak.step_counts({"step_counts": [4, 2, 1]}) == [1, 2, 4]
    assert speak.step_counts({"teacher_steps": [50, 10], "student_steps": [1]}) == [1, 10, 50]


def test_enhancing_is_that_of_the_command_line(shelf, tmp_path):
    noisy = Audio(0.2 * torch.randn(2, 9000, generator=torch.manual_seed(0)), 8000)
    noisy.save(tmp_path / "noisy.wav")
    before, after, account = enhance.enhance(
        shelf, str(tmp_path / "noisy.wav"), "cleaner", EnhanceOptions("fast"), 1
    )
    assert torch.equal(before.wav, read_audio(tmp_path / "noisy.wav"))
    expected = enhance_audio(fake_enhancer.FakeEnhancer(), before, EnhanceOptions("fast"), seed=1)
    assert torch.allclose(after.wav, expected.wav, atol=1e-6)
    assert account.audio_s == pytest.approx(before.seconds)
    assert dict(account.facts)["evaluations"] == 2


def test_noise_of_an_example_lies_as_far_below_the_speech_as_asked():
    speech = Audio(0.05 * torch.randn(1, 32000, generator=torch.manual_seed(5)), 16000)
    for level in (10.0, 3.0, -5.0):
        noise = enhance.noisy(speech, level).wav - speech.wav
        ratio = speech.wav.square().mean() / noise.square().mean()
        assert float(10 * ratio.log10()) == pytest.approx(level, abs=1e-3)
    loud = enhance.noisy(Audio(20 * speech.wav, 16000), 0.0)
    assert float(loud.wav.abs().max()) <= 0.9 + 1e-6


def test_an_example_is_made_once(shelf, tmp_path, monkeypatch):
    monkeypatch.setattr(enhance, "folder", lambda: tmp_path)
    path = enhance.example(shelf, 3.0)
    stamp = path.stat().st_mtime_ns
    assert enhance.example(shelf, 3.0) == path
    assert path.stat().st_mtime_ns == stamp
    assert read_audio(path).shape[-1] > 1000


def test_qualities_that_cost_the_same_are_no_choice():
    system = fake_enhancer.FakeEnhancer()
    assert [name for _, name in enhance.qualities(system)] == ["fast", "balanced", "best"]
    system.presets = dict.fromkeys(system.presets, 0)
    assert enhance.qualities(system) == [("balanced, 1 evaluation", "balanced")]


def test_converting_is_that_of_the_command_line(shelf, tmp_path, monkeypatch):
    monkeypatch.setattr(convert, "folder", lambda: tmp_path)
    monkeypatch.setattr(convert, "SAID", TEXT)
    monkeypatch.setattr(convert, "REFERENCE", TEXT + TEXT)
    said, voice = convert.examples(shelf)
    options = ConvertOptions(2, keep_duration=True)
    before, after, account = convert.convert(shelf, str(said), str(voice), "changer", options, 5)
    system = hub.load("changer")
    known = system.voice([Audio(read_audio(voice), 16000)])
    expected = convert_audio(system, before, known, options=options, seed=5)
    assert torch.allclose(after.wav, expected.wav, atol=1e-5)
    assert after.wav.shape == before.wav.shape
    assert dict(account.facts)["evaluations"] == 2


def test_music_is_that_of_the_command_line(shelf):
    options = MusicOptions(2, top_p=0.95)
    states = list(compose.compose(shelf, "slow piano zither", "band", options, 1.0, 4))
    playback, account = states[-1]
    system = hub.load("band")
    expected = generate(system, "slow piano zither", 1.0, [stable_seed(4, "0")], options)
    assert torch.allclose(playback.wav, expected[0], atol=1e-6)
    assert account.audio_s == pytest.approx(1.0)
    assert dict(account.facts)["unknown to this model"] == "zither"
    with pytest.raises(ValueError, match="no words"):
        next(compose.compose(shelf, " ", "band", options, 1.0, 4))


def test_steering_is_told_the_wish_and_its_errors_are_shown(shelf):
    wish = steer.Wish("slow piano", points(shape("rising"), 2.0, -45.0, -10.0), 20, 7)
    outcome, account = steer.steered(shelf, fake_steering.steer, "band", wish)
    system, told = fake_steering.CALLS[-1]
    assert system is shelf.get(COMPOSE, "band")
    assert told == wish
    assert wish.seconds == 2.0
    assert dict(account.facts)["loudness off by"] == "9.0 dB before, 1.5 dB after"
    thirds = outcome.after.wav.split(outcome.after.wav.shape[-1] // 3, dim=-1)
    levels = [float(20 * third.square().mean().sqrt().log10()) for third in thirds[:3]]
    assert levels == sorted(levels)
    assert dict(account.facts)["ended by"] == "steps"
    _, account = steer.steered(shelf, fake_steering.steer, "band", wish, cancelled=lambda: True)
    assert dict(account.facts)["ended by"] == "cancelled"
    with pytest.raises(ValueError, match="no words"):
        steer.Wish("", wish.intensity)


def test_figures_are_the_ratios_they_name():
    """Compute over audio, and its inverse; of no audio there is none."""
    assert dict(Account(4.0, 0.5).figures) == {
        "audio": "4.00 s",
        "made in": "500 ms",
        "RTF": "0.125 (8.0x real time)",
    }
    slow = dict(Account(2.0, 50.0, 1.5, {"seed": 7}).figures)
    assert slow["RTF"] == "25.000 (0.04x real time)"
    assert slow["first audio after"] == "1.50 s"
    assert slow["seed"] == "7"
    assert "RTF" not in dict(Account(0.0, 1.0).figures)
    assert "<b>&lt;i&gt;</b>" in Account(1.0, 1.0, None, {"words": "<i>"}).html()


def test_errors_are_read_by_people():
    @readable
    def fail(error):
        yield 1
        raise error

    for error, message in (
        (ValueError("steps 0 is none"), "steps 0 is none"),
        (FileNotFoundError("no such file"), "no such file"),
        (KeyError("oops"), "KeyError: 'oops'"),
    ):
        work = fail(error)
        assert next(work) == 1
        with pytest.raises(gr.Error) as raised:
            next(work)
        assert raised.value.message == message
