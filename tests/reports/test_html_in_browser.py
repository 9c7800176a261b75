"""What a person sees of the HTML report in a real browser; the screenshots stay in build/screenshots."""

import json
import sys

import pytest
from browser import CHROMIUM, Browser

from reports import html

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
    pytest.mark.skipif(sys.platform == "win32", reason="talks to Chromium over inherited pipes"),
]

CHART = "[...document.querySelectorAll('figure')].find(one => one.ariaLabel == 'learning rate')"
PLACE = f"""(() => {{
    const svg = {CHART}.querySelector("svg");
    const [x, y, trial] = JSON.parse({CHART}.dataset.points)[INDEX];
    const at = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());
    return [at.x, at.y, trial];
}})()"""
CARD = "document.getElementById('card')"
FONT = "document.fonts.check('16px \"IBM Plex Sans\"') && [...document.fonts].some(one => one.status == 'loaded')"
CUT = """[...document.querySelectorAll("figure svg")].filter(svg => svg.checkVisibility()).flatMap(svg => {
    const box = svg.getBoundingClientRect();
    return [...svg.querySelectorAll("text")].filter(text => {
        const at = text.getBoundingClientRect();
        return at.width && (at.left < box.left - 3 || at.right > box.right + 3 || at.top < box.top - 3
            || at.bottom > box.bottom + 3);
    }).map(text => text.textContent);
})"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """One browser for all tests."""
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def record(made_up):
    return made_up(40, confirmed=True, name="<b>study</b>")


@pytest.fixture(scope="module")
def written(record, tmp_path_factory):
    """The address of a report."""
    out = tmp_path_factory.mktemp("html") / "report.html"
    html.write(record, out)
    return out.as_uri()


@pytest.fixture(params=[(1400, 1000), (400, 800)], ids=["desktop", "phone"])
def browser(chromium, written, request):
    """The report in a window of each size."""
    width, height = request.param
    with chromium.page():
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        chromium.call("Emulation.setDeviceMetricsOverride", **size)
        chromium.open(written, "<b>study</b>")
        chromium.until(FONT)
        yield chromium
        assert chromium.complaints() == []


def press(browser, key):
    browser.call("Input.dispatchKeyEvent", type="keyDown", key=key)
    browser.call("Input.dispatchKeyEvent", type="keyUp", key=key)


def test_pointing_at_a_mark_shows_its_trial(browser, record):
    """Number, outcome and settings; gone when the pointer leaves."""
    browser.value(f"{CHART}.scrollIntoView({{ block: 'center' }})")
    browser.until("true")  # the scrolling has ended: it hides what is shown
    for index in (0, 9):
        x, y, trial = browser.value(PLACE.replace("INDEX", str(index)))
        browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        browser.until(f"!{CARD}.hidden")
        told = browser.value(f"{CARD}.innerText")
        shown = [int(word) for word in told.replace(",", " ").split() if word.isdecimal()]

        assert trial in shown, told
        assert record.trials[shown[0]].outcome in told
        assert f"{record.trials[shown[0]].hyperparameters['learning_rate']:.3g}" in told
        box = browser.value(f"Object.values({CARD}.getBoundingClientRect().toJSON())")
        assert min(box) >= 0
        assert box[0] + box[2] <= browser.value("innerWidth")
    browser.screenshot(f"report-{browser.value('innerWidth')}")
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    browser.until(f"{CARD}.hidden")


def test_the_arrow_keys_go_through_the_trials_of_a_chart(browser):
    browser.value(f"{CHART}.focus()")
    seen = []
    for _ in range(3):
        press(browser, "ArrowRight")
        seen.append(browser.value(f"{CARD}.firstChild.textContent"))
    press(browser, "ArrowLeft")

    assert browser.value(f"{CARD}.firstChild.textContent") == seen[1]
    assert len(set(seen)) == 3
    press(browser, "Escape")
    assert browser.value(f"{CARD}.hidden")


def test_everything_is_inside_the_window_and_can_be_found(browser):
    """No text is cut off; the findings are found in the page; no chart is wider than its column."""
    assert browser.value("document.documentElement.scrollWidth") <= browser.value("innerWidth")
    assert browser.value(CUT) == []
    for title in browser.value("[...document.querySelectorAll('h2')].map(title => title.innerText)"):
        assert browser.value(f"getSelection().empty(), find({json.dumps(title)})"), title
