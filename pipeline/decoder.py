"""The decoding process: `python -P -m emofuse.pipeline.decoder FD`, started and read by `clip.py` and by nothing else.

It opens one local file with PyAV, checks it against its limits, and writes messages to standard output: four bytes of length, a JSON
header, and for sound the float32 samples themselves. Frames lie in the shared memory of file descriptor FD, a ring of slots; one byte on
standard input gives the oldest slot back. A codec that crashes, hangs or eats memory takes only this process with it.

Times are seconds from the container's start: presentation timestamp times time base, less the container's own start time where that is
positive (a negative one is encoder priming, which players drop). Frame numbers and rates are never used to make a time.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO, NoReturn

import av
import av.error
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from .errors import ClipError, ClipLimit, DecodeCrashed, NoStream, NotMedia
from .ports import SAMPLE_RATE
from .timed import Floats32

# Containers that hold one recording. Playlists (hls, dash, concat, sdp, ...) are left out: they open other files and addresses.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpegts,mpeg,mpegvideo,ogg,wav,w64,flac,mp3,aac,asf,aiff,amr,caf,mxf,dv,nut,rm,"
    "ivf,h264,hevc,m4v,ac3,eac3,wv,au,gif,yuv4mpegpipe"
)
SLOTS = 6
BLOCK = SAMPLE_RATE // 2
Pixels = NDArray[np.uint8]
# Timestamps are rounded by containers (to 1 ms in Matroska and FLV) and jitter in live captures: less than this is rounding, more is a gap.
GAP_SECONDS = 0.020
# A frame is shown until the next one; past this, the next one counts as coming after a gap.
LONGEST_FRAME_SECONDS = 1.0


@dataclass(frozen=True)
class Job:
    """What to decode, and the limits: see `clip.Limits` for the meaning of each."""

    path: str
    frames: bool
    samples: bool
    pixels: int
    seconds: float
    streams: int
    sample_rate: int
    memory: int
    cpu_base: float
    cpu_factor: float


@dataclass(frozen=True)
class Placed:
    """A frame that lies in a slot of the ring."""

    slot: int
    height: int
    width: int


class Wire:
    """Messages to the parent, and the ring of frame slots."""

    def __init__(self, out: BinaryIO, back: BinaryIO, fd: int) -> None:
        self._out = out
        self._back = back
        self._fd = fd
        self._ring: mmap.mmap | None = None
        self._slot_bytes = 0
        self._slot = 0
        self._in_use = 0

    def say(self, kind: str, payload: bytes = b"", **facts: Any) -> None:
        header = json.dumps({"kind": kind, "payload": len(payload), **facts}).encode()
        self._out.write(struct.pack("<I", len(header)) + header + payload)
        self._out.flush()

    def place(self, image: Pixels) -> Placed:
        """Copies the pixels (h w 3, any strides) into a free slot; nobody hears of them before `send_frame`."""
        size = image.shape[0] * image.shape[1] * 3
        if size > self._slot_bytes:
            self._new_ring(size)
        if self._in_use == SLOTS:
            self._wait_for_slot()
        assert self._ring is not None
        placed = Placed(self._slot, image.shape[0], image.shape[1])
        np.frombuffer(self._ring, np.uint8, size, self._slot * self._slot_bytes).reshape(image.shape)[...] = image
        self._slot = (self._slot + 1) % SLOTS
        self._in_use += 1
        return placed

    def send_frame(self, start: float, end: float, placed: Placed) -> None:
        self.say("frame", start=start, end=end, height=placed.height, width=placed.width, slot=placed.slot)

    def _wait_for_slot(self) -> None:
        if not self._back.read(1):
            os._exit(0)  # the parent has gone or no longer reads
        self._in_use -= 1

    def _new_ring(self, slot_bytes: int) -> None:
        while self._in_use:
            self._wait_for_slot()
        page = mmap.ALLOCATIONGRANULARITY
        self._slot_bytes = -(-slot_bytes // page) * page
        os.ftruncate(self._fd, self._slot_bytes * SLOTS)
        self._ring = mmap.mmap(self._fd, self._slot_bytes * SLOTS)
        self._slot = 0
        self.say("ring", slot_bytes=self._slot_bytes, slots=SLOTS)


def zero_of(container: InputContainer) -> Fraction:
    """The container's start, in seconds of its own timestamps."""
    start = container.start_time
    return Fraction(max(start, 0), 1_000_000) if start is not None else Fraction(0)


