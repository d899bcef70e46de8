"""A singing CoMoSpeech: on time, in phrases, and, when trained on sung material, in tune."""

import json
import random

import pytest
import torch
from synthetic_songs import melody, perform, score_of, transposed

from audiogen.data.mels import MelData
from audiogen.data.store import DataError
from audiogen.spectral import log_mel, magnitude
from audiogen.speech import SpeechOptions
from audiogen.systems.comospeech_sing import CoMoSpeechSing, fill_score
from audiogen.text.phonemes import parse_ipa
from audiogen.text.score import Note, Score, phrases
from audiogen.text.score_file import read_score
from audiogen.vocoders.griffin_lim import GriffinLim

OPTIONS = SpeechOptions(4)


def build(**options):
    torch.manual_seed(0)
    sizes = {
        "channels": 32,
        "encoder": {"blocks": 1, "hidden": 48, "kernel_size": 3},
        "duration_channels": 8,
        "denoiser_type": "wavenet",
        "denoiser": {"channels": 32, "blocks": 3},
        "alignment": "given",
        "language": "cmn",
        "speakers": ("opencpop",),
        "teacher_steps": (10, 4),
        "default_steps": 4,
        "vocoder": None,
    }
    model = CoMoSpeechSing(**{**sizes, **options})
    for network in model.denoisers.values():  # it begins at zero, deaf to everything
        torch.nn.init.normal_(network.head.weight, std=0.1)
    model.vocoder = GriffinLim(model.mel_spec, iterations=1)
    return model.eval()


def random_score(seed, count=40):
    """Awkward lengths, rests short and long, slurs, notes of a frame and less."""
    rng = random.Random(seed)
    notes = []
    for _ in range(count):
        kind = rng.random()
        if kind < 0.15:
            notes.append(Note(None, rng.uniform(0.01, 1.2)))
        elif kind < 0.3 and notes and notes[-1].midi is not None:
            notes.append(Note(rng.randint(50, 70), rng.uniform(0.01, 0.6), slur=True))
        else:
            word = rng.choice(("stɑːɹts", "ma", "aɪ", "splɪŋ"))
            notes.append(Note(rng.randint(50, 70), rng.uniform(0.01, 0.6), parse_ipa(word)[0]))
    return Score((*notes, Note(60, 0.3, parse_ipa("la")[0])), f"song{seed}")


@pytest.mark.parametrize("seed", range(3))
def test_a_song_lasts_as_long_as_its_score_and_every_note_begins_on_time(seed):
    model, score = build(), random_score(seed)
    rate, hop = model.mel_spec.frame_rate, model.mel_spec.hop_length
    audio = model.sing(score)
    assert audio.wav.shape == (1, round(score.seconds * rate) * hop)
    heard = [t for t in audio.timings if t.kind == "phone"]
    onsets, at = [], 0.0
    for note in score.notes:
        if note.midi is not None:
            onsets.append(at)
        at += note.seconds
    leading = [t.leads for p in phrases(score, rate) for t in p.tokens if t.word >= 0]
    starts = [timing.start_s for timing, leads in zip(heard, leading, strict=True) if leads]
    late = [abs(a - b) * rate for a, b in zip(starts, onsets, strict=True)]
    # where no rest comes before the song, its first consonants take some of the first note
    assert max(late[1:]) <= 0.5 + 1e-6


def test_consonants_take_their_time_and_the_vowel_the_rest():
    score = Score((Note(60, 1.0, parse_ipa("la")[0]), Note(62, 1.0, parse_ipa("stɑn")[0]), Note(None, 0.2)))
    (phrase,) = phrases(score, 100)
    assert phrase.bounds == (0, 100, 200, 220)
    # l a | s t (before the beat) ɑ n .
    assert fill_score([5.0, 1.0, 10.0, 6.4, 1.0, 12.0, 3.0], phrase) == [5, 79, 10, 6, 88, 12, 20]
    # more than half of the time is scaled down to half
    assert fill_score([30.0, 0.0, 60.0, 30.0, 0.0, 400.0, 0.0], phrase) == [12, 50, 26, 12, 50, 50, 20]
    # where there is no room, nothing is made up
    (short,) = phrases(Score((Note(60, 0.11, parse_ipa("splaɪnts")[0]),)), 10)
    assert fill_score([9.0] * 8, short) in ([0] * 4 + [1] + [0] * 3, [0] * 3 + [1] + [0] * 4)


