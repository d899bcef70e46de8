"""What tests share. They may import the fakes that lie beside them."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)  # the tests' tensors are too small to share among threads


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A folder of `audiogen prepare ljspeech`, made from a synthetic corpus."""
    from synthetic_corpus import write_corpus

    from audiogen.cli import OK, main

    folder = tmp_path_factory.mktemp("corpus")
    source = write_corpus(folder / "source")
    code = main(
        ["prepare", "ljspeech", "--source", str(source), "--out", str(folder / "out"), "--workers", "1"]
    )
    assert code == OK
    return folder / "out"


@pytest.fixture(scope="session")
def prepared_songs(tmp_path_factory):
    """A folder of `audiogen prepare opencpop`, made from synthetic songs."""
    from synthetic_songs import write_opencpop

    from audiogen.cli import OK, main

    folder = tmp_path_factory.mktemp("songs")
    source = write_opencpop(folder / "source")
    code = main(
        ["prepare", "opencpop", "--source", str(source), "--out", str(folder / "out"), "--workers", "1"]
    )
    assert code == OK
    return folder / "out"
