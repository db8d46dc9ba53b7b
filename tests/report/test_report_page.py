"""report.html in a real browser: it opens from disk alone, clicks move the clip, maps follow their choice, no text of a clip runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emofuse.pipeline.attention_rows import AttentionRows
from emofuse.pipeline.results import Analysis, FaceChoice, UtteranceInfluence
from emofuse.pipeline.timed import Span, TimedSequence
from emofuse.pipeline.turns import Turn
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
    assert all(name.startswith("file:") and name.endswith(("smile.mp4", "thumbnail.jpg")) for name in loaded), loaded
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
        "const r = document.querySelector('#lane-units .cursor').getBoundingClientRect(), p = arguments[0].getBoundingClientRect();"
        "return r.left + 1 - p.left",
        plot,
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
        drawn = browser.execute_script("return [Array.from(R.matrix.values), R.matrix.rows, R.matrix.columns]")
        return np.array(drawn[0]).reshape(drawn[1], drawn[2])

    Select(browser.find_element("id", "map-utterance")).select_by_value("1")
    Select(browser.find_element("id", "map-pair")).select_by_visible_text("text looks at voice")
    drawn = {}
    for layer in (0, 1):
        Select(browser.find_element("id", "map-layer")).select_by_value(str(layer))
        for head, weights in (("mean", chosen.weights[layer].mean(0)), ("2", chosen.weights[layer, 2])):
            Select(browser.find_element("id", "map-head")).select_by_value(head)
            drawn[layer, head] = matrix()
            # One byte holds the root of a weight: half a step of it at the largest weight is 1/255 of that.
            assert drawn[layer, head] == pytest.approx(weights, abs=float(chosen.weights[layer].max()) / 250)
    assert np.abs(drawn[0, "mean"] - drawn[1, "mean"]).max() > 0.01
    # The number that says how far from even the map is: half of what would have to move, the mean of its rows.
    even = np.abs(chosen.weights[1, 2] - 1 / chosen.weights.shape[3]).sum(1).mean() / 2
    told = re.match(r"This map is (\d+\.\d) % away from an even spread", browser.find_element("id", "strongest").text)
    assert told and float(told.group(1)) == pytest.approx(100 * even, abs=1)
    assert browser.execute_script("return R.matrix.spread.distance") == pytest.approx(float(even), abs=0.01)
    assert "→" in browser.find_element("id", "strongest").text
    ratio = browser.execute_script("return Array.from(R.matrix.spread.ratio)")
    expected = chosen.weights[1, 2] * chosen.weights.shape[3]
    assert np.array(ratio) == pytest.approx(expected.ravel(), abs=float(expected.max()) / 100)


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


TINY = 0.4078125
"""A start that lies between two microseconds, as all of pocketsphinx's do: browsers cut a clip's time to microseconds."""


@pytest.fixture
def between(analyzed: Callable[..., Analysis], samples: Path, tmp_path: Path, opened: Callable[[Path], Any]) -> tuple[Any, Analysis]:
    """A page whose words and utterances all begin between two microseconds."""
    analysis = analyzed(samples / "smile.mp4")
    shifted = {name: s.shifted(TINY - 0.4) if name in ("words", "text") else s for name, s in analysis.streams.items()}
    shifted = {name: replace(s, start=np.floor(s.start * 128) / 128 + 1 / 128, end=s.end + 1 / 128) for name, s in shifted.items()}
    utterances = tuple(
        replace(u, span=Span(np.floor(u.span.start * 128) / 128 + 1 / 128, np.floor(u.span.end * 128) / 128)) for u in analysis.utterances
    )
    analysis = replace(analysis, streams=shifted, utterances=utterances, attention=AttentionRows.of(list(analysis.attention), shifted))
    write_report(analysis, tmp_path, home=tmp_path, version="9")
    return opened(tmp_path / "report.html"), analysis


def test_every_click_lands_where_it_was_made(between: tuple[Any, Analysis], wait: Callable[..., None]) -> None:
    browser, analysis = between
    wait(browser, "R.media.readyState >= 2")
    assert any(round(u.span.start * 1e6) != u.span.start * 1e6 for u in analysis.utterances), "between two microseconds"
    for word in browser.find_elements("css selector", ".word"):
        word.click()
        wait(browser, "!R.media.seeking")
        assert browser.execute_script("return document.querySelector('.word.here')?.textContent") == word.text
    for k, button in enumerate(browser.find_elements("css selector", "#table button")):
        browser.execute_script("arguments[0].click()", button)
        wait(browser, "!R.media.seeking")
        browser.execute_script("R.media.dispatchEvent(new Event('timeupdate'))")
        assert browser.find_element("css selector", "#now .head").text.startswith(f"Utterance {k}:")
        assert browser.execute_script("return document.querySelectorAll('#table tbody tr.here').length") == 1


def test_the_keys_reach_every_utterance_and_come_back(between: tuple[Any, Analysis], wait: Callable[..., None]) -> None:
    browser, analysis = between
    wait(browser, "R.media.readyState >= 2")
    body = browser.find_element("css selector", "body")
    browser.execute_script("R.seek(0)")
    reached = []
    for key in "]" * len(analysis.utterances) + "[" * (len(analysis.utterances) - 1):
        body.send_keys(key)
        wait(browser, "!R.media.seeking")
        reached.append(browser.execute_script("return R.utteranceAt(R.now).index"))
    forward = list(range(len(analysis.utterances)))
    assert reached == forward + forward[-2::-1]


def test_playing_reaches_the_next_word_too(between: tuple[Any, Analysis], wait: Callable[..., None]) -> None:
    """Without a click, too: the player's own times, cut to microseconds, count as the moment they stand for."""
    browser, analysis = between
    for i, start in enumerate(analysis.streams["words"].start.tolist()):
        browser.execute_script("R.at(Math.floor(arguments[0] * 1e6) / 1e6)", start)
        assert browser.execute_script("return document.querySelector('.word.here')?.dataset.i") == str(i)


