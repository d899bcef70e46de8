"""Phones that the recogniser hears, as content tokens."""

import sys
from itertools import groupby

import pytest
import torch

import audiogen
from audiogen import hub
from audiogen.content import RECOGNISER, merge_runs, resample_tokens
from audiogen.content_recognised import RecognisedContent
from audiogen.metrics.intelligibility import RecogniserMissing, edit_distance
from audiogen.systems.stablevc import StableVC
from audiogen.text.arpabet import CLASSES, NUMBERS
from audiogen.text.frontend import TextFrontEnd
from audiogen.text.symbols import IDS

TEXT = "Please enter the number of the person you are calling."


@pytest.fixture(scope="module")
def encoder():
    return RecognisedContent()


@pytest.fixture(scope="module")
def speech():
    """A sentence by the shipped voice (T,)."""
    return audiogen.load("prodiff").synthesize(TEXT).wav[0]


def test_phones_are_those_that_were_spoken(encoder, speech):
    found = encoder.encode(speech[None], torch.tensor([len(speech)]))
    assert found.lengths.tolist() == [len(speech) * 100 // 16000]
    heard = [number for number, _ in groupby(found.tokens[0].tolist()) if number]
    tokens = TextFrontEnd("en-us")(TEXT)[0].tokens
    spoken = [number for token in tokens if (number := NUMBERS[IDS[token.symbol]])]
    assert edit_distance(spoken, heard) < 0.25 * len(spoken)  # reductions such as "a" for "the"


def test_items_are_heard_as_if_they_were_alone_in_any_order(encoder, speech):
    half = len(speech) // 2
    wav, lengths = torch.stack((speech, speech)), torch.tensor([half, len(speech)])
    together = encoder.encode(wav, lengths)
    for row in (1, 0):
        alone = encoder.encode(wav[row : row + 1, : lengths[row]], lengths[row : row + 1])
        assert torch.equal(together.tokens[row, : together.lengths[row]], alone.tokens[0])


@pytest.mark.parametrize("length", [1, 100, 4000, 32000])
def test_where_no_word_is_there_are_pauses(encoder, length):
    found = encoder.encode(torch.zeros(1, length), torch.tensor([length]))
    assert found.lengths.tolist() == [max(1, length // 160)]
    assert not bool(found.tokens.any())


def test_a_converter_names_it_and_hub_attaches_it(tmp_path, speech):
    torch.manual_seed(0)
    sizes = {"channels": 16, "token_blocks": 1, "frame_blocks": 1, "flow_blocks": 1}
    hub.save(StableVC(vocabulary=len(CLASSES), content=RECOGNISER, **sizes), tmp_path / "model.safetensors")
    system = audiogen.load(tmp_path)
    assert isinstance(system.content, RecognisedContent)
    assert hub.provenance(tmp_path)["content"] == RECOGNISER
    found = system.content.encode(speech[None], torch.tensor([len(speech)]))
    frames = resample_tokens(found.tokens, found.lengths, torch.tensor([len(speech) // 256 + 1]))
    _, runs, counts = merge_runs(frames, torch.tensor([frames.shape[1]]))
    assert int(runs.sum()) == frames.shape[1]
    assert int(counts) > 20
    hub.save(StableVC(vocabulary=12, content=RECOGNISER, **sizes), tmp_path / "small.safetensors")
    with pytest.raises(hub.UnknownModel, match="36 content tokens, the model knows 12"):
        audiogen.load(tmp_path / "small.safetensors")


def test_its_absence_is_said_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(RecogniserMissing, match=r"pip install 'audiogen\[voice\]'"):
        RecognisedContent()
