"""Own recordings with captions, and prepared music as latents and tokens."""

import json

import pytest
import torch

from audiogen import hub
from audiogen.audio import write_audio
from audiogen.cli import OK, USAGE, main
from audiogen.data.captioned import list_recordings
from audiogen.data.coded_music import PreparedMusic
from audiogen.data.store import DataError, Ragged
from audiogen.systems.autoencoder import AudioAutoencoder

RATE = 24000


def write_music(folder, names, seconds=2.0):
    """Noise of growing loudness."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    for n, name in enumerate(names, 1):
        wav = 0.05 * n * torch.rand(1, int(seconds * RATE), generator=generator)
        write_audio(folder / f"{name}.wav", wav, RATE)
    return folder


@pytest.fixture
def autoencoder(tmp_path):
    """Weights of a tiny autoencoder, untrained."""
    torch.manual_seed(0)
    sizes = {"latents": 4, "hop_length": 256, "n_fft": 1024, "channels": 8, "hidden": 16}
    small = {"encoder_blocks": (1, 1), "decoder_blocks": (1, 1), "periods": (2,), "n_ffts": (256,)}
    hub.save(AudioAutoencoder(**sizes, **small), tmp_path / "codec.safetensors")
    return tmp_path / "codec.safetensors"


def prepared(tmp_path, count=8):
    """A folder of `prepare music`, one piece of each of `count` scores, of which a half is held out."""
    source = write_music(tmp_path / "own", [f"r{n}" for n in range(count)])
    for path in source.glob("*.wav"):
        path.with_suffix(".txt").write_text(f"{path.stem} on a harp\n\nnoise\n")
    out = tmp_path / "music"
    code = main(["prepare", "music", "--source", str(source), "--out", str(out), "--held-out", "0.5"])
    assert code == OK
    return out


def test_a_table_lists_recordings_with_all_their_captions(tmp_path):
    source = write_music(tmp_path, ["a", "b", "c"], 0.1)
    (source / "captions.csv").write_text('file,caption\nb.wav,"slow, sad piano"\na.wav,waltz\nb.wav,piano\n')
    found = list_recordings(source)
    assert [(r.path.name, r.captions) for r in found] == [
        ("a.wav", ("waltz",)),
        ("b.wav", ("slow, sad piano", "piano")),
    ]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("none.wav,waltz\n", "lists none.wav, which is not there"),
        ("a.wav,slow, sad\n", "line 1 of .* put quotes around commas"),
        ("file,caption\na.wav,\n", "line 2"),
        ("file,caption\n", "holds no captions: write captions.csv"),
    ],
)
def test_a_table_that_cannot_be_used_is_told_what_is_wrong(tmp_path, table, message):
    source = write_music(tmp_path, ["a"], 0.1)
    (source / "captions.csv").write_text(table)
    with pytest.raises(DataError, match=message):
        list_recordings(source)


def test_own_recordings_are_cut_into_pieces_that_stay_in_one_split(tmp_path, capsys):
    source = write_music(tmp_path / "own", ["long"], 44.0)
    write_music(source / "album", ["short"], 1.0)
    (source / "long.txt").write_text("organ\n")
    (source / "album" / "short.txt").write_text("flute\nwhistle\n")
    out = tmp_path / "music"
    assert main(["prepare", "music", "--source", str(source), "--out", str(out)]) == OK
    assert "4 pieces of 2 recordings, 0.8 minutes, 1 recordings held out" in capsys.readouterr().err
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    pieces = {line["id"]: (line["seconds"], line["captions"]) for line in lines}
    assert pieces == {
        "album/short-000": (1.0, ["flute", "whistle"]),
        "long-000": (20.0, ["organ"]),
        "long-001": (20.0, ["organ"]),
        "long-002": (4.0, ["organ"]),
    }
    assert len({(line["recording"], line["split"]) for line in lines}) == 2
    assert main(["prepare", "music", "--source", str(tmp_path / "music"), "--out", str(out)]) == USAGE


def test_latents_and_tokens_of_prepared_music(tmp_path, autoencoder, capsys):
    music = prepared(tmp_path)
    words = ["prepare", "latents", "--source", str(music), "--autoencoder", str(autoencoder)]
    assert main([*words, "--vocabulary", "6"]) == OK
    assert "8 pieces, 4 to train on; channels' means within" in capsys.readouterr().err
    store = Ragged(music / "latents.safetensors")
    audio = PreparedMusic(music)
    assert store.metadata["latent_rate"] == 46.875
    assert store.metadata["token_rate"] == 6.25
    assert store.metadata["vocabulary"] == 6
    assert sorted(store.metadata["splits"]) == ["test"] * 3 + ["train"] * 4 + ["validation"]
    assert store.metadata["captions"][3] == ["r3 on a harp", "noise"]
    codec, tokenizer = hub.load(autoencoder), hub.load(music / "tokenizer.safetensors")
    with torch.inference_mode():
        for n, name in enumerate(store.metadata["ids"]):
            assert name == f"r{n}-000"
            wav = audio.wav(n)[None]
            latents = codec.encode(wav[:, None])[0]
            assert torch.allclose(store["latents"][n].float(), latents, atol=2e-3, rtol=2e-3)
            assert torch.equal(store["tokens"][n].long(), tokenizer.encode(wav)[0])
    fitted = tokenizer.centroids
    assert main(words) == OK  # takes the tokenizer that is there
    assert torch.equal(hub.load(music / "tokenizer.safetensors").centroids, fitted)


def test_what_does_not_fit_is_named(tmp_path, autoencoder, capsys):
    music = prepared(tmp_path)
    words = ["prepare", "latents", "--source", str(music), "--autoencoder"]
    assert main([*words, "vocos-24k-music"]) == USAGE
    assert "is no autoencoder" in capsys.readouterr().err
    manifest = (music / "manifest.jsonl").read_text()
    (music / "manifest.jsonl").write_text(manifest.replace("r3-000", "other"))
    with pytest.raises(DataError, match="has no line of item 'r3-000'"):
        PreparedMusic(music)
    (music / "manifest.jsonl").write_text(manifest.replace("captions", "titles"))
    with pytest.raises(DataError, match="has no captions of r0-000"):
        PreparedMusic(music)
    (music / "manifest.jsonl").unlink()
    with pytest.raises(DataError, match="make it with `audiogen prepare music`"):
        PreparedMusic(music)
