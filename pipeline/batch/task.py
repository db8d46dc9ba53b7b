"""One clip's task, and what came of it: a row of the manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..errors import (
    CheckpointError,
    ClipChanged,
    ClipError,
    ClipLimit,
    DecodeCrashed,
    DecodeTimeout,
    EmofuseError,
    NoStream,
    NotMedia,
    OutOfMemory,
    StreamError,
    TranscriptError,
    WeightsError,
)
from ..hashing import FileState

State = Literal["waiting", "running", "done", "failed"]
Goal = Literal["result", "tally"]

# The first that fits; the failure table in docs/batch.md lists these and the ones that the engines give.
_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (NotMedia, "not_media"),
    (ClipLimit, "over_limit"),
    (NoStream, "no_stream"),
    (DecodeCrashed, "decode_crashed"),
    (DecodeTimeout, "timed_out"),
    (ClipChanged, "changed"),
    (ClipError, "unreadable"),
    (TranscriptError, "bad_transcript"),
    (StreamError, "bad_stream"),
    (CheckpointError, "model_does_not_fit"),
    (WeightsError, "no_weights"),
    (OutOfMemory, "out_of_memory"),
    (MemoryError, "out_of_memory"),
    (EmofuseError, "failed"),
)
REASONS: Mapping[str, str] = {
    "not_media": "not a recording in a container that emofuse opens (also: a playlist, a script of addresses, an empty or cut-off file)",
    "outside_folder": "a link that leads out of the folder that was named",
    "over_limit": "larger than a limit allows: pixels, seconds, streams, sample rate",
    "no_stream": "a stream that was asked for is not in the clip",
    "decode_crashed": "the decoding process crashed on the file, or reached its memory limit",
    "timed_out": "exceeded its time limit, or stopped producing anything",
    "out_of_memory": "needed more memory than a worker may use, or the system killed the worker for memory",
    "changed": "was replaced or written to during each reading",
    "unreadable": "could not be read: no permission, it vanished, or nothing in it could be decoded",
    "bad_transcript": "its transcript is missing, broken, or does not match the sound",
    "bad_stream": "an extractor returned an invalid stream",
    "model_does_not_fit": "the model cannot read what the clip's streams hold",
    "no_weights": "weights are missing or are not the ones expected",
    "worker_crashed": "the worker process died, probably of a library's bug",
    "internal_error": "a bug in emofuse: the traceback is under .emofuse/crashes",
    "failed": "any other error that emofuse raises",
}


def reason_of(error: BaseException) -> str:
    """The short reason for an error; `internal_error` for what nobody raised on purpose."""
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), "internal_error")


@dataclass(frozen=True)
class Task:
    """What a worker is asked to do with one clip.

    id      the first 16 hex digits of the SHA-256 of its path
    path    absolute path, or an fsspec address
    output  name of the result folder under the output folder
    force   do everything again;  retry_failed: try again what failed before
    dry_run  only say what would be done
    goal     "result", or "tally": only its streams, and what they say of its person's baseline
    person  whose clip it is, where other clips of this person are known;  baseline: key of the sums over all these clips
    continued  this run has made its tally already, so that its streams are as new as `force` wants them
    """

    id: str
    path: str
    output: str
    force: bool = False
    retry_failed: bool = False
    dry_run: bool = False
    goal: Goal = "result"
    person: str | None = None
    baseline: str | None = None
    continued: bool = False


@dataclass(frozen=True)
class ResultFile:
    """A file of a result folder: its bytes, and their SHA-256 (None where only the store could read them)."""

    bytes: int
    sha256: str | None


@dataclass(frozen=True)
class Record:
    """What came of one clip. Written whole, after the result it speaks of.

    sha256     of the clip's bytes, with `file` to know without reading that they are still the same
    key        hash of all that the result depends on (content, configuration, weights, version)
    files      of the result folder: name -> bytes and SHA-256, to know that they are whole
    refused    formats that were asked for and cannot hold this clip: name -> why
    remarks    what a reader of the results must know of how the clip was read (`Analysis.remarks`)
    flags      flag -> how many utterances have it
    length     seconds of the clip;  emotion, probability: the clip's most probable emotion
    person     whose clip it was said to be
    The rest differs from run to run:
    attempts   how often work on it began
    seconds    stage -> wall seconds of the attempt that ended well (hash, extract, baseline, fusion, write); a stage from the cache has 0
    peak_memory  bytes of the worker's resident memory at its highest while on this clip
    """

    id: str
    path: str
    output: str
    state: State
    reason: str | None = None
    message: str | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    flags: Mapping[str, int] = field(default_factory=dict)
    sha256: str | None = None
    file: FileState | None = None
    files: Mapping[str, ResultFile] = field(default_factory=dict)
    key: str | None = None
    emofuse: str | None = None
    length: float | None = None
    utterances: int | None = None
    emotion: str | None = None
    probability: float | None = None
    person: str | None = None
    attempts: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    peak_memory: int | None = None

    @property
    def bytes(self) -> int | None:
        """Of the clip's content."""
        return None if self.file is None else self.file.bytes


def task_id(path: str) -> str:
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:16]


# Names in the output folder that are no clip's.
TABLES = ("manifest.parquet", "manifest.csv", "emotions.parquet", "emotions.csv", "index.html")


def is_folder_name(name: str) -> bool:
    """Whether this can be a result folder's name: one part, not hidden, no table's name. What a record says is not believed before."""
    return bool(name) and not name.startswith(".") and not set(name) & {"/", "\0"} and name.casefold() not in TABLES
