"""The decoding process: `python -P -m emofuse.pipeline.decoder FD PARENT`, started and read by `clip.py` alone.

It opens one local file with PyAV, checks it against its limits, and writes messages to standard output (decoding/wire.py). Frames lie in
the shared memory of file descriptor FD. A codec that crashes, hangs or eats memory takes only this process with it, and this process goes
when the one that started it does.

Times are seconds on the clip's clock (decoding/clock.py).
"""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NoReturn

import av
import av.error
from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from .decoding.clock import FrameTimes, Opening, PacketClock, opening_of
from .decoding.container import Chosen, Job, check, choose_streams, open_container
from .decoding.links import length_of, links_of
from .decoding.picture import Screen, appearance_of
from .decoding.sound import Mix, SampleClock, mix_in
from .decoding.wire import Placed, Wire
from .errors import ClipError, ClipLimit, DecodeCrashed, NoStream, NotMedia

# A frame is shown until the next one; past this, the next one counts as coming after a gap.
LONGEST_FRAME_SECONDS = 1.0
HEAD_PACKETS = 64
"""Packets in which the first frame's is looked for."""
UNTIMED = ("aac", "mp3", "ac3", "eac3")
"""Containers of sound without a clock: FFmpeg counts their times by the first frame's rate."""
TS_DISCONT = 0x0200
"""FFmpeg's flag of container formats whose clock may be set anew at any place."""


class FrameClock:
    """Sends decoded frames with start and end.

    Holds one frame back, since a frame ends where the next one starts. A frame's pixels are copied once: from the converter into its slot.
    """

    def __init__(self, wire: Wire, job: Job, stream: VideoStream, opening: Opening) -> None:
        self._wire = wire
        self._job = job
        self._zero = opening.zero
        self._times = FrameTimes(stream, opening)
        self._screen = Screen(job, stream)
        self._held: tuple[float, float, Placed] | None = None
        self.last_end = 0.0
        self.sent = 0
        self.dropped = 0
        """Frames that lie before 0 s."""

    @property
    def estimated(self) -> int:
        return self._times.estimated

    @property
    def resized(self) -> int:
        return self._screen.resized

    def add(self, frame: VideoFrame) -> None:
        at, lasts = self._times.of(frame)
        start, own_duration = float(at), float(lasts)
        if start < 0:
            self.dropped += 1
            return
        if start > self._job.seconds:
            raise ClipLimit(f"{self._job.path}: a frame at {start:.0f} s, past the limit of {self._job.seconds:.0f} s")
        self._release(next_start=start)
        self._held = (start, own_duration, self._wire.place(self._screen.shown(frame)))

    def _release(self, next_start: float | None) -> None:
        if self._held is None:
            return
        start, own_duration, placed = self._held
        end = start + own_duration
        if next_start is not None and next_start - start <= max(own_duration, LONGEST_FRAME_SECONDS):
            end = next_start
        self._wire.send_frame(start, end, placed)
        self.last_end = end
        self.sent += 1
        self._held = None

    def finish(self) -> None:
        self._release(next_start=None)


class Reading:
    """The packets of a file, and what went wrong in reading them. `later` are the links that follow in a chained file."""

    def __init__(self, container: InputContainer, chosen: Chosen, later: Sequence[Job] = ()) -> None:
        self._container = container
        self._chosen = chosen
        self._later = later
        self.breaks_off = False
        """Whether reading ended in an error and not at the end of the file."""

    def packets(self) -> Iterator[Packet[Any]]:
        """Of one link after the other."""
        yield from self._packets(self._container, self._chosen)
        for link in self._later:
            try:
                container = open_container(link)  # closed with its last packet, which may be waiting still
                chosen = choose_streams(container, link)
            except (NotMedia, NoStream):
                self.breaks_off = True
                continue
            if chosen.streams:
                yield from self._packets(container, chosen)

    def _packets(self, container: InputContainer, chosen: Chosen) -> Iterator[Packet[Any]]:
        """A container that breaks off ends here, its decoders are flushed, and what came before counts."""
        try:
            yield from container.demux(*chosen.streams)
        except av.error.FFmpegError:
            self.breaks_off = True
            for stream in chosen.streams:
                flush = av.Packet()
                flush.stream = stream
                yield flush


def decode(wire: Wire, job: Job) -> None:
    """The whole conversation: info, then frames and samples in the file's order, then the end with its facts."""
    job, *later = links_of(job)
    with open_container(job) as container:
        chosen = choose_streams(container, job)
        facts = check(container, chosen, job, length_of(later))
        if job.frames and chosen.video is None:
            raise NoStream(f"{job.path}: no video stream")
        if job.samples and chosen.audio is None:
            raise NoStream(f"{job.path}: no audio stream")
        limit_cpu(job, facts["duration"])
        if job.frames or job.samples:
            decode_media(wire, job, container, chosen, later)
            return
        if chosen.video is not None:
            facts["video"] |= appearance_of(container, chosen.video)
        wire.say("info", **facts)


