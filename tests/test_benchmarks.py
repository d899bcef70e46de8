"""The benchmarks' own arithmetic, with pipelines whose times are known."""

import json
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import peers  # noqa: E402
import quality_tts  # noqa: E402
import speed_tts  # noqa: E402
import word_overlap  # noqa: E402

from audiogen.metrics.evaluation import Condition, EvalItem, Rendered, read_manifest  # noqa: E402
from audiogen.metrics.intelligibility import Errors, Recogniser  # noqa: E402
from audiogen.metrics.scores import Evaluation, Score  # noqa: E402


def test_everyday_sentences_are_short_and_known_to_the_recogniser():
    items = read_manifest(BENCHMARKS / "everyday_sentences.csv")
    recogniser = Recogniser()
    words = [item.text.lower().replace(",", "").rstrip(".?").split() for item in items]
    assert len(items) == 75
    assert all(4 <= len(sentence) <= 12 for sentence in words)
    assert {word for sentence in words for word in sentence if not recogniser.knows(word)} == set()


def test_unseen_words_are_counted_as_kinds_and_as_running_words():
    kinds, running = word_overlap.unseen_shares(["the cat saw the dog."], ["The end. A dog?"])
    assert kinds == pytest.approx(2 / 4)
    assert running == pytest.approx(2 / 5)


def lap(*seconds):
    """Timings of sentences of 1, 2, ... seconds of audio, half the time in the vocoder."""
    return [
        speed_tts.Timing(s, float(n), {"text": 0.0, "acoustic": s / 2, "vocoder": s / 2})
        for n, s in enumerate(seconds, start=1)
    ]


def test_summary_is_a_ratio_of_sums_of_medians():
    row = speed_tts.summary([lap(0.1, 0.2), lap(0.3, 0.2), lap(0.1, 9.0)])
    assert row["audio_seconds"] == 3
    assert row["compute_seconds"] == pytest.approx(0.3)
    assert row["rtfx"] == pytest.approx(10)
    assert row["rtfx_first_run"] == pytest.approx(10)
    assert row["rtfx_of_runs"] == pytest.approx([3 / 9.1, 3 / 0.5, 3 / 0.3])
    assert row["stage_ms"]["vocoder"] == pytest.approx(50)


def test_race_takes_turns_asks_for_equal_lengths_and_warms_up_on_others():
    calls = []

    def ours(text):
        calls.append(("ours", text))
        return speed_tts.Timing(0.1, float(len(text)))

    def theirs(text, seconds):
        calls.append(("theirs", text, seconds))
        return speed_tts.Timing(0.5, seconds)

    laps = speed_tts.race(["ab", "cde"], ["warm"], ours, theirs, runs=2)
    assert calls[:2] == [("ours", "warm"), ("theirs", "warm", 4.0)]
    first, second = calls[2:6], calls[6:]
    assert first == [("ours", "ab"), ("theirs", "ab", 2.0), ("ours", "cde"), ("theirs", "cde", 3.0)]
    assert second == [("theirs", "ab", 2.0), ("ours", "ab"), ("ours", "cde"), ("theirs", "cde", 3.0)]
    assert {name: [len(one) for one in runs] for name, runs in laps.items()} == {
        "audiogen": [2, 2],
        "matcha_vocos": [2, 2],
    }


def test_race_without_the_pair_runs_alone():
    laps = speed_tts.race(["a"], [], lambda text: speed_tts.Timing(0.1, 1.0), None, runs=1)
    assert list(laps) == ["audiogen"]


def test_emptied_text_caches_are_empty():
    from audiogen.text import numbers

    cached = [value for value in vars(numbers).values() if hasattr(value, "cache_info")]
    for function in cached:
        function.cache_clear()
    from audiogen.text.normalize import normalize

    normalize("12 and 1905")
    assert any(function.cache_info().currsize for function in cached)
    speed_tts.empty_text_caches()
    assert all(function.cache_info().currsize == 0 for function in cached)


@pytest.mark.parametrize("characters", [10, 500, 20_000])
def test_long_text_is_long_enough_and_ends_with_a_sentence(characters):
    text = speed_tts.long_text(["One two three.", "Is it four?", "Five."], characters)
    assert characters <= len(text) <= characters + 60
    assert text.endswith(".")


def test_a_command_is_timed_and_weighed_and_its_failure_is_told():
    seconds, peak = speed_tts.command(["--version"])
    assert 0 < seconds < 60
    assert 5e6 < peak < 5e9
    with pytest.raises(RuntimeError, match="nonsense failed with 2"):
        speed_tts.command(["nonsense"])


def test_missing_peers_say_how_to_get_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "matcha.text", None)
    with pytest.raises(ImportError, match="pip install --target DIR --no-deps matcha-tts"):
        peers.load(None)


def test_account_compares_step_counts_pair_by_pair():
    def scores(*edits):
        return [Score(str(n), "heard", Errors(e, 10)) for n, e in enumerate(edits)]

    result = Evaluation({"recording": scores(0, 0), "4 steps": scores(1, 3), "1 step": scores(2, 4)})
    content = quality_tts.account(result)
    assert list(content["differences"]) == ["1 step - 4 steps"]
    cer = content["differences"]["1 step - 4 steps"]["cer"]
    assert [cer["low"], cer["value"], cer["high"]] == pytest.approx([0.1, 0.1, 0.1])
    assert content["conditions"][1]["items"][0] == {"id": "0", "heard": "heard", "rates": {"cer": 0.1}}


