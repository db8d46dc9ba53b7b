"""Kinds of files from the field: every frame and sample is there, at its time, upright, and of the right channels.

The clips are made here with imageio-ffmpeg's ffmpeg; the counts to compare with are that program's own.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
import wave
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest

from emofuse.pipeline.clip import Clip, DecodeEnd, Limits
from emofuse.pipeline.decoding.clock import PacketClock
from emofuse.pipeline.decoding.picture import square_size
from emofuse.pipeline.decoding.sound import mix_of
from emofuse.pipeline.errors import ClipLimit, NoStream
from emofuse.pipeline.media import SAMPLE_RATE, Frame, Samples

FLASH, SECONDS = 1.0, 2
# A dark picture of 64x48 that turns bright at FLASH, with a corner that is always bright; a tone from the same second on.
PICTURE = f"color=c=black:s=64x48:r=25:d={SECONDS},drawbox=w=16:h=12:c=white:t=fill,drawbox=c=gray:t=fill:enable='gte(t,{FLASH})'"
TONE = f"sine=frequency=1000:sample_rate=48000:duration={SECONDS},volume=enable='lt(t,{FLASH})':volume=0"


def run_ffmpeg(*arguments: str | Path) -> bytes:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def make(path: Path, *options: str, picture: bool = True, sound: bool = True) -> Path:
    inputs = [*(("-f", "lavfi", "-i", PICTURE) if picture else ()), *(("-f", "lavfi", "-i", TONE) if sound else ())]
    run_ffmpeg(*inputs, "-pix_fmt", "yuv420p", *options, path)
    return path


def join(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def whole(path: Path, limits: Limits | None = None) -> tuple[list[Frame], list[Samples], DecodeEnd]:
    clip = Clip(path, limits)
    info = clip.info
    frames, blocks, end = [], [], None
    for item in clip.decode(frames=info.video is not None, samples=info.audio is not None):
        if isinstance(item, Frame):
            frames.append(item)
        elif isinstance(item, Samples):
            blocks.append(item)
        else:
            end = item
    assert end is not None
    return frames, blocks, end


def passthrough_count(path: Path) -> int:
    said = run_ffmpeg("-i", path, "-map", "0:v:0", "-fps_mode", "passthrough", "-f", "null", "-progress", "-", "-").decode()
    return int([line for line in said.splitlines() if line.startswith("frame=")][-1].split("=")[1])


def flash(frames: list[Frame]) -> float:
    return next(f.start for f in frames if f.image[24:].mean() > 60)


def beep(blocks: list[Samples]) -> float:
    for block in blocks:
        loud = np.flatnonzero(np.abs(block.values) > 0.05)
        if len(loud):
            return block.start + float(loud[0]) / SAMPLE_RATE
    raise AssertionError("no beep")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("reordered.avi", ("-c:v", "libx264", "-bf", "3", "-c:a", "libmp3lame")),
        ("reordered.wmv", ("-c:v", "libx264", "-bf", "2", "-c:a", "wmav2", "-f", "asf")),
        ("reordered.flv", ("-c:v", "libx264", "-c:a", "aac")),
        ("simple.avi", ("-c:v", "mpeg4", "-bf", "2", "-c:a", "libmp3lame")),
        ("late.mkv", ("-c:v", "libx264", "-c:a", "aac", "-output_ts_offset", "90000")),
        ("wrapping.m2ts", ("-c:v", "libx264", "-c:a", "ac3", "-output_ts_offset", "95442.4")),
    ],
)
def test_every_frame_is_there_and_sounds_when_it_flashes(tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    path = make(tmp_path / name, *options)
    frames, blocks, end = whole(path)
    assert len(frames) == passthrough_count(path) == 25 * SECONDS
    assert end.media["video"].dropped == 0 and end.broken_packets == 0
    steps = np.diff([f.start for f in frames])
    assert steps.min() > 0.03 and steps.max() < 0.05  # no frame beside its place
    # AVI and ASF hold decoding times alone, and an encoder's delay of up to a frame of sound is not declared in them.
    assert flash(frames) - beep(blocks) == pytest.approx(0, abs=0.06)
    duration = Clip(path).info.duration
    assert duration is not None and duration == pytest.approx(SECONDS, abs=0.2)


@pytest.mark.parametrize(("suffix", "codec"), [("h264", "libx264"), ("hevc", "libx265"), ("m4v", "mpeg4")])
def test_a_raw_stream_without_times_has_every_frame(tmp_path: Path, suffix: str, codec: str) -> None:
    path = make(tmp_path / f"raw.{suffix}", "-c:v", codec, "-f", suffix, sound=False)
    frames, _, _ = whole(path)
    assert len(frames) == 25 * SECONDS
    assert frames[0].start == 0 and flash(frames) == pytest.approx(FLASH, abs=0.001)


def test_a_recording_before_the_containers_zero_is_kept(tmp_path: Path) -> None:
    source = make(tmp_path / "source.mp4", "-c:v", "libx264", "-c:a", "aac")
    path = tmp_path / "early.mkv"
    run_ffmpeg("-itsoffset", "-0.7", "-i", source, "-c", "copy", "-avoid_negative_ts", "disabled", path)
    frames, blocks, end = whole(path)
    assert len(frames) == passthrough_count(path) == 25 * SECONDS
    assert end.media["video"].zero == end.media["audio"].zero == pytest.approx(-0.7, abs=0.03)
    assert flash(frames) == pytest.approx(FLASH, abs=0.03) and beep(blocks) == pytest.approx(FLASH, abs=0.03)


def test_declared_priming_is_no_recording_before_zero(tmp_path: Path) -> None:
    for name, codec in (("a.mkv", "libopus"), ("b.mp4", "aac"), ("c.ogg", "libopus")):
        _, blocks, end = whole(make(tmp_path / name, "-c:a", codec, picture=False))
        assert end.media["audio"].zero == 0 and end.media["audio"].dropped == 0, name
        assert beep(blocks) == pytest.approx(FLASH, abs=0.005), name


@pytest.mark.parametrize(
    ("suffix", "video", "audio", "parts"),
    [("ts", "libx264", "aac", 2), ("vob", "mpeg2video", "ac3", 3), ("webm", "libvpx", "libvorbis", 2), ("ogg", "", "libvorbis", 3)],
)
def test_joined_parts_follow_each_other(tmp_path: Path, suffix: str, video: str, audio: str, parts: int) -> None:
    codecs = (*(("-c:v", video) if video else ()), "-c:a", audio)
    one = make(tmp_path / f"one.{suffix}", *codecs, picture=bool(video))
    joined = join(tmp_path / f"joined.{suffix}", *[one] * parts)
    frames, blocks, end = whole(joined)
    first, first_blocks, first_end = whole(one)
    assert len(frames) == parts * len(first)
    assert sum(len(b.values) for b in blocks) == pytest.approx(parts * sum(len(b.values) for b in first_blocks), abs=parts * 600)
    assert {m.restarts for m in end.media.values()} == {parts - 1} and {m.dropped for m in end.media.values()} == {0}
    assert end.end == pytest.approx(parts * first_end.end, abs=0.1 * parts)
    # Sound and picture of the last part belong together as they do in the first.
    if video:
        last = [f for f in frames if f.start > end.end - SECONDS - 0.05]
        sound = [b for b in blocks if b.start > end.end - SECONDS / 2 - 0.5]
        assert flash(last) - beep(sound) == pytest.approx(flash(first) - beep(first_blocks), abs=0.05)
    alone = [i for i in Clip(joined).decode(frames=False, samples=True) if isinstance(i, DecodeEnd)]
    assert alone[0].media["audio"] == end.media["audio"]


LINKS = {
    "theora": ("-c:v", "libtheora", "-c:a", "libvorbis"),
    "another serial number": ("-c:v", "libtheora", "-c:a", "libvorbis", "-serial_offset", "70"),
    "another codec and size": ("-c:v", "libvpx", "-s", "32x24", "-c:a", "libopus"),
    "another rate": ("-c:v", "libtheora", "-c:a", "libvorbis", "-ar", "22050", "-ac", "1"),
}


@pytest.mark.parametrize("second", LINKS)
def test_every_link_of_a_chained_file_is_read(tmp_path: Path, second: str) -> None:
    """FFmpeg itself ends such a file after its first link, or decodes the second one's headers as frames."""
    parts = [make(tmp_path / f"{n}.ogg", *LINKS[name], "-f", "ogg") for n, name in enumerate(("theora", second))]
    counts = [len(whole(part)[0]) for part in parts]
    chained = tmp_path / "chained.ogv"
    chained.write_bytes(parts[0].read_bytes() + b"OggOgg junk" + parts[1].read_bytes())
    frames, blocks, end = whole(chained)
    assert len(frames) == sum(counts) and end.broken_packets == 0
    assert sum(len(b.values) for b in blocks) == pytest.approx(2 * SECONDS * SAMPLE_RATE, abs=800)
    assert {m.restarts for m in end.media.values()} == {1} and not any(m.dropped or m.breaks_off for m in end.media.values())
    later, sounds = [f for f in frames if f.start > SECONDS - 0.01], [b for b in blocks if b.start > SECONDS + FLASH / 2]
    assert flash(later) == pytest.approx(SECONDS + FLASH, abs=0.05) and beep(sounds) == pytest.approx(SECONDS + FLASH, abs=0.05)
    assert Clip(chained).info.duration == pytest.approx(2 * SECONDS, abs=0.1)


