"""Speech in chunks: the same sound as at once, early, bounded, and no more work than was asked for."""

import gc
import itertools
import math
import weakref

import pytest
import torch
from fake_system import SAMPLES_PER_FRAME, FakeSpeech, front_end

from audiogen.audio import Audio, Timing
from audiogen.report import PlayOut, StageTimer, stream_totals
from audiogen.spectral import MelSpec
from audiogen.speech import SpeechItem, SpeechOptions, fade_ends, join, speak
from audiogen.speech_stream import fade_chunks, speak_in_chunks
from audiogen.streaming import chunk_sizes, decode_chunks
from audiogen.systems.prodiff import ProDiff
from audiogen.systems.vocoder import Vocoder
from audiogen.text.frontend import TextFrontEnd
from audiogen.vocoders.griffin_lim import GriffinLim
from audiogen.vocoders.vocos import Vocos

TEXT = "Hello there, my friend. [pause:0.1s] Press two, then wait. Goodbye!"
SIZES = {"growing": chunk_sizes, "ones": lambda: itertools.repeat(1), "sevens": lambda: itertools.repeat(7)}


def tiny_vocos(**options):
    torch.manual_seed(1)
    return Vocos(MelSpec(), channels=8, hidden=16, blocks=2, **options).eval()


VOCODERS = {
    "causal": lambda: tiny_vocos(causal=True),
    "centred": tiny_vocos,
    "short window": lambda: tiny_vocos(n_fft=512),
    "refined": lambda: tiny_vocos(refinements=1),
    "causal source": lambda: tiny_vocos(causal=True, source=True),
    "Griffin-Lim": lambda: GriffinLim(MelSpec(), iterations=1),
}


@pytest.fixture(scope="module")
def voice():
    torch.manual_seed(0)
    model = ProDiff(
        step_counts=(2, 1),
        default_steps=2,
        channels=16,
        encoder={"blocks": 1, "hidden": 16, "kernel_size": 3},
        variances={"hidden": 8},
        denoiser={"channels": 16, "blocks": 1, "hidden": 16},
    )
    model.statistics.copy_(torch.tensor([[-5.0, 2.0], [5.3, 0.2], [1.0, 1.5]]))
    torch.nn.init.constant_(model.adaptor.duration.out.bias, math.log1p(5))  # about five frames a token
    return model.eval()


def fake_chunks(system, text):
    return speak_in_chunks(system, SpeechItem("0", text), SpeechOptions(), front_end=front_end)


def fake_whole(text):
    pieces = speak(FakeSpeech(), [SpeechItem("0", text)], SpeechOptions(), front_end=front_end)
    return join([piece.audio for piece in pieces])


def test_sizes_grow_to_the_largest():
    assert list(itertools.islice(chunk_sizes(), 6)) == [8, 16, 32, 64, 64, 64]
    assert list(itertools.islice(chunk_sizes(3, 7), 4)) == [3, 6, 7, 7]
    for wrong in ((0, 4), (9, 8)):
        with pytest.raises(ValueError, match="1 <= first <= largest"):
            chunk_sizes(*wrong)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("vocoder", VOCODERS)
@torch.inference_mode()
def test_joined_chunks_are_the_whole(vocoder, sizes):
    decoder = VOCODERS[vocoder]()
    for frames in (4, 40, 101):
        mel = torch.randn(2, 80, frames, generator=torch.Generator().manual_seed(frames))
        chunks = list(decode_chunks(decoder, mel, SIZES[sizes]()))
        assert [last for _, last in chunks] == [False] * (len(chunks) - 1) + [True]
        joined = torch.cat([audio for audio, _ in chunks], dim=-1)
        assert torch.allclose(joined, decoder.decode(mel), atol=1e-4)


