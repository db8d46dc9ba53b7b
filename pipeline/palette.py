"""One colour per emotion, in the report, in plots, in subtitles and on the overlay; sentiment has two colours of its own.

The emotions have Okabe and Ito's colours, which most colour-blind readers can tell apart; negative and positive sentiment have the two ends
of ColorBrewer's PRGn, which they can tell apart too. All are written #RRGGBB.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

EMOTION_COLOURS: Mapping[str, str] = {
    "anger": "#D55E00",
    "disgust": "#009E73",
    "fear": "#CC79A7",
    "happiness": "#F0E442",
    "sadness": "#0072B2",
    "surprise": "#56B4E9",
    "neutral": "#A6A6A6",
}
NEGATIVE, POSITIVE = "#9970AB", "#5AAE61"
DARK_INK, LIGHT_INK = "#111111", "#FFFFFF"


@dataclass(frozen=True)
class Palette:
    """The colours as one value, for pages that are given them as data: emotion -> colour, emotion -> colour of text upon it, sentiment."""

    emotions: Mapping[str, str]
    ink: Mapping[str, str]
    negative: str
    positive: str


def palette() -> Palette:
    """Every colour that a page needs."""
    return Palette(EMOTION_COLOURS, {emotion: ink_on(colour) for emotion, colour in EMOTION_COLOURS.items()}, NEGATIVE, POSITIVE)


def ink_on(colour: str) -> str:
    """Black or white, whichever has more contrast on `colour` (WCAG 2.1's ratio)."""
    light = luminance(colour)
    return DARK_INK if (light + 0.05) / (luminance(DARK_INK) + 0.05) >= (luminance(LIGHT_INK) + 0.05) / (light + 0.05) else LIGHT_INK


def luminance(colour: str) -> float:
    """Relative luminance 0..1 of an sRGB colour "#RRGGBB" (WCAG 2.1)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