def test_a_link_that_is_cut_in_its_headers_costs_itself_and_is_said(tmp_path: Path) -> None:
    one = make(tmp_path / "one.ogg", "-c:a", "libvorbis", picture=False).read_bytes()
    chained = tmp_path / "chained.ogg"
    chained.write_bytes(one + one[:40])
    _, blocks, end = whole(chained)
    assert sum(len(b.values) for b in blocks) == SECONDS * SAMPLE_RATE and end.media["audio"].breaks_off


def test_a_file_of_countless_links_is_refused(tmp_path: Path) -> None:
    one = make(tmp_path / "one.ogg", "-c:a", "libvorbis", picture=False).read_bytes()
    page = b"OggS\0%c" + bytes(8) + b"abcd" + bytes(8) + b"\1\1x"
    path = tmp_path / "many.ogg"
    path.write_bytes(one + b"".join(page % flag for flag in (2, 0)) * 1100)
    with pytest.raises(ClipLimit, match="over 1000 recordings"):
        _ = Clip(path).info


@pytest.mark.parametrize(("suffix", "video", "audio"), [("ts", "libx264", "aac"), ("mpg", "mpeg2video", "mp2"), ("aac", "", "aac")])
@pytest.mark.parametrize("rates", [(48_000, 32_000), (32_000, 48_000)])
def test_sound_that_changes_its_rate_at_a_joint_goes_on(
    tmp_path: Path, suffix: str, video: str, audio: str, rates: tuple[int, int]
) -> None:
    codecs = (*(("-c:v", video) if video else ()), "-c:a", audio)
    parts = [
        make(tmp_path / f"{rate}.{suffix}", *codecs, "-ar", str(rate), "-ac", str(n + 1), picture=bool(video))
        for n, rate in enumerate(rates)
    ]
    lengths = [sum(len(b.values) for b in whole(part)[1]) / SAMPLE_RATE for part in parts]
    _, blocks, end = whole(join(tmp_path / f"joined.{suffix}", *parts))
    sound = end.media["audio"]
    assert sum(len(b.values) for b in blocks) / SAMPLE_RATE == pytest.approx(sum(lengths), abs=0.06) and sound.dropped == 0
    assert sound.end == pytest.approx(sum(lengths), abs=0.1)
    assert len(blocks) < 20, "in one piece, not in shreds"
    # The tone begins after a second of each part; an encoder's delay is not declared in these containers.
    assert beep([b for b in blocks if b.start > lengths[0] + FLASH / 2]) == pytest.approx(lengths[0] + FLASH, abs=0.1)


