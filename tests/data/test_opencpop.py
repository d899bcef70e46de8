"""The recipe for songs: labels to the tokens that a score would give, with their frames."""

import json

import pytest
import torch
from synthetic_songs import RATE, melody, perform, row, score_of, write_opencpop

from audiogen.audio import write_audio
from audiogen.cli import OK, USAGE, main
from audiogen.data import opencpop
from audiogen.data.mels import MelData
from audiogen.data.store import DataError, Ragged
from audiogen.spectral import MelSpec
from audiogen.text.score import score_tokens
from audiogen.text.score_file import read_score
from audiogen.text.symbols import SYMBOLS


def labels_of(song):
    return opencpop.read_row(row("a", perform(song)[1]))[1]


@pytest.mark.parametrize("seed", range(6))
def test_labels_give_the_tokens_of_the_score(seed, tmp_path):
    """What a model learns from labels is what it is given when it sings."""
    song = melody(seed)
    (tmp_path / "song.json").write_text(json.dumps(score_of(song)))
    tokens, seconds = opencpop.label_tokens(labels_of(song))
    sung = score_tokens(read_score(tmp_path / "song.json"))
    assert [(t.symbol, t.note, t.seconds, t.slur, t.leads) for t in tokens] == [
        (t.symbol, t.note, t.seconds, t.slur, t.leads) for t in sung
    ]
    # a leading token begins with its note
    begins = torch.tensor([0.0, *seconds]).cumsum(0)[:-1]
    onsets = torch.tensor([0.0, *(n.seconds for n in read_score(tmp_path / "song.json").notes)]).cumsum(0)
    glides = {"j", "w", "ɥ"}  # of finals, which a performance has after the beat
    for token, before, begin in zip(tokens, [None, *tokens], begins, strict=False):
        if token.leads and before is not None and before.symbol not in glides:
            assert (onsets - begin).abs().min() < 1e-4, token


def test_times_within_a_syllable():
    line = "id|text|AP ch uan uan SP|rest C4 C4 D4 rest|.5 .6 .6 .4 .1|.4 .15 .5 .5 .1|0 0 0 1 0"
    tokens, seconds = opencpop.label_tokens(opencpop.read_row(line)[1])
    assert [token.symbol for token in tokens] == [",", "ʈ", "ʂ", "ʰ", "w", "a", "a", "n", "."]
    assert seconds == pytest.approx([0.4, 0.05, 0.05, 0.05, 0.1, 0.4, 0.4, 0.1, 0.1])
    assert [token.note for token in tokens] == [0, 60, 60, 60, 60, 60, 62, 62, 0]
    assert [token.seconds for token in tokens] == [0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.4, 0.4, 0.1]
    assert [token.slur for token in tokens] == [0, 0, 0, 0, 0, 0, 1, 1, 0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("id|text|a|C4|1|1", "6 columns instead of 7"),
        ("id|text|a b|C4|1|1|0", "columns of 2, 1, 1, 1, 1 labels"),
        ("id|text|a qq zz|C4 C4 C4|1 1 1|1 1 1|0 0 0", "unknown phonemes qq, zz"),
        ("id|text|a|H4|1|1|0", "'H4' is no pitch"),
        ("id|text|a|C4|x|1|0", "could not convert"),
        ("id|text|b SP|C4 rest|1 1|1 1|0 0", "the initial b has no final"),
        ("id|text|b|C4|1|1|0", "the initial b has no final"),
        ("id|text|a i|C4 C4|1 1|1 1|0 1", "a slur from a to i"),
        ("id|text|a|rest|1|1|0", "a rest has neither phones"),
    ],
)
def test_damaged_labels_are_told(line, message):
    with pytest.raises(ValueError, match=message):
        opencpop.label_tokens(opencpop.read_row(line)[1])


