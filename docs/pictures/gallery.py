"""Makes every picture of docs/gallery.md: python docs/pictures/gallery.py [RESULTS]

Results of three sample clips are made in RESULTS (kept and used again), then looked at by the programs that people use: Chromium for the
pages, Praat in a virtual screen, pympi for the tiers of the .eaf, matplotlib for the plots. Needs Debian's chromium, chromium-driver,
praat, xvfb and imagemagick, and the dev extra.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pympi.Elan import Eaf

import emofuse
from emofuse.pipeline.clip import Clip
from emofuse.pipeline.formats.result_folder import read_analysis
from emofuse.pipeline.views import plots
from emofuse.pipeline.views.overlay import Overlay
from emofuse.pipeline.views.transcode import fitted, resized

HERE = Path(__file__).resolve().parent
SAMPLES = HERE.parent.parent / "samples"
CLIPS = ("smile.mp4", "voice_only.flac", "no_audio.mp4")
PRAAT_TIERS = " words utterances emotion confidence AU12 "
"""The tiers that fit Praat's window: it gives each of thirteen the height of a line."""
PRAAT_WINDOW = (0, 0, 960, 600)
OVERLAY_AT = 4.2
"""Seconds: in the second utterance of smile.mp4, in the middle of a word."""


def results(folder: Path) -> None:
    """Three clips with everything that the pictures show; clips that are done are kept."""
    clips = [SAMPLES / name for name in CLIPS]
    totals = emofuse.analyze_folder(clips, folder, emofuse.Options(offline=True), formats=("eaf", "textgrid"), workers=1)
    if totals.failed:
        raise SystemExit(f"{totals.failed} of {len(clips)} clips failed: see {folder}/manifest.csv")


def pages(folder: Path) -> None:
    """The report of smile.mp4 in the middle of a word, at 1400 and 400 pixels, and the index of the batch."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1400,1100"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        for name, page, width, height in (
            ("gallery_report.png", "smile/report.html", 1400, 1420),
            ("gallery_report_narrow.png", "smile/report.html", 400, 1300),
            ("gallery_index.png", "index.html", 1100, 420),
        ):
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            browser.get((folder / page).resolve().as_uri())
            if page.endswith("report.html"):
                wait(browser, "typeof R !== 'undefined' && R.ready === true && R.media.readyState >= 2")
                browser.execute_script("R.seek(arguments[0])", OVERLAY_AT)
                wait(browser, "!R.media.seeking")
            time.sleep(1)  # the last frame is drawn
            browser.save_screenshot(str(HERE / name))
    finally:
        browser.quit()


def wait(browser: Any, condition: str) -> None:
    end = time.monotonic() + 60
    while not browser.execute_script(f"return !!({condition})"):
        if time.monotonic() > end:
            raise SystemExit(f"the page is not ready after 60 s: {condition}")
        time.sleep(0.1)


def overlay(folder: Path) -> None:
    """One frame as overlay.mp4 has it."""
    analysis = read_analysis(folder / "smile")
    size = fitted(analysis.info, least=480, most=720)
    assert size is not None
    draw = Overlay(analysis, size)
    frame = next(frame for frame in Clip(analysis.info.path).frames() if frame.end > OVERLAY_AT)
    Image.fromarray(draw(resized(frame.image, size), frame.start)).save(HERE / "gallery_overlay.png")


def figures(folder: Path) -> None:
    """The timeline, one attention map, and influence."""
    analysis = read_analysis(folder / "smile")
    plots.timeline(analysis).savefig(HERE / "gallery_timeline.png", dpi=80)
    between = emofuse.analyze(SAMPLES / "smile.mp4", offline=True, model="mult")  # rrnn has one row per hop
    plots.figure_of(plots.attention_matrix(between, 1, "text", "voice")).savefig(HERE / "gallery_map.png", dpi=80)
    plots.influence(analysis).savefig(HERE / "gallery_influence.png", dpi=80)


def praat(folder: Path) -> None:
    """Praat's own editor with the clip's sound and our TextGrid, photographed on a virtual screen."""
    import soundfile

    with tempfile.TemporaryDirectory() as scratch:
        blocks = list(Clip(SAMPLES / "smile.mp4").samples(fill_silence=True))
        soundfile.write(Path(scratch) / "smile.wav", np.concatenate([block.values for block in blocks]), 16000)
        shutil.copy(folder / "smile/smile.TextGrid", scratch)
        script = Path(scratch) / "look.praat"
        script.write_text(
            f'sound = Read from file: "{scratch}/smile.wav"\ngrid = Read from file: "{scratch}/smile.TextGrid"\n'
            "selectObject: grid\ncount = Get number of tiers\nfor i from 1 to count\n  tier = count + 1 - i\n"
            "  name$ = Get tier name: tier\n"
            f'  if index ("{PRAAT_TIERS}", " " + name$ + " ") = 0\n    Remove tier: tier\n  endif\nendfor\n'
            "selectObject: sound, grid\nView & Edit\n"
        )
        screen = ":97"
        display = subprocess.Popen(["Xvfb", screen, "-screen", "0", "1400x1000x24"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        environment = {**os.environ, "DISPLAY": screen, "HOME": scratch}
        time.sleep(2)
        program = subprocess.Popen(["praat", "--send", str(script)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(15)
            subprocess.run(["import", "-window", "root", f"{scratch}/screen.png"], env=environment, check=True)
            Image.open(f"{scratch}/screen.png").crop(PRAAT_WINDOW).save(HERE / "gallery_praat.png")
        finally:
            program.kill()
            program.wait()
            display.terminate()
            display.wait()


def tiers(folder: Path) -> None:
    """The .eaf's tiers, read by pympi and drawn as ELAN lays them out: one row per tier, one box per annotation."""
    eaf = Eaf(str(folder / "smile/smile.eaf"))
    names = [name for name in eaf.get_tier_names() if eaf.get_annotation_data_for_tier(name)]
    figure = plots.new_figure(14, 0.34 * len(names) + 0.8)
    ax = figure.subplots()
    for row, name in enumerate(names):
        for start, end, text, *_ in eaf.get_annotation_data_for_tier(name):
            ax.barh(row, (end - start) / 1000, left=start / 1000, height=0.8, color="#dce6f2", edgecolor="#31506f", linewidth=0.6)
            fits = int((end - start) / 1000 * 13)
            shown = text if len(text) <= fits else text[: max(0, fits - 1)] + "…" if fits > 2 else ""
            ax.text(start / 1000 + 0.02, row, shown, va="center", fontsize=7, clip_on=True)
    ax.set_yticks(range(len(names)), names, fontsize=8)
    ax.invert_yaxis()
    ax.set(xlabel="seconds", title="smile.eaf: tiers and annotations, read by pympi")
    figure.savefig(HERE / "gallery_eaf.png", dpi=80)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="emofuse-gallery-"))
    results(folder)
    for make in (pages, overlay, figures, tiers, praat):
        make(folder)
        sys.stdout.write(f"{make.__name__}\n")