class Stream:
    type = "video"

    def __init__(self, index: int) -> None:
        self.index, self.time_base = index, Fraction(1, 1000)


class Packet:
    def __init__(self, stream: Stream, dts: int, duration: int = 40) -> None:
        self.stream, self.dts, self.pts, self.duration, self.size = stream, dts, dts, duration, 1


def placed(times: list[int], *, leaps: bool = False) -> list[int]:
    stream: Any = Stream(0)
    packets: Any = iter([Packet(stream, t) for t in times])
    return [p.dts or 0 for p in PacketClock([stream], leaps).placed(packets)]


def test_only_a_clock_that_is_set_anew_is_moved() -> None:
    assert placed([0, 40, 80, 60, 120]) == [0, 40, 80, 60, 120]  # jitter
    assert placed([5000, 5040, 5080, 5120, 5000, 5040]) == [5000, 5040, 5080, 5120, 5160, 5200]  # from its beginning
    assert placed([9000, 9040, 40, 80]) == [9000, 9040, 9080, 9120]  # set back far
    assert placed([9000, 9400, 9200, 9600]) == [9000, 9400, 9200, 9600]  # wrong steps between right times
    assert placed([0, 40, 30_000], leaps=True) == [0, 40, 30_000]  # a gap
    assert placed([0, 40, 900_000], leaps=False) == [0, 40, 900_000]
    assert placed([0, 40, 900_000, 900_040], leaps=True) == [0, 40, 80, 120]  # another recording's clock


