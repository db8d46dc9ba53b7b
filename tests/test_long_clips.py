"""Long clips: the same results wherever their arrays lie, and memory that does not grow with their length."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from emofuse.assembly import Assembly
from emofuse.options import Options
from emofuse.pipeline import attention_rows, spool
from emofuse.pipeline.attention.fuse import fuse
from emofuse.pipeline.batch import cache
from emofuse.pipeline.batch.cache import Cache
from emofuse.pipeline.batch.store import LocalStore
from emofuse.pipeline.clip import Clip
from emofuse.pipeline.extraction import Extraction
from emofuse.pipeline.formats import parquet
from emofuse.pipeline.formats.result_folder import read_analysis
from emofuse.pipeline.media import AudioInfo, ClipInfo
from emofuse.pipeline.results import Analysis, Attention, Prediction, Utterance
from emofuse.pipeline.spool import Spool
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import Provenance, TimedSequence
from emofuse.writing import write_analysis

BY = Provenance("test", "1")
FORMATS = ("csv", "parquet", "csd", "bids", "openface", "fex")


@dataclass(frozen=True)
class Looks:
    """Looks at the voice in two hops, at the face from the words, by numbers drawn from what is in the utterance."""

    name: str = "looks"
    wants: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"text": ("a",), "face": ("AU01",), "voice": ("rms",)})
    provenance: Provenance = BY

    def predict(self, utterances: Sequence[Utterance], *, attention: bool = True) -> list[Prediction]:
        return [self._one(u) for u in utterances]

    def _one(self, piece: Utterance) -> Prediction:
        draw = np.random.default_rng(int(piece.span.start * 1000))
        maps = []
        if len(voice := piece.streams["voice"]):
            hops = draw.dirichlet(np.ones(len(voice)), (2, 1, 1)).astype(np.float32)
            span = np.array([piece.span.start]), np.array([piece.span.end])
            maps.append(Attention("cross", "utterance", "voice", hops, *span, voice.start, voice.end))
        text, face = piece.streams.get("text", ()), piece.streams.get("face", ())
        if isinstance(text, TimedSequence) and isinstance(face, TimedSequence) and len(text) and len(face):
            cross = draw.dirichlet(np.ones(len(face)), (2, 2, len(text))).astype(np.float32)
            maps.append(Attention("cross", "text", "face", cross, text.start, text.end, face.start, face.end))
        p = draw.dirichlet(np.ones(len(EMOTIONS)))
        return Prediction(dict(zip(EMOTIONS, map(float, p), strict=True)), 0.5, float(p.max()), tuple(maps))


def voice_of(seconds: float) -> TimedSequence:
    """A voice at 100 Hz with a pause of two seconds in every ten, spooled as extractors do it."""
    made, draw = Spool((8,)), np.random.default_rng(3)
    n = int(seconds * 100)
    for first in range(0, n, 1000):
        rows = draw.normal(size=(min(1000, n - first), 8)).astype(np.float32)
        rows[:, 0] = np.where(np.arange(first, first + len(rows)) % 1000 < 800, 0.2, 0.0)
        made.add(rows)
    start = np.arange(n) / 100
    return TimedSequence("voice", ("rms", "F0", *(f"c{i}" for i in range(6))), made.array(), start, start + 0.01, BY)


def streams_of(seconds: float) -> dict[str, TimedSequence]:
    """The voice, two faces at 25 Hz with a gap, and words with what opens a formula among them."""
    draw = np.random.default_rng(4)
    at = np.arange(0.5, seconds - 1, 0.5)
    words = tuple(("=so", "well", "naïve")[i % 3] for i in range(len(at)))
    sure = np.ones((len(at), 1), np.float32)
    said = TimedSequence("words", ("probability",), sure, at, at + 0.3, BY, labels={"word": words, "speaker": ("",) * len(at)})
    text = TimedSequence("text", ("a", "b"), draw.normal(size=(len(at), 2)).astype(np.float32), at, at + 0.3, BY, labels={"word": words})
    frames = np.repeat(np.arange(int(seconds * 25)), 2)
    frames = frames[(frames < 100) | (frames > 150)]
    box, units = draw.uniform(10, 50, (len(frames), 4)), draw.random((len(frames), 2))
    units[draw.random(units.shape) < 0.2] = np.nan
    numbers = np.stack([np.arange(len(frames)) % 2, frames], axis=1)
    columns = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "AU01", "AU12", "face_id", "frame")
    values = np.concatenate([box, units, numbers], axis=1).astype(np.float32)
    face = TimedSequence("face", columns, values, frames / 25, frames / 25 + 0.04, BY)
    return {"words": said, "text": text, "face": face, "voice": voice_of(seconds)}


def analyzed(tmp_path: Path, streams: Mapping[str, TimedSequence], seconds: float) -> Analysis:
    clip = Clip(tmp_path / "a clip.wav")
    clip._info = ClipInfo(str(clip.path), "wav", seconds, None, AudioInfo("pcm_s16le", 16000, 1))
    return fuse(clip, Extraction(dict(streams), None, {}), Looks(), maps="small")


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def small_parts(patch: pytest.MonkeyPatch) -> None:
    """Everything in files, a few rows at a time."""
    patch.setattr(spool, "IN_MEMORY", 0)
    patch.setattr(spool, "PART", 3000)
    patch.setattr(attention_rows, "AT_ONCE", 37)
    patch.setattr("emofuse.pipeline.formats.tables.AT_ONCE", 41)


def test_a_clip_in_files_gives_the_bytes_of_one_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From streams to the last file: tables, maps, page, formats; and once more from the folder that was written."""
    results = {}
    for name in ("memory", "files"):
        if name == "files":
            small_parts(monkeypatch)
        analysis = analyzed(tmp_path, streams_of(25), 25)
        write_analysis(analysis, tmp_path / "first/clip", version="1", report=True, formats=FORMATS)
        write_analysis(read_analysis(tmp_path / "first/clip"), tmp_path / "again/clip", version="1", report=True)
        results[name] = everything(tmp_path / "first"), everything(tmp_path / "again")
    assert len(results["memory"][0]) > 20
    for whole, pieces in zip(results["memory"], results["files"], strict=True):
        assert [name for name in whole if whole[name] != pieces.get(name)] == [] and len(whole) == len(pieces)
    assert results["files"][0]["clip/attention.csv"] == results["files"][1]["clip/attention.csv"]


