"""index.html of a batch: every clip with its answer or the reason why there is none, to sort and to search; links to the clips' pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from emofuse import __version__

from ...palette import palette
from ...streams import EMOTIONS
from . import address
from .page import asset, page


@dataclass(frozen=True)
class Entry:
    """A row: `folder` of the results, relative to the page; `files` that lie in it; state "done", "failed", "waiting" or "running"."""

    name: str
    path: str
    folder: str
    state: str
    reason: str | None = None
    message: str | None = None
    length: float | None = None
    utterances: int | None = None
    emotion: str | None = None
    probability: float | None = None
    files: frozenset[str] = frozenset()


def index_html(entries: Sequence[Entry], *, version: str = __version__, title: str = "Clips") -> str:
    """The page; entries come in the order in which they are shown at first."""
    rows = []
    for entry in entries:
        row = asdict(entry)
        del row["files"], row["folder"]
        best = next((name for name in ("report.html", "emotions.csv", "analysis.json") if name in entry.files), None)
        row["link"] = None if best is None else f"{address(entry.folder)}/{best}"
        row["picture"] = f"{address(entry.folder)}/thumbnail.jpg" if "thumbnail.jpg" in entry.files else None
        rows.append(row)
    data = {"rows": rows, "emotions": list(EMOTIONS), "palette": asdict(palette()), "version": version}
    return page(
        "index.html.j2", data, scripts=(asset("shared.js"), asset("index.js")), style=asset("page.css") + asset("index.css"), title=title
    )
