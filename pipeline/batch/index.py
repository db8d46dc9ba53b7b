"""index.html of the batch: the manifest to look at, with links to the clips' own pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from ..views.report.index import Entry, index_html
from .store import Store
from .task import Record


def write_index(store: Store, records: Sequence[Record]) -> None:
    """In order of path; what lies in a finished clip's folder is looked up, so a page that was left out is not linked."""
    entries = [
        Entry(
            name=_text(PurePosixPath(record.path).name),
            path=_text(record.path),
            folder=record.output,
            state=record.state,
            reason=record.reason,
            message=None if record.message is None else _text(record.message),
            length=record.length,
            utterances=record.utterances,
            emotion=record.emotion,
            probability=record.probability,
            files=frozenset(store.names(record.output)) if record.state == "done" else frozenset(),
        )
        for record in sorted(records, key=lambda record: record.path)
    ]
    version = next((record.emofuse for record in records if record.emofuse), "")
    store.write("index.html", index_html(entries, version=version or "").encode("utf-8"))


def _text(value: str) -> str:
    return value.encode("utf-8", "backslashreplace").decode("utf-8")
