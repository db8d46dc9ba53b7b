"""The clip's clock: seconds from the start of the recording, made from what the container says of its packets and frames.

0 s is the container's start. Where a recording lies before the container's own zero (a negative start, a 33-bit clock that wraps), it is
the first frame or sample that comes out of the decoder: encoder priming that is declared as such never comes out. A clock that starts
again in mid-file (parts joined end to end) goes on: what follows is laid behind what came before. Frames without a time stamp get
theirs as players give it, from decoding times or from their neighbours. Frame numbers and rates are used for nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av.error
from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from .container import Chosen, Job, choose_streams, open_container

ZERO = Fraction(0)
# A stream's decoding times only grow. Less than the first is jitter; more than the second is a clock that was set back, whatever it says.
JITTER, SET_BACK = Fraction(1, 10), Fraction(1)
SET_FORWARD = Fraction(60)
"""Seconds: in a transport or program stream a longer leap is another recording's clock; a shorter one is a gap."""
AHEAD_PACKETS, AHEAD_BYTES = 200, 32 << 20
CROWDED = Fraction(1, 1000)
"""Seconds between two frames of which the container says that they begin together."""
# Their demuxers know decoding times alone and guess the others, which goes wrong where frames are reordered.
DECODING_TIMES_ONLY = ("avi", "asf")
OPENING_FRAMES, OPENING_PACKETS = 24, 6000
USUAL = Fraction(1, 25)
"""Seconds that a frame lasts of which nothing is known."""


def seconds_of(value: int | None, time_base: Fraction | None) -> Fraction | None:
    return None if value is None or time_base is None else value * time_base


@dataclass(frozen=True)
class Opening:
    """What is known of a clip's clock before it is read.

    zero      the container's own seconds at 0 s of the clip
    untimed   frames at the beginning that have no time stamp
    first     the container's own seconds of the frame after them, None where no frame has a time
    by_dts    whether frames come in the order of the packets' decoding times, because their presentation times are wrong
    """

    zero: Fraction = ZERO
    untimed: int = 0
    first: Fraction | None = None
    by_dts: bool = False


def opening_of(container: InputContainer, chosen: Chosen, head: Sequence[Packet[Any]], job: Job) -> Opening:
    """Looks at the beginning of a clip; decodes some of it only where its clock is in doubt. `head` are its first packets."""
    start = container.start_time
    video = chosen.video
    first = next((packet for packet in head if video is not None and packet.stream.index == video.index), None)
    without_pts = first is not None and first.pts is None and start is not None
    reordered = video is not None and bool(video.codec_context.has_b_frames)
    doubtful = reordered and any(name in DECODING_TIMES_ONLY for name in container.format.name.split(","))
    if start is not None and not (start < 0 or without_pts or doubtful):
        return Opening(Fraction(max(start, 0), 1_000_000))
    with open_container(job) as again:
        return _decoded_opening(again, choose_streams(again, job), None if start is None else Fraction(start, 1_000_000), doubtful)


def _decoded_opening(container: InputContainer, chosen: Chosen, start: Fraction | None, doubtful: bool) -> Opening:
    """The opening by the first frames and samples that come out of the decoder."""
    pictures: list[tuple[Fraction | None, Fraction | None]] = []  # presentation and decoding times
    sounds: list[Fraction | None] = []
    for frame in _first_frames(container, chosen):
        if isinstance(frame, VideoFrame):
            pictures.append((seconds_of(frame.pts, frame.time_base), seconds_of(frame.dts, frame.time_base)))
        else:
            sounds.append(seconds_of(frame.pts, frame.time_base))
        stamped = [pts for pts, _ in pictures if pts is not None]
        enough = len(pictures) >= OPENING_FRAMES if doubtful or start is None else bool(stamped)
        if (enough or chosen.video is None) and (sounds or chosen.audio is None):
            break
    stamped = [pts for pts, _ in pictures if pts is not None]
    by_dts = doubtful and any(b <= a for a, b in pairwise(stamped))
    stamps = [dts if by_dts else pts for pts, dts in pictures]
    untimed = next((k for k, stamp in enumerate(stamps) if stamp is not None), 0)
    first = stamps[untimed] if stamps else None
    usual = 1 / Fraction(chosen.video.average_rate) if chosen.video is not None and chosen.video.average_rate else USUAL
    earliest = [stamp for stamp in sounds[:1] if stamp is not None]
    if first is not None:
        earliest.append(first - untimed * usual)
    zero = max(start, ZERO) if start is not None else min(earliest, default=ZERO)
    return Opening(min([zero, *earliest]), untimed, first, by_dts)


