"""Opening a local media file, checking it against its limits, and choosing what is read of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import av
import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from ..errors import ClipLimit, NoStream, NotMedia

# Containers that hold one recording. Playlists (hls, dash, concat, sdp, ...) are left out: they open other files and addresses.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpegts,mpeg,mpegvideo,ogg,wav,w64,flac,mp3,aac,asf,aiff,amr,caf,mxf,dv,nut,rm,"
    "ivf,h264,hevc,m4v,ac3,eac3,wv,au,gif,yuv4mpegpipe"
)
# Their duration is the time of their end, which differs from their length where their clock starts late.
DURATION_IS_THE_END = ("matroska", "webm", "flv")
LEAST_SAMPLE_RATE = 1000
"""Hz: no speech is left below, and a small file could claim hours."""


@dataclass(frozen=True)
class Job:
    """What to decode, and the limits: see `clip.Limits` for the meaning of each.

    audio_track  counts from 1; None: the container's own choice
    part         first byte, and the one after the last (None: to the end), of the only part of the file that is read (links.py)
    """

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
    audio_track: int | None = None
    part: tuple[int, int | None] | None = None


@dataclass(frozen=True)
class Chosen:
    """The recording's video and sound, None where it has none that can be decoded."""

    video: VideoStream | None
    audio: AudioStream | None

    @property
    def streams(self) -> list[Any]:
        return [stream for stream in (self.video, self.audio) if stream is not None]


def open_container(job: Job) -> InputContainer:
    options = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS, "max_streams": str(job.streams)}
    place = "file:" + os.path.abspath(job.path)
    if job.part is not None:
        first, end = job.part
        options["protocol_whitelist"] = "subfile,file"
        place = f"subfile,,start,{first},end,{end or 0},,:{place}"
    try:
        return av.open(place, mode="r", options=options, metadata_errors="replace")
    except UnicodeEncodeError:
        raise NotMedia(f"{job.path}: a file name that is not valid text in this system's encoding") from None
    except (av.error.FFmpegError, ValueError, OSError) as error:
        detail = getattr(error, "strerror", None) or str(error)
        raise NotMedia(f"{job.path}: expected a local media file, but it cannot be opened as one ({detail})") from None


def sounds_of(container: InputContainer) -> list[AudioStream]:
    """The audio tracks that can be decoded, in the container's order: track 1 is the first."""
    return [s for s in container.streams.audio if s.codec_context is not None]


def choose_streams(container: InputContainer, job: Job) -> Chosen:
    """The recording's own video (never a cover picture) and sound: the ones marked default, else the first; or the track asked for.

    Raises `NoStream` where there is no such track.
    """

    def best(streams: list[Any]) -> Any:
        default = [s for s in streams if s.disposition & Disposition.default]
        return (default or streams or [None])[0]

    # A stream without a size claims one that FFmpeg takes for impossible (more than 2^28 pixels), and gives no frame.
    videos = [
        s
        for s in container.streams.video
        if s.codec_context is not None and s.codec_context.width * s.codec_context.height and not s.disposition & Disposition.attached_pic
    ]
    sounds = sounds_of(container)
    if job.audio_track is None:
        return Chosen(best(videos), best(sounds))
    if not 1 <= job.audio_track <= len(sounds):
        raise NoStream(f"{job.path}: expected an audio track {job.audio_track}, but there are {len(sounds)}")
    return Chosen(best(videos), sounds[job.audio_track - 1])


def check(container: InputContainer, chosen: Chosen, job: Job, later: float = 0.0) -> dict[str, Any]:
    """The facts of `ClipInfo`; raises `NotMedia` or `ClipLimit`. `later`: seconds of what follows in the same file (links.py)."""
    video, audio = chosen.video, chosen.audio
    if video is None and audio is None:
        raise NotMedia(
            f"{job.path}: expected video or audio, but the {container.format.name} container has neither in a form that can be decoded"
        )
    if len(container.streams) > job.streams:
        raise ClipLimit(f"{job.path}: {len(container.streams)} streams, more than the limit of {job.streams}")
    duration = duration_of(container, chosen)
    duration = duration + later if duration is not None else None
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
        check_sample_rate(audio.codec_context.sample_rate, job)
        tracks = sounds_of(container)
        facts["audio"] = {
            "codec": audio.codec_context.name,
            "sample_rate": audio.codec_context.sample_rate,
            "channels": audio.codec_context.channels,
            "track": tracks.index(audio) + 1,
            "tracks": [_track(stream) for stream in tracks],
        }
    return facts


def _track(stream: AudioStream) -> str:
    """One line about an audio track: codec, channels, rate, and its language and title where it has them."""
    context = stream.codec_context
    named = [str(stream.metadata[key]) for key in ("language", "title") if stream.metadata.get(key) not in (None, "", "und")]
    return ", ".join([context.name, f"{context.channels} channel{'s' * (context.channels != 1)}", f"{context.sample_rate} Hz", *named])


def check_sample_rate(rate: int, job: Job) -> None:
    """Raises `ClipLimit` for a rate that is no recording of a voice, or too large."""
    if rate > job.sample_rate:
        raise ClipLimit(f"{job.path}: sound at {rate} Hz, more than the limit of {job.sample_rate} Hz")
    if 0 < rate < LEAST_SAMPLE_RATE:
        raise ClipLimit(f"{job.path}: sound at {rate} Hz, less than the {LEAST_SAMPLE_RATE} Hz that speech needs")


def duration_of(container: InputContainer, chosen: Chosen) -> float | None:
    """Seconds from the clip's start to its end by the container's word; None where it does not say."""
    duration = container.duration / 1e6 if container.duration else None
    if duration is None or duration < 0:
        lengths = [float(s.duration * s.time_base) for s in chosen.streams if s.duration and s.time_base]
        return max(lengths, default=None)
    start = container.start_time / 1e6 if container.start_time is not None else 0.0
    ends = any(name in container.format.name.split(",") for name in DURATION_IS_THE_END)
    return duration - start if ends and 0 < start < duration else duration