def choose_streams(container: InputContainer) -> tuple[VideoStream | None, AudioStream | None]:
    """The recording's own video (never a cover picture) and sound: the ones marked default, else the first."""

    def best(streams: list[Any]) -> Any:
        default = [s for s in streams if s.disposition & Disposition.default]
        return (default or streams or [None])[0]

    # A stream without a size claims one that FFmpeg takes for impossible (more than 2^28 pixels), and gives no frame.
    videos = [
        s
        for s in container.streams.video
        if s.codec_context is not None and s.codec_context.width * s.codec_context.height and not s.disposition & Disposition.attached_pic
    ]
    sounds = [s for s in container.streams.audio if s.codec_context is not None]
    return best(videos), best(sounds)


def open_container(job: Job) -> InputContainer:
    options = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS, "max_streams": str(job.streams)}
    try:
        return av.open("file:" + os.path.abspath(job.path), mode="r", options=options, metadata_errors="replace")
    except UnicodeEncodeError:
        raise NotMedia(f"{job.path}: a file name that is not valid text in this system's encoding") from None
    except (av.error.FFmpegError, ValueError, OSError) as error:
        detail = getattr(error, "strerror", None) or str(error)
        raise NotMedia(f"{job.path}: expected a local media file, but it cannot be opened as one ({detail})") from None


def check(container: InputContainer, job: Job) -> dict[str, Any]:
    """The facts of `ClipInfo`; raises `NotMedia` or `ClipLimit`."""
    video, audio = choose_streams(container)
    if video is None and audio is None:
        raise NotMedia(
            f"{job.path}: expected video or audio, but the {container.format.name} container has neither in a form that can be decoded"
        )
    if len(container.streams) > job.streams:
        raise ClipLimit(f"{job.path}: {len(container.streams)} streams, more than the limit of {job.streams}")
    duration = container.duration / 1e6 if container.duration else None
    if duration is None or duration < 0:
        lengths = [float(s.duration * s.time_base) for s in (video, audio) if s is not None and s.duration and s.time_base]
        duration = max(lengths, default=None)
    if duration is not None and duration > job.seconds:
        raise ClipLimit(f"{job.path}: {duration:.0f} s long by its container, more than the limit of {job.seconds:.0f} s")
    facts: dict[str, Any] = {"container": container.format.name, "duration": duration, "video": None, "audio": None}
    if video is not None:
        if video.codec_context.width * video.codec_context.height > job.pixels:
            size = f"{video.codec_context.width}x{video.codec_context.height}"
            raise ClipLimit(f"{job.path}: frames of {size}, more than the limit of {job.pixels} pixels")
        rate = video.average_rate
        facts["video"] = {
            "codec": video.codec_context.name,
            "width": video.codec_context.width,
            "height": video.codec_context.height,
            "frame_rate": float(rate) if rate else None,
            "pixel_format": video.codec_context.pix_fmt,
        }
    if audio is not None:
        if audio.codec_context.sample_rate > job.sample_rate:
            raise ClipLimit(f"{job.path}: sound at {audio.codec_context.sample_rate} Hz, more than the limit of {job.sample_rate} Hz")
        facts["audio"] = {
            "codec": audio.codec_context.name,
            "sample_rate": audio.codec_context.sample_rate,
            "channels": audio.codec_context.channels,
        }
    return facts


def rotation_of(container: InputContainer, stream: VideoStream) -> int:
    """Degrees (counter-clockwise, a multiple of 90) by which frames must be turned to stand upright, read off the first frame."""
    try:
        for frame in container.decode(stream):
            return round(frame.rotation / 90) * 90 % 360
    except av.error.FFmpegError:
        pass
    return 0


