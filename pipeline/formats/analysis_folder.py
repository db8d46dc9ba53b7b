"""A result folder of `emofuse analyze`, read back as the `Analysis` it was written from."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..attention.maps import read_maps
from ..attention.rows import AttentionRows
from ..codec import decode
from ..errors import FormatError
from ..ports import Analysis, AnalyzedUtterance, Attention, AttentionRow, AudioInfo, ClipInfo, FaceChoice, Prediction, Quality, VideoInfo
from ..timed import Provenance, Span, TimedSequence
from .parquet import read_stream


def read_analysis(folder: Path) -> Analysis:
    """The same analysis, its attention maps as small as the folder holds them; numbers of the tables as they are rounded there.

    Raises `FormatError` naming the folder where it holds something else, or streams alone (`emofuse extract`).
    """
    try:
        document = json.loads((folder / "analysis.json").read_text(encoding="utf-8"))
        if "utterances" not in document:
            raise FormatError(f"{folder}: expected results of `emofuse analyze`; these are streams alone, no model was asked")
        streams = {path.stem: read_stream(path) for path in sorted((folder / "streams").glob("*.parquet"))}
        maps = read_maps(folder / "attention_maps.npz") if (folder / "attention_maps.npz").is_file() else {}
        clip = document["clip"]
        return Analysis(
            info=_info(clip),
            streams=streams,
            model=Provenance.from_json(document["model"]),
            utterances=tuple(_utterance(u, maps.get(u["index"], ())) for u in document["utterances"]),
            summary=_prediction(document["summary"], ()),
            attention=AttentionRows.of(_rows(folder / "attention.csv", streams), streams),
            reasons=document["reasons"],
            facts={
                **{name: clip[name] for name in ("length", "broken_packets", "ends_early")},
                "cut_by": document["cut_by"],
            },
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
        audio=None if audio is None else AudioInfo(**audio),
    )


def _utterance(found: Mapping[str, Any], maps: tuple[Attention, ...]) -> AnalyzedUtterance:
    face = found.get("face")
    return AnalyzedUtterance(
        index=found["index"],
        span=Span(found["start"], found["end"]),
        text=found["text"],
        prediction=_prediction(found, maps),
        quality=Quality(tuple(found["flags"]), found["reasons"], found["coverage"]),
        face=None if face is None else decode(FaceChoice, face),
    )


def _prediction(found: Mapping[str, Any], maps: tuple[Attention, ...]) -> Prediction | None:
    if found["probabilities"] is None:
        return None
    return Prediction(found["probabilities"], found["sentiment"], found["confidence"], maps)


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
            )


def _number(text: str) -> float | None:
    return float(text) if text else None
