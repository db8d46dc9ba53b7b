"""Where somebody may be speaking: sound cut at its pauses into stretches that a recogniser can take one at a time.

Frames of 30 ms are judged by the WebRTC detector that pocketsphinx carries (Gaussian mixtures over six sub-bands); a stretch
opens and closes on the share of speech in a window of 0.3 s, as pocketsphinx's Endpointer does, but keeps some sound around
itself and is never longer than asked, so that cost and memory stay linear whatever the clip holds. Where nobody pauses the cut
falls on the quietest spot. Only speech-like or not is decided here; who speaks, and whether it is speech at all, is not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from emofuse.pipeline.media import SAMPLE_RATE, Samples

from .recording import CONTIGUOUS, Samples16, Stretch, join, to_int16

FRAME = 480  # 30 ms, the detector's own frame
WINDOW = 10  # frames looked at for a decision: 0.3 s
OPENS = 6  # speech frames in the window that open a stretch
MARGIN = 10  # frames kept before the first and after the last speech frame: plosives and breath are quiet
PAUSE = 20  # frames without speech that close a stretch: 0.6 s, longer than the closure of any consonant
SHORT_GAP = 0.3  # a hole in the sound up to this long is talked across (a lost packet), a longer one ends the stretch

Frame = tuple[float, Samples16, bool]


def speech_stretches(blocks: Iterable[Samples], longest: float = 15.0) -> Iterator[Stretch]:
    """Stretches of sound with speech in them, in order of time, each at most `longest` seconds (and at least 0.6 s) long.

    Filled silence counts as the gap that it stands for. Memory is that of one stretch.
    """
    most = max(2 * PAUSE, int(longest * SAMPLE_RATE) // FRAME)
    stretch: list[Frame] = []
    before: deque[Frame] = deque(maxlen=WINDOW + MARGIN)
    silent = 0
    last_end = float("-inf")
    for frame in _judged(blocks):
        if frame[0] - last_end > SHORT_GAP:
            if stretch:
                yield _joined(stretch, silent)
            stretch, silent = [], 0
            before.clear()
        last_end = frame[0] + len(frame[1]) / SAMPLE_RATE
        if not stretch:
            before.append(frame)
            if sum(speech for _, _, speech in list(before)[-WINDOW:]) >= OPENS:
                stretch, silent = list(before), 0
                before.clear()
            continue
        stretch.append(frame)
        silent = 0 if frame[2] else silent + 1
        if silent >= PAUSE:
            yield _joined(stretch, silent)
            # What was dropped behind the margin may hold the beginning of the next word.
            before.extend((start, values, False) for start, values, _ in stretch[len(stretch) - silent + MARGIN :])
            stretch, silent = [], 0
        elif len(stretch) >= most:
            cut = _quietest(stretch, most // 2)
            yield join([(start, values) for start, values, _ in stretch[:cut]])
            stretch = stretch[cut:]
            silent = min(silent, len(stretch))
    if stretch:
        yield _joined(stretch, silent)


def _joined(stretch: list[Frame], silent: int) -> Stretch:
    kept = stretch[: len(stretch) - max(0, silent - MARGIN)]
    return join([(start, values) for start, values, _ in kept])


def _quietest(stretch: list[Frame], earliest: int) -> int:
    """Index of the frame in the middle of the quietest 0.15 s after `earliest` frames."""
    power = np.array([float(np.mean(np.square(values, dtype=np.float64))) for _, values, _ in stretch[earliest:]])
    smooth = np.convolve(power, np.ones(5), mode="valid")
    return earliest + int(np.argmin(smooth)) + 2


def _judged(blocks: Iterable[Samples]) -> Iterator[Frame]:
    """Frames of 30 ms (the last of each contiguous run may be shorter) with the detector's word on each."""
    from pocketsphinx import Vad

    detector = Vad(mode=Vad.LOOSE, sample_rate=SAMPLE_RATE)
    rest: Samples16 = np.zeros(0, np.int16)
    start = end = float("-inf")
    for block in blocks:
        if block.filled or not len(block.values):
            continue
        if abs(block.start - end) > CONTIGUOUS:
            if len(rest):
                yield start, rest, False
            rest, start = np.zeros(0, np.int16), block.start
        rest = np.concatenate([rest, to_int16(block.values)])
        whole = len(rest) // FRAME
        for k in range(whole):
            values = rest[k * FRAME : (k + 1) * FRAME]
            yield start + k * FRAME / SAMPLE_RATE, values, bool(detector.is_speech(values.tobytes()))
        rest, start, end = rest[whole * FRAME :], start + whole * FRAME / SAMPLE_RATE, block.end
    if len(rest):
        yield start, rest, False
