"""overlay.mp4: the clip with what was found burned into it: face boxes, action units, the words as they are said, emotions.

A frame shows what holds at its own time: the row of the face that starts with it, its utterance, the word that is being said.
"""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..clip import Clip
from ..columns import FACE_BOX, is_action_unit
from ..palette import EMOTION_COLOURS
from ..ports import EMOTIONS, Analysis
from ..timed import Floats64, TimedSequence
from .report.data import read_face
from .transcode import Picture, film, fitted

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

SAME_FRAME = 1e-3
"""Seconds: the row of a frame starts with it, but for rounding."""
LONGEST_CAPTION = 42
HIGHLIGHT = EMOTION_COLOURS["happiness"]
BOX = EMOTION_COLOURS["surprise"]


def write_overlay(analysis: Analysis, path: Path) -> None:
    """Writes the film. Raises the clip's errors, and `NoStream` where it has no pictures."""
    clip = Clip(analysis.info.path)
    size = fitted(analysis.info, least=480, most=720)
    film(clip, path, size=size, draw=None if size is None else Overlay(analysis, size), rate=3_000_000, crf=21)


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
        self._words = analysis.streams.get("words")
        self._captions = captions(self._words)
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

        image = Image.fromarray(picture)
        pen = ImageDraw.Draw(image, "RGBA")
        self._draw_faces(pen, seconds)
        self._draw_emotions(pen, seconds)
        self._draw_words(pen, seconds)
        pen.text((6, 4), f"{seconds:.2f} s", font=self._fonts[1], fill="white", stroke_width=2, stroke_fill="black")
        return np.asarray(image)

    def _draw_faces(self, pen: ImageDraw, seconds: float) -> None:
        face = self._face
        if face is None or not len(face):
            return
        read: int | None = None
        for row in rows_of_frame(face.start, seconds):
            mine = bool(self._read[row])
            read = row if mine else read
            if set(FACE_BOX) <= set(face.columns):
                x, y, w, h = (float(face.column(c, row)) * self._scale for c in FACE_BOX)
                if not np.isnan([x, y, w, h]).any():
                    pen.rectangle((x, y, x + w, y + h), outline=BOX if mine else "#AAAAAA", width=3 if mine else 1)
        if read is None:
            return
        line, left, wide = int(self._unit * 0.85), 6, self._unit * 5
        top = self._unit + 10
        pen.rectangle((0, top - 4, left + wide + self._unit * 3, top + line * len(self._units) + 2), fill=(0, 0, 0, 110))
        for k, name in enumerate(self._units):
            value = float(face.column(name, read))
            y = top + k * line
            pen.text((left, y), name, font=self._fonts[1], fill="white")
            if not np.isnan(value):
                x = left + self._unit * 2.6
                pen.rectangle((x, y + 3, x + wide * min(max(value, 0.0), 1.0), y + line - 3), fill=BOX)

    def _draw_emotions(self, pen: ImageDraw, seconds: float) -> None:
        at = bisect_right(self._utterance_starts, seconds) - 1
        said = self._utterances[at].prediction if at >= 0 and seconds < self._utterances[at].span.end else None
        if said is None:
            return
        line, wide, name = self._unit + 2, self._unit * 4, self._unit * 5
        left = self._size[0] - wide - name - 10
        pen.rectangle((left - 6, 0, self._size[0], line * len(EMOTIONS) + 8), fill=(0, 0, 0, 110))
        for k, emotion in enumerate(EMOTIONS):
            p, y = said.probabilities[emotion], 4 + k * line
            pen.text((left, y), emotion, font=self._fonts[1], fill="white")
            pen.rectangle((left + name, y + 3, left + name + wide * p, y + line - 4), fill=EMOTION_COLOURS[emotion])

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
    """The rows (one a face) of the frame that starts at this time; none where the frame was not read."""
    return range(int(np.searchsorted(start, seconds - SAME_FRAME)), int(np.searchsorted(start, seconds + SAME_FRAME)))


def captions(words: TimedSequence | None) -> list[tuple[float, float, tuple[int, ...]]]:
    """Lines of words, each shown from its first word until the next line begins, or a second after its last word."""
    lines: list[list[int]] = []
    for i in range(len(words) if words is not None else 0):
        assert words is not None
        text = words.labels["word"]
        pause = bool(lines) and words.start[i] - words.end[lines[-1][-1]] > 1.0
        if not lines or pause or sum(len(text[j]) + 1 for j in lines[-1]) + len(text[i]) > LONGEST_CAPTION:
            lines.append([])
        lines[-1].append(i)
    found: list[tuple[float, float, tuple[int, ...]]] = []
    for k, line in enumerate(lines):
        assert words is not None
        until = float(words.end[line[-1]]) + 1.0
        if k + 1 < len(lines):
            until = min(until, float(words.start[lines[k + 1][0]]))
        found.append((float(words.start[line[0]]), until, tuple(line)))
    return found


def _font(height: int) -> FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along: Latin, Greek, Cyrillic and more; others show as boxes."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), max(8, height))
