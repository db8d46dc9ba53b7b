"""Writing a clip's results: the data files and formats of pipeline/formats, and the report and overlay of pipeline/views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from emofuse import __version__
from emofuse.pipeline.errors import FormatError
from emofuse.pipeline.formats.result_folder import fill_result
from emofuse.pipeline.formats.session import session_of
from emofuse.pipeline.results import Analysis
from emofuse.pipeline.whole_folder import whole_folder

REPORT = "report.html"
OVERLAY = "overlay.mp4"


def write_analysis(
    analysis: Analysis,
    folder: Path,
    *,
    version: str = __version__,
    formats: Sequence[str] = (),
    report: bool = False,
    overlay: bool = False,
) -> tuple[Path, ...]:
    """A whole result folder, as docs/results.md describes it; returns the paths of its files.

    formats   names in `pipeline.formats.registry.FORMATS`, written beside. One that cannot hold this clip raises `FormatError` at the
              end, when everything else is in its place.
    report    report.html too, and the film it needs where browsers do not play the clip
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
    version: str = __version__,
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
        from emofuse.pipeline.formats.registry import write_formats

        refused = write_formats(formats, replace(session_of(analysis), home="" if home is None else str(home.resolve())), target)
    fill_result(analysis, target, version=version, formats={name: str(refused[name]) if name in refused else None for name in formats})
    if report:
        from emofuse.pipeline.views.report import write_report  # jinja2 and PyAV, for those who want it

        write_report(analysis, target, home=home, version=version)
    if overlay and analysis.info.video is not None:
        from emofuse.pipeline.views.overlay import write_overlay

        write_overlay(analysis, target / OVERLAY)
    return refused