def _first_frames(container: InputContainer, chosen: Chosen) -> Iterator[VideoFrame | AudioFrame]:
    try:
        for count, packet in enumerate(container.demux(*chosen.streams)):
            if count > OPENING_PACKETS:
                return
            with suppress(av.error.FFmpegError):
                frames: list[Any] = list(packet.decode()) if packet.size or packet.pts is None else []
                yield from frames
    except av.error.FFmpegError:
        return


@dataclass
class _Lane:
    """One medium's place on the clock. `first` and `last` are its stream's own decoding times since its clock last started."""

    stream: Any
    epoch: int = 0
    first: Fraction | None = None
    last: Fraction | None = None
    end: Fraction | None = None

    def jumps(self, moment: Fraction, newest: Fraction | None, offset: Fraction, leaps: bool, stream: Any) -> bool:
        """Whether a packet of this stream at this moment belongs to a clock that started again. `newest` is the latest moment of all."""
        if self.last is None or self.first is None:
            return False
        back = self.last - moment
        if stream is not self.stream and back > 0:  # the next link of a chained file
            return True
        if back > SET_BACK or (back > JITTER and moment <= self.first + JITTER):
            return True
        return leaps and -back > SET_FORWARD and (newest is None or moment + offset - newest > SET_FORWARD)


@dataclass
class PacketClock:
    """Moves the times of packets whose container's clock starts again, so that it goes on for all streams alike.

    leaps  whether a leap forward can be another recording's clock (transport and program streams, Ogg)
    """

    streams: Sequence[Any]
    leaps: bool
    offsets: list[Fraction] = field(default_factory=lambda: [ZERO])

    def __post_init__(self) -> None:
        self._lanes = {stream.type: _Lane(stream) for stream in self.streams}
        self._newest: Fraction | None = None

    @property
    def restarts(self) -> int:
        return len(self.offsets) - 1

    def placed(self, packets: Iterator[Packet[Any]]) -> Iterator[Packet[Any]]:
        """The same packets, in the same order, their times on one clock."""
        ahead: deque[Packet[Any]] = deque()
        while (packet := ahead.popleft() if ahead else next(packets, None)) is not None:
            lane = self._lanes.setdefault(packet.stream.type, _Lane(packet.stream, self.restarts))
            moment = _moment(packet)
            if moment is not None:
                if lane.jumps(moment, self._newest, self.offsets[lane.epoch], self.leaps, packet.stream):
                    if lane.epoch == self.restarts:
                        self._look_ahead(packets, ahead)
                        self.offsets.append(self._next_offset([packet, *ahead]))
                    lane.epoch, lane.first = self.restarts, moment
                lane.first = moment if lane.first is None else lane.first
                lane.last, lane.stream = moment, packet.stream
            self._move(packet, lane)
            yield packet

    def _look_ahead(self, packets: Iterator[Packet[Any]], ahead: deque[Packet[Any]]) -> None:
        """Takes so many packets that every stream has come to the new clock, or that enough were looked at."""
        size = sum(packet.size for packet in ahead)
        while len(ahead) < AHEAD_PACKETS and size < AHEAD_BYTES and (packet := next(packets, None)) is not None:
            ahead.append(packet)
            size += packet.size

    def _next_offset(self, packets: Sequence[Packet[Any]]) -> Fraction:
        """Seconds that lay the new clock's first packet, of whatever stream, at the end of what the old one timed."""
        ends = [lane.end for lane in self._lanes.values() if lane.end is not None]
        starts: list[Fraction] = []
        old = {medium: replace(lane) for medium, lane in self._lanes.items()}
        arrived: set[str] = set()
        for packet in packets:
            medium = packet.stream.type
            moment, shown = _moment(packet), _shown(packet)
            if moment is None or shown is None or medium in arrived or medium not in old:
                continue
            lane = old[medium]
            offset = self.offsets[lane.epoch]
            if lane.jumps(moment, self._newest, offset, self.leaps, packet.stream):
                arrived.add(medium)
                starts.append(shown)
            else:
                lane.last, lane.stream = moment, packet.stream
                ends.append(shown + offset + (seconds_of(packet.duration, _base(packet)) or ZERO))
        return max(ends) - min(starts) if ends and starts else ZERO

    def _move(self, packet: Packet[Any], lane: _Lane) -> None:
        offset = self.offsets[lane.epoch]
        if (shown := _shown(packet)) is not None:
            end = shown + offset + (seconds_of(packet.duration, _base(packet)) or ZERO)
            lane.end = end if lane.end is None else max(lane.end, end)
            self._newest = end if self._newest is None else max(self._newest, end)
        ticks = round(offset / _base(packet))
        if ticks and packet.pts is not None:
            packet.pts += ticks
        if ticks and packet.dts is not None:
            packet.dts += ticks


