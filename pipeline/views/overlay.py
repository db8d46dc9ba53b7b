"""overlay.mp4: the clip with face boxes and the words as they are spoken on it, and a panel beside it with the numbers.

A frame shows what holds at its own time: the row of the face that starts with it, its utterance, the word that is being spoken. The panel
stands to the right of the picture, so that nothing covers a face.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..clip import Clip
from ..columns import FACE_BOX, is_action_unit
from ..palette import EMOTION_COLOURS
from ..results import Analysis, AnalyzedUtterance
from ..streams import EMOTIONS
from ..timed import Floats64, TimedSequence
from .report.data import read_face
from .transcode import Picture, fitted, transcode

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

SAME_FRAME = 1e-3
"""Seconds: the row of a frame starts with it, but for rounding."""
LONGEST_CAPTION = 42
PANEL = 12
"""Width of the panel, in lines' heights."""
PAPER = "#14171B"
HIGHLIGHT = EMOTION_COLOURS["happiness"]
BOX = EMOTION_COLOURS["surprise"]


def write_overlay(analysis: Analysis, path: Path) -> None:
    """Writes the film. Raises the clip's errors, and `NoStream` where it has no pictures."""
    clip = Clip(analysis.info.path)
    size = fitted(analysis.info, least=480, most=720)
    overlay = None if size is None else Overlay(analysis, size)
    transcode(clip, path, size=size, draw=overlay, canvas=None if overlay is None else overlay.canvas, rate=3_000_000, crf=21)


@dataclass(frozen=True)
class Cursor:
    """Where the next line of the panel goes, in pixels: its left top corner, the height of a line, and the height of the letters' line."""

    x: float
    y: float
    line: float
    unit: float

    def below(self, lines: float = 1.0) -> Cursor:
        return replace(self, y=self.y + lines * self.line)


class Overlay:
    """Called with a frame's picture and its time, gives the picture with everything drawn on it."""

    def __init__(self, analysis: Analysis, size: tuple[int, int]) -> None:
        video = analysis.info.video
        assert video is not None
        width, _ = video.shown_size
        self._utterances = analysis.utterances
        self._utterance_starts = [u.span.start for u in analysis.utterances]
        self._size = size
        self._scale = size[0] / width
        self._unit = min(size) // 26  # the height of a line
        self.canvas = size[0] + _even(self._unit * PANEL), size[1]
        """Width and height of what is drawn: the picture with the panel beside it."""
        self._words = analysis.streams.get("words")
        self._captions = captions(self._words, self._utterances)
        self._caption_starts = [start for start, _, _ in self._captions]
        self._face = analysis.streams.get("face")
        self._read = np.zeros(0, bool)
        self._units: tuple[str, ...] = ()
        if self._face is not None and len(self._face):
            self._read = np.zeros(len(self._face), bool)
            self._read[read_face(analysis, self._face)] = True
            self._units = tuple(c for c in self._face.columns if is_action_unit(c))
        self._fonts = (_font(self._unit), _font(int(self._unit * 0.72)))

    def __call__(self, picture: Picture, seconds: float) -> Picture:
        from PIL import Image, ImageDraw

        image = Image.new("RGB", self.canvas, PAPER)
        image.paste(Image.fromarray(picture), (0, 0))
        pen = ImageDraw.Draw(image)
        read = self._draw_faces(pen, seconds)
        self._draw_words(pen, seconds)
        self._draw_panel(pen, seconds, read)
        return np.asarray(image)

    def _draw_faces(self, pen: ImageDraw, seconds: float) -> int | None:
        """Boxes; returns the row of the face that was read in this frame."""
        face, read = self._face, None
        for row in rows_of_frame(face.start, seconds) if face is not None else ():
            assert face is not None
            is_read = bool(self._read[row])
            read = row if is_read else read
            if set(FACE_BOX) <= set(face.columns):
                x, y, w, h = (float(face.column(c, row)) * self._scale for c in FACE_BOX)
                if not np.isnan([x, y, w, h]).any():
                    pen.rectangle(
                        (x, y, min(x + w, self._size[0] - 1), y + h), outline=BOX if is_read else "#AAAAAA", width=3 if is_read else 1
                    )
        return read

    def _draw_panel(self, pen: ImageDraw, seconds: float, read: int | None) -> None:
        """Time, the utterance's probabilities, and the action units of the face that was read, each as a bar from 0 to 1 and a number."""
        lines = 4 + len(EMOTIONS) + len(self._units)
        left, line = self._size[0] + self._unit * 0.6, min(self._unit * 1.05, (self._size[1] - self._unit) / lines)
        cursor = Cursor(left, self._unit * 0.4, line, self._unit)
        cursor = self._heading(pen, cursor, f"{seconds:.2f} s")
        at = bisect_right(self._utterance_starts, seconds) - 1
        current = self._utterances[at] if at >= 0 and seconds < self._utterances[at].span.end else None
        if current is None:
            cursor = self._heading(pen, cursor, "between utterances")
        else:
            cursor = self._heading(pen, cursor, f"utterance {current.index}" + ("" if current.prediction else ": no answer"))
        for emotion in EMOTIONS:
            value = current.prediction.probabilities[emotion] if current is not None and current.prediction is not None else None
            cursor = self._bar(pen, cursor, emotion, value, EMOTION_COLOURS[emotion], "" if value is None else f"{100 * value:.0f} %")
        if self._units:
            cursor = self._heading(pen, cursor.below(0.5), "action units, 0 to 1")
        for name in self._units:
            unit = np.nan if read is None or self._face is None else float(self._face.column(name, read))
            measured = None if np.isnan(unit) else unit
            cursor = self._bar(pen, cursor, name, measured, BOX, "" if measured is None else f"{measured:.2f}")

    def _heading(self, pen: ImageDraw, cursor: Cursor, text: str) -> Cursor:
        pen.text((cursor.x, cursor.y), text, font=self._fonts[1], fill="#BBBBBB")
        return cursor.below()

    def _bar(self, pen: ImageDraw, cursor: Cursor, name: str, value: float | None, colour: str, text: str) -> Cursor:
        """One line: a name, a bar on its full length, and the number; where nothing was measured, the name alone."""
        pen.text((cursor.x, cursor.y), name, font=self._fonts[1], fill="white" if value is not None else "#777777")
        x, width = cursor.x + cursor.unit * 4.6, cursor.unit * 4.2
        pen.rectangle((x, cursor.y + 3, x + width, cursor.y + cursor.line - 4), fill="#3A3F46")
        if value is not None:
            if value * width >= 1:
                pen.rectangle((x, cursor.y + 3, x + width * min(value, 1.0), cursor.y + cursor.line - 4), fill=colour)
            pen.text((x + width + cursor.unit * 0.4, cursor.y), text, font=self._fonts[1], fill="white")
        return cursor.below()

    def _draw_words(self, pen: ImageDraw, seconds: float) -> None:
        if self._words is None:
            return
        at = bisect_right(self._caption_starts, seconds) - 1
        rows = self._captions[at][2] if at >= 0 and seconds < self._captions[at][1] else ()
        texts = [self._words.labels["word"][i].replace("\n", " ") for i in rows]
        font, space = self._fonts[0], self._unit * 0.35
        widths = [pen.textlength(text, font=font) for text in texts]
        x = (self._size[0] - sum(widths) - space * max(0, len(texts) - 1)) / 2
        y = self._size[1] - self._unit * 2
        for i, text, width in zip(rows, texts, widths, strict=True):
            if self._words.start[i] <= seconds < self._words.end[i]:
                pen.rectangle((x - 4, y - 2, x + width + 4, y + self._unit * 1.3), fill=HIGHLIGHT)
                pen.text((x, y), text, font=font, fill="black")
            else:
                pen.text((x, y), text, font=font, fill="white", stroke_width=2, stroke_fill="black")
            x += width + space


