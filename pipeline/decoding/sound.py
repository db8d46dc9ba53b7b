"""The sound as contiguous mono blocks at 16 kHz on the clip's clock, and which mix of its channels that is.

Channels are averaged, but for two faults of recordings that an average would turn into silence or half of it: a channel that is dead is
left out, and one of opposite polarity is turned over. Both are judged once per clip, by the first seconds in which anything is heard.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import av.error
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from ..errors import ClipLimit
from ..media import SAMPLE_RATE
from ..timed import Floats32, Floats64
from .container import Job, check_sample_rate, choose_streams, open_container
from .wire import Wire

BLOCK = SAMPLE_RATE // 2
# Timestamps are rounded by containers (to 1 ms in Matroska and FLV) and jitter in live captures: less than this is rounding, more is a gap.
GAP_SECONDS = 0.020
# Where a container's idea of how long a packet lasts is wrong, so are the times that FFmpeg puts between those that it has.
DOUBTFUL_GAP_SECONDS = 0.5
DEAD = 1e-4
"""A channel with less than this share of the loudest one's power (-40 dB) is dead."""
OPPOSITE = -0.5
"""A channel whose correlation with the loudest one is below this has the opposite polarity."""
HEARD = 1e-6
"""Mean square (-60 dB) from which on a second counts as sound."""
SECONDS_HEARD = 20


@dataclass(frozen=True)
class Mix:
    """What mono is made of: a weight for each channel (they say nothing where there is one channel), and the same in words."""

    weights: tuple[float, ...]
    text: str

    @property
    def plain(self) -> bool:
        return all(weight == self.weights[0] for weight in self.weights)

    def applied(self, channels: Floats32) -> Floats32:
        """(channels n) to (n)."""
        if self.plain or len(channels) != len(self.weights):
            mean: Floats32 = channels.mean(axis=0, dtype=np.float32)
            return mean
        return np.asarray(np.array(self.weights, np.float32) @ channels, np.float32)


def mix_of(products: Floats64) -> Mix:
    """The mix for channels with these mean products (channels channels) of their samples."""
    n = len(products)
    power = np.diag(products)
    if n == 1:
        return Mix((1.0,), "the only channel")
    loudest = int(np.argmax(power))
    live = power > DEAD * power[loudest]
    if not live.any():  # all is silent
        live[:] = True
    correlation = products[loudest] / np.sqrt(np.maximum(power * power[loudest], 1e-30))
    opposite = live & (correlation < OPPOSITE)
    signs = np.where(opposite, -1.0, 1.0)
    weights = np.where(live, signs, 0.0) / live.sum()
    text = f"the mean of {'all' if live.all() else int(live.sum())} {'' if not live.all() else f'{n} '}channels"
    if not live.all():
        text = f"the mean of channels {_listed(live)}" if live.sum() > 1 else f"channel {_listed(live)} alone"
        text += f"; of {n}, {_listed(~live)} {'is' if (~live).sum() == 1 else 'are'} silent"
    if opposite.any():
        text += f"; channel {_listed(opposite)} turned over, because of the opposite polarity"
    return Mix(tuple(float(w) for w in weights), text)


def _listed(which: np.ndarray) -> str:
    return ", ".join(str(k + 1) for k in np.flatnonzero(which))


def mix_in(job: Job) -> Mix:
    """The mix for a clip's sound, by the first seconds in which something is heard."""
    with open_container(job) as container:
        audio = choose_streams(container, job).audio
        assert audio is not None
        count = audio.codec_context.channels
        products, heard, seconds = np.zeros((count, count)), np.zeros((count, count)), 0.0
        if count > 1:
            for block in _seconds(container, audio, count):
                part = block.astype(np.float64) @ block.T
                products += part
                if np.diag(part).max() / block.shape[1] > HEARD:
                    heard += part
                    seconds += block.shape[1] / SAMPLE_RATE
                if seconds >= SECONDS_HEARD:
                    break
    return mix_of(heard if seconds else products) if count > 1 else Mix((1.0,), "the only channel")


def _seconds(container: InputContainer, audio: AudioStream, count: int) -> Iterator[Floats32]:
    """(channels n) blocks of about a second, of those frames that have so many channels."""
    resampler: av.AudioResampler | None = None
    form: tuple[int, str, str] | None = None
    pending: list[Floats32] = []
    try:
        for packet in container.demux(audio):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                continue
            for frame in frames:
                if frame.samples == 0 or frame.layout.nb_channels != count:
                    continue
                if resampler is None or form != form_of(frame):
                    resampler, form = resampler_for(frame), form_of(frame)
                frame.pts = None
                pending += [channels_of(part) for part in resampler.resample(frame)]
                if sum(part.shape[1] for part in pending) >= SAMPLE_RATE:
                    yield np.nan_to_num(np.concatenate(pending, axis=1))
                    pending = []
    except av.error.FFmpegError:
        pass
    if pending and sum(part.shape[1] for part in pending):
        yield np.nan_to_num(np.concatenate(pending, axis=1))


