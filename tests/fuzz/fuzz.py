"""Fuzzing: hypothesis bends good files, a child process reads them, and whatever is neither read nor refused in a sentence is a finding.

    python tests/fuzz/fuzz.py MINUTES [NAME ...]        make fuzz MINUTES=10

Findings are kept, made as small as hypothesis can make them, under fuzz-findings/. Exit code 1 if there is one.
"""

from __future__ import annotations

import json
import pickle
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import IO, Any

import h5py
import imageio_ffmpeg
import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from emofuse.pipeline.formats.parquet import write_stream
from emofuse.pipeline.timed import Provenance, TimedSequence

ROOT = Path(__file__).parents[2]
SECONDS = 60.0  # that one file may take
STARTING = 600.0  # that the first one may: the libraries are loaded, perhaps on a busy machine

TEXTS: dict[str, str] = {
    "srt": "1\n00:00:00,500 --> 00:00:02,000\n<i>Hello</i> there\n\n2\n00:00:02,500 --> 00:00:04,000\nBOB: good bye\n",
    "vtt": "WEBVTT\n\nNOTE x\n\n00:00.500 --> 00:02.000 align:start\n<v Ann>Hello <00:01.000>there &amp; you\n",
    "json": json.dumps(
        {
            "language": "en",
            "segments": [{"start": 0.5, "end": 2.0, "text": " Hello there", "words": [{"word": "Hello", "start": 0.5, "end": 1.0}]}],
        }
    ),
    "TextGrid": 'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 2\ntiers? <exists>\nsize = 1\nitem []:\n'
    "    item [1]:\n"
    '        class = "IntervalTier"\n        name = "words"\n        xmin = 0\n        xmax = 2\n        intervals: size = 2\n'
    '        intervals [1]:\n            xmin = 0\n            xmax = 1\n            text = "hello"\n'
    '        intervals [2]:\n            xmin = 1\n            xmax = 2\n            text = "there"\n',
    "csv": "start,end,word,speaker\n0.1,0.4,hello,A\n0.5,0.9,there,B\n",
    "tsv": "start\tend\ttext\n100\t400\thello\n500\t900\tthere\n",
    "txt": "Hello there.\n\nGood [laughs] bye, B.\n",
    "short.TextGrid": 'File type = "ooTextFile short"\n"TextGrid"\n\n0\n2\n<exists>\n1\n"IntervalTier"\n"word"\n0\n2\n'
    '2\n0\n1\n"hello"\n1\n2\n"there"\n',
    "people.csv": "clip,person\none,Ann\n/clips/two.mp4,Bob\n",
    "glove": "".join(f"word{i} {i}.5 -0.25 1e-3\n" for i in range(20)),
}


# Extension of a target's files where it is not the target's own name.
SUFFIXES = {"glove": "txt"}
CONTAINERS = {
    "ogv": ("-c:v", "libtheora", "-c:a", "libvorbis"),
    "avi": ("-c:v", "mpeg4", "-c:a", "pcm_s16le"),
    "ts": ("-c:v", "mpeg2video", "-c:a", "mp2"),
    "h264": ("-c:v", "libx264", "-an"),
    "gif": ("-an",),
}
GOLDEN = {
    **{f"load.{suffix}": f"{suffix.lower()}/a clip.{suffix}" for suffix in ("srt", "vtt", "TextGrid", "eaf", "rttm")},
    "load.pkl": "mmsa/a clip.pkl",
    "load.csd": "csd/csd/voice.csd",
    "load.csv": "csv/csv/voice.csv",
    "load.parquet": "parquet/streams/voice.parquet",
    "eaf": "eaf/a clip.eaf",
    "openface.csv": "openface/a clip.openface.csv",
    "fex.csv": "fex/a clip.fex.csv",
}


def seeds(folder: Path) -> dict[str, bytes]:
    """A small good file of every kind."""
    files = {name: text.encode() for name, text in TEXTS.items()}
    files |= {name: (ROOT / "tests/golden/formats" / path).read_bytes() for name, path in GOLDEN.items()}
    return files | media(folder) | numbers(folder) | weights(folder) | documents(folder)


