"""Speech of many speakers: readers that know their phones, splits by speaker and sentence, tokens."""

import json

import pytest
import torch
from fake_voices import clip, write_voices
from noisy_corpus import RATE, write_ivr
from synthetic_corpus import TEXTS, utter, write_corpus

import audiogen
from audiogen import hub
from audiogen.audio import levelled, read_audio, write_audio
from audiogen.cli import OK, USAGE, main
from audiogen.data import voices as recipe
from audiogen.data.phone_frames import UNKNOWN
from audiogen.data.readers import CMU, reader
from audiogen.data.store import DataError, Ragged, save_ragged
from audiogen.data.voice_tokens import add_phones
from audiogen.metrics import speaker
from audiogen.spectral import MelSpec, mel_spectrogram
from audiogen.systems.phonetic_encoder import PhoneticContent
from audiogen.text.arpabet import CLASSES, NUMBERS
from audiogen.text.symbols import BOUNDARY, IDS, SYMBOLS

SENTENCES = ["The storm lasted all night.", "Where do you want to go?", "They built a small house.", *TEXTS]
NET = {"channels": 16, "hidden": 32, "blocks": 1, "bottleneck": 8}


def embed(wav, sample_rate):
    """A stand-in for the speaker encoder: a unit vector."""
    return torch.nn.functional.normalize(torch.arange(256.0) + float(wav.abs().max()), dim=0)


