"""ELAN's EAF (https://www.mpi.nl/tools/elan/EAF_Annotation_Format_3.0_and_ELAN.pdf): tiers with times in
whole milliseconds, written through pympi.

The clip is linked by its address and by its path from the EAF file, so that ELAN finds it where the two are moved together. On reading,
annotations without times of their own take those of what they refer to (symbolic associations) or an even share of them (symbolic
subdivisions); time slots that have no value are spread evenly between their neighbours, as ELAN shows them. TIME_ORIGIN, the place in
the media file at which annotation time is 0, is added to every time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np

from ..errors import FormatError
from ..timed import Provenance
from .optional import require
from .session import UTTERANCES, Session
from .text_file import read_bytes
from .tiers import Tier, one_line, session_of_tiers, tiers_of

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
    root = _parsed(path)
    media = next((str(file) for entry in root.iter("MEDIA_DESCRIPTOR") if (file := _media(entry.attrib, path)) is not None), "")
    return (session_of_tiers(_tiers(root, path), path.stem, Provenance("ELAN", "1", options={"file": path.name}), media=media),)


def read_tiers(path: Path) -> list[Tier]:
    """All tiers of an EAF file, empty annotations left out, in seconds of the first linked media file; raises `FormatError` in one line."""
    return _tiers(_parsed(path), path)


class _DocumentType(Exception):
    """The file declares a document type."""


def _parsed(path: Path) -> Element:
    """The file's tree. A document type can define text that grows without bound, in any encoding; ELAN writes none."""
    data = read_bytes(path, FormatError, MOST_BYTES)
    builder, parser = TreeBuilder(), expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise _DocumentType

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = lambda name, attributes: builder.start(name, attributes)
    parser.EndElementHandler = lambda name: builder.end(name)
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(data, True)
        root = builder.close()
    except _DocumentType:
        raise FormatError(f"{path}: refused: an EAF file has no document type declaration") from None
    except (expat.ExpatError, ValueError, AssertionError, LookupError) as error:
        raise FormatError(_refusal(path, str(error))) from None
    if root.tag != "ANNOTATION_DOCUMENT":
        raise FormatError(_refusal(path, f"its root is {root.tag}"))
    return root


def _refusal(path: Path, why: str) -> str:
    return f"{path}: expected an ELAN annotation file (EAF), but it cannot be read as one ({one_line(why)[:200]})"


@dataclass(frozen=True)
class _Annotation:
    """An annotation with its two time slots, or the annotation that it refers to and the one before it there."""

    text: str
    slots: tuple[str, str] | None
    refers: str = ""
    after: str = ""


def _annotations(tier: Element) -> dict[str, _Annotation]:
    annotations: dict[str, _Annotation] = {}
    for entry in tier.iter("ALIGNABLE_ANNOTATION"):
        slots = entry.attrib["TIME_SLOT_REF1"], entry.attrib["TIME_SLOT_REF2"]
        annotations[entry.attrib["ANNOTATION_ID"]] = _Annotation(entry.findtext("ANNOTATION_VALUE") or "", slots)
    for entry in tier.iter("REF_ANNOTATION"):
        refers, after = entry.attrib["ANNOTATION_REF"], entry.attrib.get("PREVIOUS_ANNOTATION", "")
        annotations[entry.attrib["ANNOTATION_ID"]] = _Annotation(entry.findtext("ANNOTATION_VALUE") or "", None, refers, after)
    return annotations


def _tiers(root: Element, path: Path) -> list[Tier]:
    try:
        relations = {e.attrib["LINGUISTIC_TYPE_ID"]: e.attrib.get("CONSTRAINTS", "") for e in root.iter("LINGUISTIC_TYPE")}
        slots = {e.attrib["TIME_SLOT_ID"]: _milliseconds(e.attrib.get("TIME_VALUE"), path) for e in root.iter("TIME_SLOT")}
        # Annotations count from where the first media file was when ELAN's clock stood at 0.
        origin = next((_milliseconds(e.attrib.get("TIME_ORIGIN"), path) for e in root.iter("MEDIA_DESCRIPTOR")), None) or 0.0
        tiers = [(tier, _annotations(tier)) for tier in root.iter("TIER")]
        spans: dict[str, tuple[float, float]] = {}
        for _, annotations in tiers:
            spans |= _spans({key: a.slots for key, a in annotations.items() if a.slots is not None}, slots, origin / 1000)
        divided = {
            tier.attrib["TIER_ID"]: relations.get(tier.attrib.get("LINGUISTIC_TYPE_REF", "")) == "Symbolic_Subdivision" for tier, _ in tiers
        }
        shared = _referring(tiers, spans, divided)
        return [_tier(tier, annotations, spans, shared, relations) for tier, annotations in tiers]
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{path}: an annotation refers to a time or to an annotation that is not in the file ({error!r})") from None


