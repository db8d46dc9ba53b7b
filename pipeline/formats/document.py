"""analysis.json: everything about one clip that is not a long table, in one versioned document."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from emofuse import __version__

from ..hashing import sha256_of
from ..results import Analysis, Prediction
from ..summary import summary
from ..timed import TimedSequence
from ..turns import SpeakerFacts

SCHEMA_VERSION = 1
DOCUMENT = "analysis.json"


def analysis_document(analysis: Analysis, *, version: str = __version__) -> dict[str, Any]:
    """The document as plain JSON values. `version` is emofuse's. Numbers are not rounded; what is absent is null with a reason beside."""
    return {
        "schema_version": SCHEMA_VERSION,
        "emofuse": version,
        "clip": clip_document(analysis),
        "streams": {name: stream_document(stream) for name, stream in sorted(analysis.streams.items())},
        "model": analysis.model.to_json(),
        "cut_by": analysis.facts.cut_by,
        "baseline": [asdict(facts) for facts in analysis.facts.baseline],
        "speakers": [_speaker(facts, analysis) for facts in analysis.facts.speakers],
        "utterances": [
            {
                "index": u.index,
                "start": u.span.start,
                "end": u.span.end,
                "text": u.text,
                **_prediction(u.prediction),
                "flags": list(u.quality.flags),
                "reasons": dict(u.quality.reasons),
                "coverage": dict(u.quality.coverage),
                "influence": asdict(u.influence) if u.influence is not None else None,
                "face": asdict(u.face) | {"faces": list(u.face.faces)} if u.face is not None else None,
                "speaker": u.speaker or None,
                "speaker_confidence": u.speaker_confidence,
            }
            for u in analysis.utterances
        ],
        "summary": _prediction(analysis.summary),
        "reasons": dict(analysis.reasons),
    }


def _speaker(facts: SpeakerFacts, analysis: Analysis) -> dict[str, Any]:
    """What is known of one speaker, and the answer over their utterances."""
    own = [u for u in analysis.utterances if u.speaker == facts.name]
    return {**asdict(facts), "faces": list(facts.faces), "utterances": len(own), "summary": _prediction(summary(own))}


def clip_document(analysis: Analysis) -> dict[str, Any]:
    """What is known of the clip itself; `length` is seconds to its last frame, sample or word."""
    info = asdict(analysis.info)
    given = info.pop("path")
    path = Path(given)
    return {
        "name": path.name,
        "path": given if "://" in given else str(path.resolve()),
        "sha256": analysis.facts.sha256 or (sha256_of(path) if path.is_file() else None),
        **info,
        "length": analysis.facts.length,
        "broken_packets": analysis.facts.broken_packets,
        "ends_early": analysis.facts.ends_early,
        "remarks": list(analysis.remarks),
        "decoded": {medium: asdict(end) for medium, end in sorted(analysis.facts.decoded.items())},
    }


def stream_document(stream: TimedSequence) -> dict[str, Any]:
    return {
        "rows": len(stream),
        "columns": list(stream.columns),
        "start": stream.span.start if len(stream) else None,
        "end": stream.span.end if len(stream) else None,
        "reason": stream.reason or None,
        "provenance": stream.provenance.to_json(),
    }


def _prediction(prediction: Prediction | None) -> dict[str, Any]:
    if prediction is None:
        return {"emotion": None, "probabilities": None, "sentiment": None, "confidence": None}
    return {
        "emotion": max(prediction.probabilities, key=lambda e: prediction.probabilities[e]),
        "probabilities": dict(prediction.probabilities),
        "sentiment": prediction.sentiment,
        "confidence": prediction.confidence,
        **({"unlike": dict(prediction.unlike)} if prediction.unlike else {}),
        **({"gates": {name: list(values) for name, values in prediction.gates.items()}} if prediction.gates else {}),
    }


def dump(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
