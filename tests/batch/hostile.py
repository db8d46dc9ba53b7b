"""Files that mean harm, or are merely broken: made from the sample clips, byte by byte, with the reason that each must get.

python hostile.py FOLDER      writes them there and prints name and expectation
"""

from __future__ import annotations

import io
import os
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import av
import numpy as np

SAMPLES = Path(__file__).parents[2] / "samples"
Put = Callable[[str, bytes, str], Path]
"""Writes a file of this name and content, and notes the reason that it must get."""
ANY = "any"  # may be analyzed, may fail: but within its time, and with a reason


def make(folder: Path, mutations: int = 16) -> dict[str, str]:
    """Writes about fifty files; returns their paths under `folder` with the reason that each must fail with, "done", or `ANY`."""
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, str] = {}

    def put(name: str, data: bytes, expect: str) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        written[name] = expect
        return path

    mp4 = (SAMPLES / "no_audio.mp4").read_bytes()
    mkv = (SAMPLES / "late.mkv").read_bytes()
    flac = (SAMPLES / "voice_only.flac").read_bytes()
    no_recordings(folder, written, put, mp4)
    # Links and things that are no files.
    (folder / "outside.mp4").symlink_to(SAMPLES / "smile.mp4")
    written["outside.mp4"] = "outside_folder"
    (folder / "device.mp4").symlink_to("/dev/zero")
    written["device.mp4"] = "outside_folder"
    os.mkfifo(folder / "pipe.mp4")
    written["pipe.mp4"] = "not_media"
    # Claims.
    put("20000x20000.y4m", b"YUV4MPEG2 W20000 H20000 F25:1 Ip A1:1 C420jpeg\nFRAME\n" + bytes(1000), ANY)
    put("20000x20000.avi", wide(20_000), "not_media")  # FFmpeg itself takes no picture of more than 2^28 pixels
    put("15000x15000.avi", wide(15_000), "over_limit")
    put("million fps.y4m", y4m(b"F1000000:1", 40), ANY)
    put("10 hours.mkv", patched_length(mkv[:60_000], 36_000), "done")
    put("13 hours.mkv", patched_length(mkv[:60_000], 46_800), "over_limit")
    put("10 hours.wav", wav(16_000, 1, 16_000 * 3, claimed=16_000 * 2 * 36_000), "done")
    put("fast.wav", wav(1_000_000_000, 1, 100), "over_limit")
    put("many channels.wav", wav(16_000, 60_000, 10), ANY)
    put("rate 0.wav", wav(0, 1, 1000), "not_media")
    put("no samples.wav", wav(16_000, 1, 0), ANY)
    # Cut off and damaged.
    for share in (5, 40, 80):
        put(f"cut at {share}.mp4", mp4[: len(mp4) * share // 100], ANY)
        put(f"cut at {share}.mkv", mkv[: len(mkv) * share // 100], ANY)
    put("tail.mp4", mp4[len(mp4) // 2 :], "not_media")
    for i in range(mutations):
        source, suffix = ((mp4, "mp4"), (mkv[:60_000], "mkv"), (flac[:30_000], "flac"))[i % 3]
        put(f"mutated {i}.{suffix}", mutated(source, Random(i)), ANY)
    odd_names(folder, written, put)
    return written


def no_recordings(folder: Path, written: dict[str, str], put: Put, mp4: bytes) -> None:
    """No recordings at all, under a recording's name, and texts that name other files or addresses."""
    put("empty.mp4", b"", "not_media")
    put("page.mp4", b"<!DOCTYPE html><html><body>404</body></html>", "not_media")
    put("noise.mkv", Random(1).randbytes(5000), "not_media")
    put("zeros.wav", bytes(5000), "not_media")
    put("head only.mkv", b"\x1aE\xdf\xa3" + bytes(60), "not_media")
    put("picture.mp4", b"\x89PNG\r\n\x1a\n" + bytes(200), "not_media")
    put("program.mp4", b"#!/bin/sh\ntouch /tmp/emofuse-was-here\n", "not_media")
    with zipfile.ZipFile(folder / "archive.mp4", "w") as archive:
        archive.writestr("clip.mp4", mp4)
    written["archive.mp4"] = "not_media"
    # Texts that name other files or addresses.
    put("list.m3u8", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n", "not_media")
    put("list.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", "not_media")
    put("concat.mp4", f"ffconcat version 1.0\nfile '{SAMPLES / 'smile.mp4'}'\n".encode(), "not_media")
    put("concat.txt", f"ffconcat version 1.0\nfile '{SAMPLES / 'smile.mp4'}'\n".encode(), "not_media")
    put("address.mov", b"[InternetShortcut]\nURL=http://127.0.0.1:9/\n", "not_media")
    put("stream.mpd", b'<?xml version="1.0"?><MPD><BaseURL>http://127.0.0.1:9/</BaseURL></MPD>', "not_media")
    put("session.sdp", b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n", "not_media")
    put("songs.pls", b"[playlist]\nFile1=http://127.0.0.1:9/\n", "not_media")


def odd_names(folder: Path, written: dict[str, str], put: Put) -> None:
    """Names. What is in them is a fine short clip."""
    for name in (
        "-dash.wav",
        "new\nline.wav",
        "; touch hacked.wav",
        "$(touch hacked).wav",
        "=2+5.wav",
        "%03d.wav",
        "concat:a|b.wav",
        "http:..x.wav",
    ):
        put(name, wav(16_000, 1, 8000 + len(written)), "done")
    put("a/../b/up.wav" if (folder / "a").mkdir() is None else "", wav(16_000, 1, 9000), "done")
    written["b/up.wav"] = written.pop("a/../b/up.wav")
    with open(os.fsencode(folder) + b"/caf\xe9.wav", "wb") as file:
        file.write(wav(16_000, 1, 9100))
    written["caf\udce9.wav"] = "done"


def wav(rate: int, channels: int, samples: int, claimed: int | None = None) -> bytes:
    """16-bit PCM, a loud ramp; `claimed` bytes in the header, whatever there is."""
    data = b"".join(struct.pack("<h", (i * 37) % 20000 - 10000) * channels for i in range(samples))
    size = len(data) if claimed is None else claimed
    form = struct.pack("<HHIIHH", 1, channels, rate, min(2**32 - 1, rate * channels * 2), (channels * 2) % 65536, 16)
    return (
        b"RIFF"
        + struct.pack("<I", (36 + size) % 2**32)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", size % 2**32)
        + data
    )


def y4m(rate: bytes, frames: int) -> bytes:
    return b"YUV4MPEG2 W32 H32 " + rate + b" Ip A1:1 C420jpeg\n" + b"".join(b"FRAME\n" + bytes([i % 256]) * 1536 for i in range(frames))


def patched_length(mkv: bytes, seconds: int) -> bytes:
    """The same Matroska file, whose header claims another length."""
    at = mkv.index(b"\x44\x89\x88") + 3  # the element Duration, eight bytes, milliseconds
    return mkv[:at] + struct.pack(">d", seconds * 1000.0) + mkv[at + 8 :]


def wide(side: int) -> bytes:
    """An AVI of raw video whose header claims square frames of this side; there are two small ones."""
    target = io.BytesIO()
    with av.open(target, "w", format="avi") as container:
        stream = container.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for value in (0, 200):
            frame = av.VideoFrame.from_ndarray(np.full((72, 64), value, np.uint8), format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    small, large = struct.pack("<ii", 64, 48), struct.pack("<ii", side, side)
    return target.getvalue().replace(small, large)


def mutated(data: bytes, chance: Random) -> bytes:
    """A few bytes changed, a stretch doubled, swapped or gone."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 40)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    for _ in range(chance.randint(0, 2)):
        a, n, b = chance.randrange(len(changed)), chance.randint(1, 2000), chance.randrange(len(changed))
        piece = bytes(changed[a : a + n])
        if chance.random() < 0.5:
            del changed[a : a + n]
        changed[b:b] = piece if chance.random() < 0.5 else bytes(n)
    return bytes(changed)


if __name__ == "__main__":
    for name, expectation in make(Path(sys.argv[1])).items():
        sys.stdout.write(f"{expectation}\t{name!r}\n")
