"""Pages link to files outside docs/ as GitHub wants it; here the site learns to follow the same links."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
OUTSIDE = ("models/**/*.md", "models/**/*.png", "demo/*.md", "CONTRIBUTING.md")
LINK = re.compile(r"(?<=\]\()(?!https?:)([^)#\s]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add the files of OUTSIDE to the site, each at its path in the repository."""
    for path in sorted(path for pattern in OUTSIDE for path in ROOT.glob(pattern)):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    here = page.file.src_uri
    folder = (ROOT / here if (ROOT / here).is_file() else ROOT / "docs" / here).parent

    def on_site(link: re.Match[str]) -> str:
        target = Path(os.path.normpath(folder / link[1]))
        if not target.is_file():
            return link[0]
        base = ROOT / "docs" if target.is_relative_to(ROOT / "docs") else ROOT
        start = os.path.dirname(here) or "."
        return Path(os.path.relpath(target.relative_to(base), start)).as_posix()

    return LINK.sub(on_site, markdown)