def test_the_first_view_is_the_clip_s_answer(shown: tuple[Any, Analysis]) -> None:
    """The clip's as a whole where no utterance is, as at the start of most clips."""
    browser, analysis = shown
    assert analysis.summary is not None
    browser.execute_script("R.at(R.length)")
    emotion = max(analysis.summary.probabilities, key=lambda e: analysis.summary.probabilities[e])  # type: ignore[union-attr]
    percent = f"{100 * analysis.summary.probabilities[emotion]:.0f} %"
    assert browser.find_element("css selector", "#now .head").text == f"Whole clip: {emotion} {percent}"
    filled = browser.execute_script("return Array.from(document.querySelectorAll('#now .value'), v => v.textContent)")
    assert all(filled) and percent in filled
    assert f"whole clip: {emotion} {percent}" in browser.find_element("id", "facts").text


def test_the_time_line_crosses_no_title(shown: tuple[Any, Analysis]) -> None:
    browser, _ = shown
    overlaps = browser.execute_script("""
        const box = (node) => node.getBoundingClientRect(), found = [];
        const texts = document.querySelectorAll('.lane .row > *, .absent');
        for (const cursor of document.querySelectorAll('.cursor')) for (const text of texts) {
          const a = box(cursor), b = box(text);
          if (a.top < b.bottom - 1 && a.bottom > b.top + 1 && a.left < b.right && a.right > b.left) found.push(text.textContent);
        }
        return found""")
    assert overlaps == []
    assert browser.execute_script("return document.querySelectorAll('.cursor:not([hidden])').length") == 9


def test_every_lane_says_its_unit_and_words_have_labels(shown: tuple[Any, Analysis], wait: Callable[..., None]) -> None:
    browser, analysis = shown
    units = browser.execute_script(
        "return Array.from(document.querySelectorAll('#lanes .lane'), l => l.querySelector('.unit').textContent)"
    )
    assert all(units) and sum("times an even share" in unit for unit in units) == 3
    wait(browser, "R.lanes.find(lane => lane.stage.parentElement.id === 'lane-attention-text').labels.source.data.text.length")
    drawn = browser.execute_script(
        "return R.lanes.find(lane => lane.stage.parentElement.id === 'lane-attention-text').labels.source.data.text"
    )
    assert sorted(drawn) == sorted(analysis.streams["words"].labels["word"]), "at 1400 pixels all of them fit"


def test_a_400_pixel_page_hides_nothing_and_scrolls_only_down(
    shown: tuple[Any, Analysis], wait: Callable[..., None], narrow: Callable[[int], None]
) -> None:
    browser, _ = shown
    narrow(400)
    wait(browser, "document.documentElement.scrollWidth <= 400")
    hidden = browser.execute_script("""
        return Array.from(document.querySelectorAll('#table td:not(.empty), #choices select, .lane h3, #facts'))
          .filter(n => n.offsetParent && (n.getBoundingClientRect().right > 400 || n.getBoundingClientRect().left < 0))
          .map(n => n.outerHTML.slice(0, 80))""")
    assert hidden == []
    sideways = "return Array.from(document.querySelectorAll('.wide')).map(n => n.scrollWidth - n.clientWidth)"
    assert max(browser.execute_script(sideways)) <= 0