def prepare(*words):
    return main(["prepare", "voices", *map(str, words)])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Prompts in three languages and two readers of espeak-ng; carlo and one reader are held out."""
    folder = tmp_path_factory.mktemp("voices")
    (folder / "lines.txt").write_text("\n".join(SENTENCES) + "\n", encoding="utf-8")
    words = ["--ivr", write_ivr(folder / "ivr"), "--sentences", folder / "lines.txt", "--tests", 2]
    words += ["--voice", "espeak:en-us+f3", "--voice", "espeak:en-us+m3@40", "--synthetic-minutes", 0.15]
    words += ["--minutes", 0.1]
    words += ["--held-out", "carlo", "--held-out", "espeak:en-us+m3@40", "--out", folder / "out"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speaker, "speaker_embedding", embed)
        assert prepare(*words) == OK
        first = Ragged(folder / "out" / "voices.safetensors")
        part = folder / "out" / "parts" / "allison.en.safetensors"
        (folder / "out" / "parts" / "june.fr.safetensors").unlink()
        (folder / "out" / "parts" / "espeak_en-us+f3.en.safetensors").unlink()
        written = part.stat().st_mtime_ns
        assert prepare(*words) == OK
        # the rest is made again, and what was there is kept
        assert part.stat().st_mtime_ns == written
        again = Ragged(folder / "out" / "voices.safetensors")
        assert again.metadata == first.metadata
        assert torch.equal(again["mel"].values, first["mel"].values)
    return folder / "out"


def test_columns_fit_one_another(prepared):
    store = Ragged(prepared / "voices.safetensors")
    count = len(store.metadata["ids"])
    for i in range(count):
        frames = store["mel"].length(i)
        assert store["f0"].length(i) == store["energy"].length(i) == store["phones"].length(i) == frames
        assert store["embedding"][i].shape == (256, 1)
        assert store["embedding"][i].float().norm().item() == pytest.approx(1, abs=1e-2)
    assert store.metadata["speakers"] == sorted(
        ["allison", "carlo", "june", "espeak:en-us+f3", "espeak:en-us+m3@40"]
    )
    assert len(store.metadata["texts"]) == len(store.metadata["languages"]) == len(store["speaker"]) == count


def test_held_out_voices_and_sentences_are_kept_out(prepared):
    facts = Ragged(prepared / "voices.safetensors").metadata
    held_out, test = set(facts["held_out"]), set(facts["test"])
    assert test < held_out
    assert {i for i in facts["ids"] if i.startswith(("it/", "espeak:en-us+m3@40/"))} <= held_out
    texts = dict(zip(facts["ids"], facts["texts"], strict=True))
    spoken = {texts[i] for i in test if i.startswith("espeak")}
    assert len(spoken) == 2  # the same for both readers
    assert not spoken & {texts[i] for i in set(facts["ids"]) - held_out}
    # a prompt is kept out in every language
    assert len({i[3:] for i in test if not i.startswith("espeak")}) == 1


def test_phones_are_known_of_readers_alone(prepared):
    store = Ragged(prepared / "voices.safetensors")
    for i, name in enumerate(store.metadata["ids"]):
        phones = store["phones"][i]
        if name.startswith("espeak"):
            assert bool((phones >= 0).all())
            assert len(phones.unique()) > 8
        else:  # the prompts have no texts
            assert bool((phones == UNKNOWN).all())


def test_the_manifest_lists_test_recordings_at_the_level_of_the_mels(prepared):
    store = Ragged(prepared / "voices.safetensors")
    rows = [json.loads(line) for line in (prepared / "test" / "manifest.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == store.metadata["test"]
    assert {row["speaker"] for row in rows if not row["seen"]} == {"carlo", "espeak:en-us+m3@40"}
    wav = read_audio(prepared / rows[0]["file"])
    mel = store["mel"][store.metadata["ids"].index(rows[0]["id"])].float()
    loud = mel > -3  # 16-bit samples and half precision blur what is quiet
    assert (mel_spectrogram(wav, MelSpec())[0] - mel)[loud].abs().max() < 0.02


def test_espeak_tells_when_phones_are_heard():
    """Fricatives are high, vowels low: the spectrum at the told moments says so."""
    reading = reader("espeak:en-us+m3")("See the sea, see the sea.")
    assert reading.ends_s.diff().min() >= 0
    assert reading.ends_s[-1].item() == pytest.approx(len(reading.wav) / reading.sample_rate, abs=1e-3)
    assert reading.symbols[:4] == ("s", "i", "ð", "ə")
    spec = MelSpec(sample_rate=reading.sample_rate, f_max=8000.0)
    mel = mel_spectrogram(reading.wav[None], spec)[0].exp()
    phones = recipe.phone_targets(reading.symbols, reading.ends_s, mel.shape[1], spec)
    high = mel[50:].sum(0) / mel.sum(0)
    assert high[phones == IDS["s"]].median() > 0.6 > 0.4 > high[phones == IDS["i"]].median()


def test_espeak_reads_the_same_again_and_refuses_an_unknown_voice():
    texts = ["Good morning.", "See the sea, it is high."]
    first = [reader("espeak:en-us+f2@60")(text) for text in texts[:1]]
    read = reader("espeak:en-us+f2@60")
    again = [read(text) for text in texts]
    read = reader("espeak:en-us+f2@60")
    for one, other in zip([*first, again[1]], [read(text) for text in texts], strict=True):
        assert torch.equal(one.wav, other.wav)
        assert one.symbols == other.symbols
    with pytest.raises(DataError, match="no voice 'xx-none'"):
        reader("espeak:xx-none")("Good morning.")


def test_flite_tells_its_segments(tmp_path, monkeypatch):
    program = tmp_path / "flite"
    write_audio(tmp_path / "voice.wav", 0.1 * torch.randn(1, 8000), 16000)
    program.write_text(
        '#!/bin/sh\n[ "$2" = none ] && { echo "no such voice" >&2; exit 1; }\n'
        f'cp {tmp_path}/voice.wav "$7"\necho "pau:0.100 hh:0.200 ay:0.400 pau:0.500 "\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    reading = reader("flite:slt")("Hi.")
    assert reading.symbols == (BOUNDARY, "h", "a", "ɪ", BOUNDARY)
    assert reading.ends_s.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    with pytest.raises(DataError, match="no such voice"):
        reader("flite:none")("Hi.")
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="apt install flite"):
        reader("flite:slt")("Hi.")
    with pytest.raises(DataError, match="names no synthetic voice"):
        reader("festival:kal")


def test_every_phone_of_flite_is_in_the_token_table():
    assert set("".join(CMU.values())) <= set(SYMBOLS)


def test_a_frame_is_of_the_phone_at_its_middle():
    spec = MelSpec()  # 16 ms a frame
    targets = recipe.phone_targets(("a", "b"), torch.tensor([0.040, 0.096]), 9, spec)
    assert targets.tolist() == [IDS["a"]] * 3 + [IDS["b"]] * 3 + [IDS[BOUNDARY]] * 3
    assert recipe.phone_targets((), torch.empty(0), 3, spec).tolist() == [UNKNOWN] * 3


def test_recordings_with_texts_are_aligned(tmp_path, monkeypatch):
    """A folder of speakers with texts: the phones found are those that are known to sound."""
    corpus = write_corpus(tmp_path / "corpus")
    (tmp_path / "own" / "ann").mkdir(parents=True)
    for number, text in enumerate(TEXTS[:6]):
        wav = read_audio(corpus / "wavs" / f"clip{number:02}.wav")
        write_audio(tmp_path / "own" / "ann" / f"clip{number:02}.flac", wav, RATE)
        (tmp_path / "own" / "ann" / f"clip{number:02}.txt").write_text(text)
    (tmp_path / "own" / "bob").mkdir()
    write_audio(tmp_path / "own" / "bob" / "x.wav", 0.1 * torch.randn(1, 2 * RATE), RATE)
    monkeypatch.setattr(speaker, "speaker_embedding", embed)
    assert prepare("--source", tmp_path / "own", "--held-out", "bob", "--out", tmp_path / "out") == OK
    store = Ragged(tmp_path / "out" / "voices.safetensors")
    assert store.metadata["speakers"] == ["ann", "bob"]
    right = frames = 0
    for i, name in enumerate(store.metadata["ids"][:-1]):
        number = int(name[-2:])
        _, symbols, starts = utter(TEXTS[number], number)
        plain = [s if s in IDS and s.isalpha() else BOUNDARY for s in symbols]
        known = recipe.phone_targets(plain, starts[1:], store["mel"].length(i), MelSpec())
        right += int((store["phones"][i] == known).sum())
        frames += len(known)
    assert right / frames > 0.85
    assert bool((store["phones"][len(store["mel"]) - 1] == UNKNOWN).all())


def test_the_layout_of_vctk(tmp_path):
    for mic in (1, 2):
        write_audio(
            _made(tmp_path / "wav48_silence_trimmed" / "p225") / f"p225_001_mic{mic}.flac",
            0.1 * torch.ones(1, 1600),
            48000,
        )
    (_made(tmp_path / "txt" / "p225") / "p225_001.txt").write_text("Please call Stella.\n")
    (found,) = recipe.list_speakers(tmp_path, "en")
    assert (found.speaker, found.text) == ("p225", "Please call Stella.")
    with pytest.raises(DataError, match="SPEAKER/CLIP.wav"):
        recipe.list_speakers(tmp_path / "txt", "en")


def _made(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_faults_name_their_remedy(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(speaker, "speaker_embedding", embed)
    (tmp_path / "lines.txt").write_text("One sentence alone.\n")
    reading = ["--ivr", write_ivr(tmp_path / "ivr"), "--sentences", tmp_path / "lines.txt"]
    assert prepare(*reading, "--out", tmp_path / "out") == USAGE
    assert "--tests" in capsys.readouterr().err
    own = _made(tmp_path / "own" / "ann")
    write_audio(own / "a.wav", 0.1 * torch.randn(1, 2 * RATE), RATE)
    assert prepare("--source", own.parent, "--held-out", "eve", "--out", tmp_path / "out") != OK
    assert "eve" in capsys.readouterr().err
    assert prepare("--source", own.parent, "--held-out", "ann", "--out", tmp_path / "out") != OK
    assert "every speaker is held out" in capsys.readouterr().err


def test_levels():
    wav = torch.sin(torch.arange(16000) * 0.1)
    assert levelled(0.001 * wav).square().mean().sqrt().item() == pytest.approx(10 ** (-25 / 20), rel=1e-3)
    spiky = torch.zeros(16000)
    spiky[5] = 0.01
    assert levelled(spiky).abs().max().item() == pytest.approx(0.95)
    assert levelled(torch.zeros(5)).abs().max() == 0


def test_a_codebook_is_fitted_and_tokens_join_the_file(tmp_path):
    path = write_voices(tmp_path / "voices.safetensors")
    torch.manual_seed(0)
    hub.save(PhoneticContent(net=NET, codes=12), tmp_path / "bare.safetensors")
    words = ["--voices", str(path), "--out", str(tmp_path / "encoder.safetensors")]
    assert main(["prepare", "codebook", str(tmp_path / "bare.safetensors"), *words]) == OK
    encoder = audiogen.load(tmp_path / "encoder.safetensors")
    before = Ragged(path)
    assert main(["prepare", "tokens", str(tmp_path / "encoder.safetensors"), "--voices", str(path)]) == OK
    store = Ragged(path)
    assert store.metadata["vocabulary"] == 12
    assert torch.equal(store["codebook"][0].T, encoder.codebook)
    for name in ("mel", "f0", "energy", "phones", "speaker", "embedding"):
        assert torch.equal(store[name].values, before[name].values)
    for i in (0, 7, 23):
        mel = store["mel"][i].float()
        alone = encoder.encode_mel(mel[None], torch.tensor([mel.shape[1]])).tokens[0]
        assert torch.equal(store["tokens"][i].long(), alone)


def test_known_phones_become_tokens_and_others_are_guessed_or_left_out(tmp_path, capsys):
    path, told = write_voices(tmp_path / "voices.safetensors"), tmp_path / "told.safetensors"
    words = ["prepare", "tokens", "recogniser", "--voices", str(path), "--out", str(told)]
    assert main(words) == OK
    before, store = Ragged(path), Ragged(told)
    assert store.metadata["ids"] == [name for name in before.metadata["ids"] if not name.startswith("cid")]
    assert store.metadata["vocabulary"] == len(CLASSES)
    for i in (0, 7, 17):
        whole = before.metadata["ids"].index(store.metadata["ids"][i])
        expected = [NUMBERS[phone] for phone in before["phones"][whole].tolist()]
        assert store["tokens"][i].tolist() == expected
        assert torch.equal(store["mel"][i], before["mel"][whole])
        assert torch.equal(store["speaker"][i], before["speaker"][whole])
    torch.manual_seed(0)
    encoder = PhoneticContent(net=NET, codes=12)
    hub.save(encoder, tmp_path / "encoder.safetensors")
    assert main([*words, "--guess", str(tmp_path / "encoder.safetensors")]) == OK
    store = Ragged(told)
    assert store.metadata["ids"] == before.metadata["ids"]
    i = before.metadata["ids"].index("cid/2")
    mel = before["mel"][i].float()
    logits = encoder.eval().net.logits(encoder.features(mel[None], torch.ones(1, 1, mel.shape[1]).bool()))
    assert store["tokens"][i].tolist() == [NUMBERS[phone] for phone in logits.argmax(1)[0].tolist()]


def test_without_any_known_phone_the_remedy_is_named(tmp_path):
    store = Ragged(write_voices(tmp_path / "voices.safetensors"))
    columns = {name: list(store[name]) for name in ("mel", "speaker", "embedding")}
    columns["phones"] = [torch.full_like(phones, UNKNOWN) for phones in store["phones"]]
    save_ragged(tmp_path / "unknown.safetensors", columns, store.metadata)
    with pytest.raises(DataError, match="--guess"):
        add_phones(Ragged(tmp_path / "unknown.safetensors"), tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_only_training_clips_shape_the_codebook(tmp_path):
    from audiogen.data.voice_tokens import open_voices, training_mels

    store = open_voices(write_voices(tmp_path / "voices.safetensors"), MelSpec())
    assert len(training_mels(store)) == 3 * 5
    assert torch.allclose(training_mels(store)[0], clip("ann", 0, 60)[0], atol=0.01)
    with pytest.raises(DataError, match="n_mels"):
        open_voices(tmp_path / "voices.safetensors", MelSpec(n_mels=40))
