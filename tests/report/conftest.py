"""A browser (skipped, saying so, where there is none) and analyses made without a model's weights, from numbers that tests know."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emofuse.pipeline.attention.fuse import fuse
from emofuse.pipeline.clip import Clip, DecodeEnd
from emofuse.pipeline.extraction import Extraction
from emofuse.pipeline.media import ClipInfo
from emofuse.pipeline.results import Analysis, Attention, Prediction, Utterance
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import Provenance, TimedSequence
from emofuse.pipeline.turns import SPEAKERS, Turn, named, turn_stream

BY = Provenance("test", "1", notes={"<b>": "</script><script>window.bad=1</script>"})


class Looks:
    """A model that looks: two layers of three heads between all streams, or two hops from one row, as `hops` says."""

    name = "looks"
    wants = {"text": ("a",), "face": ("AU01",), "voice": ("f0",)}  # noqa: RUF012
    provenance = Provenance("looks", "1", notes={"card": {"limits": ["<img src=x onerror='window.bad=1'>"], "intended_use": "tests"}})

    def __init__(self, hops: bool = False) -> None:
        self.hops = hops

    def predict(self, utterances: Sequence[Utterance], *, attention: bool = True) -> list[Prediction]:
        return [self._one(u, k) for k, u in enumerate(utterances)]

    def _one(self, piece: Utterance, k: int) -> Prediction:
        rng = np.random.default_rng(k)
        here = {name: s for name, s in piece.streams.items() if len(s) and name in self.wants}
        maps = []
        for target, t in here.items():
            for source, s in here.items():
                if target != source and not self.hops:
                    weights = rng.random((2, 3, len(t), len(s))).astype(np.float32) ** 4
                    weights /= weights.sum(-1, keepdims=True)
                    maps.append(Attention("cross", target, source, weights, t.start, t.end, s.start, s.end))
        if self.hops:
            for source, s in here.items():
                weights = rng.random((2, 1, 1, len(s))).astype(np.float32)
                weights /= weights.sum(-1, keepdims=True)
                span = np.array([piece.span.start]), np.array([piece.span.end])
                maps.append(Attention("cross", "utterance", source, weights, *span, s.start, s.end))
        p = rng.dirichlet(np.ones(len(EMOTIONS)))
        answer = dict(zip(EMOTIONS, map(float, p), strict=True))
        return Prediction(answer, float(rng.uniform(-3, 3)), float(p.max()), tuple(maps), unlike={"voice": 0.75})


def streams(words: Sequence[str], seconds: float, seed: int = 0) -> dict[str, TimedSequence]:
    """Words of 0.3 s every 0.4 s with a pause after each fifth, a face at 25 Hz, a voice at 100 Hz with pitch and energy."""
    rng = np.random.default_rng(seed)
    start = np.array([0.2 + 0.4 * i + 1.0 * (i // 5) for i in range(len(words))])
    keep = start + 0.3 < seconds
    start, words = start[keep], [w for w, k in zip(words, keep, strict=True) if k]
    labels = {"word": tuple(words), "speaker": ("",) * len(words)}
    word = TimedSequence("words", ("probability",), np.ones((len(words), 1), np.float32), start, start + 0.3, BY, labels=labels)
    text = TimedSequence("text", ("a",), np.ones((len(words), 1), np.float32), start, start + 0.3, BY, labels={"word": tuple(words)})
    frames, ticks = np.arange(int(seconds * 25)) / 25, np.arange(int(seconds * 100)) / 100
    units = ("AU01", "AU02", "AU04", "AU06", "AU12", "AU25")
    face = TimedSequence("face", units, rng.random((len(frames), len(units))).astype(np.float32), frames, frames + 0.04, BY)
    pitch = np.where(np.sin(ticks * 3) > 0, 150 + 30 * np.sin(ticks), 0.0)
    values = np.stack([pitch, 0.1 + 0.05 * np.cos(ticks * 5)], 1).astype(np.float32)
    voice = TimedSequence("voice", ("f0", "rms"), values, ticks, ticks + 0.01, BY)
    return {"words": word, "text": text, "face": face, "voice": voice}


@pytest.fixture
def analyzed() -> Callable[..., Analysis]:
    """(path, words, seconds, hops) -> Analysis; the path's own container is looked at."""

    def make(
        path: Path,
        words: Sequence[str] = ("so", "here", "we", "are", "with", "some", "words"),
        seconds: float = 8.6,
        hops: bool = False,
        turns: Sequence[Turn] = (),
    ) -> Analysis:
        clip = Clip(path)
        if not path.exists():
            clip._info = ClipInfo(str(path), "none", seconds, None, None)
        end: DecodeEnd | None = None
        made = streams(words, seconds)
        if turns:
            made |= {"words": named(made["words"], turns), SPEAKERS: turn_stream(turns, BY, faces={turns[0].speaker: [0]})}
        return fuse(clip, Extraction(made, end, {}), Looks(hops), maps="small")

    return make


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium without a network; installs nothing."""
    program = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install 'emofuse[dev]'")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--autoplay-policy=no-user-gesture-required",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--window-size=1400,1200",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    chrome.set_script_timeout(180)  # axe walks over hundreds of rows, on machines that have other work too
    yield chrome
    chrome.quit()


@pytest.fixture
def opened(browser: Any) -> Callable[[Path], Any]:
    """Opens a page from disk and waits until it has drawn itself."""

    def open_page(path: Path) -> Any:
        browser.get_log("browser")
        browser.get(path.resolve().as_uri())
        until(browser, "typeof R !== 'undefined' && R.ready === true")
        return browser

    return open_page


def until(browser: Any, condition: str, seconds: float = 60.0) -> None:
    """Waits until a condition in the page holds."""
    end = time.monotonic() + seconds
    while not browser.execute_script(f"return !!({condition})"):
        if time.monotonic() > end:
            raise AssertionError(f"{condition} does not hold after {seconds} s: {browser.get_log('browser')}")
        time.sleep(0.03)


@pytest.fixture
def wait() -> Callable[..., None]:
    return until


@pytest.fixture
def serious_faults(browser: Any) -> Callable[[], list[Any]]:
    """What axe finds in the page that is open, of serious or critical impact."""
    axe = pytest.importorskip("axe_core_python", reason="needs axe-core-python: pip install 'emofuse[dev]'")

    def look() -> list[Any]:
        browser.execute_script((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
        result = browser.execute_async_script("const done = arguments[0]; axe.run().then(done)")
        assert len(result["passes"]) > 10, "it looked"
        faults = [v for v in result["violations"] if v["impact"] in ("serious", "critical")]
        return [(v["id"], v["nodes"][0]["html"][:200], v["nodes"][0]["failureSummary"]) for v in faults]

    return look


@pytest.fixture
def narrow(browser: Any) -> Iterator[Callable[[int], None]]:
    """Makes the page so many pixels wide, as a telephone is: Chromium's own window is never narrower than 500."""

    def width(pixels: int) -> None:
        size = {"width": pixels, "height": 900, "deviceScaleFactor": 1, "mobile": True}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    yield width
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