def test_an_empty_packet_repeats_a_frame_and_is_not_broken(tmp_path: Path) -> None:
    path = tmp_path / "still.ogv"
    run_ffmpeg("-f", "lavfi", "-i", "color=c=gray:s=64x48:r=25:d=1", "-c:v", "libtheora", path)
    frames, _, end = whole(path)
    assert len(frames) == passthrough_count(path) < 25
    assert end.broken_packets == 0


MATRICES = [
    ("-display_hflip",),
    ("-display_vflip",),
    ("-display_rotation", "270", "-display_hflip"),
    ("-display_rotation", "90", "-display_vflip"),
    ("-display_rotation", "180"),
]


@pytest.mark.parametrize("matrix", MATRICES)
def test_a_display_matrix_is_applied_as_ffmpeg_does(tmp_path: Path, matrix: tuple[str, ...]) -> None:
    source = make(tmp_path / "source.mov", "-c:v", "mpeg4", sound=False)
    path = tmp_path / "shown.mov"
    run_ffmpeg(*matrix, "-i", source, "-c", "copy", path)
    clip = Clip(path)
    image = next(clip.frames()).image
    expected = np.frombuffer(run_ffmpeg("-i", path, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"), np.uint8)
    assert clip.info.video is not None and clip.info.video.shown_size == (image.shape[1], image.shape[0])
    assert np.abs(image.astype(int) - expected.reshape(image.shape)).mean() < 1


@pytest.mark.parametrize(("aspect", "size"), [("4/3", (85, 48)), ("8/9", (64, 54))])
def test_pixels_are_made_square(tmp_path: Path, aspect: str, size: tuple[int, int]) -> None:
    path = tmp_path / "wide.mkv"
    run_ffmpeg("-f", "lavfi", "-i", f"{PICTURE},setsar={aspect}", "-c:v", "mpeg4", path)
    clip = Clip(path)
    image = next(clip.frames()).image
    assert (image.shape[1], image.shape[0]) == size
    assert clip.info.video is not None and clip.info.video.shown_size == size
    bright = np.argwhere(image[..., 0] > 128)  # the corner takes a quarter of the picture each way, whatever the pixels' shape
    assert (bright.max(axis=0) + 1) / image.shape[:2] == pytest.approx([0.25, 0.25], abs=0.03)


def test_an_absurd_pixel_shape_is_left_alone() -> None:
    assert square_size(64, 48, Fraction(1000, 1)) == (64, 48) and square_size(64, 48, None) == (64, 48)


def test_a_picture_that_changes_its_size_keeps_the_first(tmp_path: Path) -> None:
    large = make(tmp_path / "large.ts", "-c:v", "mpeg2video", sound=False)
    small = tmp_path / "small.ts"
    run_ffmpeg("-i", large, "-vf", "scale=32:48,setsar=1", "-c:v", "mpeg2video", small)
    both = join(tmp_path / "both.ts", large, small)
    frames, _, end = whole(both)
    assert len(frames) == passthrough_count(both) >= 99  # FFmpeg's decoder loses one where the size changes
    assert {f.image.shape for f in frames} == {(48, 64, 3)}
    assert end.media["video"].resized == 50
    # Half as wide: in the middle, with black beside it.
    assert frames[-1].image[30, 32].mean() > 60 and frames[-1].image[:, :14].mean() < 5


def sound_file(path: Path, channels: list[np.ndarray]) -> Path:
    with wave.open(str(path), "w") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.stack(channels, axis=1) * 32767).astype("<i2").tobytes())
    return path


