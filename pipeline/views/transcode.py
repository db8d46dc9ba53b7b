"""A clip made anew as a small H.264/AAC film whose clock is the clip's own: the report's video, and the overlay.

The clip is decoded as everywhere in emofuse (`Clip.decode`: a child process, container times); its frames and sound go to ffmpeg as raw
pictures and samples with their times, so ffmpeg never sees the clip's own file. A picture stays where its time is: nothing is resampled to
a fixed rate. What comes before the first frame is black, what has no sound is silent, and so both start at 0 s, in every player.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import av
import av.error
import ffmpeg
import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from ..clip import Clip
from ..errors import EmofuseError
from ..media import SAMPLE_RATE, ClipInfo, Frame, Samples

Picture = NDArray[np.uint8]
Draw = Callable[[Picture, float], Picture]
"""A frame's picture (h w 3) RGB and its start in seconds to the picture that is shown instead."""

TICKS = 90_000
"""A second in the film's own clock."""


def playable(info: ClipInfo, suffix: str) -> bool:
    """Whether today's browsers play a file as it is (Chrome, Firefox and Safari; what only one of them plays is left out)."""
    video, audio = info.video, info.audio
    sound = None if audio is None else audio.codec
    if video is None:
        kinds = {".flac": ("flac",), ".mp3": ("mp3",), ".m4a": ("aac",), ".mp4": ("aac",), ".wav": ("pcm_s16le", "pcm_u8")}
        return sound in kinds.get(suffix.lower(), ())
    if suffix.lower() in (".mp4", ".m4v", ".mov"):
        return video.codec == "h264" and video.pixel_format in ("yuv420p", "yuvj420p") and sound in (None, "aac", "mp3")
    return suffix.lower() == ".webm" and video.codec in ("vp8", "vp9") and sound in (None, "opus", "vorbis")


def transcode(
    clip: Clip,
    path: Path,
    *,
    size: tuple[int, int] | None,
    draw: Draw | None = None,
    canvas: tuple[int, int] | None = None,
    rate: int = 700_000,
    crf: int = 27,
) -> None:
    """Writes the clip to `path` (.mp4; .m4a where it has no pictures).

    size     width and height in pixels (`fitted`); None where the clip has no pictures
    draw     called for each frame, after it was brought to that size
    canvas   width and height of what `draw` returns, both even; None: the frame's
    rate     bits a second that the pictures may take at most;  crf: x264's quality, smaller is better
    Raises `EmofuseError`: the clip's own errors, or ffmpeg's last line.
    """
    info = clip.info
    with tempfile.TemporaryFile() as errors:
        output = ffmpeg.input("pipe:0", format="nut").output(str(path), **_settings(info, rate, crf))
        command = output.compile(cmd=[imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error"], overwrite_output=True)
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors)
        assert process.stdin is not None
        try:
            _feed(clip, process.stdin, size, draw, canvas or size)
        except (BrokenPipeError, av.error.FFmpegError):
            pass  # ffmpeg has gone: its own words follow
        except BaseException:
            process.kill()
            raise
        finally:
            with suppress(OSError):
                process.stdin.close()
            code = process.wait()
        if code != 0:
            errors.seek(0)
            lines = errors.read().decode("utf-8", "replace").strip().splitlines()
            raise EmofuseError(f"{path}: ffmpeg could not make it ({lines[-1] if lines else f'exit code {code}'})")


def _settings(info: ClipInfo, rate: int, crf: int) -> dict[str, Any]:
    settings: dict[str, Any] = {"movflags": "+faststart"}
    if info.video is not None:
        settings |= {"vcodec": "libx264", "preset": "veryfast", "crf": crf, "maxrate": rate, "bufsize": 2 * rate, "pix_fmt": "yuv420p"}
        # Without a time base of its own the encoder would round times to a guessed frame rate and lose pictures between.
        settings |= {"fps_mode": "passthrough", "enc_time_base": f"1:{TICKS}", "video_track_timescale": TICKS, "g": 50, "threads": 1}
    if info.audio is not None:
        settings |= {"acodec": "aac", "audio_bitrate": 64_000}
    return settings


def fitted(info: ClipInfo, *, least: int = 2, most: int = 480) -> tuple[int, int] | None:
    """Width and height of an upright picture whose shorter side lies in these bounds, both even; None without pictures."""
    if info.video is None:
        return None
    width, height = info.video.shown_size
    short = min(width, height)
    scale = min(max(short, least), most) / short
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def _feed(clip: Clip, pipe: IO[bytes], size: tuple[int, int] | None, draw: Draw | None, canvas: tuple[int, int] | None) -> None:
    """All of a clip, as raw pictures and samples with their times, in the NUT format."""
    info = clip.info
    # Sound that lags behind the pictures in the file must not pile them up here.
    with av.open(pipe, "w", format="nut", options={"max_interleave_delta": "500000"}) as nut:
        voice = nut.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono") if info.audio is not None else None
        shown = nut.add_stream("rawvideo", rate=Fraction(TICKS)) if size is not None else None
        if shown is not None and canvas is not None:
            (shown.width, shown.height), shown.pix_fmt = canvas, "yuv420p"
            shown.codec_context.time_base = Fraction(1, TICKS)
        frames = samples = 0
        for item in clip.decode(frames=shown is not None, samples=voice is not None):
            if isinstance(item, Frame) and shown is not None and size is not None:
                picture = resized(item.image, size)
                if draw is not None:
                    picture = draw(picture, item.start)
                if not frames and round(item.start * TICKS) > 0:
                    nut.mux(shown.encode(_picture(np.zeros_like(picture), 0.0)))
                nut.mux(shown.encode(_picture(picture, item.start)))
                frames += 1
            elif isinstance(item, Samples) and voice is not None:
                for values in _from_zero(item, samples):
                    nut.mux(voice.encode(_sound(values, samples)))
                    samples += len(values)


def resized(picture: Picture, size: tuple[int, int]) -> Picture:
    """(h w 3) RGB brought to this width and height."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
    return np.ascontiguousarray(frame.reformat(*size, "rgb24", interpolation="AREA").to_ndarray(), np.uint8)


def _picture(picture: Picture, seconds: float) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p")
    frame.pts, frame.time_base = round(seconds * TICKS), Fraction(1, TICKS)
    return frame


def _from_zero(block: Samples, position: int) -> Iterator[NDArray[np.float32]]:
    """A block after so many samples from 0 s: the silence before it, a second at a time, then what of it is new."""
    gap = round(block.start * SAMPLE_RATE) - position
    for first in range(0, max(gap, 0), SAMPLE_RATE):
        yield np.zeros(min(SAMPLE_RATE, gap - first), np.float32)
    new = block.values[max(0, -gap) :]
    if len(new):
        yield new


def _sound(values: NDArray[np.float32], position: int) -> av.AudioFrame:
    whole = np.clip(np.rint(values * 32767), -32768, 32767).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(whole[None], "s16", "mono")
    frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, position, Fraction(1, SAMPLE_RATE)
    return frame
