"""Every command and every line of Python in README and docs/ runs; links lead somewhere."""

import re

import docs_commands
import pytest
import torch
from docs_commands import PAGES, ROOT, blocks, inside, once
from docs_places import ELSEWHERE, PLACE_OF, PLACES

from audiogen.audio import read_audio

UNTRAINED = ("my_voice", "me.safetensors", "my_singer", "audiogen convert")  # they say little


def place_of(page):
    """The name of a page's place."""
    assert page.stem in PLACE_OF, (
        f"say in PLACE_OF of tests/docs_places.py where the lines of {page.name} run"
    )
    return PLACE_OF[page.stem]


HERE = [page for page in PAGES if page.stem not in ELSEWHERE]
COMMANDS = once(HERE, place_of)
PYTHON = [(page, code) for page in HERE for code in blocks(page, "python")]


@pytest.fixture(scope="module")
def enter(tmp_path_factory):
    """enter(page): the context of the folder of that page, which is filled when it is first needed."""
    folders = {}

    def enter(page):
        name = place_of(page)
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            docs_commands.prepare(PLACES[name], name, folders[name])
        return inside(PLACES[name], folders[name])

    return enter


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[f"{page.stem}: {c}" for page, c in COMMANDS])
def test_a_command_runs(page, command, enter):
    with enter(page) as folder:
        docs_commands.run(command, folder, PLACES[place_of(page)].more.get(command, ()))
        for output in re.findall(r"(?:-o|>) (\S+\.wav)", command):
            wav = read_audio(folder / output)
            assert torch.isfinite(wav).all()
            assert wav.shape[-1] > (0 if any(name in command for name in UNTRAINED) else 4000)


@pytest.mark.parametrize(("page", "code"), PYTHON, ids=[page.stem for page, _ in PYTHON])
def test_the_python_of_a_page_runs(page, code, enter):
    with enter(page):
        exec(compile(code, page.name, "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_of_a_page_lead_somewhere(page):
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_command_hides_in_another_block(page):
    fenced = re.findall(r"^```.*?^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    printed = [line for block in fenced for line in block.splitlines() if line.startswith("audiogen ")]
    inside_bash = "".join(blocks(page, "bash")).splitlines()
    assert set(printed) <= set(inside_bash)


def test_words_that_make_a_line_small_belong_to_a_line():
    for name, place in PLACES.items():
        printed = {c for page, c in COMMANDS if place_of(page) == name}
        assert set(place.more) <= printed, set(place.more) - printed
    pages = {page.stem for page in PAGES}
    assert all((ROOT / test).is_file() for page, test in ELSEWHERE.items() if page in pages)
    assert {line for line, _ in docs_commands.NOT_RUN} <= {
        c for p in PAGES for c in docs_commands.commands(p)
    }
