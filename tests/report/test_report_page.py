"""report.html in a real browser: it opens from disk alone, clicks move the clip, maps follow their choice, no text of a clip runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emofuse.pipeline.ports import Analysis
from emofuse.pipeline.views.report import write_report

BAD = (
    "<script>window.bad=1</script>",
    "</script><script>window.bad=1</script>",
    "<img src=x onerror=window.bad=1>",
    "<!--<script>",
    "&lt;b&gt;",
    "\u2028naïve",
)


@pytest.fixture(scope="module")
def page(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {"samples": samples, "folder": tmp_path_factory.mktemp("report")}


@pytest.fixture
def shown(browser: Any, page: dict[str, Any], analyzed: Callable[..., Analysis], opened: Callable[[Path], Any]) -> tuple[Any, Analysis]:
    """The page of a sample clip, open, and the analysis it shows."""
    if "analysis" not in page:
        page["analysis"] = analyzed(page["samples"] / "smile.mp4")
        write_report(page["analysis"], page["folder"], home=page["folder"], version="9")
    path = page["folder"] / "report.html"
    if not browser.current_url.startswith(path.resolve().as_uri()):  # one opening serves many tests
        opened(path)
    browser.execute_script("scrollTo(0, 0); R.seek(0); R.look(0, R.length)")
    return browser, page["analysis"]


def complaints(browser: Any) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def test_it_opens_without_complaint_and_loads_nothing_but_the_clip(shown: tuple[Any, Analysis], wait: Callable[..., None]) -> None:
    browser, _ = shown
    wait(browser, "R.media.readyState >= 2")
    assert complaints(browser) == []
    assert browser.execute_script("return R.errors") == []
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert all(name.startswith("file:") and name.endswith("smile.mp4") for name in loaded), loaded
    assert browser.execute_script("return document.querySelectorAll('link:not([href^=data]), script[src], iframe, img').length") == 0
    assert browser.execute_script("return document.querySelectorAll('#lanes .bk-Figure').length") == 9


def test_a_click_on_a_word_moves_the_clip_to_it(shown: tuple[Any, Analysis], wait: Callable[..., None]) -> None:
    browser, analysis = shown
    wait(browser, "R.media.readyState >= 2")
    words = browser.find_elements("css selector", ".word")
    assert [w.text for w in words] == list(analysis.streams["words"].labels["word"])
    words[4].click()
    wait(browser, "!R.media.seeking")
    assert browser.execute_script("return R.media.currentTime") == pytest.approx(float(analysis.streams["words"].start[4]), abs=1e-3)
    assert browser.execute_script("return document.querySelector('.word.here').textContent") == words[4].text


def test_a_click_on_the_timeline_moves_the_clip_there_and_the_cursor_with_it(
    shown: tuple[Any, Analysis], wait: Callable[..., None]
) -> None:
    from selenium.webdriver import ActionChains

    browser, _ = shown
    wait(browser, "R.media.readyState >= 2")
    plot = browser.find_element("css selector", "#lane-units .plot")
    ActionChains(browser).move_to_element(plot).click().perform()
    wait(browser, "!R.media.seeking")
    # By the page's own geometry: the frame is the plot without its borders of 64 and 14 pixels.
    width = plot.size["width"]
    expected = (width / 2 - 64) / (width - 64 - 14) * 8.6
    assert browser.execute_script("return R.media.currentTime") == pytest.approx(expected, abs=0.03)
    middle = browser.execute_script(
        "const r = R.id('cursor').getBoundingClientRect(), p = arguments[0].getBoundingClientRect(); return r.left + 1 - p.left", plot
    )
    assert middle == pytest.approx(width / 2, abs=2)


def test_keys_move_it_too(shown: tuple[Any, Analysis], wait: Callable[..., None]) -> None:
    from selenium.webdriver import Keys

    browser, analysis = shown
    wait(browser, "R.media.readyState >= 2")
    body = browser.find_element("css selector", "body")
    browser.execute_script("R.seek(0)")
    body.send_keys("]")
    assert browser.execute_script("return R.now") == pytest.approx(analysis.utterances[1].span.start, abs=1e-3)
    body.send_keys(Keys.ARROW_RIGHT)
    wait(browser, "!R.media.seeking")
    assert browser.execute_script("return R.now") == pytest.approx(analysis.utterances[1].span.start + 1, abs=1e-3)
    word = browser.find_element("css selector", ".word")
    word.send_keys(Keys.ARROW_RIGHT)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.execute_script("return R.now") == pytest.approx(float(analysis.streams["words"].start[1]), abs=1e-3)


def test_the_map_is_the_chosen_layers_and_heads(shown: tuple[Any, Analysis]) -> None:
    from selenium.webdriver.support.select import Select

    browser, analysis = shown
    prediction = analysis.utterances[1].prediction
    assert prediction is not None
    chosen = next(a for a in prediction.attention if (a.target, a.source) == ("text", "voice"))

    def matrix() -> np.ndarray[Any, Any]:
        found = browser.execute_script("return [Array.from(R.matrix.values), R.matrix.n, R.matrix.k]")
        return np.array(found[0]).reshape(found[1], found[2])[::-1]

    Select(browser.find_element("id", "map-utterance")).select_by_value("1")
    Select(browser.find_element("id", "map-pair")).select_by_visible_text("text looks at voice")
    found = {}
    for layer in (0, 1):
        Select(browser.find_element("id", "map-layer")).select_by_value(str(layer))
        for head, weights in (("mean", chosen.weights[layer].mean(0)), ("2", chosen.weights[layer, 2])):
            Select(browser.find_element("id", "map-head")).select_by_value(head)
            found[layer, head] = matrix()
            # One byte holds the root of a weight: half a step of it at the largest weight is 1/255 of that.
            assert found[layer, head] == pytest.approx(weights, abs=float(chosen.weights[layer].max()) / 250)
    assert np.abs(found[0, "mean"] - found[1, "mean"]).max() > 0.01
    assert "looks at" not in browser.find_element("id", "strongest").text and "→" in browser.find_element("id", "strongest").text


def test_hops_are_curves(analyzed: Callable[..., Analysis], samples: Path, tmp_path: Path, opened: Callable[[Path], Any]) -> None:
    write_report(analyzed(samples / "smile.mp4", hops=True), tmp_path, home=tmp_path, version="9")
    browser = opened(tmp_path / "report.html")
    headings = [h.text for h in browser.find_elements("css selector", "#map h3")]
    assert headings == ["Looks at the text", "Looks at the face", "Looks at the voice"]
    assert "hop 2 looks most at" in browser.find_element("id", "strongest").text
    assert not browser.find_element("id", "map-layer").is_displayed()
    assert complaints(browser) == []


def test_no_text_of_a_clip_runs(analyzed: Callable[..., Analysis], samples: Path, tmp_path: Path, opened: Callable[[Path], Any]) -> None:
    clip = tmp_path / "<img src=x onerror=window.bad=1> & 'so' #1 %41?.mp4"
    clip.write_bytes((samples / "smile.mp4").read_bytes())
    folder = tmp_path / "out"
    folder.mkdir()
    write_report(analyzed(clip, words=BAD), folder, home=folder, version="9")
    browser = opened(folder / "report.html")
    assert browser.execute_script("return typeof window.bad") == "undefined"
    assert complaints(browser) == []
    assert browser.execute_script("return Array.from(document.querySelectorAll('.word'), w => w.textContent)") == list(BAD[:6])
    assert browser.find_element("id", "name").text == clip.name
    assert browser.title.startswith(clip.name)
    assert browser.execute_script("return document.querySelectorAll('img').length") == 0
    assert (
        browser.execute_script(
            "return new Promise(r => { const v = R.media; v.readyState ? r(v.duration) : v.onloadedmetadata = () => r(v.duration) })"
        )
        > 8
    ), "and the clip is found by that name"
    browser.execute_script("const s = document.createElement('script'); s.textContent = 'window.bad = 1'; document.body.append(s)")
    assert browser.execute_script("return typeof window.bad") == "undefined", "the page's policy lets no other script run"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_fault(shown: tuple[Any, Analysis], serious_faults: Callable[[], list[Any]], theme: str) -> None:
    browser, _ = shown
    while browser.execute_script("return R.id('theme').textContent") != f"Theme: {theme}":
        browser.execute_script("R.id('theme').click()")
    assert browser.execute_script("return document.documentElement.dataset.theme") == theme
    assert serious_faults() == []


def test_a_narrow_window_needs_no_sideways_scrolling(shown: tuple[Any, Analysis], wait: Callable[..., None]) -> None:
    browser, _ = shown
    size = browser.get_window_size()
    try:
        browser.set_window_size(500, 900)
        wait(browser, "document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        wait(browser, "R.drawn.get(R.figures[0]).frame.bbox.width < 420")
    finally:
        browser.set_window_size(size["width"], size["height"])


def test_a_clip_that_has_gone_is_said(
    analyzed: Callable[..., Analysis], tmp_path: Path, samples: Path, opened: Callable[[Path], Any], wait: Callable[..., None]
) -> None:
    clip = tmp_path / "gone.mp4"
    clip.write_bytes((samples / "smile.mp4").read_bytes())
    write_report(analyzed(clip), tmp_path, home=tmp_path, version="9")
    clip.unlink()
    browser = opened(tmp_path / "report.html")
    wait(browser, "document.querySelector('#player .notice')")
    assert "could not be opened at gone.mp4" in browser.find_element("css selector", "#player .notice").text
    browser.find_elements("css selector", ".word")[2].click()
    assert browser.execute_script("return R.now") > 0, "the page still follows"
