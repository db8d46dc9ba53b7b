"""Every format that results leave in, and may come in by: `FORMATS`. A new one is one new file beside this and one line here.

Writers take sessions and a path, and write a file or a folder there; readers take a path and give sessions. Libraries are imported when
a format is used.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..errors import FormatError, OutputError, UsageError
from .bids import write_bids
from .csd import read_csd, write_csd
from .document import DOCUMENT
from .eaf import read_eaf, write_eaf
from .face_table import FEX, OPENFACE, OURS, FaceTable, kind_of
from .fex import read_fex, write_fex
from .mmsa import write_mmsa
from .openface import read_openface, write_openface
from .parquet import read_parquet, write_parquet
from .result_folder import read_folder
from .rttm import read_rttm, write_rttm
from .session import Session
from .spreadsheet import read_csv, write_csv
from .subtitles import read_srt, write_srt
from .textgrid import read_textgrid, write_textgrid
from .vtt import read_vtt, write_vtt

Read = Callable[[Path, float | None], tuple[Session, ...]]
"""A path and, for tables that only count frames, the frame rate."""


@dataclass(frozen=True)
class Format:
    """One format.

    output  its path in a clip's result folder; {name} is the clip's
    write   sessions to a path: a folder where `folder` says so; one session at a time unless `many`
    read    None where it is only written
    """

    output: str
    write: Callable[[Sequence[Session], Path], None] | None
    read: Read | None
    folder: bool = False
    many: bool = False

    @property
    def suffix(self) -> str:
        """What a file of it ends with; "" for a folder."""
        return "" if self.folder else self.output.removeprefix("{name}")


def _plain(reader: Callable[[Path], tuple[Session, ...]]) -> Read:
    return lambda path, fps: reader(path)


def _faces(reader: Callable[[Path], FaceTable], path: Path, fps: float | None) -> tuple[Session, ...]:
    name = path.name.removesuffix(".csv").removesuffix(".openface").removesuffix(".fex")
    return (Session(name, {"face": reader(path).stream(path, fps)}),)


FORMATS: Mapping[str, Format] = {
    "csv": Format("csv", write_csv, _plain(read_csv), folder=True),
    "parquet": Format("streams", write_parquet, _plain(read_parquet), folder=True),
    "srt": Format("{name}.srt", write_srt, _plain(read_srt)),
    "vtt": Format("{name}.vtt", write_vtt, _plain(read_vtt)),
    "textgrid": Format("{name}.TextGrid", write_textgrid, _plain(read_textgrid)),
    "eaf": Format("{name}.eaf", write_eaf, _plain(read_eaf)),
    "rttm": Format("{name}.rttm", write_rttm, _plain(read_rttm), many=True),
    "csd": Format("csd", write_csd, _plain(read_csd), folder=True, many=True),
    "mmsa": Format("{name}.pkl", write_mmsa, None, many=True),
    "openface": Format("{name}.openface.csv", write_openface, partial(_faces, read_openface)),
    "fex": Format("{name}.fex.csv", write_fex, partial(_faces, read_fex)),
    "bids": Format("bids", write_bids, None, folder=True, many=True),
    "results": Format("", None, _plain(read_folder), folder=True),
}
"""Format -> how it is written and read. `mmsa` is read by the assembly, whose unpickler lives with the data sets (conversion.py)."""

LONGEST_NAME = 240  # bytes of a file's name that every file system takes
WRITABLE = tuple(name for name, file_format in FORMATS.items() if file_format.write is not None)
SUFFIXES = {".srt": "srt", ".vtt": "vtt", ".textgrid": "textgrid", ".eaf": "eaf", ".rttm": "rttm", ".csd": "csd", ".pkl": "mmsa"}
SUFFIXES |= {".parquet": "parquet"}
_TABLES = {OPENFACE: "openface", FEX: "fex", OURS: "csv"}


def named(names: str) -> tuple[str, ...]:
    """The formats of a list like "csv,eaf"; raises `UsageError` naming what there is."""
    wanted = tuple(dict.fromkeys(part.strip().lower() for part in names.split(",") if part.strip()))
    if unknown := [name for name in wanted if name not in WRITABLE]:
        raise UsageError(f"--formats {names}: expected some of {', '.join(WRITABLE)}, got {', '.join(unknown)}")
    return wanted


def format_of_input(path: Path) -> str:
    """What a file or folder is, by its name and, for CSV and folders, by what is in it. Raises `FormatError`."""
    if not path.exists():
        raise FormatError(f"{path}: no such file or folder")
    if path.is_dir():
        if (path / DOCUMENT).is_file() or any(path.glob(f"*/{DOCUMENT}")):
            return "results"
        for suffix, name in ((".parquet", "parquet"), (".csd", "csd"), (".csv", "csv")):
            if any(path.glob(f"*{suffix}")):
                return name
        raise FormatError(f"{path}: expected a result folder, or a folder of .parquet, .csd or .csv files")
    if path.suffix.lower() == ".csv":
        return _TABLES[kind_of(path)]
    if path.suffix.lower() not in SUFFIXES:
        raise FormatError(f"{path}: expected a file named {', '.join(sorted({*SUFFIXES, '.csv'}))}, or a folder; got {path.name}")
    return SUFFIXES[path.suffix.lower()]


def format_of_output(path: Path) -> str:
    """The format that an output's name means; raises `UsageError` where it means none, or several."""
    name = path.name.lower()
    if name.endswith(".openface.csv"):
        return "openface"
    if name.endswith(".fex.csv"):
        return "fex"
    if path.suffix.lower() in SUFFIXES and SUFFIXES[path.suffix.lower()] not in ("csd", "parquet"):
        return SUFFIXES[path.suffix.lower()]
    raise UsageError(f"{path}: the name does not say a format; say --to {', '.join(WRITABLE)}")


def _output(file_format: Format, name: str) -> str:
    """Where a format goes in a result folder; a name that is too long for a file with its suffix is cut."""
    suffix = file_format.output.removeprefix("{name}")
    while len(os.fsencode(name + suffix)) > LONGEST_NAME:
        name = name[:-1]
    return file_format.output.replace("{name}", name)


def write_formats(names: Sequence[str], session: Session, folder: Path) -> dict[str, FormatError]:
    """One session into its result folder, each format at its path; returns why a format cannot hold it (no face to write, ..)."""
    refused: dict[str, FormatError] = {}
    for name in names:
        file_format = FORMATS[name]
        assert file_format.write is not None
        try:
            file_format.write((session,), folder / _output(file_format, session.name))
        except FormatError as error:
            refused[name] = error
        except OutputError:
            raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
                raise  # the disk's fault, and everything else's too
            refused[name] = FormatError(f"{session.name}: {name}: cannot be written ({error.strerror or error})")
        except (UnicodeError, ValueError, OverflowError) as error:  # a library that cannot hold this clip
            refused[name] = FormatError(f"{session.name}: {name}: cannot be written ({error})")
    return refused
