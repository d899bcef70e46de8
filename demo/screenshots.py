"""Pictures of the demo for the documentation: `python demo/screenshots.py` writes docs/figures/demo_*.png."""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from audiogen.demo.models import COMPOSE, CONVERT, Shelf
from audiogen.demo.page import build, launch

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
COLOURS = 96  # of a picture: few enough for a small file
SECOND_MS = 1000
WIDE, PHONE = {"width": 1120, "height": 900}, {"width": 390, "height": 844}
PATIENCE_MS = 180 * SECOND_MS


def save(page: Page, path: Path) -> None:
    """Write what the window shows, with a palette."""
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def speak(page: Page) -> None:
    """Press an example and wait until a word in the middle is lit."""
    page.get_by_text("It costs $12.50").click()
    page.wait_for_selector("#speak-picture img")
    page.wait_for_selector("#speak-player .ag-word[data-sentence='1']")


def press(tab: str, button: str, result: str) -> Any:
    """What presses a button of a tab and waits for its picture."""

    def act(page: Page) -> None:
        page.get_by_role("tab", name=tab).click()
        page.click(button)
        page.wait_for_selector(f"{result} img")
        page.wait_for_timeout(SECOND_MS)  # until the waveforms are drawn

    return act


def main() -> None:
    """Start a demo, click, take pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FIGURES, help="folder for the pictures")
    parser.add_argument("--convert", help="a model, for a picture of its tab")
    parser.add_argument("--music", help="a model, for pictures of its tabs")
    words = parser.parse_args()
    given = {CONVERT: words.convert, COMPOSE: words.music}
    shelf = Shelf("cpu", {task: [path] for task, path in given.items() if path})
    shots = [("speak", WIDE, speak), ("phone", PHONE, speak)]
    shots.append(("enhance", WIDE, press("Enhance", "#enhance-example-3", "#enhance-picture-after")))
    if shelf.names(CONVERT):
        shots.append(("convert", WIDE, press("Convert", "#convert-example", "#convert-picture-after")))
    if shelf.names(COMPOSE):
        shots.append(("compose", WIDE, press("Compose", "#compose-go", "#compose-picture")))
        shots.append(("steer", WIDE, press("Steer", "#steer-swell", "#steer-picture")))
    words.out.mkdir(parents=True, exist_ok=True)
    page = build(shelf)
    address = launch(page, block=False)
    with sync_playwright() as driver:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, window, act in shots:
            window_page = browser.new_page(viewport=window)
            window_page.set_default_timeout(PATIENCE_MS)
            window_page.goto(address)
            window_page.wait_for_selector("#speak-go")
            act(window_page)
            save(window_page, words.out / f"demo_{name}.png")
            window_page.close()
        browser.close()
    page.close()


if __name__ == "__main__":
    main()