RATE = 24_000
TALK = 0.4 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
NOISE = np.random.default_rng(0).normal(0, 0.1, RATE)
NOTHING = np.zeros(RATE)


@pytest.mark.parametrize("count", [8, 9, 12, 24])
def test_any_number_of_channels_is_read(tmp_path: Path, count: int) -> None:
    _, blocks, end = whole(sound_file(tmp_path / "many.wav", [TALK] * count))
    assert sum(len(b.values) for b in blocks) == pytest.approx(SAMPLE_RATE, abs=2)
    assert np.abs(np.concatenate([b.values for b in blocks])).max() == pytest.approx(0.4, abs=0.02)
    assert end.media["audio"].mix == f"the mean of all {count} channels"


def test_planar_codecs_of_eight_channels_are_read(tmp_path: Path) -> None:
    source = sound_file(tmp_path / "many.wav", [TALK] * 8)
    for name, codec in (("a.mka", "libopus"), ("b.m4a", "aac"), ("c.flac", "flac")):
        run_ffmpeg("-i", source, "-c:a", codec, tmp_path / name)
        _, blocks, _ = whole(tmp_path / name)
        assert sum(len(b.values) for b in blocks) == pytest.approx(SAMPLE_RATE, abs=1100), name


@pytest.mark.parametrize(
    ("channels", "says"),
    [
        ([TALK, -0.9 * TALK], "opposite polarity"),
        ([TALK, NOTHING], "channel 1 alone; of 2, 2 is silent"),
        ([NOTHING, TALK, -TALK], "channels 2, 3; of 3, 1 is silent; channel 3 turned over"),
        ([TALK + NOISE, TALK - NOISE], "the mean of all 2 channels"),
    ],
)
def test_no_channel_takes_the_voice_of_another_away(tmp_path: Path, channels: list[np.ndarray], says: str) -> None:
    _, blocks, end = whole(sound_file(tmp_path / "sound.wav", channels))
    assert says in end.media["audio"].mix
    assert np.abs(np.concatenate([b.values for b in blocks])).max() > 0.37


def test_a_mix_is_judged_by_power_and_correlation() -> None:
    assert mix_of(np.array([[1.0, -0.3], [-0.3, 1.0]])).plain  # wide stereo
    assert mix_of(np.array([[1.0, -0.9], [-0.9, 1.0]])).weights == (0.5, -0.5)
    assert mix_of(np.array([[1.0, 0.0], [0.0, 1e-5]])).weights == (1.0, 0.0)
    assert mix_of(np.zeros((3, 3))).plain