def test_what_is_stored(prepared_songs):
    store = Ragged(prepared_songs / "speech.safetensors")
    facts = store.metadata
    assert facts["ids"] == [f"2{k:03}" for k in range(6)]
    assert facts["test"] == facts["held_out"] == ["2005"]
    assert (facts["language"], facts["speakers"]) == ("cmn", ["opencpop"])
    for index in range(6):
        wav, _ = perform(melody(index), seed=index)
        tokens, seconds = opencpop.label_tokens(labels_of(melody(index)))
        assert [SYMBOLS[i] for i in store["tokens"][index][1:]] == [t.symbol for t in tokens]
        assert store["note"][index].tolist() == [0, *(t.note for t in tokens)]
        assert store["note_seconds"][index].tolist() == pytest.approx([0.0, *(t.seconds for t in tokens)])
        assert store["slur"][index].tolist() == [0, *(t.slur for t in tokens)]
        durations = store["durations"][index]
        assert int(durations.sum()) == store["mel"].length(index) == len(wav) // 256 + 1
        assert int(durations[0]) == 0
        ends = torch.tensor(seconds).cumsum(0) * RATE / 256
        assert (durations[1:].cumsum(0)[:-1] - ends[:-1]).abs().max() <= 1.01
    f0, note = store["f0"][0], store["note"][0].long()
    owner = torch.repeat_interleave(note, store["durations"][0].long())
    sung = (f0 > 0) & (owner > 0)
    cents = 1200 * torch.log2(f0 / (440 * 2 ** ((owner - 69) / 12)))[sung]
    assert cents.abs().median() < 20  # what is stored as F0 is the note
    audio = Ragged(prepared_songs / "audio.safetensors")
    assert audio.metadata["held_out"] == ["2005"]
    assert audio["f0"].length(0) == store["mel"].length(0)


def test_a_batch_has_the_notes(prepared_songs):
    data = MelData(str(prepared_songs / "speech.safetensors"))
    data.setup("fit")
    batch = data.batch([0, 1])
    for name in ("note", "note_seconds", "slur"):
        assert batch[name].shape == batch["tokens"].shape
        assert not batch[name][~batch["token_mask"][:, 0]].any()
    assert batch["note_seconds"].is_floating_point()


def test_recordings_of_another_length_are_left_out(tmp_path):
    source = write_opencpop(tmp_path / "source", count=2)
    write_audio(source / "segments" / "wavs" / "2000.wav", torch.zeros(1, RATE), RATE)
    told = []
    segments = opencpop.list_segments(source)
    pieces = opencpop.build_songs(
        tmp_path / "out.safetensors", segments, spec=MelSpec(), metadata={}, say=told.append
    )
    assert [piece.id for piece in pieces] == ["2001"]
    assert "left out 2000: its labels last 1.85 s, the recording 1.00 s" in told[0]


def test_a_folder_that_is_not_opencpop(tmp_path, capsys):
    with pytest.raises(DataError, match=r"transcriptions\.txt; --source is a folder with segments/"):
        opencpop.list_segments(tmp_path)
    source = write_opencpop(tmp_path / "source", count=2)
    (source / "segments" / "wavs" / "2001.wav").unlink()
    with pytest.raises(DataError, match=r"lacks .*2001\.wav"):
        opencpop.list_segments(source)
    lists = source / "segments" / "transcriptions.txt"
    lists.write_text(lists.read_text().replace(" a", " aa"))
    command = ["prepare", "opencpop", "--source", str(source), "--out", str(tmp_path / "out")]
    assert main(command) == USAGE
    assert "transcriptions.txt, 2000: unknown phonemes" in capsys.readouterr().err
    assert main([*command, "--sample-rate", "22050"]) == USAGE
    assert "16000, 24000" in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_the_front_end_of_24_khz(tmp_path):
    source = write_opencpop(tmp_path / "source", count=2)
    command = ["prepare", "opencpop", "--source", str(source), "--workers", "1", "--sample-rate", "24000"]
    assert main([*command, "--out", str(tmp_path / "out")]) == OK
    spec = MelSpec(**Ragged(tmp_path / "out" / "speech.safetensors").metadata["mel_spec"])
    assert spec == opencpop.FRONT_ENDS[24000]
    store = Ragged(tmp_path / "out" / "audio.safetensors")
    wav, _ = perform(melody(0), seed=0)
    assert store["audio"].length(0) == pytest.approx(len(wav) * 1.5, abs=2)
