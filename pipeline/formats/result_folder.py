"""The folder of one clip's results: where it lies, what is written into it, and how it is read back.

    OUT/NAME/analysis.json, emotions.csv, attention.csv, attention_maps.npz, transcript.srt, streams/STREAM.parquet

A folder of `emofuse extract` has analysis.json, streams/ and transcript.srt alone. Everything is written whole or not at all.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from emofuse import __version__

from ..attention.maps import read_maps, write_maps
from ..attention_rows import AttentionRow, AttentionRows
from ..clip import MediumEnd
from ..codec import decode
from ..errors import FormatError
from ..hashing import sha256_of
from ..media import AudioInfo, ClipInfo, VideoInfo
from ..results import Analysis, AnalyzedUtterance, Attention, BaselineFacts, ClipFacts, FaceChoice, Prediction, Quality, UtteranceInfluence
from ..timed import Provenance, Span, TimedSequence
from ..turns import SpeakerFacts
from ..whole_folder import whole_folder
from .document import DOCUMENT, analysis_document, dump, stream_document
from .labels import LABELS_FILE, Labels
from .parquet import read_stream, write_stream
from .session import UTTERANCES, Session, session_from
from .subtitles import srt
from .tables import attention_csv, emotions_csv

MAPS = "attention_maps.npz"
FACTS = ("length", "broken_packets", "ends_early", "sha256")


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


def fill_result(analysis: Analysis, target: Path, *, version: str = __version__, formats: Mapping[str, str | None] | None = None) -> None:
    """analysis.json, emotions.csv, attention.csv, attention_maps.npz, streams/*.parquet and transcript.srt, into a folder that is there.

    formats   what became of further formats: name -> None, or why it cannot hold the clip; analysis.json says so too
    """
    document = analysis_document(analysis, version=version)
    if formats:
        document["formats"] = dict(formats)
    _write(target / DOCUMENT, [dump(document)])
    _write(target / "emotions.csv", [emotions_csv(analysis)])
    _write(target / "attention.csv", attention_csv(analysis))
    maps = {u.index: u.prediction.attention for u in analysis.utterances if u.prediction is not None and u.prediction.attention}
    if maps:
        write_maps(maps, target / MAPS)
    _write_streams(analysis.streams, target)


def write_streams(info: ClipInfo, streams: Mapping[str, TimedSequence], folder: Path, *, version: str = __version__) -> tuple[Path, ...]:
    """The same layout with streams only; analysis.json names the clip and the streams' provenance."""

    def fill(target: Path) -> None:
        path = Path(info.path)
        clip = {"name": path.name, "path": str(path.resolve()), "sha256": sha256_of(path), "container": info.container}
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


def read_analysis(folder: Path) -> Analysis:
    """The same analysis, its attention maps as small as the folder holds them; numbers of the tables as they are rounded there.

    Raises `FormatError` naming the folder where it holds something else, or streams alone (`emofuse extract`).
    """
    try:
        document = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
        if "utterances" not in document:
            raise FormatError(f"{folder}: expected results of `emofuse analyze`; these are streams alone, no model was asked")
        streams = {path.stem: read_stream(path) for path in sorted((folder / "streams").glob("*.parquet"))}
        maps = read_maps(folder / MAPS) if (folder / MAPS).is_file() else {}
        clip = document["clip"]
        return Analysis(
            info=_info(clip),
            streams=streams,
            model=Provenance.from_json(document["model"]),
            utterances=tuple(_utterance(u, maps.get(u["index"], ())) for u in document["utterances"]),
            summary=_prediction(document["summary"], ()),
            attention=AttentionRows.of(_rows(folder / "attention.csv", streams), streams),
            reasons=document["reasons"],
            facts=ClipFacts(
                cut_by=document["cut_by"],
                **{name: clip[name] for name in FACTS},
                decoded={medium: decode(MediumEnd, end) for medium, end in clip.get("decoded", {}).items()},
                baseline=tuple(decode(BaselineFacts, entry) for entry in document.get("baseline", ())),
                speakers=tuple(_speaker(entry) for entry in document.get("speakers", ())),
            ),
        )
    except OSError as error:
        raise FormatError(f"{folder}: expected a result folder of emofuse, but it cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"{folder}: expected a result folder of emofuse, got something else ({error!r})"[:400]) from None


def _info(clip: Mapping[str, Any]) -> ClipInfo:
    video, audio = clip["video"], clip["audio"]
    return ClipInfo(
        path=clip["path"],
        container=clip["container"],
        duration=clip["duration"],
        video=None if video is None else VideoInfo(**video),
        audio=None if audio is None else AudioInfo(**{**audio, "tracks": tuple(audio.get("tracks", ()))}),
    )


def _utterance(entry: Mapping[str, Any], maps: tuple[Attention, ...]) -> AnalyzedUtterance:
    face, influence = entry.get("face"), entry.get("influence")
    return AnalyzedUtterance(
        index=entry["index"],
        span=Span(entry["start"], entry["end"]),
        text=entry["text"],
        prediction=_prediction(entry, maps),
        quality=Quality(tuple(entry["flags"]), entry["reasons"], entry["coverage"]),
        face=None if face is None else decode(FaceChoice, face),
        influence=None if influence is None else decode(UtteranceInfluence, influence),
        speaker=entry.get("speaker") or "",
        speaker_confidence=entry.get("speaker_confidence"),
    )


def _speaker(entry: Mapping[str, Any]) -> SpeakerFacts:
    """What is known of a speaker; the answer over their utterances is computed again when it is written."""
    return decode(SpeakerFacts, {field.name: entry[field.name] for field in fields(SpeakerFacts)})


def _prediction(entry: Mapping[str, Any], maps: tuple[Attention, ...]) -> Prediction | None:
    if entry["probabilities"] is None:
        return None
    gates = {name: tuple(map(float, values)) for name, values in entry.get("gates", {}).items()}
    return Prediction(entry["probabilities"], entry["sentiment"], entry["confidence"], maps, gates, entry.get("unlike", {}))


def _rows(path: Path, streams: Mapping[str, TimedSequence]) -> Iterator[AttentionRow]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        shares = [c for c in reader.fieldnames or () if c.startswith(("from_", "hop_"))]
        for row in reader:
            stream, index = streams[row["stream"]], int(row["index"])
            yield AttentionRow(
                utterance=int(row["utterance"]) if row["utterance"] else None,
                stream=row["stream"],
                index=index,
                start=float(stream.start[index]),
                end=float(stream.end[index]),
                label=row["label"],
                shares={c.removeprefix("from_"): _number(row[c]) for c in shares},
                overall=_number(row["overall"]),
                influence=_number(row.get("influence") or ""),
            )


def _number(text: str) -> float | None:
    return float(text) if text else None


def read_folder(path: Path) -> tuple[Session, ...]:
    """One result folder, or every one in a folder of them, in order of name; a labels.csv beside them gives labelled utterances."""
    if (path / DOCUMENT).is_file():
        return (read_results(path),)
    folders = sorted(document.parent for document in path.glob(f"*/{DOCUMENT}"))
    if not folders:
        raise FormatError(f"{path}: expected a result folder of emofuse, or a folder of them; no {DOCUMENT} was found")
    labels = Labels.read(path / LABELS_FILE) if (path / LABELS_FILE).is_file() else Labels()
    return tuple(labels.onto(read_results(folder)) for folder in folders)


def read_results(folder: Path, name: str = "") -> Session:
    """A result folder that `emofuse analyze` or `emofuse extract` wrote; raises `FormatError` naming what is missing or broken."""
    path = folder / DOCUMENT
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