def test_a_phrase_sounds_the_same_alone_and_in_a_batch():
    model, score = build(), random_score(5)
    sung = [phrase for phrase in phrases(score, model.mel_spec.frame_rate) if phrase.words][:3]
    with torch.no_grad():
        together, _ = model.mels(sung, [1, 2, 3], [0, 0, 0], OPTIONS)
        alone, _ = model.mels(sung[1:2], [2], [0], OPTIONS)
    assert torch.allclose(together[1], alone[0], atol=1e-4)


def test_seeds_transposition_and_speed_change_the_song():
    model, score = build(), random_score(6, count=10)
    plain = model.sing(score)
    assert torch.equal(model.sing(score).wav, plain.wav)
    assert not torch.equal(model.sing(score, seed=1).wav, plain.wav)
    assert torch.equal(model.sing(score, transpose=2).wav, model.sing(score.transposed(2)).wav)
    assert not torch.equal(model.sing(score, transpose=2).wav, plain.wav)
    assert model.sing(score, speed=2).seconds == pytest.approx(score.seconds / 2, abs=0.01)


def test_note_length_and_slur_are_heard():
    """Each of the three inputs changes what the encoder says."""
    model = build()
    (phrase,) = phrases(random_score(7, count=3), 62.5)[-1:]
    batch = model.token_batch(phrase, 0)
    plain = model.hidden(batch)
    for name, other in (("note", 1), ("note_seconds", 0.3), ("slur", 1)):
        changed = {**batch, name: batch[name] + other if name != "slur" else 1 - batch[name]}
        assert not torch.allclose(model.hidden(changed), plain, atol=1e-3), name


def test_it_sings_and_does_not_speak():
    model = build(language="en-us")
    with pytest.raises(ValueError, match="sings and does not speak"):
        model.synthesize("Press one.")
    (phrase,) = phrases(Score((Note(60, 1.0, parse_ipa("la")[0]),)), 62.5)
    for options in (SpeechOptions(4, pitch=2.0), SpeechOptions(4, speed=2.0)):
        with pytest.raises(ValueError, match="`transpose` and `speed`"):
            model.mels([phrase], [0], [0], options)
    with pytest.raises(ValueError, match="cannot speak in 3 steps"):
        model.sing(random_score(0), num_steps=3)


def test_data_without_notes_is_refused(prepared_songs):
    data = MelData(str(prepared_songs / "speech.safetensors"))
    data.setup("fit")
    batch = data.batch([0])
    del batch["note"]
    with pytest.raises(DataError, match="audiogen prepare opencpop"):
        build().hidden(batch)


@pytest.mark.cuda
def test_the_song_is_the_same_on_a_gpu():
    sung = [phrase for phrase in phrases(random_score(5), 62.5) if phrase.words][:2]
    with torch.no_grad():
        host, device = (build().to(name).mels(sung, [1, 2], [0, 0], OPTIONS) for name in ("cpu", "cuda"))
    assert host[1] == device[1]
    for a, b in zip(host[0], device[0], strict=True):
        assert torch.allclose(a, b.cpu(), atol=5e-3)


def distance(model, folder, song, other):
    """Mean distance of the log-mel of a song as the model sings it from another's as it was performed."""
    (folder / "song.json").write_text(json.dumps(score_of(song, 0.2, 0.2)))
    sung = phrases(read_score(folder / "song.json"), model.mel_spec.frame_rate)
    with torch.no_grad():
        (mel,), _ = model.eval().mels(sung, [0], [0], OPTIONS)
    wav, _ = perform(other, 0.2, 0.2, seed=100)
    spec = model.mel_spec
    performed = log_mel(magnitude(wav[None], spec), spec)[0]
    assert abs(performed.shape[-1] - mel.shape[-1]) <= 1
    frames = min(performed.shape[-1], mel.shape[-1])
    return float((mel[0, :, :frames] - performed[:, :frames]).abs().mean())


def test_training_on_songs_makes_it_follow_the_notes(prepared_songs, tmp_path, monkeypatch):
    """After some steps a melody it never heard is nearer to its own performance than to a transposed one."""
    data = MelData(str(prepared_songs / "speech.safetensors"))
    data.setup("fit")
    model = build(prior="residual", diagonal_steps=100)
    model.statistics.copy_(data.statistics())
    monkeypatch.setattr(model, "noted", lambda name, value: value)
    low = melody(100, 57, 64)
    high = transposed(low, 5)
    before = {song is high: distance(model, tmp_path, song, song) for song in (low, high)}
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    batch = data.batch(data.training_items)
    torch.manual_seed(0)
    model.train()
    for _ in range(50):
        optimizer.zero_grad()
        model.training_step(batch, 0).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    for song, other in ((low, high), (high, low)):
        own = distance(model, tmp_path, song, song)
        assert own < 0.75 * before[song is high]
        assert own < 0.9 * distance(model, tmp_path, song, other)
