import pytest
import torch
from fake_system import SAMPLES_PER_TOKEN, FakeSpeech, front_end

from audiogen import speech
from audiogen.audio import Audio, Timing
from audiogen.report import StageTimer
from audiogen.speech import SpeechItem, SpeechOptions, join, speak, speaker_index, stable_seed

OPTIONS = SpeechOptions()


def pieces_of(system, texts, batch_size=8, options=OPTIONS):
    items = [SpeechItem(f"id{k}", text, seed=7) for k, text in enumerate(texts)]
    return list(speak(system, items, options, front_end=front_end, batch_size=batch_size))


def spoken(system, items, batch_size):
    pieces = list(speak(system, items, OPTIONS, front_end=front_end, batch_size=batch_size))
    wanted = range(len(items))
    return [join([piece.audio for piece in pieces if piece.item == k]).wav for k in wanted]


def test_seed_of_an_item_never_changes():
    """Audio made today can be made again next year, on any machine."""
    assert stable_seed(0, "0") == 3597197855972314548
    assert len({stable_seed(0, "0"), stable_seed(0, "1"), stable_seed(1, "0"), stable_seed("0", 0)}) == 4


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_item_sounds_the_same_alone_and_in_any_batch(batch_size):
    items = [SpeechItem("a", "one/two words/three"), SpeechItem("b", "four"), SpeechItem("c", "five/six")]
    together = spoken(FakeSpeech(), items, batch_size)
    for item, wav in zip(items, together, strict=True):
        assert torch.equal(wav, spoken(FakeSpeech(), [item], 1)[0])


def test_sentences_of_neighbouring_items_share_batches_in_order():
    system = FakeSpeech()
    pieces = pieces_of(system, ["a/b/c", "d", "e/f/g"], batch_size=4)
    assert system.calls == [4, 3]
    assert [(piece.item, piece.last, piece.batch) for piece in pieces] == [
        (0, False, 0), (0, False, 0), (0, True, 0), (1, True, 0), (2, False, 1), (2, False, 1), (2, True, 1),
    ]  # fmt: skip


def test_items_are_read_only_as_they_are_needed():
    """Memory does not grow with the manifest: after the first piece no more than a batch has been read."""
    read = []

    def items():
        for k in range(100):
            read.append(k)
            yield SpeechItem(str(k), "text")

    next(speak(FakeSpeech(), items(), OPTIONS, front_end=front_end, batch_size=4))
    assert read == [0, 1, 2, 3]


def test_text_that_cannot_be_spoken_is_that_items_error_alone():
    pieces = pieces_of(FakeSpeech(), ["one", "!emoji", "two"])
    assert [str(piece.error) for piece in pieces if piece.error] == ["nothing to say in '!emoji'"]
    assert [piece.item for piece in pieces if piece.audio] == [0, 2]


def test_failing_batch_loses_only_the_item_at_fault():
    system = FakeSpeech()
    pieces = pieces_of(system, ["one", "good/poison/never heard", "two"])
    assert system.calls == [5, 1, 1, 1, 1, 1]
    assert [(piece.item, piece.last) for piece in pieces] == [(0, True), (1, False), (1, True), (2, True)]
    assert str(pieces[2].error) == "poisoned"


def test_nan_from_the_model_is_an_error_and_not_audio():
    pieces = pieces_of(FakeSpeech(), ["nan", "fine"])
    assert "NaN" in str(pieces[0].error)
    assert pieces[1].audio is not None


def test_joins_have_no_clicks():
    """A cosine starts at full height; the fades bring every join down to the slope of the signal itself."""
    wav = join([piece.audio for piece in pieces_of(FakeSpeech(), ["abc/defgh/ij"])]).wav
    assert wav[0, 0] == 0
    assert wav[0, -1] == 0
    slope = 0.5 * 2 * torch.pi * 500 / 16000 + 0.5 / 80
    assert wav.diff().abs().max() < slope


