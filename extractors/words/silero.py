"""Where somebody speaks: Silero VAD, and the sound cut at pauses into stretches that a recogniser hears on their own.

Silero VAD v6 (github.com/snakers4/silero-vad, MIT) judges frames of 32 ms, each with the 4 ms before it, by a small recurrent network. Its
ONNX file comes inside the package faster-whisper and is checked by SHA-256. Speech opens at a probability of OPENS and ends where PAUSE
seconds stay below CLOSES; some sound is kept around it. What is not speech (silence, music, noise, hum) is never heard by the recogniser,
which would invent words for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from emofuse.pipeline.errors import WeightsError
from emofuse.pipeline.hashing import check_sha256
from emofuse.pipeline.media import SAMPLE_RATE, Samples
from emofuse.pipeline.timed import Floats32, Span

from .recording import CONTIGUOUS, Samples16, Stretch, join, to_int16

FILE = "silero_vad_v6.onnx"
SHA256 = "4cbf549b8326f60f80f2536d9eefeb450a9abe83365a098031c89719f1be17d2"
FRAME = 512  # samples
CONTEXT = 64  # samples before a frame that are judged with it
AT_ONCE = 256  # frames judged in one call; the network's state goes from call to call
OPENS, CLOSES = 0.5, 0.35  # Silero's own thresholds
PAUSE = 0.3  # seconds below CLOSES that end a segment
SHORTEST = 0.1  # seconds of speech below which a segment is a click
MARGIN = 0.25  # seconds kept before and after: breath, plosives
LONGEST = 28.0  # seconds of a stretch: Whisper's window is 30 s
FARTHEST = 10.0  # seconds without speech that always end a stretch


@dataclass(frozen=True)
class Judged:
    """One frame: second of its first sample, its samples (512, or fewer at the end of a run), and the probability of speech 0..1."""

    start: float
    values: Samples16
    probability: float

    @property
    def end(self) -> float:
        return self.start + len(self.values) / SAMPLE_RATE


@dataclass(frozen=True)
class SpokenStretch:
    """Sound for a recogniser: whole segments of speech with some air around them, and the spans of the speech on the clip's clock."""

    sound: Stretch
    speech: tuple[Span, ...]


def model_file() -> Path:
    """Silero's file inside the installed faster-whisper, which is not imported; raises `WeightsError` where there is none."""
    spec = find_spec("faster_whisper")
    path = Path(spec.origin).parent / "assets" / FILE if spec is not None and spec.origin is not None else None
    if path is None or not path.is_file():
        raise WeightsError(f"silero: expected {FILE} in the package faster-whisper (pip install faster-whisper), found none")
    return path


@cache
def _session() -> Any:
    """The network, loaded once for each process; runs are independent of each other."""
    path = model_file()
    check_sha256(path, SHA256)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"], sess_options=options)


class SileroVad:
    """Judges frames that follow each other; `restart` where the sound has a gap. Raises `WeightsError` where the file is missing."""

    def __init__(self) -> None:
        self._session = _session()
        self.restart()

    def restart(self) -> None:
        self._h = np.zeros((1, 1, 128), np.float32)
        self._c = np.zeros((1, 1, 128), np.float32)
        self._before = np.zeros(CONTEXT, np.float32)

    def probabilities(self, frames: Floats32) -> Floats32:
        """(n 512) samples -1..1 -> (n) probability of speech in each frame."""
        context = np.concatenate([self._before[None], frames[:-1, -CONTEXT:]])
        batch = np.concatenate([context, frames], axis=1).astype(np.float32)
        answer, self._h, self._c = self._session.run(None, {"input": batch, "h": self._h, "c": self._c})
        self._before = frames[-1, -CONTEXT:].copy()
        return np.asarray(answer, np.float32).reshape(-1)


def judged(blocks: Iterable[Samples]) -> Iterator[Judged]:
    """Every frame of the sound in order of time. Filled silence counts as the gap that it stands for. Memory is that of some seconds."""
    vad = SileroVad()
    held: Floats32 = np.zeros(0, np.float32)
    start = end = float("-inf")
    for block in blocks:
        if block.filled or not len(block.values):
            continue
        if abs(block.start - end) > CONTIGUOUS:
            yield from _judge(vad, held, start, rest=True)
            vad.restart()
            held, start = np.zeros(0, np.float32), block.start
        held, end = np.concatenate([held, np.nan_to_num(block.values)]), block.end
        if len(held) >= AT_ONCE * FRAME:
            whole = len(held) // FRAME * FRAME
            yield from _judge(vad, held[:whole], start)
            held, start = held[whole:], start + whole / SAMPLE_RATE
    yield from _judge(vad, held, start, rest=True)


