"""docs/ as a site: builds without a warning, is complete, and needs nobody else's server."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from docs_commands import ROOT

CONFIG = ROOT / "mkdocs.yml"


def pages_of(nav):
    """Paths of all pages of a navigation."""
    for entry in nav:
        (value,) = entry.values()
        yield from pages_of(value) if isinstance(value, list) else [value]


class Fetched(HTMLParser):
    """What a browser fetches by itself when it shows a page, and where its links lead."""

    def __init__(self):
        super().__init__()
        self.fetched, self.links = [], []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag in ("script", "img", "iframe", "audio", "video", "source") and attrs.get("src"):
            self.fetched.append(attrs["src"])
        if tag == "link" and attrs.get("rel") != "canonical":
            self.fetched.append(attrs["href"])
        if tag == "a" and attrs.get("href"):
            self.links.append(attrs["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built with warnings as errors."""
    folder = tmp_path_factory.mktemp("site")
    words = ["build", "--strict", "--config-file", CONFIG, "--site-dir", folder]
    done = subprocess.run([sys.executable, "-m", "mkdocs", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def read(path):
    parser = Fetched()
    parser.feed(path.read_text(encoding="utf-8"))
    return parser


def test_the_navigation_has_every_page_once_and_no_other():
    class Loader(yaml.SafeLoader):
        """mkdocs.yml has tags of its own for Python names."""

    listed = list(pages_of(yaml.load(CONFIG.read_text(encoding="utf-8"), Loader)["nav"]))
    docs = {path.name for path in (ROOT / "docs").glob("*.md")}
    cards = {path.relative_to(ROOT).as_posix() for path in (ROOT / "models").rglob("README.md")}
    assert len(set(listed)) == len(listed)
    assert set(listed) - {"CONTRIBUTING.md", "demo/README.md"} == docs | cards


def test_pages_fetch_nothing_from_elsewhere(site):
    for path in site.rglob("*.html"):
        for address in read(path).fetched:
            assert not re.match(r"(https?:)?//", address), (path, address)
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", styles)


def test_links_between_pages_lead_to_files_of_the_site(site):
    cards = set()
    for path in site.rglob("*.html"):
        if path.name == "404.html":
            continue
        for link in read(path).links:
            target = link.partition("#")[0]
            if target and not re.match(r"\w+:", target):
                found = Path(os.path.normpath(path.parent / target))
                assert found.is_file() or (found / "index.html").is_file(), (path, link)
                cards.add(found.relative_to(site).as_posix())
    assert "models/prodiff/index.html" in cards
