"""The large speech models as content encoders, at a tiny size, with random weights."""

from dataclasses import replace

import pytest
import torch
import torchaudio

from audiogen.content import Content, resample_tokens
from audiogen.content_torchaudio import ModelNotCached, TorchaudioContent, load_torchaudio_content

LAYERS = [(16, 10, 5), *[(16, 3, 2)] * 4, *[(16, 2, 2)] * 2]


@pytest.fixture(scope="module")
def bundle():
    """WavLM's recipe with few channels; waveforms are normalised, as for WAVLM_LARGE."""
    sizes = {
        "extractor_conv_layer_config": LAYERS,
        "encoder_embed_dim": 16,
        "encoder_pos_conv_kernel": 8,
        "encoder_pos_conv_groups": 4,
        "encoder_num_layers": 3,
        "encoder_num_heads": 2,
        "encoder_ff_interm_features": 24,
    }
    large = torchaudio.pipelines.WAVLM_LARGE
    return replace(large, _path="tiny.pth", _params={**large._params, **sizes})


@pytest.fixture(scope="module")
def model(bundle):
    torch.manual_seed(0)
    return torchaudio.models.wavlm_model(**bundle._params).eval()


def noise(*lengths):
    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(len(lengths), max(lengths), generator=generator), torch.tensor(lengths)


@pytest.fixture
def encoder(model):
    made = TorchaudioContent(model, layer=2)
    made.fit(list(noise(16000, 16000)[0]), codes=7)
    return made


def test_items_are_encoded_as_if_they_were_alone(encoder):
    wav, lengths = noise(16000, 7000, 300)
    together = encoder.encode(wav, lengths)
    assert isinstance(together, Content)
    assert together.lengths.tolist() == [49, 21, 1]  # (T - 400) // 320 + 1
    for row, length in enumerate(lengths.tolist()):
        alone = encoder.encode(wav[row : row + 1, :length], lengths[row : row + 1]).tokens[0]
        assert torch.equal(together.tokens[row, : len(alone)], alone)
        assert together.tokens[row, len(alone) :].sum() == 0


def test_tokens_are_the_nearest_centres_of_the_layer(encoder, model):
    wav, lengths = noise(4000)
    with torch.no_grad():
        layer = model.extract_features(wav)[0][1][0]
    assert torch.equal(encoder.encode(wav, lengths).tokens[0], torch.cdist(layer, encoder.codebook).argmin(1))
    assert (encoder.frame_rate, encoder.vocabulary, encoder.codebook.shape) == (50.0, 7, (7, 16))


def test_its_rate_fits_mel_frames(encoder):
    content = encoder.encode(*noise(16000))
    fitted = resample_tokens(content.tokens, content.lengths, torch.tensor([63]))
    assert fitted.shape == (1, 63)


def test_cached_weights_are_loaded_with_a_codebook_from_a_file(encoder, model, bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(torchaudio.pipelines, "WAVLM_LARGE", bundle)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    torch.save(model.state_dict(), tmp_path / "checkpoints" / "tiny.pth")
    encoder.save_codebook(tmp_path / "codes.safetensors")
    again = load_torchaudio_content("wavlm-large", 2, tmp_path / "codes.safetensors")
    wav, lengths = noise(8000)
    normal = torch.nn.functional.layer_norm(wav, wav.shape)  # the bundle's own front end
    assert torch.equal(again.encode(wav, lengths).tokens, encoder.encode(normal, lengths).tokens)
    with pytest.raises(ValueError, match="is of layer 2, not 3"):
        load_torchaudio_content("wavlm-large", 3, tmp_path / "codes.safetensors")
    (tmp_path / "other").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="holds no codebook"):
        load_torchaudio_content("wavlm-large", 2, tmp_path / "other")


def test_nothing_is_fetched_unless_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(ModelNotCached, match="fetch=True"):
        load_torchaudio_content("hubert-base")
    with pytest.raises(ValueError, match="wavlm-base"):
        load_torchaudio_content("whisper")


def test_faults_name_their_remedy(model):
    with pytest.raises(ValueError, match="layers 1 to 3"):
        TorchaudioContent(model, layer=4)
    bare = TorchaudioContent(model, layer=1)
    with pytest.raises(ValueError, match="call fit"):
        bare.encode(*noise(4000))
    with pytest.raises(ValueError, match="wav must be"):
        bare.encode(torch.zeros(400), torch.tensor([400]))
