"""A stream that another program made, read from a file and laid on the clip's clock.

Faces: OpenFace's CSV, py-feat's Fex CSV. Any stream: our Parquet and CSV, a .csd of the CMU-MultimodalSDK (the video that is named like the
clip). What a table of faces calls frame n is the clip's n-th frame, and gets that frame's time: a late start or a varying frame rate
shifts nothing. Times that a file gives itself are taken as seconds of the clip.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from emofuse.pipeline.columns import COVAREP, FACE_BOX
from emofuse.pipeline.errors import FormatError, StreamError, UsageError
from emofuse.pipeline.formats.csd import read_sequence, stream_of
from emofuse.pipeline.formats.face_table import FEX, OPENFACE, FaceTable, kind_of
from emofuse.pipeline.formats.fex import read_fex
from emofuse.pipeline.formats.openface import read_openface
from emofuse.pipeline.formats.parquet import read_stream
from emofuse.pipeline.formats.spreadsheet import read_table
from emofuse.pipeline.hashing import sha256_of
from emofuse.pipeline.media import Media, Medium
from emofuse.pipeline.timed import Provenance, TimedSequence

from .provider import Provider, Request, Status
from .words.word_rows import COLUMNS as WORD_COLUMNS
from .words.word_rows import LABELS as WORD_LABELS

SUFFIXES = (".csv", ".parquet", ".csd")
SPARE_FRAMES = 2
"""Decoders disagree by a frame or two at a clip's end; a table with more frames than that beyond it is another clip's."""


class StreamFile(Provider):
    """Extractor that reads a file.

    stream  what it makes: words, text, face or voice
    path    OpenFace or Fex CSV (faces only), our CSV or Parquet, .csd
    wanted  columns that the model reads; those that the file lacks are there as not measured (NaN, which a model reads as its training
            mean), and the stream's reason names them; () where no model reads

    Raises `FormatError` for a file that cannot be read, `StreamError` where it cannot be this clip's, or has none of the columns wanted.
    """

    name = "file"
    stream = ""  # a subclass says which
    argument = ":FILE"
    help = f"a stream's file ({' '.join(SUFFIXES)}), or a folder with one for each clip"
    auto = False
    one_clip = True
    needs: tuple[str, ...] = ()

    def __init__(self, stream: str, path: str | Path, wanted: Sequence[str] = ()) -> None:
        self.stream = stream
        self._path = Path(path)
        self._wanted = tuple(wanted)
        if self._path.suffix.lower() not in SUFFIXES:
            raise FormatError(f"{path}: expected a {stream} stream in a file named {', '.join(SUFFIXES)}")
        if not self._path.is_file():
            raise FormatError(f"{path}: no such file")
        self._table = self._face_table()
        self._stream = self._whole_file() if self._table is None and self._path.suffix.lower() != ".csd" else None

        in_file = self._table.columns if self._table is not None else self._stream.columns if self._stream is not None else ()
        # Those of the file, then those that are wanted beside; of a .csd they are known when a clip is.
        self.columns = (*in_file, *(c for c in self._wanted if c not in in_file))

    @classmethod
    def accepts(cls, requested: str) -> bool:
        return Path(requested).suffix.lower() in SUFFIXES or Path(requested).is_dir()

    @classmethod
    def status(cls, request: Request) -> Status:
        return Status.here("reads the file that you name")

    @classmethod
    def make(cls, request: Request) -> StreamFile:
        return cls(cls.stream, request.argument, request.wanted)

    @classmethod
    def file_for(cls, clip: Path, folder: Path) -> Path:
        """The stream's file in a folder that has the clip's name, else the folder's only .csd; raises `UsageError` for none or several."""
        names = {f"{clip.stem}{kind}{suffix}" for kind in ("", ".openface", ".fex") for suffix in SUFFIXES}
        files = sorted(path for path in folder.iterdir() if path.name in names) or sorted(folder.glob("*.csd"))
        if len(files) != 1:
            raise UsageError(f"{folder}: expected one file named {clip.stem} ({', '.join(SUFFIXES)}), found {len(files)}")
        return files[0]

    @property
    def media(self) -> frozenset[Medium]:
        """The video is looked at only where the file counts frames."""
        return frozenset({"video"}) if self._counts_frames else frozenset()

    @property
    def provenance(self) -> Provenance:
        return Provenance(self.name, "1", options=self._options())

    @property
    def _counts_frames(self) -> bool:
        return self._table is not None and (self._table.format == "OpenFace" or self._table.times is None)

    def __call__(self, clip: Media, upstream: Mapping[str, TimedSequence]) -> TimedSequence:
        if self._table is not None:
            stream = self._on_the_clips_frames(self._table, clip) if self._counts_frames else self._table.stream(self._path)
            stream = _with_face_ids(stream)
        else:
            stream = self._stream if self._stream is not None else self._of_video(Path(clip.info.path).stem)
        return self._wanted_columns(self._named(stream))

    def _face_table(self) -> FaceTable | None:
        if self.stream != "face" or self._path.suffix.lower() != ".csv":
            return None
        kind = kind_of(self._path)
        return read_openface(self._path) if kind == OPENFACE else read_fex(self._path) if kind == FEX else None

    def _whole_file(self) -> TimedSequence:
        if self._path.suffix.lower() == ".parquet":
            return read_stream(self._path)
        return read_table(self._path)

    def _of_video(self, name: str) -> TimedSequence:
        def pick(keys: Sequence[str]) -> Sequence[str]:
            if name in keys:
                return [name]
            if len(keys) == 1:
                return keys
            listed = ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
            raise StreamError(f"{self._path}: expected a video named {name}, like the clip; there are {listed or 'none'}")

        sequence = read_sequence(self._path, pick)
        (key,) = sequence.entries
        return stream_of(sequence, key, self._path)

    def _on_the_clips_frames(self, table: FaceTable, clip: Media) -> TimedSequence:
        times = np.array([(frame.start, frame.end) for frame in clip.frames()], np.float64).reshape(-1, 2)
        inside = table.frames < len(times)
        beyond = int(table.frames.max()) + 1 - len(times) if len(table.frames) else 0
        if beyond > SPARE_FRAMES:
            raise StreamError(
                f"{self._path}: has a frame {len(times) + beyond}, but {Path(clip.info.path).name} has {len(times)} frames: "
                "the table is another clip's, or the clip was cut or converted since"
            )
        notes = {**table.notes, "clock": "frame n is the clip's n-th frame, at its own time", "frames_in_clip": len(times)}
        if not inside.all():
            notes["frames_beyond_the_clip"] = int((~inside).sum())
        rows = np.flatnonzero(inside)
        if table.times is not None and len(rows):
            shift = table.times[rows, 0] + times[0, 0] - times[table.frames[rows], 0]
            notes["seconds_off_its_own_timestamps"] = round(float(np.abs(shift).max()), 6)
        kept = FaceTable(table.format, table.frames[rows], None, table.columns, table.values[rows])
        return kept.placed(times[table.frames[rows]], self._path, notes)

    def _named(self, stream: TimedSequence) -> TimedSequence:
        """Under the stream's own name; a voice of COVAREP's 74 dimensions without names gets COVAREP's."""
        notes = dict(stream.provenance.notes)
        columns = stream.columns
        if self.stream == "voice" and len(columns) == len(COVAREP) and all(c.endswith(f"_{j}") for j, c in enumerate(columns)):
            columns = COVAREP
            notes["columns"] = "74 without names: taken for COVAREP's, in its order"
        by = Provenance(self.name, "1", options={**self._options(), "made_by": stream.provenance.extractor}, notes=notes)
        labels, values = dict(stream.labels), stream.values
        if self.stream == "words":
            if "word" not in labels:
                raise StreamError(f"{self._path}: expected a column word, got {', '.join([*labels, *columns][:8]) or 'none'}")
            labels = {label: labels.get(label, ("",) * len(stream)) for label in WORD_LABELS}
            sure = stream.column("probability") if "probability" in columns else np.full(len(stream), np.nan, np.float32)
            columns, values = WORD_COLUMNS, sure[:, None]
        return replace(stream, name=self.stream, columns=columns, values=values, labels=labels, provenance=by)

    def _wanted_columns(self, stream: TimedSequence) -> TimedSequence:
        missing = [c for c in self._wanted if c not in stream.columns]
        if not missing or not len(stream):
            return stream
        if len(missing) == len(self._wanted):
            raise StreamError(
                f"{self._path}: has none of the columns that the model reads of {self.stream}: "
                f"{_listed(self._wanted)}; it has {_listed(stream.columns)}"
            )
        nothing = np.broadcast_to(np.float32(np.nan), (len(stream), len(missing)))
        reason = f"{self._path.name} lacks {_listed(missing)}, which the model reads: taken as not measured"
        return replace(
            stream.with_columns(missing, nothing),
            provenance=replace(stream.provenance, notes={**stream.provenance.notes, "not_in_file": missing}),
            reason="; ".join(part for part in (stream.reason, reason) if part),
        )

    def _options(self) -> dict[str, Any]:
        return {"file": self._path.name, "file_sha256": sha256_of(self._path)}