def decode_media(wire: Wire, job: Job, container: InputContainer, chosen: Chosen, later: Sequence[Job]) -> None:
    """Frames and samples, then the end. All packets of both are read, whichever is wanted: a pass over one has the clock of both."""
    reading = Reading(container, chosen, later)
    packets = reading.packets()
    head = head_of(packets, chosen)
    opening = opening_of(container, chosen, head, job)
    mix = mix_in(job) if job.samples else Mix((1.0,), "")
    frame_clock = FrameClock(wire, job, chosen.video, opening) if job.frames and chosen.video is not None else None
    sample_clock = (
        SampleClock(wire, job, opening.zero, mix, untimed=container.format.name in UNTIMED)
        if job.samples and chosen.audio is not None
        else None
    )
    if chosen.video is not None and job.frames:
        chosen.video.thread_type = "AUTO"
    wanted = {"video": frame_clock is not None, "audio": sample_clock is not None}
    clock = PacketClock(chosen.streams, bool(int(container.format.flags) & TS_DISCONT))
    broken = {"video": 0, "audio": 0}
    for packet in clock.placed(chain(head, packets)):
        if not wanted[packet.stream.type]:
            continue
        for frame in decoded(packet, broken, job):
            if isinstance(frame, VideoFrame) and frame_clock is not None:
                frame_clock.add(frame)
            elif isinstance(frame, AudioFrame) and sample_clock is not None:
                sample_clock.add(frame)
    common = {"zero": float(opening.zero), "restarts": clock.restarts, "breaks_off": reading.breaks_off}
    media: dict[str, dict[str, Any]] = {}
    if frame_clock is not None:
        frame_clock.finish()
        facts = {"dropped": frame_clock.dropped, "estimated": frame_clock.estimated, "resized": frame_clock.resized}
        media["video"] = {"end": frame_clock.last_end, "broken_packets": broken["video"], "count": frame_clock.sent, **facts, **common}
    if sample_clock is not None:
        sample_clock.finish()
        facts = {"dropped": sample_clock.dropped}
        media["audio"] = {"end": sample_clock.last_end, "broken_packets": broken["audio"], "count": sample_clock.sent, **facts, **common}
        media["audio"]["mix"] = mix.text
    if not any(medium["count"] for medium in media.values()):
        raise ClipError(f"{job.path}: nothing in it could be decoded ({sum(broken.values())} broken packets)")
    wire.say("end", media=media)


def head_of(packets: Iterator[Packet[Any]], chosen: Chosen) -> deque[Packet[Any]]:
    """The first packets, up to the first of the video."""
    head: deque[Packet[Any]] = deque()
    for packet in packets:
        head.append(packet)
        if chosen.video is None or packet.stream.index == chosen.video.index or len(head) == HEAD_PACKETS:
            break
    return head


def decoded(packet: Packet[Any], broken: dict[str, int], job: Job) -> list[Any]:
    """The frames that come of a packet; a broken packet is a gap, and is counted."""
    if packet.size == 0 and (packet.dts is not None or packet.pts is not None):
        return []  # an empty packet, with which Theora and AVI say that the frame before is shown on
    try:
        return list(packet.decode())
    except av.error.MemoryError:
        raise DecodeCrashed(f"{job.path}: decoding needs more than the limit of {job.memory >> 20} MiB") from None
    except av.error.FFmpegError:
        broken[packet.stream.type] += 1
        return []


def limit(kind: int, soft: int, hard: int) -> None:
    """Sets a resource limit, or the limit that this process has already where that is lower."""
    _, highest = resource.getrlimit(kind)
    if highest != resource.RLIM_INFINITY:
        soft, hard = min(soft, highest), min(hard, highest)
    resource.setrlimit(kind, (soft, hard))


def limit_cpu(job: Job, duration: float | None) -> None:
    seconds = int(job.cpu_base + job.cpu_factor * (duration if duration is not None else job.seconds))
    limit(resource.RLIMIT_CPU, seconds, seconds + 5)


def end_with(parent: int) -> None:
    """Ends this process soon after the one that started it, however that ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def main() -> NoReturn:
    fd, parent = int(sys.argv[1]), int(sys.argv[2])
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a codec prints must not land between messages
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    end_with(parent)
    back = os.fdopen(0, "rb", buffering=0)
    length = struct.unpack("<I", back.read(4))[0]
    request = b""
    while len(request) < length:
        request += back.read(length - len(request))
    job = Job(**json.loads(request))
    limit(resource.RLIMIT_CORE, 0, 0)
    limit(resource.RLIMIT_AS, job.memory, job.memory)
    wire = Wire(out, back, fd)
    try:
        decode(wire, job)
    except ClipError as error:
        text = str(error)
        wire.say("error", error=type(error).__name__, message=text if text.startswith(job.path) else f"{job.path}: {text}")
    except MemoryError:
        wire.say("error", error="DecodeCrashed", message=f"{job.path}: decoding needs more than the limit of {job.memory >> 20} MiB")
    out.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
