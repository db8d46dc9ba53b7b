"""ELAN's EAF (https://www.mpi.nl/tools/elan/EAF_Annotation_Format_3.0_and_ELAN.pdf), through pympi: tiers with times in whole milliseconds.

The clip is linked by its address and by its path from the EAF file, so that ELAN finds it where the two are moved together. On reading,
annotations without times of their own (symbolic subdivisions and associations) take those of what they refer to; time slots that have
no value are spread evenly between their neighbours, as ELAN shows them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree.ElementTree import ParseError
from xml.parsers.expat import ExpatError, ParserCreate

import numpy as np

from ..errors import FormatError
from ..timed import Provenance
from .optional import require
from .session import UTTERANCES, Session
from .tiers import Row, Tier, one_line, session_of_tiers, tiers_of

MOST_BYTES = 256 * 2**20
_KINDS = {".mp4": "video/mp4", ".mpg": "video/mpeg", ".mov": "video/quicktime", ".mkv": "video/x-matroska", ".webm": "video/webm"}
_KINDS |= {".wav": "audio/x-wav", ".mp3": "audio/mpeg", ".flac": "audio/flac", ".ogg": "audio/ogg", ".m4a": "audio/mp4"}


def write_eaf(sessions: Sequence[Session], path: Path) -> None:
    """One session; times are rounded to milliseconds, and nothing is shorter than one."""
    elan = require("pympi.Elan", "pympi-ling", "ELAN")
    (session,) = sessions
    eaf = elan.Eaf(author="emofuse")
    eaf.remove_tier("default")
    if session.media:
        media = Path(os.path.abspath(session.media))
        relative = Path(os.path.relpath(media, session.home)).as_posix() if session.home else None
        if relative is not None and not relative.startswith("../"):
            relative = f"./{relative}"
        eaf.add_linked_file(media.as_uri(), relative, _kind(media))
    # ELAN wants a tier, even of a clip in which nothing is annotated.
    for tier in tiers_of(session) or (Tier(UTTERANCES, ()),):
        eaf.add_tier(tier.name)
        free = 0
        for start, end, text in tier.rows:
            # Rounding may make neighbours touch in the wrong order, or leave nothing of a short one.
            first = max(free, round(start * 1000))
            free = max(first + 1, round(end * 1000))
            eaf.add_annotation(tier.name, first, free, text)
    path.write_bytes(elan.to_string(eaf, encoding="utf-8"))


def read_eaf(path: Path) -> tuple[Session, ...]:
    """One session: words and utterances where the tiers are named so, the others as tiers; `media` is the first linked file that is
    here."""
    eaf = _open(path)
    tiers = _tiers(eaf, path)
    media = next((str(found) for entry in eaf.media_descriptors if (found := _media(entry, path)) is not None), "")
    return (session_of_tiers(tiers, path.stem, Provenance("ELAN", "1", options={"file": path.name}), media=media),)


def read_tiers(path: Path) -> list[Tier]:
    """All tiers of an EAF file, empty annotations left out; raises `FormatError` in one line."""
    return _tiers(_open(path), path)


def refuse_document_type(path: Path) -> None:
    """A document type can define text that grows without bound, or that lies elsewhere; ELAN writes none. Whatever the file's encoding,
    the parser itself says whether there is one; it stops there, and at the first element."""
    parser = ParserCreate()

    def refuse(*declaration: object) -> None:
        raise FormatError(f"{path}: refused: an EAF file has no document type declaration")

    def stop(*element: object) -> None:
        raise StopIteration

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = stop
    with path.open("rb") as file, suppress(StopIteration, ExpatError):
        parser.ParseFile(file)


def _open(path: Path) -> Any:
    elan = require("pympi.Elan", "pympi-ling", "ELAN")
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise FormatError(f"{path}: expected an EAF file of at most {MOST_BYTES} bytes, got {size}")
        refuse_document_type(path)
        return elan.Eaf(str(path), suppress_version_warning=True)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ParseError, KeyError, ValueError, IndexError, AttributeError, TypeError, RecursionError) as error:
        raise FormatError(_refusal(path, repr(error))) from None
    except Exception as error:
        # pympi raises a bare Exception where the XML cannot be parsed.
        if type(error) is not Exception:
            raise
        raise FormatError(_refusal(path, str(error))) from None


def _refusal(path: Path, why: str) -> str:
    return f"{path}: expected an ELAN annotation file (EAF), but it cannot be read as one ({one_line(why)[:200]})"


def _tiers(eaf: Any, path: Path) -> list[Tier]:
    try:
        spans: dict[str, tuple[float, float]] = {}
        for aligned, _, _, _ in eaf.tiers.values():
            spans |= _spans(aligned, eaf.timeslots)
        # Annotations may refer to annotations that refer to others; each pass reaches one level further.
        waiting = {key: entry[0] for _, referring, _, _ in eaf.tiers.values() for key, entry in referring.items()}
        while reached := {key: spans[target] for key, target in waiting.items() if target in spans}:
            spans |= reached
            waiting = {key: target for key, target in waiting.items() if key not in reached}
        tiers = []
        for name, (aligned, referring, _, _) in eaf.tiers.items():
            rows: list[Row] = [(*spans[key], entry[2]) for key, entry in aligned.items()]
            rows += [(*spans[key], entry[1]) for key, entry in referring.items() if key in spans]
            tiers.append(Tier(name, tuple(sorted((row for row in rows if row[2].strip()), key=lambda row: row[:2]))))
        return tiers
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{path}: an annotation refers to a time or to an annotation that is not in the file ({error!r})") from None


def _spans(aligned: Any, slots: Any) -> dict[str, tuple[float, float]]:
    """Seconds of each annotation of a tier; slots without a value lie evenly between those of the chain that have one."""
    chains: list[list[str]] = []
    for first, last, _, _ in aligned.values():
        if chains and chains[-1][-1] == first:
            chains[-1].append(last)
        else:
            chains.append([first, last])
    seconds: dict[str, float] = {}
    for chain in chains:
        known = [(k, slots[slot]) for k, slot in enumerate(chain) if slots[slot] is not None]
        if not known:
            raise ValueError(f"no time for {chain[0]}")
        at = np.interp(np.arange(len(chain)), [k for k, _ in known], [v for _, v in known]) / 1000
        seconds |= dict(zip(chain, at.tolist(), strict=True))
    return {key: (seconds[a], max(seconds[a], seconds[b])) for key, (a, b, _, _) in aligned.items()}


def _kind(media: Path) -> str:
    return _KINDS.get(media.suffix.lower(), "unknown")


def _media(entry: Any, path: Path) -> Path | None:
    """A linked file where it lies by its path from here, or by its address; never anything but a local file."""
    relative, address = entry.get("RELATIVE_MEDIA_URL"), urlsplit(entry.get("MEDIA_URL") or "")
    places = [path.parent / relative] if relative else []
    if address.scheme == "file":
        places.append(Path(unquote(address.path)))
    return next((place.resolve() for place in places if place.is_file()), None)