def test_the_face_that_was_read_has_its_box_on_the_clip(
    analyzed: Callable[..., Analysis], samples: Path, tmp_path: Path, opened: Callable[[Path], Any], wait: Callable[..., None]
) -> None:
    """Two faces; the second was read, by its lips. Its box lies where it is in the picture, and the page says why it."""
    analysis = analyzed(samples / "smile.mp4")
    face, video = analysis.streams["face"], analysis.info.video
    assert video is not None
    start = np.repeat(face.start[::4], 2)
    sides = np.tile(np.array([[0, 10, 20, 30, 40], [1, 60, 50, 90, 100]], np.float32), (len(start) // 2, 1))
    columns = ("face_id", "FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight")
    two = TimedSequence("face", columns, sides, start, start + 0.16, face.provenance)
    choice = FaceChoice(1, "lips", 0.66, (0, 1))
    utterances = tuple(replace(u, face=choice) for u in analysis.utterances)
    streams = {**analysis.streams, "face": two}
    rows = AttentionRows.empty(streams)
    for u in utterances:
        inside = two.inside(u.span)
        rows.streams["face"].record(u.index, inside[sides[inside, 0] == 1], {}, None)
    write_report(replace(analysis, streams=streams, utterances=utterances, attention=rows), tmp_path, home=tmp_path, version="9")
    browser = opened(tmp_path / "report.html")
    wait(browser, "R.media.readyState >= 2")
    browser.execute_script("R.seek(1.0)")
    wait(browser, "!document.querySelector('.facebox').hidden")
    place = browser.execute_script("""
        const box = document.querySelector('.facebox').getBoundingClientRect(), clip = R.media.getBoundingClientRect();
        const scale = Math.min(clip.width / R.media.videoWidth, clip.height / R.media.videoHeight);
        const left = clip.left + (clip.width - R.media.videoWidth * scale) / 2;
        const top = clip.top + (clip.height - R.media.videoHeight * scale) / 2;
        return [(box.left - left) / scale, (box.top - top) / scale, box.width / scale, box.height / scale]""")
    assert place == pytest.approx([60, 50, 90, 100], abs=1.5)
    said = "face 1 of 2 was read: its lips move with the voice, confidence 0.66"
    assert said in browser.find_element("id", "flags").text


def test_a_clip_without_an_answer_is_not_blamed_on_the_model(
    analyzed: Callable[..., Analysis], samples: Path, tmp_path: Path, opened: Callable[[Path], Any]
) -> None:
    analysis = analyzed(samples / "smile.mp4", words=("one",))
    (only,) = analysis.utterances
    quality = replace(only.quality, flags=("abstain",))
    silent = replace(analysis, utterances=(replace(only, prediction=None, quality=quality),), summary=None)
    write_report(silent, tmp_path, home=tmp_path, version="9")
    browser = opened(tmp_path / "report.html")
    lanes = browser.find_element("id", "lanes").text
    assert "This model has no answer" not in lanes and "No utterance of this clip has an answer." in lanes
    assert "1 utterance," in browser.find_element("id", "facts").text
    assert "too little was there to answer from" in browser.find_element("id", "flags").text


def test_influence_is_a_lane_and_a_tint_where_it_was_computed(
    analyzed: Callable[..., Analysis], samples: Path, tmp_path: Path, opened: Callable[[Path], Any]
) -> None:
    analysis = analyzed(samples / "smile.mp4")
    text, voice = analysis.attention.streams["text"], analysis.attention.streams["voice"]
    analysis.attention.streams["face"].influence[:] = np.nan
    text.influence[:] = [0.1, -0.4, 2.0, 0.0, 0.2, 0.3, 0.1]
    voice.influence[:] = np.sin(voice.stream.start)
    influence = UtteranceInfluence("fear", {"text": 1.5, "voice": -0.25}, step=0.5, embedded=True)
    analysis = replace(analysis, utterances=tuple(replace(u, influence=influence) for u in analysis.utterances))
    write_report(analysis, tmp_path, home=tmp_path, version="9")
    browser = opened(tmp_path / "report.html")
    titles = [h.text for h in browser.find_elements("css selector", "#lanes h3")]
    assert "Influence of words" in titles and "Influence of the voice" in titles and "Influence of the face" not in titles
    assert browser.find_element("id", "tint").get_attribute("value") == "influence"
    against = browser.execute_script("return Array.from(document.querySelectorAll('.word.against'), w => w.dataset.i)")
    assert against == ["1"]
    assert browser.execute_script("return document.querySelectorAll('.word')[2].style.getPropertyValue('--part')") == "1.000"
    assert "log odds of fear" in browser.find_element("css selector", ".word").get_attribute("title")
    assert "influence (log odds): text 1.50, voice -0.25" in browser.find_element("css selector", "#now .more").text


def test_gates_are_a_table_that_follows_the_utterance(
    analyzed: Callable[..., Analysis], samples: Path, tmp_path: Path, opened: Callable[[Path], Any]
) -> None:
    analysis = analyzed(samples / "smile.mp4", words=[f"w{i}" for i in range(15)])
    assert len(analysis.utterances) > 1
    gated = []
    for k, u in enumerate(analysis.utterances):
        assert u.prediction is not None
        gated.append(replace(u, prediction=replace(u.prediction, gates={"alpha_text_face": (0.125 + k / 2, 0.25), "mu_face": (1.0,)})))
    write_report(replace(analysis, utterances=tuple(gated)), tmp_path, home=tmp_path, version="9")
    browser = opened(tmp_path / "report.html")

    def cells() -> list[list[str]]:
        rows = browser.find_elements("css selector", "#gates tbody tr")
        return [[cell.text for cell in row.find_elements("css selector", "th, td")] for row in rows]

    assert browser.find_element("id", "gates").is_displayed()
    assert cells()[0] == ["alpha_text_face", "0.13", "0.25", "share of text's selective attention that lies on face"]
    assert cells()[1][:3] == ["mu_face", "1.00", "–"]
    browser.execute_script("R.seek(R.data.utterances[1].start)")
    assert cells()[0][1] == "0.63"
    browser.execute_script("const s = R.id('map-utterance'); s.value = 0; s.dispatchEvent(new Event('change'))")
    assert cells()[0][1] == "0.13"
    assert complaints(browser) == []


def test_each_speaker_has_a_lane(
    analyzed: Callable[..., Analysis], samples: Path, tmp_path: Path, opened: Callable[[Path], Any], narrow: Callable[[int], None]
) -> None:
    turns = (Turn(0.2, 1.9, "Ann <b>", "lips", 0.91), Turn(2.0, 4.0, "Bo", "voice", 0.6), Turn(4.2, 8.0, "Ann <b>", "lips", 0.79))
    write_report(analyzed(samples / "smile.mp4", turns=turns), tmp_path, home=tmp_path, version="9")
    browser = opened(tmp_path / "report.html")
    assert complaints(browser) == [] and browser.execute_script("return R.errors") == []
    lanes = browser.execute_script(
        "return ['lane-speaker-0', 'lane-speaker-1', 'lane-utterances'].map(id => document.getElementById(id)).map(lane => lane && "
        "lane.querySelector('h3').textContent + ' | ' + lane.querySelector('.unit').textContent)"
    )
    assert lanes[0].startswith("Speaker Ann <b> | most probable emotion; told by lips, confidence 0.83")
    assert lanes[1].startswith("Speaker Bo | most probable emotion; told by voice, confidence 0.60") and lanes[2] is None
    drawn = browser.execute_script(
        "return R.lanes.slice(0, 2).map(lane => lane.figure.renderers.flatMap(r => Array.from(r.data_source.data.a || [])).length)"
    )
    rows = browser.execute_script("return Array.from(document.querySelectorAll('td[data-label=speaker]'), cell => cell.textContent)")
    assert rows[-1] == "" and drawn == [rows.count("Ann <b>"), rows.count("Bo")], "every utterance in its speaker's lane"
    assert "Bo" in browser.execute_script("return R.id('transcript').textContent")
    assert "unsure speaker" in browser.execute_script("return R.id('flags').textContent")
    narrow(400)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 400


def test_a_script_line_is_at_most_120_characters() -> None:
    scripts = sorted(files("emofuse.pipeline.views.report").glob("*.js"))  # type: ignore[attr-defined]
    assert len(scripts) == 12
    long = [f"{path.name}:{n}" for path in scripts for n, line in enumerate(path.read_text("utf-8").splitlines(), 1) if len(line) > 120]
    assert long == []