class FrameClock:
    """Turns decoded frames into upright RGB images with start and end.

    Holds one frame back, since a frame ends where the next one starts. A frame's pixels are copied once: from the converter into its slot.
    """

    def __init__(self, wire: Wire, job: Job, stream: VideoStream, zero: Fraction) -> None:
        self._wire = wire
        self._job = job
        self._zero = zero
        self._held: tuple[float, float, Placed] | None = None
        self._reformatter = VideoReformatter()
        self._nominal = float(1 / stream.average_rate) if stream.average_rate else 0.04
        self.last_end = 0.0
        self.sent = 0

    def add(self, frame: VideoFrame) -> None:
        if frame.pts is None or frame.time_base is None:
            return  # a frame without a time is a gap, not a shift
        start = float(frame.pts * frame.time_base - self._zero)
        if start < 0 or (self._held is not None and start <= self._held[0]):
            return
        if start > self._job.seconds:
            raise ClipLimit(f"{self._job.path}: a frame at {start:.0f} s, past the limit of {self._job.seconds:.0f} s")
        if frame.width * frame.height > self._job.pixels:
            raise ClipLimit(f"{self._job.path}: a frame of {frame.width}x{frame.height}, more than the limit of {self._job.pixels} pixels")
        own = float(frame.duration * frame.time_base) if frame.duration else self._nominal
        self._release(next_start=start)
        self._held = (start, own, self._wire.place(self._upright(frame)))

    def _upright(self, frame: VideoFrame) -> Pixels:
        """(h w 3) RGB, a view of the converter's own memory: good until the next frame."""
        plane = self._reformatter.reformat(frame, format="rgb24").planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width * 3]
        image: Pixels = rows.reshape(plane.height, plane.width, 3)
        return np.rot90(image, round(frame.rotation / 90) % 4)

    def _release(self, next_start: float | None) -> None:
        if self._held is None:
            return
        start, own, placed = self._held
        end = start + own
        if next_start is not None and next_start - start <= max(own, LONGEST_FRAME_SECONDS):
            end = next_start
        self._wire.send_frame(start, end, placed)
        self.last_end = end
        self.sent += 1
        self._held = None

    def finish(self) -> None:
        self._release(next_start=None)


class SampleClock:
    """Turns decoded sound into contiguous mono 16 kHz blocks; a jump of the timestamps starts a new stretch at its own time.

    Channels are averaged. Each stretch has its own resampler (libswresample compensates its filter's delay), so that nothing is
    stretched over a gap.
    """

    def __init__(self, wire: Wire, job: Job, zero: Fraction) -> None:
        self._wire = wire
        self._job = job
        self._zero = zero
        self._resampler: av.AudioResampler | None = None
        self._form: tuple[int, str] | None = None
        self._stretch_start = 0.0
        self._received = 0  # input samples of this stretch
        self._emitted = 0  # output samples of this stretch
        self._pending: list[Floats32] = []
        self._pending_samples = 0
        self.last_end = 0.0
        self.sent = 0

    def add(self, frame: AudioFrame) -> None:
        if frame.samples == 0:
            return
        rate = frame.sample_rate
        if rate > self._job.sample_rate:
            raise ClipLimit(f"{self._job.path}: sound at {rate} Hz, more than the limit of {self._job.sample_rate} Hz")
        form = (rate, frame.layout.name)
        expected = self._stretch_start + self._received / (self._form or form)[0]
        start = expected
        if frame.pts is not None and frame.time_base is not None:
            start = float(frame.pts * frame.time_base - self._zero)
        if start > self._job.seconds:
            raise ClipLimit(f"{self._job.path}: sound at {start:.0f} s, past the limit of {self._job.seconds:.0f} s")
        if self._resampler is None or form != self._form or abs(start - expected) > GAP_SECONDS:
            self._end_stretch()
            self._begin_stretch(form, start)
        assert self._resampler is not None
        self._received += frame.samples
        frame.pts = None  # the stretch keeps the time; the resampler only counts
        self._take(self._resampler.resample(frame))

    def _begin_stretch(self, form: tuple[int, str], start: float) -> None:
        self._resampler = av.AudioResampler(format="fltp", layout=form[1], rate=SAMPLE_RATE)
        self._form = form
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
            channels = frame.to_ndarray()
            mono = np.clip(np.nan_to_num(channels.mean(axis=0, dtype=np.float32)), -1, 1)
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
        values, start = values[late:], start + late / SAMPLE_RATE
        if len(values):
            self._wire.say("samples", payload=values.astype("<f4", copy=False).tobytes(), start=start)
            self.last_end = start + len(values) / SAMPLE_RATE
            self.sent += len(values)

    def finish(self) -> None:
        self._end_stretch()


