"""From one format to another: `convert`. Reading and writing are the formats' own (pipeline/exports); here they meet the unpickler, which
lives with the data sets."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from emofuse.pipeline.errors import EmofuseError, FormatError, UsageError
from emofuse.pipeline.formats.registry import FORMATS, LONGEST_NAME, WRITABLE, Format, format_of_input, format_of_output
from emofuse.pipeline.formats.session import UTTERANCES, Session, session_of
from emofuse.pipeline.formats.word_table import words_table as table_of_words
from emofuse.pipeline.results import Analysis
from emofuse.pipeline.timed import Provenance, TimedSequence

if TYPE_CHECKING:
    import pandas


def load(path: str | os.PathLike[str], format: str | None = None, *, fps: float | None = None) -> tuple[Session, ...]:
    """What a file or folder of any readable format holds, clip by clip.

    form   the format's name; None: by the file's name, and what is in it
    fps    frames per second, for tables of faces that only count frames
    Raises `FormatError` naming the file and the line; `UsageError` for a format that is not read.
    """
    path = Path(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise FormatError(f"{path}: expected a regular file or a folder, got a pipe or a device")
    format = format or format_of_input(path)
    if format == "mmsa":
        return _mmsa(path)
    reader = FORMATS[format].read if format in FORMATS else None
    if reader is None:
        readable = [name for name, entry in FORMATS.items() if entry.read is not None or name == "mmsa"]
        raise UsageError(f"{format}: expected a format that can be read: {', '.join(readable)}")
    return reader(path, fps)


def convert(
    source: str | os.PathLike[str], target: str | os.PathLike[str], to: str | None = None, *, fps: float | None = None
) -> tuple[Path, ...]:
    """Reads `source`, writes `target` in the format `to` (None: by the target's name), and returns what was written.

    A format of one clip a file makes that file, or, where the target has no extension, a folder with a file for each clip; what a target
    held is replaced.
    Raises `FormatError` and `UsageError`; a target is written whole or not at all.
    """
    target = Path(target)
    if to is not None and to not in WRITABLE:
        raise UsageError(f"--to {to}: expected one of {', '.join(WRITABLE)}")
    name = to or format_of_output(target)
    if Path(source).resolve() == target.resolve():
        raise UsageError(f"{target}: expected another file than the one that is read")
    sessions = load(source, fps=fps)
    file_format = FORMATS[name]
    assert file_format.write is not None
    if file_format.many or (len(sessions) == 1 and (file_format.folder or target.suffix)):
        targets = {target: sessions}
    elif target.suffix and not file_format.folder:
        raise UsageError(f"{target}: expected a folder, because {source} holds {len(sessions)} clips and {name} one per file")
    else:
        targets = {target / _file_name(session, file_format): (session,) for session in sessions}
        if len(targets) < len(sessions):
            raise FormatError(f"{target}: expected clips of different names, got two of one")
    for path, held in targets.items():
        _write(file_format, held, path)
    return tuple(targets)


def words_table(source: str | os.PathLike[str] | Analysis, columns: Sequence[str] | None = None) -> pandas.DataFrame:
    """Words with what was measured while each was said: one row per word, action units, expressions, pitch and loudness beside.

    source    an `Analysis`, a result folder, a folder of them, or anything else that `load` reads
    columns   columns of the face and voice streams to average instead (pipeline/formats/word_table.py)
    """
    sessions = (session_of(source),) if isinstance(source, Analysis) else load(source)
    return table_of_words(sessions, columns)


def _file_name(session: Session, file_format: Format) -> str:
    name = re.sub(r"[/\0]", "_", session.name) or "clip"
    while len(os.fsencode(name + file_format.suffix)) > LONGEST_NAME:
        name = name[:-1]
    return name + file_format.suffix


def _write(file_format: Format, sessions: tuple[Session, ...], target: Path) -> None:
    """To a hidden name beside the target first, then renamed: nothing half-written is left."""
    assert file_format.write is not None
    if file_format.folder and target.exists() and not target.is_dir():
        raise FormatError(f"{target}: expected a folder to write into, got a file")
    if not file_format.folder and target.is_dir():
        raise FormatError(f"{target}: expected the name of a file, got a folder")
    hidden: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        hidden = Path(tempfile.mkdtemp(prefix=".emofuse-", dir=target.parent))
        made = hidden / target.name
        file_format.write(tuple(replace(session, home=str(target.parent.resolve())) for session in sessions), made)
        if not file_format.folder and made.stat().st_size == 0:
            held = ", ".join(dict.fromkeys(name for session in sessions for name in session.streams)) or "nothing"
            raise FormatError(f"{target}: not written, because it would be empty: there is only {held}, which this format does not hold")
        for path in sorted(p for p in made.rglob("*") if p.is_file()) if file_format.folder else (made,):
            final = target / path.relative_to(made)
            final.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, final)
    except OSError as error:
        raise EmofuseError(f"{target}: expected a place that can be written, got {error.strerror or error}") from None
    finally:
        if hidden is not None:
            shutil.rmtree(hidden, ignore_errors=True)


def _mmsa(path: Path) -> tuple[Session, ...]:
    """An MMSA pickle's utterances, each a session of its own, by the unpickler that runs nothing."""
    import numpy as np

    from emofuse.fusion.datasets.examples import Source
    from emofuse.fusion.datasets.pickles import read_mmsa

    sessions = []
    for example in read_mmsa(Source(path, {"text": "", "voice": "", "face": ""})).examples:
        length = max((s.span.end for s in example.streams.values() if len(s)), default=0.0)
        utterance = TimedSequence(
            name=UTTERANCES,
            columns=("label",),
            values=np.array([[example.labels["sentiment"]]], np.float32),
            start=np.zeros(1),
            end=np.array([length]),
            provenance=Provenance("MMSA", "1", options={"file": path.name}),
            labels={"text": (example.text,), "split": (example.split,)},
        )
        sessions.append(Session(example.name, {**example.streams, UTTERANCES: utterance}, length))
    return tuple(sessions)