class WordsFile(StreamFile):
    stream = "words"

    @classmethod
    def accepts(cls, requested: str) -> bool:
        """A .csv and a folder are a transcript's."""
        return Path(requested).suffix.lower() in SUFFIXES and Path(requested).suffix.lower() != ".csv"


class TextFile(StreamFile):
    stream = "text"

    @classmethod
    def accepts(cls, requested: str) -> bool:
        """A folder is an encoder's; a .csv may be a table of word vectors."""
        return Path(requested).suffix.lower() in SUFFIXES and Path(requested).suffix.lower() != ".csv"


class FaceFile(StreamFile):
    stream = "face"
    help = f"a face table of OpenFace or py-feat (Fex), or a stream's file ({' '.join(SUFFIXES)}), or a folder with one for each clip"


class VoiceFile(StreamFile):
    stream = "voice"


def _with_face_ids(face: TimedSequence) -> TimedSequence:
    """A table without `face_id` that has several faces in a frame gets numbers that follow the boxes, or the order within the frame."""
    if "face_id" in face.columns or "frame" not in face.columns:
        return face
    frames = face.column("frame")
    if len(np.unique(frames)) == len(frames):
        identity = np.zeros(len(face), np.float32)
    else:
        box = FACE_BOX
        tracked = set(box) <= set(face.columns)
        identity = _tracked(face.select(box), frames) if tracked else _in_turn(frames)
    return face.with_columns(("face_id",), identity[:, None])


def _tracked(boxes: TimedSequence, frames: np.ndarray) -> np.ndarray:
    from .face.face_ids import FaceIds

    faces, identity = FaceIds(), np.zeros(len(boxes), np.float32)
    for rows in _by_frame(frames):
        identity[rows] = faces.of(boxes.values[rows], float(boxes.start[rows[0]]))
    return identity


def _in_turn(frames: np.ndarray) -> np.ndarray:
    identity = np.zeros(len(frames), np.float32)
    for rows in _by_frame(frames):
        identity[rows] = np.arange(len(rows))
    return identity


def _by_frame(frames: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of each frame, in order."""
    order = np.argsort(frames, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(frames[order])) + 1)


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(columns[:12]) + (f" and {len(columns) - 12} more" if len(columns) > 12 else "")