def _base(packet: Packet[Any]) -> Fraction:
    return Fraction(packet.stream.time_base)


def _moment(packet: Packet[Any]) -> Fraction | None:
    """A packet's decoding time, which only grows within a stream."""
    return seconds_of(packet.dts, _base(packet))


def _shown(packet: Packet[Any]) -> Fraction | None:
    return seconds_of(packet.pts if packet.pts is not None else packet.dts, _base(packet))


class FrameTimes:
    """When each frame begins, in the order in which the decoder gives them, which is the order of presentation."""

    def __init__(self, stream: VideoStream, opening: Opening) -> None:
        self._opening = opening
        self._usual = 1 / Fraction(stream.average_rate) if stream.average_rate else USUAL
        self._untimed = opening.untimed
        self._last: Fraction | None = None
        self._lasts = self._usual
        self.estimated = 0
        """Frames whose time is not in the file, or says that they come before the frame before them."""

    def of(self, frame: VideoFrame) -> tuple[Fraction, Fraction]:
        """Start on the clip's clock and own duration, in seconds. Starts only grow."""
        lasts = (seconds_of(frame.duration, frame.time_base) if frame.duration else None) or self._usual
        start = self._stamp(frame)
        if start is None:
            self.estimated += 1
            start = self._guess()
        elif self._last is not None and start <= self._last:
            self.estimated += 1
            start = self._last + min(CROWDED, lasts / 2)
        self._untimed = max(0, self._untimed - 1)
        self._last, self._lasts = start, lasts
        return start, lasts

    def _stamp(self, frame: VideoFrame) -> Fraction | None:
        pts, dts = seconds_of(frame.pts, frame.time_base), seconds_of(frame.dts, frame.time_base)
        stamp = dts if self._opening.by_dts else pts if pts is not None else dts
        if stamp is not None and not self._opening.by_dts and self._last is not None and dts is not None:
            # Of two times the one that goes on is right, as FFmpeg's best effort has it.
            stamp = dts if stamp - self._opening.zero <= self._last < dts - self._opening.zero else stamp
        return None if stamp is None or self._untimed else stamp - self._opening.zero

    def _guess(self) -> Fraction:
        if self._untimed and self._opening.first is not None:
            return self._opening.first - self._untimed * self._usual - self._opening.zero
        return self._last + self._lasts if self._last is not None else ZERO
