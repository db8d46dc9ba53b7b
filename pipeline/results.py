"""The folder of one clip's results: written whole or not at all.

Everything goes to a hidden folder beside the target first, is flushed to disk, and takes the target's name in one rename.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from .attention.maps import write_maps
from .errors import EmofuseError, FormatError
from .formats.document import analysis_document, content_hash, dump, stream_document
from .formats.parquet import write_stream
from .formats.session import session_of
from .formats.subtitles import srt
from .formats.tables import attention_csv, emotions_csv
from .ports import Analysis, ClipInfo
from .timed import TimedSequence

DOCUMENT = "analysis.json"
MAPS = "attention_maps.npz"
REPORT = "report.html"
OVERLAY = "overlay.mp4"


def result_name(clip: Path, n: int = 1) -> str:
    """The n-th name for a clip's folder: NAME, NAME-2, ...; never hidden, never `..`, never too long for a file system."""
    stem = clip.stem.lstrip(".") or clip.name.lstrip(".") or "clip"
    while len(os.fsencode(stem)) > 200:
        stem = stem[:-1]
    return stem if n == 1 else f"{stem}-{n}"


class ResultFolders:
    """Names of result folders under one output folder: `NAME` for `NAME.ext`, and no two clips share one.

    A folder that already holds another clip's results, or somebody's own files, is left alone and the next name (NAME-2, ...) is taken;
    the same clip gets its own folder again, and what it held is replaced.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._taken: dict[Path, Path] = {}

    def folder_for(self, clip: Path) -> Path:
        clip = clip.resolve()
        n = 1
        while True:
            folder = self._out / result_name(clip, n)
            owner = self._taken.get(folder) or _owner(folder)
            if owner == clip or (owner is None and not folder.exists()):
                self._taken[folder] = clip
                return folder
            n += 1


def _owner(folder: Path) -> Path | None:
    try:
        document = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
        return Path(document["clip"]["path"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_analysis(
    analysis: Analysis, folder: Path, *, version: str, formats: Sequence[str] = (), report: bool = False, overlay: bool = False
) -> tuple[Path, ...]:
    """analysis.json, emotions.csv, attention.csv, attention_maps.npz, streams/*.parquet and transcript.srt; returns their paths.

    formats   names in `exports.formats.FORMATS`, written beside. One that cannot hold this clip raises `FormatError` at the end, when
              everything else is in its place.
    report    report.html too (`exports.report`), and the film it needs where browsers do not play the clip
    overlay   overlay.mp4 too, where the clip has pictures
    """
    refused: dict[str, FormatError] = {}

    def fill(target: Path) -> None:
        refused.update(fill_analysis(analysis, target, version=version, formats=formats, report=report, overlay=overlay, home=folder))

    files = whole_folder(folder, fill)
    if refused:
        raise FormatError("; ".join(str(error) for error in refused.values()))
    return files


def fill_analysis(
    analysis: Analysis,
    target: Path,
    *,
    version: str,
    formats: Sequence[str] = (),
    report: bool = False,
    overlay: bool = False,
    home: Path | None = None,
) -> Mapping[str, FormatError]:
    """The same files into a folder that is there and empty; whoever calls it sees to it that the folder appears whole.

    home   the folder's name in the end, for links in what is written; None: not known, and then links say the whole path alone
    Returns which formats cannot hold the clip, and why; analysis.json says so too (`formats`: name -> null, or the reason).
    """
    refused: Mapping[str, FormatError] = {}
    if formats:
        from .formats.registry import write_formats

        refused = write_formats(formats, replace(session_of(analysis), home="" if home is None else str(home.resolve())), target)
    document = analysis_document(analysis, version=version)
    if formats:
        document["formats"] = {name: str(refused[name]) if name in refused else None for name in formats}
    _write(target / DOCUMENT, [dump(document)])
    _write(target / "emotions.csv", [emotions_csv(analysis)])
    _write(target / "attention.csv", attention_csv(analysis))
    maps = {u.index: u.prediction.attention for u in analysis.utterances if u.prediction is not None and u.prediction.attention}
    if maps:
        write_maps(maps, target / MAPS)
    _write_streams(analysis.streams, target)
    if report:
        from .views.report import write_report  # jinja2 and PyAV, for those who want it

        write_report(analysis, target, home=home, version=version)
    if overlay and analysis.info.video is not None:
        from .views.overlay import write_overlay

        write_overlay(analysis, target / OVERLAY)
    return refused


def write_streams(info: ClipInfo, streams: Mapping[str, TimedSequence], folder: Path, *, version: str) -> tuple[Path, ...]:
    """The same layout with streams only; analysis.json names the clip and the streams' provenance."""

    def fill(target: Path) -> None:
        path = Path(info.path)
        clip = {"name": path.name, "path": str(path.resolve()), "sha256": content_hash(path), "container": info.container}
        document = {"schema_version": 1, "emofuse": version, "clip": clip}
        _write(target / DOCUMENT, [dump({**document, "streams": {name: stream_document(s) for name, s in sorted(streams.items())}})])
        _write_streams(streams, target)

    return whole_folder(folder, fill)


def _write_streams(streams: Mapping[str, TimedSequence], target: Path) -> None:
    (target / "streams").mkdir(exist_ok=True)
    for name, stream in streams.items():
        write_stream(stream, target / "streams" / f"{name}.parquet")
    if "words" in streams:
        _write(target / "transcript.srt", [srt(streams["words"])])


def _write(path: Path, texts: Iterable[str]) -> None:
    # A name that is no valid text (lone surrogates) becomes an escape, which JSON reads back as it was.
    with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(texts)


def whole_folder(folder: Path, fill: Callable[[Path], None], beside: Path | None = None) -> tuple[Path, ...]:
    """Fill a hidden folder (in `beside`, on the same file system; by default next to the target), flush it, give it the target's name.

    Returns the files, in order of name; raises `EmofuseError` where the place cannot be written.
    """
    hidden: Path | None = None
    beside = beside or folder.parent
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        hidden = Path(tempfile.mkdtemp(prefix=".emofuse-", dir=beside))
        hidden.chmod(0o755)
        fill(hidden)
        files = sorted(path for path in hidden.rglob("*") if path.is_file())
        for path in files:
            _flush(path)
        if folder.exists():
            old = Path(tempfile.mkdtemp(prefix=".emofuse-old-", dir=beside))
            os.rename(folder, old / "old")
            os.rename(hidden, folder)
            shutil.rmtree(old)
        else:
            os.rename(hidden, folder)
        _flush(folder.parent)
        return tuple(folder / path.relative_to(hidden) for path in files)
    except OSError as error:
        raise EmofuseError(f"{folder}: expected a folder that can be written, got {error.strerror or error}") from None
    finally:
        if hidden is not None and hidden.exists():
            shutil.rmtree(hidden, ignore_errors=True)


def _flush(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
