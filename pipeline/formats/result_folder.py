"""Result folders of `emofuse analyze` and `emofuse extract`, read back as sessions."""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import FormatError
from .labels import LABELS_FILE, Labels
from .parquet import read_stream
from .session import UTTERANCES, Session, session_from

DOCUMENT = "analysis.json"


def read_folder(path: Path) -> tuple[Session, ...]:
    """One result folder, or every one in a folder of them, in order of name; a labels.csv beside them gives labelled utterances."""
    if (path / DOCUMENT).is_file():
        return (read_results(path),)
    folders = sorted(found.parent for found in path.glob(f"*/{DOCUMENT}"))
    if not folders:
        raise FormatError(f"{path}: expected a result folder of emofuse, or a folder of them; no {DOCUMENT} was found")
    labels = Labels.read(path / LABELS_FILE) if (path / LABELS_FILE).is_file() else Labels()
    return tuple(labels.onto(read_results(folder)) for folder in folders)


def read_results(folder: Path, name: str = "") -> Session:
    """A result folder that `emofuse analyze` or `emofuse extract` wrote; raises `FormatError` naming what is missing or broken."""
    path = folder / "analysis.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict):
            raise ValueError("not an object")
        streams = {file.stem: read_stream(file) for file in sorted((folder / "streams").glob("*.parquet")) if file.stem != UTTERANCES}
        return session_from(document, streams, name or folder.name)
    except OSError as error:
        raise FormatError(f"{path}: expected a result folder of emofuse, but it cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(f"{path}: expected the analysis.json that emofuse writes, got something else ({error!r})"[:400]) from None