def test_pause_is_exact_silence():
    first, second = pieces_of(FakeSpeech(), ["abc</de"])
    silence = first.audio.wav[:, 4 * SAMPLES_PER_TOKEN :]
    assert silence.shape == (1, 8000)
    assert not silence.any()
    assert second.audio.wav.shape == (1, 3 * SAMPLES_PER_TOKEN)


def test_pause_before_the_first_word_needs_no_model():
    system = FakeSpeech()
    first, _ = pieces_of(system, ["</ab"])
    assert system.calls == [1]
    assert torch.equal(first.audio.wav, torch.zeros(1, 8000))


def test_sentence_gap_is_longer_than_clause_gap():
    assert speech.SENTENCE_GAP_S > speech.CLAUSE_GAP_S > 0
    first, _ = pieces_of(FakeSpeech(), ["ab/cd"])
    assert first.audio.wav.shape[1] == 3 * SAMPLES_PER_TOKEN + round(16000 * speech.SENTENCE_GAP_S)


def test_dropped_characters_are_reported():
    assert pieces_of(FakeSpeech(), ["ab~"])[0].dropped == ("~",)


def test_time_of_a_batch_is_shared_by_length_of_audio(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(StageTimer, "_now", lambda self: float(next(clock)))
    short, long = pieces_of(FakeSpeech(), ["a", "abc"])  # 2 and 4 tokens
    # The call spans five ticks, one of them the vocoder's.
    assert short.stages["acoustic"] + long.stages["acoustic"] == pytest.approx(4)
    assert short.stages["vocoder"] + long.stages["vocoder"] == pytest.approx(1)
    assert long.stages["vocoder"] / short.stages["vocoder"] == pytest.approx(2)
    assert set(short.stages) == {"text", "acoustic", "vocoder"}


def test_join_shifts_timings():
    pieces = [Audio(torch.zeros(1, 16000), 16000, (Timing("a", 0.5, 1.0, "word"),)) for _ in range(2)]
    assert [timing.start_s for timing in join(pieces).timings] == [0.5, 1.5]


@pytest.mark.parametrize(("speaker", "index"), [(0, 0), ("1", 1), ("bert", 1), ("anna", 0)])
def test_speaker_by_name_or_number(speaker, index):
    assert speaker_index(FakeSpeech(), speaker) == index


@pytest.mark.parametrize("speaker", ["carl", 2, "-1", -1])
def test_unknown_speaker_names_the_known_ones(speaker):
    with pytest.raises(ValueError, match="anna, bert"):
        speaker_index(FakeSpeech(), speaker)


def test_model_without_names_has_speaker_zero():
    assert speaker_index(FakeSpeech(speakers=()), "0") == 0
    with pytest.raises(ValueError, match="unknown speaker 1"):
        speaker_index(FakeSpeech(speakers=()), 1)


@pytest.mark.parametrize(
    "wrong", [{"num_steps": 0}, {"speed": 0}, {"speed": 9}, {"pitch": 99}, {"energy": -99}]
)
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="use"):
        SpeechOptions(**wrong)


def test_unknown_number_of_steps_names_the_known_ones():
    with pytest.raises(ValueError, match="1, 2, 4"):
        speech.check_steps(FakeSpeech(), 3)


def test_synthesize_speaks_one_text_with_the_real_front_end():
    audio = speech.synthesize(FakeSpeech(), "Good morning. How are you?", SpeechOptions(num_steps=4), seed=3)
    again = speech.synthesize(FakeSpeech(), "Good morning. How are you?", SpeechOptions(num_steps=4), seed=3)
    assert audio.wav.shape[0] == 1
    assert torch.equal(audio.wav, again.wav)
    assert [timing.text for timing in audio.timings if timing.kind == "word"][:2] == ["Good", "morning"]


def test_synthesize_raises_the_texts_error():
    with pytest.raises(ValueError, match="nothing to say"):
        speech.synthesize(FakeSpeech(), "...", OPTIONS)