def form_of(frame: AudioFrame) -> tuple[int, str, str]:
    return frame.sample_rate, frame.layout.name, frame.format.name


def resampler_for(frame: AudioFrame) -> av.AudioResampler:
    # The samples of all channels in one plane: PyAV's arrays of eight planes and more end in a crash.
    return av.AudioResampler(format="flt", layout=frame.layout, rate=SAMPLE_RATE)


def channels_of(frame: AudioFrame) -> Floats32:
    """(channels n) of a frame with one plane."""
    return np.asarray(frame.to_ndarray().reshape(-1, frame.layout.nb_channels).T, np.float32)


class SampleClock:
    """Turns decoded sound into contiguous mono 16 kHz blocks; a jump of the timestamps starts a new stretch at its own time.

    Each stretch has its own resampler (libswresample compensates its filter's delay), so that nothing is stretched over a gap.
    Where the container has no clock (`untimed`), times are counted from the first change of the rate on.
    """

    def __init__(self, wire: Wire, job: Job, zero: Fraction, mix: Mix, *, untimed: bool = False) -> None:
        self._untimed = untimed
        self._counted = False
        self._wire = wire
        self._job = job
        self._zero = zero
        self._mix = mix
        self._resampler: av.AudioResampler | None = None
        self._form: tuple[int, str, str] | None = None
        self._stretch_start = 0.0
        self._received = 0  # input samples of this stretch
        self._emitted = 0  # output samples of this stretch
        self._pending: list[Floats32] = []
        self._pending_samples = 0
        self.last_end = 0.0
        self.sent = 0
        self.dropped = 0
        """Samples that lie before 0 s, or over others that were given."""

    def add(self, frame: AudioFrame) -> None:
        if frame.samples == 0:
            return
        check_sample_rate(frame.sample_rate, self._job)
        form = form_of(frame)
        expected = self._stretch_start + self._received / (self._form or form)[0]
        start = expected
        self._counted = self._counted or (self._untimed and self._form is not None and form[0] != self._form[0])
        if not self._counted and frame.pts is not None and frame.time_base is not None:
            start = float(frame.pts * frame.time_base - self._zero)
        if start > self._job.seconds:
            raise ClipLimit(f"{self._job.path}: sound at {start:.0f} s, past the limit of {self._job.seconds:.0f} s")
        if self._resampler is None or abs(start - expected) > _gap_of(frame):
            self._end_stretch()
            self._begin_stretch(frame, start)
        elif form != self._form:
            self._end_stretch()
            self._begin_stretch(frame, expected)
        assert self._resampler is not None
        self._received += frame.samples
        frame.pts = None  # the stretch keeps the time; the resampler only counts
        self._take(self._resampler.resample(frame))

    def _begin_stretch(self, frame: AudioFrame, start: float) -> None:
        self._resampler = resampler_for(frame)
        self._form = form_of(frame)
        self._stretch_start = start
        self._received = 0
        self._emitted = 0

    def _end_stretch(self) -> None:
        if self._resampler is not None:
            self._take(self._resampler.resample(None))
            self._send()
            self._resampler = None

    def _take(self, frames: list[AudioFrame]) -> None:
        for frame in frames:
            mono = np.clip(np.nan_to_num(self._mix.applied(channels_of(frame))), -1, 1)
            self._pending.append(mono)
            self._pending_samples += len(mono)
        if self._pending_samples >= BLOCK:
            self._send()

    def _send(self) -> None:
        if not self._pending:
            return
        values = np.concatenate(self._pending)
        start = self._stretch_start + self._emitted / SAMPLE_RATE
        self._emitted += len(values)
        self._pending, self._pending_samples = [], 0
        # Timestamps that run back over what was already given: keep the clock moving forward, give each moment once.
        late = max(0, round((max(self.last_end, 0.0) - start) * SAMPLE_RATE)) if start < self.last_end - 0.5 / SAMPLE_RATE else 0
        self.dropped += min(late, len(values))
        values, start = values[late:], start + late / SAMPLE_RATE
        if len(values):
            self._wire.say("samples", payload=values.astype("<f4", copy=False).tobytes(), start=start)
            self.last_end = start + len(values) / SAMPLE_RATE
            self.sent += len(values)

    def finish(self) -> None:
        self._end_stretch()


def _gap_of(frame: AudioFrame) -> float:
    """Seconds from which on a difference between counted and given times is a gap."""
    lasts = frame.samples / frame.sample_rate
    given = float(frame.duration * frame.time_base) if frame.duration and frame.time_base is not None else lasts
    return DOUBTFUL_GAP_SECONDS if abs(given - lasts) > 0.2 * lasts + 0.002 else GAP_SECONDS