def _judge(vad: SileroVad, values: Floats32, start: float, *, rest: bool = False) -> Iterator[Judged]:
    """The frames of one run; `rest`: the last may be shorter than a frame and is judged with silence behind it."""
    for at in range(0, len(values), AT_ONCE * FRAME):
        part = values[at : at + AT_ONCE * FRAME]
        missing = -len(part) % FRAME
        assert rest or not missing
        probabilities = vad.probabilities(np.pad(part, (0, missing)).reshape(-1, FRAME))
        for k, probability in enumerate(probabilities):
            first = at + k * FRAME
            yield Judged(start + first / SAMPLE_RATE, to_int16(values[first : first + FRAME]), float(probability))


@dataclass(frozen=True)
class _Segment:
    """Frames from some air before speech to some air behind it, and the speech itself."""

    frames: tuple[Judged, ...]
    speech: Span

    @property
    def seconds(self) -> float:
        return sum(len(frame.values) for frame in self.frames) / SAMPLE_RATE


def spoken_stretches(blocks: Iterable[Samples], longest: float = LONGEST) -> Iterator[SpokenStretch]:
    """Stretches of at most `longest` seconds that end at pauses, in order of time; what lies between them is not speech.

    Segments that follow each other within FARTHEST seconds share a stretch, since Whisper takes as long for one second as for thirty.
    """
    held: list[_Segment] = []
    for segment in _segments(judged(blocks), longest):
        full = sum(s.seconds for s in held) + segment.seconds > longest
        if held and (full or segment.speech.start - held[-1].speech.end > FARTHEST):
            yield _stretch(held)
            held = []
        held.append(segment)
    if held:
        yield _stretch(held)


def _stretch(segments: list[_Segment]) -> SpokenStretch:
    pieces = [(frame.start, frame.values) for segment in segments for frame in segment.frames]
    return SpokenStretch(join(pieces), tuple(segment.speech for segment in segments))


def _segments(frames: Iterable[Judged], longest: float) -> Iterator[_Segment]:
    """Speech from opening to closing. A segment that would be longer than `longest` is cut where speech is least probable."""
    margin = round(MARGIN * SAMPLE_RATE / FRAME)
    before: deque[Judged] = deque(maxlen=margin)
    open_frames: list[Judged] = []
    first = last = 0  # of the frames, those that are speech
    end = float("-inf")
    for frame in frames:
        gap, end = frame.start - end > CONTIGUOUS, frame.end
        if gap:
            if open_frames:
                yield from _closed(open_frames, first, last)
                open_frames = []
            before.clear()
        if not open_frames:
            if frame.probability < OPENS:
                before.append(frame)
                continue
            open_frames, first, last = [*before, frame], len(before), len(before)
            before.clear()
            continue
        open_frames.append(frame)
        if frame.probability >= CLOSES:
            last = len(open_frames) - 1
        if open_frames[-1].end - open_frames[last].end >= PAUSE:
            kept = min(len(open_frames), last + 1 + margin)
            yield from _closed(open_frames[:kept], first, last)
            before.extend(open_frames[kept:])
            open_frames = []
        elif open_frames[-1].end - open_frames[0].start >= longest:
            cut = _least_probable(open_frames)
            yield from _closed(open_frames[:cut], first, min(last, cut - 1))
            open_frames = open_frames[cut:]
            first, last = 0, max(0, last - cut)
    if open_frames:
        yield from _closed(open_frames, first, last)


def _closed(frames: list[Judged], first: int, last: int) -> Iterator[_Segment]:
    speech = Span(frames[first].start, frames[last].end)
    if speech.duration >= SHORTEST:
        yield _Segment(tuple(frames), speech)


def _least_probable(frames: list[Judged]) -> int:
    """Index of the frame in the second half around which speech is least probable over five frames."""
    half = len(frames) // 2
    smooth = np.convolve([frame.probability for frame in frames[half:]], np.ones(5), mode="valid")
    return half + int(np.argmin(smooth)) + 2