def media(folder: Path) -> dict[str, bytes]:
    """Recordings, two of them chained Ogg files."""
    files = {"mp4": (ROOT / "samples/no_audio.mp4").read_bytes()}
    files["mkv"] = (ROOT / "samples/late.mkv").read_bytes()[:40_000]
    files["flac"] = (ROOT / "samples/voice_only.flac").read_bytes()[:20_000]
    source = ("-f", "lavfi", "-i", "testsrc=s=64x48:r=10:d=1", "-f", "lavfi", "-i", "sine=d=1:r=16000")
    for suffix, options in CONTAINERS.items():
        path = folder / f"made.{suffix}"
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-y", "-loglevel", "error", *source, "-pix_fmt", "yuv420p", *options]
        subprocess.run([*command, str(path)], check=True)
        files[suffix] = path.read_bytes()
    files["ogv"] *= 2
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", *source[4:], "-c:a", "libopus", folder / "made.ogg"], check=True)
    files["ogg"] = (folder / "made.ogg").read_bytes() * 2
    return files


def numbers(folder: Path) -> dict[str, bytes]:
    """Tables and arrays."""
    files: dict[str, bytes] = {}
    with h5py.File(folder / "seed.csd", "w") as file:
        file["labels/data/v1/features"] = np.ones((2, 1), np.float32)
        file["labels/data/v1/intervals"] = np.array([[0.0, 1.0], [1.0, 2.0]])
    files["csd"] = (folder / "seed.csd").read_bytes()
    content = {"train": {"text": np.ones((2, 3)), "names": np.array([["a", "b"]], object), "id": ["x", 1, 2.5, None, {1}, (b"r", 2**70)]}}
    files["pkl"] = pickle.dumps(content, 2) + b""
    with zipfile.ZipFile(folder / "seed.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("glove.txt", TEXTS["glove"])
    files["zip"] = (folder / "seed.zip").read_bytes()
    stream = one_stream()
    write_stream(stream, folder / "seed.parquet")
    files["parquet"] = (folder / "seed.parquet").read_bytes()
    return files


def one_stream() -> TimedSequence:
    start = np.arange(3, dtype=np.float64)
    return TimedSequence("voice", ("a",), np.ones((3, 1), np.float32), start, start + 1, Provenance("x", "1"))


def weights(folder: Path) -> dict[str, bytes]:
    """Weights, and the descriptions beside them; what is not bent lies in `folder` beside what is."""
    import torch
    from safetensors.torch import save_file
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    from emofuse.fusion.run_folder import State, write_state
    from emofuse.fusion.shipped import locate

    files: dict[str, bytes] = {}
    save_file({"layer.down": torch.ones(2, 3), "layer.up": torch.ones(3, 2), "heads.a": torch.ones(2)}, folder / "adapter.safetensors")
    files["safetensors"] = (folder / "adapter.safetensors").read_bytes()
    files["adapter.json"] = json.dumps({"encoder_sha256": "ab" * 32, "trained": {"epochs": 3}}).encode()
    (folder / "good adapter.json").write_bytes(files["adapter.json"])
    shipped = locate(None)
    shutil.copy(shipped, folder / "checkpoint.safetensors")
    files["checkpoint.json"] = shipped.with_suffix(".json").read_bytes()
    write_state(folder, State({"learner/a": torch.ones(2, 2)}, {"epoch": 1}))
    files["state.safetensors"] = (folder / "state.safetensors").read_bytes()
    files["ctranslate2.bin"] = small_ctranslate2()
    sizes = {"d_model": 16, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "vocab_size": 60, "max_source_positions": 8}
    sizes |= {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    tokens = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 1)
    model = WhisperForConditionalGeneration(WhisperConfig(**sizes, **tokens, max_target_positions=8))
    model.save_pretrained(folder / "whisper", safe_serialization=True)
    files["config.json"] = (folder / "whisper/config.json").read_bytes()
    shutil.copytree(folder / "whisper", folder / "whisper in parts")
    files["index.json"] = json.dumps({"weight_map": {"a": "model.safetensors", "b": "model.safetensors"}}).encode()
    return files


def small_ctranslate2() -> bytes:
    """A model.bin of two variables and an alias."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    one = text("a/x") + struct.pack("<B2IBI", 2, 2, 3, 4, 12) + np.ones((2, 3), np.float16).tobytes()
    other = text("b") + struct.pack("<BBI", 0, 1, 1) + b"\1"
    return (
        struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, 2) + one + other + struct.pack("<I", 1) + text("c") + text("b")
    )


def documents(folder: Path) -> dict[str, bytes]:
    """What emofuse itself wrote and reads again: a result folder, a batch's record."""
    import emofuse
    from emofuse.pipeline.batch.store import to_bytes
    from emofuse.pipeline.batch.task import Record, ResultFile
    from emofuse.pipeline.codec import encode
    from emofuse.writing import write_analysis

    analysis = emofuse.analyze(ROOT / "samples/smile.mp4", offline=True, words="none", text="none", voice="none")
    write_analysis(analysis, folder / "results", formats=(), report=False)
    record = Record(
        "0123456789abcdef", "/clips/one.mp4", "one", "done", length=2.0, utterances=1, emotion="anger", probability=0.5,
        sha256="ab" * 32, files={"analysis.json": ResultFile(3, "ab" * 32)}, remarks=("a frame was dropped",), flags={"no_face": 1},
    )  # fmt: skip
    return {"results.json": (folder / "results/analysis.json").read_bytes(), "record.json": to_bytes(encode(record))}


@st.composite
def bent(draw: Any, data: bytes) -> bytes:
    """The file with bytes changed, pieces taken out, doubled, or put in from a list of what readers stumble over."""
    changed = bytearray(data)
    awkward = (
        b"\0",
        b"\xff\xff\xff\xff",
        b"\x80",
        b"-1",
        b"1e999",
        b"nan",
        b'"',
        b"\n\n",
        b"{" * 50,
        b"\xef\xbb\xbf",
        b"9" * 40,
        b"\x7f\xff\xff\xff",
    )
    for _ in range(draw(st.integers(1, 5))):
        size = max(1, len(changed))
        at = draw(st.integers(0, size - 1))
        kind = draw(st.integers(0, 12)) % 6 if changed else 2
        if kind == 0:
            changed[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif kind == 1:
            del changed[at : at + draw(st.integers(1, 64))]
        elif kind == 2:
            changed[at:at] = draw(st.sampled_from(awkward))
        elif kind == 3:
            other, n = draw(st.integers(0, size - 1)), draw(st.integers(1, 200))
            changed[at:at] = changed[other : other + n]
        elif kind == 4:
            changed[at : at + 4] = draw(st.integers(0, 2**32 - 1)).to_bytes(4, "big")
        else:
            del changed[at:]
    return bytes(changed)


class Child:
    """One target process; started again when it dies."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.process: subprocess.Popen[bytes] | None = None

    def ask(self, path: Path) -> dict[str, str]:
        seconds = SECONDS if self.process is not None else STARTING
        if self.process is None:
            command = [sys.executable, "-P", str(Path(__file__).parent / "target.py"), self.name]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        out: IO[bytes] | None = self.process.stdout
        assert self.process.stdin is not None and out is not None
        self.process.stdin.write(str(path).encode() + b"\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([out], [], [], seconds)
        line = out.readline() if ready else b""
        if line:
            answer: dict[str, str] = json.loads(line)
            return answer
        why = f"took longer than {seconds} s" if not ready else f"died with {self.process.wait()}"
        self.close()
        return {"how": "bug", "why": why}

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                assert pipe is not None
                pipe.close()
            self.process = None


def fuzz(name: str, data: bytes, until: float, scratch: Path) -> tuple[dict[str, int], str | None]:
    """How many files were read and refused, and the first finding, as small as it could be made."""
    counts = {"ok": 0, "refused": 0}
    child = Child(name)
    suffix = SUFFIXES.get(name, name)
    last = b""
    round_ = 0
    first = child.ask(_written(scratch / f"seed.{suffix}", data))
    assert first["how"] == "ok", f"the good {name} file is not read: {first['why']}"
    try:
        while time.monotonic() < until:
            round_ += 1

            @seed(round_)
            @settings(
                max_examples=100,
                deadline=None,
                database=None,
                suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much),
                phases=(Phase.generate, Phase.shrink),
            )
            @given(bent(data))
            def one(content: bytes) -> None:
                nonlocal last
                if time.monotonic() > until + 60:
                    return
                answer = child.ask(_written(scratch / f"bent.{suffix}", content))
                if answer["how"] == "bug":
                    last = content
                    raise AssertionError(answer["why"])
                counts[answer["how"]] += 1

            try:
                one()
            except AssertionError as error:
                folder = ROOT / "fuzz-findings"
                folder.mkdir(exist_ok=True)
                (folder / f"{name}.{suffix}").write_bytes(last)
                return counts, f"{folder / name}.{suffix}: {error}"
    finally:
        child.close()
    return counts, None


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def main(minutes: float, names: list[str]) -> int:
    findings = 0
    with tempfile.TemporaryDirectory() as scratch:
        files = seeds(Path(scratch))
        wanted = names or list(files)
        for name in wanted:
            counts, finding = fuzz(name, files[name], time.monotonic() + 60 * minutes / len(wanted), Path(scratch))
            sys.stdout.write(f"{name}: {counts['ok']} read, {counts['refused']} refused{', ' + finding if finding else ''}\n")
            sys.stdout.flush()
            findings += finding is not None
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
