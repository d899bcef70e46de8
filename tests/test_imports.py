"""Imports run one way, and what should be light is light."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "audiogen"
ROOT = {
    "audio",
    "content",
    "files",
    "memory",
    "spectral",
    "registry",
    "weights",
}  # leaves that everything may use; SYSTEMS is a literal
ALLOWED = {  # part -> the other parts of the package it may import
    "audio": set(),
    "content": set(),
    "files": set(),
    "memory": set(),
    "spectral": set(),
    "registry": set(),
    "kernels": set(),
    "sampling": set(),
    "weights": {"registry"},
    "report": {"files"},
    "streaming": set(),
    "nn": {"kernels", "streaming", "spectral"},
    "text": set(),
    "content_recognised": ROOT | {"metrics", "text"},
    "content_torchaudio": ROOT | {"nn"},
    "vocoders": ROOT | {"nn", "kernels", "streaming"},
    "data": ROOT | {"text", "nn", "report"},
    "speech": ROOT | {"text", "report"},
    "speech_stream": ROOT | {"text", "report", "speech", "streaming"},
    "acoustic_model": ROOT
    | {"nn", "text", "speech", "speech_stream", "streaming", "report", "training", "vocoders"},
    "caption_model": ROOT | {"nn", "text", "training"},
    "enhancement": ROOT | {"report"},
    "enhancement_objectives": ROOT | {"sampling", "metrics"},
    "voice": ROOT | {"nn", "data"},
    "conversion": ROOT | {"nn", "report", "streaming", "vocoders", "voice"},
    "semantic": ROOT | {"nn"},
    "music": ROOT | {"report"},
    "controls": ROOT | {"semantic"},
    "steering": ROOT | {"sampling", "controls"},
    # they measure whatever can speak or enhance
    "metrics": ROOT | {"text", "speech", "vocoders", "enhancement", "report", "semantic"},
    "training": ROOT | {"nn", "data", "metrics", "report", "text"},
    "systems": ROOT
    | {"nn", "sampling", "vocoders", "text", "data", "metrics", "speech", "speech_stream", "report"}
    | {"streaming", "training", "acoustic_model", "caption_model", "enhancement", "conversion", "voice"}
    | {"semantic", "music", "controls", "steering", "enhancement_objectives"},
    "hub": ROOT | {"systems", "vocoders", "training", "content_recognised"},
    "server": ROOT
    | {"text", "report", "speech", "speech_stream", "enhancement", "conversion", "voice", "music"},
    "demo": ROOT
    | {"hub", "systems", "speech", "speech_stream", "report", "text", "enhancement", "conversion", "music"}
    | {"controls", "steering"},
    "cli": ROOT
    | {"hub", "speech", "speech_stream", "report", "text", "data", "metrics", "training", "systems"}
    | {"enhancement", "conversion", "voice", "semantic", "music", "controls", "steering", "server", "demo"},
}
HEAVY = [
    "torch",
    "torchaudio",
    "lightning",
    "librosa",
    "numba",
    "gradio",
    "lhotse",
    "phonemizer",
    "soundfile",
    "matplotlib",
    "fastapi",
    "uvicorn",
    "prometheus_client",
    "ray",
    "fsspec",
]


def imports(path, package=PACKAGE):
    """(dotted name, line) of every import in a file, also those inside functions."""
    parts = (package.name, *path.relative_to(package).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(parts[: len(parts) - node.level]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            yield from ((f"{module}.{alias.name}", node.lineno) for alias in node.names)


def part_of(path, package=PACKAGE):
    return path.relative_to(package).with_suffix("").parts[0]


def trespasses(package=PACKAGE, allowed=ALLOWED):
    """Imports from one part of the package into another that the table does not list."""
    found = []
    for path in sorted(package.rglob("*.py")):
        part = part_of(path, package)
        for name, line in imports(path, package):
            words = name.split(".")
            if part.startswith("__") or words[0] != package.name or len(words) < 2:
                continue
            target = "registry" if words[1:] == ["systems", "SYSTEMS"] else words[1]
            known = target in allowed  # `from audiogen import load` names no part
            if known and target not in {part, *allowed.get(part, ())}:
                found.append(f"{path.relative_to(package.parent)}:{line} imports {name}")
    return found


def test_imports_run_one_way():
    """kernels <- nn <- systems -> sampling; audio, spectral <- vocoders, data; cli -> hub -> systems."""
    assert trespasses() == []


def test_every_part_is_in_the_table():
    parts = {part_of(path) for path in PACKAGE.rglob("*.py")} - {"__init__", "__main__"}
    assert parts <= set(ALLOWED)


def test_table_has_no_circles():
    done, before = set(), None
    while done != before:
        before = set(done)
        done |= {part for part, needs in ALLOWED.items() if needs <= done}
    assert done == set(ALLOWED)


def test_a_trespass_is_noticed(tmp_path):
    """The check itself: sampling that looks at nn, openly, in a function, or by a relative import."""
    package = tmp_path / "audiogen"
    (package / "sampling").mkdir(parents=True)
    (package / "sampling" / "a.py").write_text("import audiogen.nn.dit\n")
    (package / "sampling" / "b.py").write_text("def f():\n    from audiogen.nn import dit\n")
    (package / "sampling" / "c.py").write_text("from ..systems import prodiff\n")
    (package / "sampling" / "d.py").write_text("from .a import x\nimport torch\n")
    (package / "sampling" / "e.py").write_text("from audiogen import nn\n")
    assert [line.split()[0].split("/")[-1] for line in trespasses(package)] == [
        "a.py:1",
        "b.py:2",
        "c.py:1",
        "e.py:1",
    ]


def test_systems_never_import_each_other():
    """A later stage of a system, NAME_stage.py, builds on NAME.py and its other stages; nothing else does."""
    for path in (PACKAGE / "systems").glob("[!_]*.py"):
        others = {name.split(".")[2] for name, _ in imports(path) if name.startswith("audiogen.systems.")}
        assert {name for name in others if not path.stem.startswith(f"{name.split('_')[0]}_")} == set(), path


def test_sampling_knows_tensors_only():
    """Of the world outside: torch without its layers, and the standard library."""
    allowed = {"torch", "audiogen", *sys.stdlib_module_names}
    for path in (PACKAGE / "sampling").rglob("*.py"):
        names = {name for name, _ in imports(path)}
        assert {name.split(".")[0] for name in names} <= allowed, path
        assert not {name for name in names if name.startswith("torch.nn")}, path


def test_audio_files_are_touched_in_one_place():
    libraries = ("soundfile", "torchcodec", "audioread", "torchaudio.load", "librosa.load")
    users = {
        path for path in PACKAGE.rglob("*.py") for name, _ in imports(path) if name.startswith(libraries)
    }
    assert users == {PACKAGE / "audio.py"}


def test_nothing_is_unpickled():
    """Weights are safetensors; a Lightning checkpoint is read with weights_only=True at most."""
    for path in PACKAGE.rglob("*.py"):
        assert not {
            name for name, _ in imports(path) if name.split(".")[0] in ("pickle", "dill", "joblib.load")
        }, path
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert "weights_only=True" in ast.unparse(node), path


@pytest.fixture(scope="module")
def loaded():
    """Modules in a fresh interpreter after `import audiogen`, after --help, after `tts --help`."""
    script = (
        "import sys, json, io, contextlib; seen = []\n"
        "import audiogen; seen.append(list(sys.modules))\n"
        "from audiogen.cli import main\n"
        "for words in (['--help'], ['tts', '--help']):\n"
        "    with contextlib.redirect_stdout(io.StringIO()):\n"
        "        assert main(words) == 0\n"
        "    seen.append(list(sys.modules))\n"
        "print(json.dumps(seen))\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    return [set(modules) for modules in json.loads(finished.stdout)]


@pytest.mark.parametrize("name", HEAVY)
def test_import_and_help_are_light(loaded, name):
    for modules in loaded:
        assert name not in modules


def test_import_of_the_package_brings_one_module(loaded):
    assert {name for name in loaded[0] if name.startswith("audiogen")} == {"audiogen"}