def rows_of_frame(start: Floats64, seconds: float) -> range:
    """The rows (one per face) of the frame at `seconds`, among starts (n) in seconds; none where the frame was not read."""
    return range(int(np.searchsorted(start, seconds - SAME_FRAME)), int(np.searchsorted(start, seconds + SAME_FRAME)))


def captions(words: TimedSequence | None, utterances: Sequence[AnalyzedUtterance] = ()) -> list[tuple[float, float, tuple[int, ...]]]:
    """Lines of words, each within one utterance and without a pause of a second, shown from its first word until the next line begins, or a
    second after its last word."""
    if words is None:
        return []
    starts = [u.span.start for u in utterances]
    lines: list[list[int]] = []
    latest: int | None = None
    for i, middle in enumerate(((words.start + words.end) / 2).tolist()):
        text = words.labels["word"]
        at = bisect_right(starts, middle) - 1
        utterance = at if at >= 0 and middle < utterances[at].span.end else None
        pause = bool(lines) and words.start[i] - words.end[lines[-1][-1]] > 1.0
        full = bool(lines) and sum(len(text[j]) + 1 for j in lines[-1]) + len(text[i]) > LONGEST_CAPTION
        if not lines or pause or full or utterance != latest:
            lines.append([])
        lines[-1].append(i)
        latest = utterance
    shown: list[tuple[float, float, tuple[int, ...]]] = []
    for k, line in enumerate(lines):
        until = float(words.end[line[-1]]) + 1.0
        if k + 1 < len(lines):
            until = min(until, float(words.start[lines[k + 1][0]]))
        shown.append((float(words.start[line[0]]), until, tuple(line)))
    return shown


def _even(pixels: float) -> int:
    return 2 * round(pixels / 2)


def _font(height: int) -> FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along: Latin, Greek, Cyrillic and more; others show as boxes."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), max(8, height))
