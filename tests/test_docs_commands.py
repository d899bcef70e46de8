"""How the commands of a page are found and run."""

import pytest
from docs_commands import commands, once, parts, words_of

PAGE = """
```bash
audiogen tts "One # two." -o a.wav   # said once
# a line of its own

audiogen export x.ckpt --part lm=y.ckpt \\
  -o model.safetensors
```

```
audiogen is not a command here
```
```bash
ls
```
"""


@pytest.fixture
def page(tmp_path):
    (tmp_path / "page.md").write_text(PAGE)
    return tmp_path / "page.md"


def test_lines_lose_their_comments_and_go_on_after_a_backslash(page):
    assert commands(page) == [
        'audiogen tts "One # two." -o a.wav',
        "audiogen export x.ckpt --part lm=y.ckpt -o model.safetensors",
        "ls",
    ]


def test_a_line_of_two_pages_runs_once_in_a_place(page, tmp_path):
    other = tmp_path / "other.md"
    other.write_text("```bash\nls\npwd\npre-commit install\n```\n")
    assert [(p.stem, c) for p, c in once([page, other], lambda p: "one")][2:] == [
        ("page", "ls"),
        ("other", "pwd"),
    ]
    assert [c for _, c in once([page, other], lambda p: p.stem)].count("ls") == 2


@pytest.mark.parametrize(
    ("line", "own", "rest"),
    [
        ('audiogen tts "a | b > c; \\$5" -o a.wav', 'audiogen tts "a | b > c; \\$5" -o a.wav', ""),
        ("audiogen tts a --stream | aplay", "audiogen tts a --stream ", "| aplay"),
        ('echo "x" | audiogen tts - -o - > a.wav', 'echo "x" | audiogen tts - -o - ', "> a.wav"),
        ("audiogen fit -c a.yaml && ls", "audiogen fit -c a.yaml ", "&& ls"),
        ("mv a b", "mv a b", ""),
    ],
)
def test_words_of_audiogen_end_where_the_shell_goes_on(line, own, rest):
    assert parts(line) == (own, rest)


def test_words_are_those_that_bash_makes(tmp_path):
    for name in ("b.wav", "a.wav"):
        (tmp_path / name).touch()
    assert words_of('say "costs \\$5" *.wav \'$HOME\' ""', tmp_path) == [
        *("say", "costs $5", "a.wav", "b.wav", "$HOME", "")
    ]
