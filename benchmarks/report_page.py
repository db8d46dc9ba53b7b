"""How large the report of a ten-minute clip is, and how long a browser takes to open it: `python benchmarks/report_page.py`.

The clip is made up (tests/report/conftest.py: 25 frames and 100 voice rows per second, words all along, two layers of three heads
between all streams); opening is measured in Debian's Chromium from the start of navigation until every lane is drawn.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from emofuse.pipeline.attention.fuse import fuse
from emofuse.pipeline.clip import Clip
from emofuse.pipeline.extraction import Extraction
from emofuse.pipeline.media import ClipInfo
from emofuse.pipeline.views.report import write_report

MADE = Path(__file__).parent.parent / "tests/report/conftest.py"


def made_up() -> Any:
    spec = importlib.util.spec_from_file_location("made_up", MADE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["made_up"] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--openings", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="leave the page here, or open the one that is here")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp())
    page = folder / "report.html"
    if not page.exists():
        folder.mkdir(parents=True, exist_ok=True)
        module, seconds = made_up(), 60 * options.minutes
        clip = Clip(folder / "made-up.mp4")
        clip._info = ClipInfo(str(clip.path), "none", seconds, None, None)
        streams = module.streams([f"word{i}" for i in range(int(seconds * 3))], seconds)
        analysis = fuse(clip, Extraction(streams, None, {}), module.Looks(), maps="small")
        begin = time.process_time()
        write_report(analysis, folder, home=folder, version="0")
        print(f"{options.minutes:g} minutes, {len(analysis.utterances)} utterances: written in {time.process_time() - begin:.2f} CPU s")
    print(f"report.html: {page.stat().st_size / 1e6:.2f} MB without the clip; load average {os.getloadavg()[0]:.1f}")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        print("no chromium here: not opened")
        return
    from selenium import webdriver

    chosen = webdriver.ChromeOptions()
    chosen.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1400,1000"):
        chosen.add_argument(argument)
    browser = webdriver.Chrome(options=chosen, service=webdriver.ChromeService(driver))
    try:
        frames, busy = [], []
        browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        for _ in range(options.openings):
            browser.get(page.resolve().as_uri())
            while not browser.execute_script("return typeof R !== 'undefined' && R.ready === true"):
                time.sleep(0.02)
            frames.append(browser.execute_script("return R.readyAt") / 1000)
            metrics = {m["name"]: m["value"] for m in browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]}
            busy.append(metrics["TaskDuration"])
        print(f"opened and drawn after {np.median(frames):.2f} s (median of {len(frames)}: {', '.join(f'{t:.2f}' for t in frames)})")
        print(f"processor seconds of the page's thread: {np.round(np.array(busy), 2).tolist()}")
    finally:
        browser.quit()


if __name__ == "__main__":
    main()