def test_a_failed_item_is_accounted_with_its_error():
    result = Evaluation({"1 step": [Score("a", error="no voice")]})
    (entry,) = quality_tts.account(result)["conditions"]
    assert entry["items"] == [{"id": "a", "heard": "", "rates": {}, "error": "no voice"}]


def test_picture_is_a_small_file_even_of_noise(tmp_path):
    noise = 0.3 * torch.randn(80_000, generator=torch.Generator().manual_seed(0))
    sources = [Condition(f"{n} steps", lambda item: Rendered(noise)) for n in range(5)]
    path = tmp_path / "picture.png"
    quality_tts.picture(EvalItem("a", "Some text."), sources, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert 5_000 < path.stat().st_size < 150_000


def test_sentences_of_new_words_are_drawn_from_outside_the_corpus():
    """Four to twelve words, a third of them new and all known, none that was read in training."""
    corpus = ["The cat sat on the mat.", "A dog ran."]
    candidates = [
        "The cat sat on the mat.",  # read in training
        "The dog sat on the mat.",  # nothing new
        "The bird flew over the mat.",  # three of six are new
        "Birds fly.",  # too short
        "The zyx qwv flew over the mat.",  # words that the recogniser does not know
    ]
    chosen = word_overlap.choose_unseen(candidates, corpus, lambda word: word not in {"zyx", "qwv"})
    assert chosen == ["The bird flew over the mat."]
    assert word_overlap.choose_unseen(candidates, corpus, lambda word: True, count=1, least=0.55) == [
        "The zyx qwv flew over the mat."
    ]


def test_the_new_words_are_mostly_new():
    shares = json.loads((BENCHMARKS / "results" / "word_overlap.json").read_text())
    assert shares["everyday_sentences"]["recordings"][0] > 0.5
    assert shares["unseen_sentences"]["all"][0] > 0.5
    assert len(read_manifest(BENCHMARKS / "unseen_sentences.csv")) == 75


def test_parity_is_the_largest_difference_over_the_largest_sample():
    """A HiFi-GAN beside its own import, and beside one that adds a tenth of the peak to a sample."""
    import vocoder_parity

    from audiogen.spectral import mel_spectrogram
    from audiogen.vocoders.build import build_generator
    from audiogen.vocoders.layouts import LAYOUTS

    sizes = {"upsample_initial_channel": 8, "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1]]}
    config = {**vocoder_parity.SIZES, **sizes, "upsample_rates": [16, 16], "upsample_kernel_sizes": [32, 32]}
    layout = LAYOUTS["hifigan"]
    spec, options = layout.settings(config)
    generator = build_generator("hifigan", spec, options)
    for parameter in generator.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    state = {layout.official_name(name, options): t for name, t in generator.state_dict().items()}

    def decode(mel, change=0.0):
        wav = generator.decode(mel)[:, 0]
        wav[:, 100] += change * wav.abs().max()
        return wav

    for change in (0.0, 0.1):
        official = vocoder_parity.Official(
            config,
            {"generator": state},
            lambda mel, change=change: decode(mel, change),
            lambda wav: mel_spectrogram(wav, spec) + 0.25,
        )
        row = vocoder_parity.compare(official, 12)
        assert row["frames"] == 12
        assert row["waveform"] == pytest.approx(change, rel=0.2, abs=1e-6)
        assert row["streamed"] == pytest.approx(row["waveform"], abs=5e-5)
        assert row["log_mel"] == pytest.approx(0.25, abs=1e-5)


def test_contenders_take_turns_and_the_first_turn_is_not_counted(monkeypatch):
    import speed_vocoder

    clock, turns = [0.0], []

    def work(name, seconds):
        def run():
            turns.append(name)
            clock[0] += seconds * (10 if len(turns) <= 2 else 1)  # the first turns are slow

        return run

    monkeypatch.setattr(speed_vocoder.time, "perf_counter", lambda: clock[0])
    rows, calibration = speed_vocoder.measure({"a": (work("a", 1.0), 4.0), "b": (work("b", 3.0), 4.0)}, 3)
    assert turns == ["a", "b"] * 4
    assert rows["a"] == {"rtf": 0.25, "rtf_least": 0.25, "rtf_most": 0.25}
    assert rows["b"]["rtf"] == 0.75
    assert calibration == [0.0] * 6


def test_a_contender_works_on_as_many_threads_as_it_is_given():
    import speed_vocoder

    seen, before = [], torch.get_num_threads()
    try:
        for threads in (2, 1):
            work, seconds = speed_vocoder.on(threads, (lambda: seen.append(torch.get_num_threads()), 3.0))
            assert seconds == 3.0
            work()
    finally:
        torch.set_num_threads(before)
    assert seen == [2, 1]


def test_a_stream_is_timed_over_the_same_frames_as_the_whole():
    import speed_vocoder

    entries = speed_vocoder.ours("vocos-16k-causal", 1.0)
    assert list(entries) == [f"vocos-16k-causal, {how}" for how in ("whole", "4 frames", "16 frames")]
    assert {seconds for _, seconds in entries.values()} == {48 / 62.5}
    for work, _ in entries.values():
        work()


def test_copies_are_averaged_over_all_and_by_language():
    import quality_vocoder

    rows = {name: {"mel_distance": d} for name, d in (("en/a", 0.1), ("en/b", 0.3), ("fr/a", 0.8))}
    found = quality_vocoder.groups(rows)
    assert {k: round(v["mel_distance"], 9) for k, v in found.items()} == {"all": 0.4, "en": 0.2, "fr": 0.8}
    assert [v["clips"] for v in found.values()] == [3, 2, 1]
    assert list(quality_vocoder.groups({"a": {"mel_distance": 1.0}})) == ["all"]
