"""One colour per emotion everywhere, and sentiment's are no emotion's."""

from __future__ import annotations

import re
from pathlib import Path

from emofuse.pipeline.palette import EMOTION_COLOURS, NEGATIVE, POSITIVE, ink_on, luminance
from emofuse.pipeline.streams import EMOTIONS

PIPELINE = Path(__file__).parents[2] / "pipeline"


def test_every_emotion_has_one_colour_and_sentiment_has_others() -> None:
    assert tuple(EMOTION_COLOURS) == EMOTIONS
    assert len({*EMOTION_COLOURS.values(), NEGATIVE, POSITIVE}) == len(EMOTIONS) + 2


def test_no_other_file_writes_a_colour_of_the_palette() -> None:
    colours = {colour.lower() for colour in (*EMOTION_COLOURS.values(), NEGATIVE, POSITIVE)}
    texts = {p: p.read_text(encoding="utf-8") for p in PIPELINE.rglob("*") if p.suffix in (".py", ".js", ".css", ".j2")}
    assert len(texts) > 50
    twice = [str(p) for p, text in texts.items() if p.name != "palette.py" and colours & set(re.findall(r"#[0-9a-f]{6}", text.lower()))]
    assert not twice


def test_text_upon_every_colour_reaches_the_contrast_of_wcag_aa() -> None:
    for colour in EMOTION_COLOURS.values():
        light, dark = sorted((luminance(colour), luminance(ink_on(colour))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, colour


def test_luminance_is_wcags() -> None:
    assert luminance("#000000") == 0
    assert abs(luminance("#FFFFFF") - 1) < 1e-12
    assert abs(luminance("#FF0000") - 0.2126) < 1e-12