def packets(container: InputContainer, streams: list[Any]) -> Iterator[Any]:
    """Demuxed packets; a container that breaks off ends here, its decoders are flushed, and what came before counts."""
    try:
        yield from container.demux(*streams)
    except av.error.FFmpegError:
        for stream in streams:
            flush = av.Packet()
            flush.stream = stream
            yield flush


def decode(wire: Wire, job: Job) -> None:
    """The whole conversation: info, then frames and samples in the file's order, then the end with its facts."""
    with open_container(job) as container:
        facts = check(container, job)
        video, audio = choose_streams(container)
        if job.frames and video is None:
            raise NoStream(f"{job.path}: no video stream")
        if job.samples and audio is None:
            raise NoStream(f"{job.path}: no audio stream")
        limit_cpu(job, facts["duration"])
        if not (job.frames or job.samples):
            if video is not None:
                facts["video"]["rotation"] = rotation_of(container, video)
            wire.say("info", **facts)
            return
        zero = zero_of(container)
        frame_clock = FrameClock(wire, job, video, zero) if job.frames and video is not None else None
        sample_clock = SampleClock(wire, job, zero) if job.samples and audio is not None else None
        if video is not None and job.frames:
            video.thread_type = "AUTO"
        streams = [s for s, wanted in ((video, job.frames), (audio, job.samples)) if s is not None and wanted]
        errors = {"video": 0, "audio": 0}
        for packet in packets(container, streams):
            try:
                decoded = packet.decode()
            except av.error.MemoryError:
                raise DecodeCrashed(f"{job.path}: decoding needs more than the limit of {job.memory >> 20} MiB") from None
            except av.error.FFmpegError:
                errors[packet.stream.type] += 1  # a broken packet is a gap
                continue
            for frame in decoded:
                if isinstance(frame, VideoFrame) and frame_clock is not None:
                    frame_clock.add(frame)
                elif isinstance(frame, AudioFrame) and sample_clock is not None:
                    sample_clock.add(frame)
        media: dict[str, dict[str, Any]] = {}
        for medium, clock in (("video", frame_clock), ("audio", sample_clock)):
            if clock is not None:
                clock.finish()
                media[medium] = {"end": clock.last_end, "broken_packets": errors[medium]}
        if not any(clock is not None and clock.sent for clock in (frame_clock, sample_clock)):
            raise ClipError(f"{job.path}: nothing in it could be decoded ({sum(errors.values())} broken packets)")
        wire.say("end", media=media)


def limit_cpu(job: Job, duration: float | None) -> None:
    seconds = int(job.cpu_base + job.cpu_factor * (duration if duration is not None else job.seconds))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))


def main() -> NoReturn:
    fd = int(sys.argv[1])
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a codec prints must not land between messages
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    back = os.fdopen(0, "rb", buffering=0)
    length = struct.unpack("<I", back.read(4))[0]
    request = b""
    while len(request) < length:
        request += back.read(length - len(request))
    job = Job(**json.loads(request))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (job.memory, job.memory))
    wire = Wire(out, back, fd)
    try:
        decode(wire, job)
    except ClipError as error:
        wire.say("error", error=type(error).__name__, message=str(error))
    except MemoryError:
        wire.say("error", error="DecodeCrashed", message=f"{job.path}: decoding needs more than the limit of {job.memory >> 20} MiB")
    out.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
