"""The overlay's drawings lie on the frames of their time: found again by decoding the film."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from emofuse.pipeline.attention_rows import AttentionRows
from emofuse.pipeline.clip import Clip
from emofuse.pipeline.results import Analysis
from emofuse.pipeline.timed import Span, TimedSequence
from emofuse.pipeline.views.overlay import Overlay, captions, write_overlay
from emofuse.writing import write_analysis


def yellow(image: np.ndarray, part: slice) -> int:
    """Pixels of the colour of the word that is being said, in some rows of a picture."""
    r, g, b = (image[part, :, k].astype(int) for k in range(3))
    return int(((r > 190) & (g > 180) & (b < 130)).sum())


def test_each_word_lights_up_on_its_frames_and_each_box_on_its_own(
    analyzed: Callable[..., Analysis], samples: Path, tmp_path: Path
) -> None:
    analysis = analyzed(samples / "late.mkv", words=("WWWW",) * 8, seconds=6.0)
    frames = [frame.start for frame in Clip(samples / "late.mkv").frames()]
    planted = frames[20]
    face = TimedSequence(
        "face",
        ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "AU12"),
        np.array([[40, 60, 120, 120, 0.5]], np.float32),
        np.array([planted]),
        np.array([planted + 0.04]),
        analysis.model,
    )
    streams = {**analysis.streams, "face": face}
    rows = AttentionRows.of((row for row in analysis.attention if row.stream != "face"), streams)
    analysis = replace(analysis, streams=streams, attention=rows)
    plain, drawn = tmp_path / "plain.mp4", tmp_path / "drawn.mp4"
    write_overlay(replace(analysis, streams={}, utterances=()), plain)
    write_overlay(analysis, drawn)
    words = analysis.streams["words"]
    spoken, lit, boxed = [], [], []
    for without, having in zip(Clip(plain).frames(), Clip(drawn).frames(), strict=True):
        assert without.start == having.start
        if having.start not in [pytest.approx(t, abs=2e-3) for t in frames]:
            continue  # black, before the first
        height = len(having.image)
        t = min(frames, key=lambda f, s=having.start: abs(f - s))  # type: ignore[misc]
        spoken.append(bool(((words.start <= t) & (t < words.end)).any()))
        lit.append(yellow(having.image, slice(-height // 9, None)) - yellow(without.image, slice(-height // 9, None)) > 150)
        scale = height / 320
        edge = slice(int(70 * scale), int(170 * scale)), slice(int(158 * scale), int(162 * scale))
        changed = np.abs(having.image[edge].astype(int) - without.image[edge].astype(int)).mean()
        if changed > 25:
            boxed.append(t)
    assert lit == spoken and 10 < sum(spoken) < len(spoken)
    assert boxed == [planted]


def test_captions_are_lines_that_never_overlap(analyzed: Callable[..., Analysis], tmp_path: Path) -> None:
    words = analyzed(tmp_path / "x.mp4", words=("abcdefghi",) * 30, seconds=30.0).streams["words"]
    lines = captions(words)
    assert [i for _, _, rows in lines for i in rows] == list(range(len(words)))
    assert all(a[1] <= b[0] for a, b in pairwise(lines))
    assert all(sum(len(words.labels["word"][i]) + 1 for i in rows) <= 43 for _, _, rows in lines)
    assert captions(None) == []


def test_a_line_ends_with_its_utterance(analyzed: Callable[..., Analysis], tmp_path: Path) -> None:
    """Words go on 0.75 s after the turn has ended: in the next turn's line, and not before it."""
    analysis = analyzed(tmp_path / "x.mp4", words=("so", "it", "is"), seconds=3.0)
    words = analysis.streams["words"]
    start = np.array([0.2, 0.5, 1.55])
    words = replace(words, start=start, end=start + 0.3)
    ends = [Span(0.0, 1.0), Span(1.35, 2.05)]
    utterances = tuple(replace(analysis.utterances[0], index=k, span=span) for k, span in enumerate(ends))
    assert [rows for _, _, rows in captions(words)] == [(0, 1, 2)]
    assert [rows for _, _, rows in captions(words, utterances)] == [(0, 1), (2,)]


def test_nothing_is_drawn_over_the_picture_but_boxes_and_words(analyzed: Callable[..., Analysis], samples: Path) -> None:
    analysis = analyzed(samples / "smile.mp4")
    analysis = replace(analysis, streams={name: s for name, s in analysis.streams.items() if name != "words"})
    overlay = Overlay(analysis, (640, 480))
    picture = np.full((480, 640, 3), 90, np.uint8)
    drawn = overlay(picture, 1.0)
    assert drawn.shape == (480, overlay.canvas[0], 3) and overlay.canvas[0] > 640
    assert np.array_equal(drawn[:, :640], picture), "the face stays whole"
    assert (drawn[:, 640:] > 200).any(), "and the panel says something"


def test_a_clip_without_pictures_has_no_overlay(analyzed: Callable[..., Analysis], samples: Path, tmp_path: Path) -> None:
    files = write_analysis(analyzed(samples / "voice_only.flac"), tmp_path / "out", version="9", overlay=True)
    assert "overlay.mp4" not in {f.name for f in files}