def _tier(
    tier: Element,
    annotations: Mapping[str, _Annotation],
    spans: Mapping[str, tuple[float, float]],
    shared: Mapping[str, tuple[float, float]],
    relations: Mapping[str, str],
) -> Tier:
    kept = [(spans[key], a.text, shared.get(key, spans[key])) for key, a in annotations.items() if key in spans and a.text.strip()]
    kept.sort(key=lambda entry: entry[0])
    kind = tier.attrib.get("LINGUISTIC_TYPE_REF", "")
    return Tier(
        tier.attrib["TIER_ID"],
        tuple((*span, text) for span, text, _ in kept),
        tier.attrib.get("PARENT_REF", ""),
        relations.get(kind, ""),
        kind,
        tier.attrib.get("PARTICIPANT", ""),
        tuple(whole for _, _, whole in kept) if any(whole != span for span, _, whole in kept) else (),
    )


def _referring(
    tiers: Sequence[tuple[Element, Mapping[str, _Annotation]]], spans: dict[str, tuple[float, float]], divided: Mapping[str, bool]
) -> dict[str, tuple[float, float]]:
    """Adds to `spans` those of annotations that refer to others, and returns the whole span of each that has a part of it only.

    Annotations may refer to annotations that refer to others; each pass reaches one level further.
    """
    shared: dict[str, tuple[float, float]] = {}
    moved = True
    while moved:
        moved = False
        for tier, by_key in tiers:
            name = tier.attrib["TIER_ID"]
            reached = {key: a for key, a in by_key.items() if a.slots is None and key not in spans and a.refers in spans}
            moved = moved or bool(reached)
            siblings: dict[str, list[str]] = {}
            for key in _chained(reached):
                siblings.setdefault(reached[key].refers, []).append(key)
            for target, keys in siblings.items():
                if not divided[name] or len(keys) == 1:
                    spans |= dict.fromkeys(keys, spans[target])
                    shared |= {key: shared[target] for key in keys if target in shared}
                    continue
                start, end = spans[target]
                step = (end - start) / len(keys)
                spans |= {key: (start + k * step, start + (k + 1) * step) for k, key in enumerate(keys)}
                shared |= dict.fromkeys(keys, (start, end))
    return shared


def _chained(annotations: Mapping[str, _Annotation]) -> list[str]:
    """The keys in the order that PREVIOUS_ANNOTATION says, which need not be the file's."""
    followers: dict[str, list[str]] = {}
    for key, annotation in annotations.items():
        followers.setdefault(annotation.after if annotation.after in annotations else "", []).append(key)
    ordered: list[str] = []
    waiting = list(reversed(followers.get("", [])))
    while waiting:
        key = waiting.pop()
        ordered.append(key)
        waiting += reversed(followers.get(key, []))
    return ordered + [key for key in annotations if key not in set(ordered)]


def _milliseconds(text: str | None, path: Path) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except (ValueError, OverflowError):
        value = np.inf
    if not np.isfinite(value):
        raise FormatError(f"{path}: expected milliseconds, got {text[:40]!r}")
    return value


def _spans(aligned: Mapping[str, tuple[str, str]], slots: Mapping[str, float | None], origin: float) -> dict[str, tuple[float, float]]:
    """Seconds of each annotation of a tier; slots without a value lie evenly between those of the chain that have one."""
    chains: list[list[str]] = []
    for first, last in aligned.values():
        if chains and chains[-1][-1] == first:
            chains[-1].append(last)
        else:
            chains.append([first, last])
    seconds: dict[str, float] = {}
    for chain in chains:
        known = [(k, value) for k, slot in enumerate(chain) if (value := slots[slot]) is not None]
        if not known:
            raise ValueError(f"no time for {chain[0]}")
        at = np.interp(np.arange(len(chain)), [k for k, _ in known], [v for _, v in known]) / 1000 + origin
        seconds |= dict(zip(chain, at.tolist(), strict=True))
    return {key: (seconds[a], max(seconds[a], seconds[b])) for key, (a, b) in aligned.items()}


def _kind(media: Path) -> str:
    return _KINDS.get(media.suffix.lower(), "unknown")


def _media(entry: Mapping[str, str], path: Path) -> Path | None:
    """A linked file where it lies by its path from here, or by its address; never anything but a local file."""
    relative, address = entry.get("RELATIVE_MEDIA_URL"), urlsplit(entry.get("MEDIA_URL") or "")
    candidates = [path.parent / relative] if relative else []
    if address.scheme == "file":
        candidates.append(Path(unquote(address.path)))
    return next((candidate.resolve() for candidate in candidates if candidate.is_file()), None)