def test_a_kept_answer_in_many_groups_is_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_parts(monkeypatch)
    monkeypatch.setattr(cache, "GROUP", 101)
    monkeypatch.setattr(parquet, "GROUP", 5000)
    analysis = analyzed(tmp_path, streams_of(30), 30)
    store = LocalStore(tmp_path / "out")
    kept = Cache(store)
    for name, stream in analysis.streams.items():
        kept.keep_stream(f"{name:0>64}", stream)
    kept.keep_answer("ab" * 32, analysis)
    streams = {name: kept.stream(f"{name:0>64}") for name in analysis.streams}
    assert all(stream is not None for stream in streams.values())
    read_back = kept.answer("ab" * 32, {name: s for name, s in streams.items() if s is not None}, analysis.info)
    assert read_back is not None
    (tmp_path / "out/.emofuse/answers/ab").joinpath("ab" * 32 + ".npz").unlink()
    assert kept.answer("ab" * 32, dict(analysis.streams), analysis.info) is None, "half of an answer is none"
    store.close()
    for name, one in (("made", analysis), ("kept", read_back)):
        write_analysis(one, tmp_path / name / "clip", version="1", report=True)
    assert everything(tmp_path / "made") == everything(tmp_path / "kept")


@pytest.mark.slow
def test_real_extractors_give_the_same_streams_in_files(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = []
    for name in ("memory", "files"):
        if name == "files":
            small_parts(monkeypatch)
        for voice in ("covarep", "librosa"):
            _info, extraction = Assembly(Options(offline=True, voice=voice)).extract(samples / "smile.mp4")
            both.append({s.name: (s.values.tobytes(), s.start.tobytes(), s.end.tobytes(), s.labels) for s in extraction.streams.values()})
    assert len(both[0]) == 4 and both[:2] == both[2:]


LONG = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_long_clips import analyzed, voice_of
from emofuse.pipeline.batch.stages import forget_peak, peak_memory
from emofuse.writing import write_analysis
here, minutes = Path(sys.argv[2]), float(sys.argv[3])
write_analysis(analyzed(here, {"voice": voice_of(60)}, 60), here / "warm", version="1", report=True)
forget_peak()
write_analysis(analyzed(here, {"voice": voice_of(60 * minutes)}, 60 * minutes), here / "out", version="1", report=True)
print(peak_memory())
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_three_hours_take_the_memory_of_three_minutes(tmp_path: Path) -> None:
    """Without extractors and without a real model: what streams, attention, tables and the page hold. Of 1.1 million rows a few arrays of
    8 bytes per row are in memory (times, which rows have voice); everything else would be some 1.5 GB."""
    peak = {}
    for minutes in (3, 180):
        command = [sys.executable, "-c", LONG, str(Path(__file__).parent), str(tmp_path), str(minutes)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peak[minutes] = int(done.stdout)
    assert peak[180] - peak[3] < 100 << 20, f"{peak[3] / 2**20:.0f} MB for 3 minutes, {peak[180] / 2**20:.0f} MB for 180"
