"""index.html of a batch in a real browser: sorted, searched, failures with their reasons, links that lead somewhere, nothing that runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emofuse.pipeline.batch.index import write_index
from emofuse.pipeline.batch.task import Record

BAD = "<img src=x onerror=window.bad=1>.mp4"


class Place:
    """The two things that a store is asked for here."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def names(self, folder: str) -> list[str]:
        return sorted(p.name for p in (self.out / folder).iterdir())

    def write(self, name: str, data: bytes) -> None:
        (self.out / name).write_bytes(data)


@pytest.fixture(scope="module")
def index(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("batch")
    records = [
        Record("1", "/c/b.mp4", "b", "done", length=61.0, utterances=9, emotion="anger", probability=0.9, emofuse="9"),
        Record("2", "/c/a #1.mp4", "a #1", "done", length=5.0, utterances=2, emotion="fear", probability=0.5),
        Record("4", "/c/quiet.mp4", "quiet", "done", length=3.0, utterances=1),
        Record("3", f"/c/{BAD}", "x", "failed", reason="not_media", message="</script><script>window.bad=1</script> expected"),
        *[Record(f"w{i}", f"/z/{i:04}.mp4", f"{i}", "waiting") for i in range(400)],
    ]
    for name in ("b", "a #1", "quiet"):
        (out / name).mkdir()
        (out / name / "report.html").write_text("<title>there</title>")
    write_index(Place(out), records)  # type: ignore[arg-type]
    browser.get((out / "index.html").as_uri())
    return browser


def names(browser: Any) -> list[str]:
    shown: list[str] = browser.execute_script("return Array.from(document.querySelectorAll('#clips td.name'), c => c.textContent)")
    return shown


def test_it_shows_all_in_order_of_path_some_at_a_time(index: Any) -> None:
    assert names(index)[:3] == [BAD, "a #1.mp4", "b.mp4"] and len(names(index)) == 300
    index.find_element("css selector", "#more button").click()
    assert len(names(index)) == 404 and not index.find_element("id", "more").is_displayed()
    assert index.execute_script("return typeof window.bad") == "undefined"
    assert [e for e in index.get_log("browser") if e["level"] == "SEVERE"] == []
    assert "3 waiting" not in index.find_element("id", "facts").text and "400 waiting" in index.find_element("id", "facts").text


def test_a_failure_says_why(index: Any) -> None:
    assert "not media: </script><script>window.bad=1</script> expected" in index.find_element("css selector", "#clips .why").text


def test_a_clip_without_an_answer_says_so(index: Any) -> None:
    row = next(r for r in index.find_elements("css selector", "#clips tbody tr") if "quiet.mp4" in r.text)
    assert "no answer" in row.text and "too little to answer from" in row.text
    assert row.find_elements("css selector", ".nopicture"), "and has a placeholder where others have a picture"


def test_a_400_pixel_page_hides_nothing(index: Any, wait: Callable[..., None], narrow: Callable[[int], None]) -> None:
    narrow(400)
    wait(index, "document.documentElement.scrollWidth <= 400")
    cut = "return Array.from(document.querySelectorAll('#clips td')).filter(c => c.getBoundingClientRect().right > 400).length"
    assert index.execute_script(cut) == 0
    assert "emotion" in index.execute_script("return getComputedStyle(document.querySelectorAll('#clips td')[3], '::before').content")


def test_a_column_sorts_both_ways_and_what_is_not_there_comes_last(index: Any) -> None:
    button = next(b for b in index.find_elements("css selector", "#clips th button") if b.text == "Length")
    for way, expected in (("ascending", ["quiet.mp4", "a #1.mp4", "b.mp4"]), ("descending", ["b.mp4", "a #1.mp4", "quiet.mp4"])):
        button.click()
        assert names(index)[:3] == expected
        assert button.find_element("xpath", "..").get_attribute("aria-sort") == way


def test_searching_narrows_it_and_links_lead_to_pages(index: Any) -> None:
    field = index.find_element("id", "search")
    field.send_keys("FEAR mp4")
    assert names(index) == ["a #1.mp4"] and index.find_element("id", "count").text == "1 of 404 clips"
    where = index.current_url
    index.find_element("css selector", "#clips td.name a").click()
    assert index.title == "there"
    index.get(where)


def test_axe_finds_no_serious_fault(index: Any, serious_faults: Callable[[], list[Any]]) -> None:
    assert index.title == "Clips"
    assert serious_faults() == []
