"""The demo in a real browser: a sound on every tab at one click, on a wide window and on a phone's."""

import shutil
import socket

import fake_content
import fake_music
import fake_steering
import numpy as np
import pytest
import soundfile
from test_stablevc import embed, small

import audiogen
from audiogen import hub
from audiogen.demo import compose
from audiogen.demo.models import COMPOSE, CONVERT, Shelf
from audiogen.demo.page import build, launch
from audiogen.speech import join

playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium); .ci/run installs it"
)
PATIENCE_MS = 180_000  # of a wait on a machine that is busy with other things
LOOPBACK = ("127.0.0.1", "::1", "localhost", "0.0.0.0")
EDGE = 10  # pixels from the corner of the drawing, which is round
EXAMPLE = "It costs $12.50. That is 3% less than last year!"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A demo with the shipped models, and untrained ones for the tasks of which none ships."""
    folder = tmp_path_factory.mktemp("demo")
    strangers = []

    def connect(self, where, _connect=socket.socket.connect):
        if isinstance(where, tuple) and where[0] not in LOOPBACK:
            strangers.append(where)
        return _connect(self, where)

    with pytest.MonkeyPatch.context() as patch:
        fake_content.register(patch)
        fake_music.register(patch)
        patch.setattr("audiogen.systems.stablevc.speaker_embedding", embed)
        patch.setattr(compose, "USUAL_SECONDS", 2)
        patch.setattr(socket.socket, "connect", connect)
        content = str(folder / "content.safetensors")
        hub.save(fake_content.FakeContent(12), content)
        hub.save(small(content=content, vocoder="griffin-lim"), folder / "vc.safetensors")
        hub.save(fake_music.music_system(), folder / "band.safetensors")
        more = {CONVERT: [str(folder / "vc.safetensors")], COMPOSE: [str(folder / "band.safetensors")]}
        page = build(Shelf("cpu", more), fake_steering.steer)
        yield launch(page, block=False)
        page.close()
    assert strangers == []


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def opened(browser, address, width, height, **more):
    """A page that notes what should not be: errors, and requests to other hosts."""
    page = browser.new_page(viewport={"width": width, "height": height}, **more)
    page.set_default_timeout(PATIENCE_MS)
    page.faults = []
    own = (address, "blob:", "data:")
    page.on("request", lambda r: None if r.url.startswith(own) else page.faults.append(r.url))
    page.on("response", lambda r: page.faults.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    page.on("console", lambda m: page.faults.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#speak-go")
    return page


@pytest.fixture(scope="module")
def wide(browser, address):
    page = opened(browser, address, 1280, 900)
    yield page
    page.close()


@pytest.fixture(autouse=True)
def no_faults(wide):
    yield
    faults, wide.faults[:] = list(wide.faults), []
    assert faults == []


def show(page, tab):
    page.get_by_role("tab", name=tab).click()


def drawn(page, elem_id):
    """Wait until a picture is there."""
    page.wait_for_selector(f"#{elem_id} img")


def downloaded(page, button):
    """The samples of the file that a button downloads, and its sample rate."""
    with page.expect_download() as waiting:
        page.click(button)
    return soundfile.read(waiting.value.path(), dtype="int16", always_2d=True)


def read_wav(path):
    return soundfile.read(path, dtype="int16", always_2d=True)


def test_an_example_speaks_and_lights_its_words(wide):
    wide.get_by_text(EXAMPLE).click()
    wide.wait_for_selector("#speak-player .ag-word")
    assert wide.locator("#speak-player .ag-word").text_content() in EXAMPLE
    wide.wait_for_selector("#speak-player .ag-audio:not([hidden])")
    assert wide.locator("#speak-player .ag-text").text_content() == EXAMPLE
    drawn(wide, "speak-picture")
    figures = wide.locator(".ag-account").first.text_content()
    for name in ("RTF", "first audio after", "steps 2", "seed 0", "model prodiff"):
        assert name in figures


def test_the_download_is_what_the_api_says(wide, tmp_path):
    """To the last bit: the same text, voice and seed, streamed."""
    wide.fill("#speak-text textarea", "Hold the line, please. Thank you.")
    wide.get_by_label("Seed").first.fill("11")
    wide.click("#speak-go")
    wide.wait_for_selector("#speak-player .ag-download[download*='seed11']")
    samples, rate = downloaded(wide, "#speak-player .ag-download")
    voice = audiogen.load("prodiff")
    streamed = join(list(voice.stream("Hold the line, please. Thank you.", seed=11)))
    streamed.save(tmp_path / "streamed.wav")
    expected, expected_rate = read_wav(tmp_path / "streamed.wav")
    assert rate == expected_rate
    assert np.array_equal(samples, expected)
    whole = voice.synthesize("Hold the line, please. Thank you.", seed=11)
    assert np.abs(samples[:, 0] / 2**15 - whole.wav[0].numpy()).max() < 1e-3


def test_what_was_heard_until_stop_can_be_kept(wide):
    """The work ends with the sound: the file is shorter than the text."""
    wide.fill("#speak-text textarea", "This sentence is one of many. " * 66)
    wide.get_by_label("Seed").first.fill("12")
    wide.locator("#speak-player .ag-stop").wait_for(state="hidden")  # what was said before is over
    wide.click("#speak-go")
    wide.click("#speak-player .ag-stop")
    wide.wait_for_selector("#speak-player .ag-download[download*='seed12']")
    samples, rate = downloaded(wide, "#speak-player .ag-download")
    assert 0 < len(samples) < 100 * rate  # all of it lasts two minutes
    assert wide.locator("#speak-player .ag-stop").is_hidden()


def test_two_step_counts_stand_side_by_side(wide):
    wide.fill("#speak-text textarea", "Good morning.")
    wide.get_by_text("Compare two step counts").click()
    wide.click("#speak-compare")
    drawn(wide, "speak-picture-A")
    drawn(wide, "speak-picture-B")
    wide.get_by_text("Same seed, 1 and 4 steps").wait_for()
    sides = [downloaded(wide, f"#speak-{side} .ag-download")[0] for side in "AB"]
    assert sides[0].shape == sides[1].shape
    assert not np.array_equal(*sides)


def test_errors_say_what_to_do(wide):
    wide.fill("#speak-text textarea", "?!")
    wide.click("#speak-go")
    wide.locator(".toast-wrap").get_by_text("nothing to say").wait_for()
    wide.faults[:] = [fault for fault in wide.faults if "nothing to say" not in fault]


def test_an_example_is_enhanced(wide):
    show(wide, "Enhance")
    wide.click("#enhance-example-3")
    drawn(wide, "enhance-picture-before")
    drawn(wide, "enhance-picture-after")
    samples, rate = downloaded(wide, "#enhance-after a[download]")
    assert rate == 16000
    assert len(samples) > 3 * rate
    assert np.abs(samples).max() > 1000


def test_an_example_is_converted(wide):
    show(wide, "Convert")
    wide.click("#convert-example")
    drawn(wide, "convert-picture-after")
    samples, rate = downloaded(wide, "#convert-after a[download]")
    assert len(samples) > 2 * rate


def test_an_example_is_composed(wide):
    show(wide, "Compose")
    wide.get_by_text("calm strings").click()
    drawn(wide, "compose-picture")
    samples, rate = downloaded(wide, "#compose-player .ag-download")
    assert (len(samples), rate) == (48000, 24000)


def test_a_curve_is_drawn_and_followed(wide):
    """A shape at one click; then a line by hand from the top on the left to the bottom on the right."""
    show(wide, "Steer")
    wide.click("#steer-rising")
    drawn(wide, "steer-picture")
    _, wish = fake_steering.CALLS[-1]
    levels = [level for _, level in wish.intensity]
    assert levels == sorted(levels)
    assert wish.seconds == 5
    canvas = wide.locator("#steer-curve canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    wide.mouse.move(box["x"] + EDGE, box["y"] + EDGE)
    wide.mouse.down()
    wide.mouse.move(box["x"] + box["width"] - EDGE, box["y"] + box["height"] - EDGE, steps=8)
    wide.mouse.up()
    calls = len(fake_steering.CALLS)
    wide.click("#steer-go")
    playwright.expect(wide.locator(".ag-account").last).to_contain_text("1.5 dB after")
    wide.wait_for_function("() => document.querySelector('#steer-after a[download]')")
    for _ in range(PATIENCE_MS // 100):
        if len(fake_steering.CALLS) > calls:
            break
        wide.wait_for_timeout(100)
    levels = [level for _, level in fake_steering.CALLS[-1][1].intensity]
    assert levels == sorted(levels, reverse=True)
    assert levels[0] > -13
    assert levels[-1] < -42


def test_a_search_ends_at_stop_with_what_was_found(wide):
    show(wide, "Steer")
    calls = len(fake_steering.CALLS)
    wide.fill("#steer-words textarea", "wait")
    for _ in range(PATIENCE_MS // 500):
        wide.click("#steer-go")  # does nothing while the run before has not been shown
        wide.wait_for_timeout(500)
        if len(fake_steering.CALLS) > calls:
            break
    wide.click("#steer-stop")
    wide.locator(".ag-account").get_by_text("cancelled").wait_for()


def test_a_phone_scrolls_in_one_direction(browser, address):
    page = opened(browser, address, 390, 844, has_touch=True, is_mobile=True)
    for tab in ("Speak", "Enhance", "Convert", "Compose", "Steer"):
        show(page, tab)
        page.wait_for_selector(f"#{tab.lower()}-go")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, tab
    show(page, "Speak")
    page.get_by_text(EXAMPLE).tap()
    drawn(page, "speak-picture")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.faults == []
    page.close()