@torch.inference_mode()
def test_a_chunk_holds_the_frames_it_was_asked_for():
    """The first waits for the look-ahead; less than half a chunk at the end is no chunk of its own."""
    decoder = tiny_vocos()
    mel = torch.randn(1, 80, decoder.lookahead + 1 + 8 + 16 + 5)
    lengths = [audio.shape[-1] // 256 for audio, _ in decode_chunks(decoder, mel, chunk_sizes())]
    assert lengths == [8, 16 + 5 + decoder.lookahead]
    lengths = [audio.shape[-1] // 256 for audio, _ in decode_chunks(decoder, mel, itertools.repeat(8))]
    assert lengths == [8, 8, 8, 5 + decoder.lookahead]


@pytest.mark.parametrize("vocoder", ["causal", "centred", "Griffin-Lim"])
def test_a_streamed_text_sounds_as_it_does_at_once(voice, vocoder):
    voice.vocoder = VOCODERS[vocoder]()
    whole = voice.synthesize(TEXT, num_steps=2, seed=3)
    chunks = list(voice.stream(TEXT, num_steps=2, seed=3))
    joined = join(chunks)
    assert len(chunks) >= (3 if vocoder == "Griffin-Lim" else 6)
    assert joined.wav.shape == whole.wav.shape
    assert torch.allclose(joined.wav, whole.wav, atol=1e-4)
    assert [t.text for t in joined.timings] == [t.text for t in whole.timings]
    for ours, theirs in zip(joined.timings, whole.timings, strict=True):
        assert (ours.start_s, ours.end_s) == pytest.approx((theirs.start_s, theirs.end_s))


def test_a_vocoder_system_streams_as_its_generator_does(voice):
    torch.manual_seed(2)
    system = Vocoder(channels=8, hidden=16, blocks=2, causal=True, discriminator_channels=2).eval()
    assert (system.lookahead, system.lookahead_ms) == (1, pytest.approx(16.0))
    voice.vocoder = system
    whole = voice.synthesize("Good morning.", seed=1)
    assert torch.allclose(join(list(voice.stream("Good morning.", seed=1))).wav, whole.wav, atol=1e-4)


def test_wrong_options_and_texts_are_refused(voice):
    with pytest.raises(ValueError, match="speed 9"):
        voice.stream("Hello.", speed=9)
    with pytest.raises(ValueError, match="1, 2"):
        voice.stream("Hello.", num_steps=3)
    voice.vocoder = None
    with pytest.raises(ValueError, match="nothing to say"):
        next(voice.stream("..."))
    with pytest.raises(ValueError, match=r"audiogen\.load"):
        next(voice.stream("Hello."))


@pytest.mark.parametrize("text", ["ab", "abc/defgh/ij", "</abc</de", "a b c d e f g h i j k l/m"])
def test_fades_gaps_and_timings_are_those_of_whole_sentences(text):
    pieces = list(fake_chunks(FakeSpeech(), text))
    joined, whole = join([piece.audio for piece in pieces]), fake_whole(text)
    assert torch.equal(joined.wav, whole.wav)
    assert [t.text for t in joined.timings] == [t.text for t in whole.timings]
    assert [piece.last for piece in pieces] == [False] * (len(pieces) - 1) + [True]


@pytest.mark.parametrize("cuts", [[5], [160], [3, 3, 200], [79, 81, 160], [90, 10], [300, 1], [0, 400, 0]])
def test_fades_reach_across_chunks(cuts):
    wav = torch.randn(2, sum(cuts), generator=torch.Generator().manual_seed(0))
    parts = list(wav.split(cuts, dim=-1))
    timing = (Timing("a", 0.0, 0.1, "word"),)
    chunks = [(Audio(part, 16000, () if k else timing), k + 1 == len(parts)) for k, part in enumerate(parts)]
    faded = list(fade_chunks(chunks, 80))
    assert torch.equal(torch.cat([audio.wav for audio, _ in faded], dim=-1), fade_ends(wav, 80))
    assert [last for _, last in faded] == [False] * (len(faded) - 1) + [True]
    assert torch.equal(wav, torch.cat(parts, dim=-1))
    assert join([audio for audio, _ in faded]).timings == timing


def test_first_chunk_comes_before_the_second_sentence_is_spoken():
    system = FakeSpeech()
    chunks = fake_chunks(system, "first sentence/second/third")
    assert system.calls == []
    first = next(chunks)
    assert system.calls == [1]
    assert first.audio.wav.shape == (1, 8 * SAMPLES_PER_FRAME - 80)  # all but what may have to fade
    rest = list(chunks)
    assert system.calls == [1, 1, 1]
    assert rest[-1].last


def test_first_chunk_comes_before_a_long_text_is_read():
    read = []

    def sentences(text):
        for sentence in front_end(text):
            read.append(sentence.text)
            yield sentence

    item = SpeechItem("0", "/".join("abcdefghij"))
    next(speak_in_chunks(FakeSpeech(), item, SpeechOptions(), front_end=sentences))
    assert read == ["a.", "b."]


def test_sentences_one_by_one_are_those_of_the_list(monkeypatch):
    text = "[pause:1s] One ☃ two. [pause:0.5s][pause:0.5s] Three. Four ☃"
    reader = TextFrontEnd()
    assert list(reader.sentences(text)) == reader(text)
    calls = []
    original = TextFrontEnd._spans
    monkeypatch.setattr(TextFrontEnd, "_spans", lambda self, s: calls.append(s) or original(self, s))
    next(reader.sentences("One. Two. Three. Four. Five."))
    assert len(calls) == 2


class Counting(torch.nn.Module):
    """A decoder that notes what it is given and keeps its state weakly in sight."""

    lookahead = 2

    def __init__(self):
        super().__init__()
        self.fed, self.states = [], weakref.WeakSet()

    def init_state(self, batch):
        return self._new()

    def stream(self, state, mel, last=False):
        self.fed.append(mel.shape[-1])
        return self._new(), mel[:, :1]

    def _new(self):
        state = torch.nn.Identity()
        self.states.add(state)
        return state


def test_production_stays_with_its_reader():
    """One call of the decoder for every chunk taken, none ahead."""
    decoder = Counting()
    chunks = decode_chunks(decoder, torch.zeros(1, 80, 100), itertools.repeat(10))
    assert decoder.fed == []
    for taken in range(1, 6):
        next(chunks)
        assert len(decoder.fed) == taken
        assert len(decoder.states) == 1  # the one it needs next


def test_closing_stops_the_work_and_frees_the_state(voice):
    decoder = Counting()
    voice.vocoder = decoder
    chunks = voice.stream(TEXT * 20, seed=1)
    next(chunks)
    fed = len(decoder.fed)
    assert len(decoder.states) == 1
    chunks.close()
    gc.collect()
    assert len(decoder.states) == 0
    assert len(decoder.fed) == fed
    assert list(chunks) == []


def test_closing_reaches_the_system_through_the_watch():
    closed = []

    class Watched(FakeSpeech):
        def stream_sentence(self, *arguments):
            try:
                yield from super().stream_sentence(*arguments)
            finally:
                closed.append(True)

    heard = PlayOut().watch(fake_chunks(Watched(), "abcdefghij/b"), lambda piece: piece.audio.seconds)
    next(heard)
    assert closed == []
    heard.close()
    assert closed == [True]


def test_a_system_that_cannot_stream_speaks_sentence_by_sentence():
    class Plain(torch.nn.Module):
        """Has all that `FakeSpeech` has but one method."""

        def __init__(self):
            super().__init__()
            self.fake = FakeSpeech()

        def __getattr__(self, name):
            if name == "stream_sentence":
                raise AttributeError(name)
            return super().__getattr__(name) if name == "fake" else getattr(self.fake, name)

    pieces = list(fake_chunks(Plain(), "ab/cd"))
    assert len(pieces) == 2
    assert torch.equal(join([piece.audio for piece in pieces]).wav, fake_whole("ab/cd").wav)


@pytest.mark.parametrize(
    ("text", "message"), [("good/poison/x", "poisoned"), ("good/nan/x", "NaN"), ("!", "!")]
)
def test_an_error_is_the_last_piece(text, message):
    pieces = list(fake_chunks(FakeSpeech(), text))
    assert message in str(pieces[-1].error)
    assert pieces[-1].last
    assert all(piece.audio is not None for piece in pieces[:-1])
    assert (len(pieces) > 1) == text.startswith("good")


def test_characters_that_are_lost_are_told_once():
    dropped = [piece.dropped for piece in fake_chunks(FakeSpeech(), "abcdef~")]
    assert len(dropped) > 1
    assert dropped == [("~",), *[()] * (len(dropped) - 1)]


def test_seconds_are_shared_out_to_chunks(monkeypatch):
    """Every reading of the clock is a tick: a call spans one besides those of the vocoder in it."""
    ticks = itertools.count()
    monkeypatch.setattr(StageTimer, "_now", lambda self: float(next(ticks)))
    first, *rest = fake_chunks(FakeSpeech(), "abcdef")
    assert first.stages == {"text": first.stages["text"], "acoustic": 4.0, "vocoder": 1.0}
    assert all(piece.stages["acoustic"] == 1.0 and piece.stages["vocoder"] == 0.0 for piece in rest)
    assert len(rest) == 3


def watch(lengths, making, keeping):
    """A stream whose chunks take `making` seconds to be made and are kept for `keeping` by the reader."""
    now = [100.0]

    def chunks():
        for length, seconds in zip(lengths, making, strict=True):
            now[0] += seconds
            yield length

    play_out = PlayOut(clock=lambda: now[0])
    for _, seconds in zip(play_out.watch(chunks(), lambda length: length), keeping, strict=True):
        now[0] += seconds
    return play_out


def test_a_stream_that_keeps_up_has_no_underruns():
    play_out = watch([1.0, 2.0, 4.0], [0.5, 1.0, 2.0], [0.0, 0.0, 0.0])
    assert play_out.underruns == 0
    assert play_out.first_chunk_seconds == 0.5
    assert play_out.gaps == [1.0, 2.0]


def test_chunks_that_come_late_are_counted_and_playing_goes_on_with_them():
    """Heard at 0.5 to 1.5; the second comes at 2.0 and lasts to 3.0, the third at 3.5; the fourth in time."""
    play_out = watch([1.0, 1.0, 1.0, 1.0], [0.5, 1.5, 1.5, 0.5], [0.0, 0.0, 0.0, 0.0])
    assert play_out.underruns == 2


def test_a_slow_reader_does_not_look_like_a_slow_model():
    play_out = watch([1.0, 1.0, 1.0], [0.5, 0.25, 0.25], [0.75, 0.75, 9.0])
    assert play_out.underruns == 0
    assert play_out.first_chunk_seconds == 0.5
    assert play_out.gaps == [0.25, 0.25]


def test_chunks_without_audio_are_not_heard():
    play_out = watch([0.0, 1.0, 0.0], [3.0, 0.5, 5.0], [0.0, 0.0, 0.0])
    assert (play_out.first_chunk_seconds, play_out.gaps, play_out.underruns) == (3.5, [], 0)


def test_totals_of_streams_are_over_all_their_chunks():
    streams = [
        watch([1.0, 1.0], [first, gap], [0.0, 0.0]) for first, gap in ((0.1, 0.2), (0.3, 0.4), (0.2, 3))
    ]
    assert stream_totals(streams) == {
        "first_chunk_ms": pytest.approx(200),
        "chunk_p95_ms": pytest.approx(1000 * (0.4 + 0.9 * 2.6)),
        "underruns": 1,
        "chunks": 6,
    }
    assert stream_totals([PlayOut()]) == {
        "first_chunk_ms": None,
        "chunk_p95_ms": None,
        "underruns": 0,
        "chunks": 0,
    }
