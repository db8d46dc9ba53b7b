"""`Clip`: a local media file as frames and sound with the container's own times.

Decoding runs in a child process (`decoder.py`) with a memory limit and a time budget, so that a codec's crash is an error of this clip
and no more. Frames come over shared memory, at most a few ahead of the reader: memory does not grow with the clip's length. Times are
float64 seconds from the clip's start (decoding/clock.py says where that is); late starts and gaps stay visible as times, they neither shift
what follows nor are filled with invented sound.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import select
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from .errors import ClipError, ClipLimit, DecodeCrashed, DecodeTimeout, NoStream, NotMedia
from .media import SAMPLE_RATE, AudioInfo, ClipInfo, Frame, Medium, Samples, VideoInfo
from .spool import nameless_file

_ERRORS = {error.__name__: error for error in (ClipError, ClipLimit, DecodeCrashed, NoStream, NotMedia)}


@dataclass(frozen=True)
class Limits:
    """What a clip may cost, and which of its sound is read.

    pixels         a frame's width times height
    seconds        length, by the container's word and by the timestamps
    streams        streams in the container
    sample_rate    Hz
    memory         bytes of address space of the decoding process
    cpu_base, cpu_factor  processor seconds for decoding: base + factor times the clip's length
    stall_seconds  wall seconds without a message from the decoding process while the reader waits
    audio_track    which of the container's audio tracks is read, from 1; None: the one that it marks as default, else the first
    """

    pixels: int = 8192 * 4320
    seconds: float = 12 * 3600.0
    streams: int = 32
    sample_rate: int = 384_000
    memory: int = 4 << 30
    cpu_base: float = 60.0
    cpu_factor: float = 30.0
    stall_seconds: float = 120.0
    audio_track: int | None = None


LEAST_ESTIMATED = 2
"""Frames without a time at the end of a stream are the rule in AVI and ASF, and worth no word."""


@dataclass(frozen=True)
class MediumEnd:
    """How one medium of a decoding pass ended.

    end             seconds of its last frame or sample
    broken_packets  packets that could not be decoded (each is a gap)
    count           frames, or samples at 16 kHz, that were given
    dropped         frames, or samples, that were decoded and not given: they lie before 0 s, or over others that were given
    estimated       frames whose time is not in the file: it follows from their neighbours
    resized         frames that had another size than the first, and were brought to it
    zero            the container's own seconds at 0 s of the clip
    restarts        how often the container's clock started again; what follows was laid behind what came before
    breaks_off      whether reading ended in an error, and not at the end of the file
    mix             which of the sound's channels were read, in words
    """

    end: float
    broken_packets: int
    count: int = 0
    dropped: int = 0
    estimated: int = 0
    resized: int = 0
    zero: float = 0.0
    restarts: int = 0
    breaks_off: bool = False
    mix: str = ""

    def remarks(self, medium: Medium) -> tuple[str, ...]:
        """What a reader of the results must know of this medium, a line each; () where all is as it should be."""
        what, unit = ("video", "frames") if medium == "video" else ("sound", "samples at 16 kHz")
        remarks = []
        if self.dropped:
            remarks.append(f"{what}: {self.dropped} {unit} were left out: they lie before the clip's start, or over others")
        if self.broken_packets:
            remarks.append(f"{what}: {self.broken_packets} packets could not be decoded; each is a gap")
        if self.breaks_off:
            remarks.append(f"{what}: the file breaks off: reading it ended in an error at {self.end:.1f} s")
        if self.zero < 0:
            remarks.append(f"{what}: the recording begins {-self.zero:.3f} s before its container's zero; 0 s is its beginning")
        if self.restarts:
            times = "once" if self.restarts == 1 else f"{self.restarts} times"
            remarks.append(f"{what}: the container's clock starts again {times}; what follows was laid behind what came before")
        if self.estimated > LEAST_ESTIMATED:
            remarks.append(f"{what}: {self.estimated} {unit} have no time of their own, and got one from their neighbours")
        if self.resized:
            remarks.append(f"{what}: {self.resized} frames had another size than the first, and were brought to it")
        if "silent" in self.mix or "turned over" in self.mix:
            remarks.append(f"{what}: {self.mix}")
        return tuple(remarks)


@dataclass(frozen=True)
class DecodeEnd:
    """How a whole decoding pass ended, medium by medium, so that passes over one medium each add up to a pass over both."""

    media: Mapping[Medium, MediumEnd]

    @property
    def end(self) -> float:
        """Seconds of the last frame or sample."""
        return max((medium.end for medium in self.media.values()), default=0.0)

    @property
    def broken_packets(self) -> int:
        return sum(medium.broken_packets for medium in self.media.values())

    @property
    def breaks_off(self) -> bool:
        return any(medium.breaks_off for medium in self.media.values())


class Clip:
    """A local media file, lazily: nothing is opened before it is asked for.

    Satisfies the `Media` protocol. Each call of `frames`, `samples` or `decode` is a decoding pass of its own.
    Raises (from every method) `NotMedia`, `ClipLimit`, `NoStream`, `DecodeCrashed`, `DecodeTimeout`, all of them `ClipError`s.
    """

    def __init__(self, path: str | os.PathLike[str], limits: Limits | None = None, info: ClipInfo | None = None) -> None:
        """`info` is for a caller who has looked this content up before."""
        self.path = Path(path)
        self.limits = limits or Limits()
        self._info = info
        self.passes = 0  # decoding passes begun

    def __repr__(self) -> str:
        return f"Clip({str(self.path)!r})"

    @property
    def info(self) -> ClipInfo:
        """What the container tells, without decoding more than one frame; looked up once."""
        if self._info is None:
            self._info = self._probe()
        return self._info

    def _probe(self) -> ClipInfo:
        with _Decoding(self.path, self.limits, frames=False, samples=False) as decoding:
            for message, _ in decoding.messages():
                if message["kind"] == "info":
                    return ClipInfo(
                        path=str(self.path),
                        container=message["container"],
                        duration=message["duration"],
                        video=VideoInfo(**message["video"]) if message["video"] else None,
                        audio=AudioInfo(**{**message["audio"], "tracks": tuple(message["audio"]["tracks"])}) if message["audio"] else None,
                    )
        raise DecodeCrashed(f"{self.path}: the decoding process ended without an answer")

    def frames(self) -> Iterator[Frame]:
        """Upright RGB frames in order of presentation time."""
        for item in self.decode(frames=True, samples=False):
            if isinstance(item, Frame):
                yield item

    def samples(self, *, fill_silence: bool = False) -> Iterator[Samples]:
        """Mono 16 kHz blocks, each contiguous. With `fill_silence`, silence marked `filled` joins them, from 0 s on."""
        blocks = (item for item in self.decode(frames=False, samples=True) if isinstance(item, Samples))
        return filled(blocks) if fill_silence else blocks

    def decode(self, *, frames: bool, samples: bool) -> Iterator[Frame | Samples | DecodeEnd]:
        """One decoding pass over the file: frames and sound as they lie in it, each kind in order of time, and last a `DecodeEnd`."""
        self.passes += 1
        with _Decoding(self.path, self.limits, frames=frames, samples=samples) as decoding:
            for message, payload in decoding.messages():
                if message["kind"] == "frame":
                    yield Frame(message["start"], message["end"], decoding.image(message))
                elif message["kind"] == "samples":
                    yield Samples(message["start"], np.frombuffer(payload, "<f4").astype(np.float32, copy=False))
                elif message["kind"] == "end":
                    yield DecodeEnd({medium: MediumEnd(**facts) for medium, facts in message["media"].items()})


def filled(blocks: Iterator[Samples]) -> Iterator[Samples]:
    """The same sound with every gap, and the time before the first block, filled with silence that is marked `filled`."""
    position = 0  # samples given so far, from 0 s
    for block in blocks:
        gap = round(block.start * SAMPLE_RATE) - position
        while gap > 0:
            n = min(gap, 10 * SAMPLE_RATE)
            yield Samples(position / SAMPLE_RATE, np.zeros(n, np.float32), filled=True)
            position += n
            gap -= n
        values = block.values[-gap:] if gap < 0 else block.values
        if len(values):
            yield Samples(position / SAMPLE_RATE, values)
            position += len(values)


class _Decoding:
    """One decoding process, from start to end, and the reading of its messages."""

    def __init__(self, path: Path, limits: Limits, *, frames: bool, samples: bool) -> None:
        _refuse_what_is_no_file(path)
        self._path = path
        self._limits = limits
        self._job = {
            "path": str(path),
            "frames": frames,
            "samples": samples,
            **{k: v for k, v in asdict(limits).items() if k != "stall_seconds"},
        }
        self._ring: mmap.mmap | None = None
        self._slot_bytes = 0
        self._unread = bytearray()  # what came and was not asked for yet

    def __enter__(self) -> _Decoding:
        self._memory: IO[bytes] = _shared_memory()
        self._errors: IO[bytes] = tempfile.TemporaryFile()
        fd = self._memory.fileno()
        # -P: a file named av.py beside the clip must not be imported.
        command = [sys.executable, "-P", "-m", "emofuse.pipeline.decoder", str(fd), str(os.getpid())]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, pass_fds=(fd,))
        request = json.dumps(self._job).encode()
        self._tell(struct.pack("<I", len(request)) + request)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._process.wait()
        if self._ring is not None:
            self._ring.close()
        self._memory.close()
        self._errors.close()

    def messages(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        while True:
            head = self._read(4)
            if head is None:
                self._raise_if_it_died()
                return
            header = self._read(struct.unpack("<I", head)[0])
            message = json.loads(header) if header is not None else None
            payload = self._read(message["payload"]) if message is not None else None
            if message is None or payload is None:
                self._raise_if_it_died()
                return
            if message["kind"] == "error":
                raise _ERRORS[message["error"]](message["message"])
            if message["kind"] == "ring":
                self._slot_bytes = message["slot_bytes"]
                if self._ring is not None:
                    self._ring.close()
                self._ring = mmap.mmap(self._memory.fileno(), self._slot_bytes * message["slots"])
                continue
            yield message, payload

    def image(self, message: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """(h w 3) the frame's pixels, copied out of its slot, which goes back to the decoding process."""
        assert self._ring is not None
        shape = (message["height"], message["width"], 3)
        offset = message["slot"] * self._slot_bytes
        image = np.frombuffer(self._ring, np.uint8, shape[0] * shape[1] * 3, offset).reshape(shape).copy()
        self._tell(b"\0")
        return image

    def _tell(self, data: bytes) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(data)
            self._process.stdin.flush()

    def _read(self, n: int) -> bytes | None:
        """Exactly n bytes, or None where the process closed its end; raises `DecodeTimeout` where nothing comes for too long."""
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        while len(self._unread) < n:
            ready, _, _ = select.select([fd], [], [], self._limits.stall_seconds)
            if not ready:
                raise DecodeTimeout(f"{self._path}: decoding gave nothing for {self._limits.stall_seconds:.0f} s")
            part = os.read(fd, 1 << 16)
            if not part:
                return None
            self._unread += part
        read, self._unread = bytes(self._unread[:n]), self._unread[n:]
        return read

    def _raise_if_it_died(self) -> None:
        code = self._process.wait()
        if code == 0:
            return
        if -code in (24, 9):  # SIGXCPU, and SIGKILL after it
            raise DecodeTimeout(f"{self._path}: decoding used more processor time than its budget")
        self._errors.seek(0)
        messages = self._errors.read()[-2000:].decode(errors="replace").strip().splitlines()
        detail = f": {messages[-1]}" if messages else ""
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        raise DecodeCrashed(f"{self._path}: the decoding process died ({how}{detail})")


def _shared_memory() -> IO[bytes]:
    """Memory that two processes see, as a nameless file. It is not in /dev/shm, which is small in containers; where the system has no such
    memory, it is a temporary file."""
    try:
        number = os.memfd_create("emofuse")
    except (AttributeError, OSError):
        return nameless_file()
    # Where a standard stream is closed, the number of it would be given out, and taken away again from the child.
    if number <= 2:
        low, number = number, fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3)
        os.close(low)
    return os.fdopen(number, "w+b", buffering=0)


def _refuse_what_is_no_file(path: Path) -> None:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise NotMedia(f"{path}: expected a local media file, got {reason}") from None
    if not stat.S_ISREG(status.st_mode):
        raise NotMedia(f"{path}: expected a local media file, got {'a folder' if stat.S_ISDIR(status.st_mode) else 'no regular file'}")
    if status.st_size == 0:
        raise NotMedia(f"{path}: expected a media file, got an empty one")
    if not os.access(path, os.R_OK):
        raise ClipError(f"{path}: not readable by this user")