def test_the_audio_track_can_be_chosen_and_all_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "tracks.mkv"
    silence = ("-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono:d=1")
    run_ffmpeg(*silence, "-f", "lavfi", "-i", TONE, "-map", "0", "-map", "1", "-metadata:s:a:1", "language=deu", "-c:a", "flac", path)
    info = Clip(path).info.audio
    assert info is not None and info.track == 1
    assert info.tracks == ("flac, 1 channel, 16000 Hz", "flac, 1 channel, 48000 Hz, deu")
    _, blocks, _ = whole(path, Limits(audio_track=2))
    assert beep(blocks) == pytest.approx(FLASH, abs=0.01)
    with pytest.raises(NoStream, match="expected an audio track 3, but there are 2"):
        _ = Clip(path, Limits(audio_track=3)).info


def test_a_rate_below_speech_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "slow.wav"
    with wave.open(str(path), "w") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(50)
        file.writeframes(b"\0\0" * 5000)
    with pytest.raises(ClipLimit, match="50 Hz, less than"):
        _ = Clip(path).info


SCRIPT = (
    "import sys; from emofuse.pipeline.clip import Clip; print(sum(1 for _ in Clip(sys.argv[1]).frames()), file=open(sys.argv[2], 'w'))"
)


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_closed_standard_streams_cost_no_frame(tmp_path: Path, closed: tuple[int, ...]) -> None:
    path, out = make(tmp_path / "a.mp4", "-c:v", "mpeg4", sound=False), tmp_path / "count"

    def close() -> None:
        for number in closed:
            os.close(number)

    subprocess.run([sys.executable, "-c", SCRIPT, str(path), str(out)], preexec_fn=close, check=True)
    assert out.read_text().strip() == "50"


def test_limits_of_the_machine_below_ours_are_kept(tmp_path: Path) -> None:
    path, out = make(tmp_path / "a.mp4", "-c:v", "mpeg4", sound=False), tmp_path / "count"

    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (50, 50))
        resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))

    subprocess.run([sys.executable, "-c", SCRIPT, str(path), str(out)], preexec_fn=lower, check=True)
    assert out.read_text().strip() == "50"


def test_frames_need_no_dev_shm(tmp_path: Path) -> None:
    frames: Any = Clip(make(tmp_path / "a.mp4", "-c:v", "mpeg4", sound=False)).frames()
    next(frames)
    places: list[str] = []
    for link in list(Path("/proc/self/fd").iterdir()):
        with suppress(OSError):  # the listing's own
            places.append(os.readlink(link))
    frames.close()
    assert any("memfd:emofuse" in place for place in places)
    assert not any(place.startswith("/dev/shm/emofuse") for place in places)


def test_the_decoder_goes_with_its_parent(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", "-c:v", "mpeg4", sound=False)
    code = (
        "import sys, time; from emofuse.pipeline import clip; frames = clip.Clip(sys.argv[1]).frames(); next(frames)\n"
        "import subprocess; print(open(f'/proc/self/task/{__import__(\"os\").getpid()}/children').read(), flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and _alive(child):
        time.sleep(0.1)
    assert not _alive(child)


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


COUNTS = {
    "anamorphic.mp4": 100,
    "antiphase.mkv": 100,
    "base.mp4": 100,
    "h264_bframes.avi": 100,
    "joined_by_cat.ts": 100,
    "mirrored.mp4": 100,
    "pts_wrap.ts": 100,
    "raw.h264": 100,
    "size_change.webm": 100,
    "start14h.mkv": 100,
    "theora.ogv": 90,
    "two_audio_first_silent.mp4": 100,
    "uhd.mp4": 10,
}
"""Frames of trials/media by `ffmpeg -fps_mode passthrough` (n9.0.2)."""


@pytest.mark.shared
def test_frames_are_as_many_as_ffmpeg_passes_through(shared: Path) -> None:
    for name, count in COUNTS.items():
        path = shared / "trials/media" / name
        assert passthrough_count(path) == count, name
        assert sum(1 for _ in Clip(path).frames()) == count, name
