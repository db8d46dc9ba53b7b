"""What a result depends on, as one hash: content, configuration, weights, version. Equal keys, equal bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..extraction import needs_of
from ..ports import Extractor


def key_of(facts: Any) -> str:
    """Hex SHA-256 of JSON values, whatever the order of their keys."""
    text = json.dumps(facts, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def stream_keys(
    clip_sha256: str, extractors: Sequence[Extractor], requests: Mapping[str, Any], limits: Any, version: str
) -> dict[str, str]:
    """Stream -> key: the clip's bytes, who makes it with which weights and options, what was asked, and the streams it is made from."""
    by_stream = {extractor.stream: extractor for extractor in extractors}
    keys: dict[str, str] = {}

    def key(stream: str) -> str:
        if stream not in keys:
            extractor = by_stream[stream]
            facts = {
                "stage": "extract",
                "clip": clip_sha256,
                "emofuse": version,
                "limits": limits,
                "provenance": extractor.provenance.to_json(),
                "columns": list(extractor.columns),
                "request": requests.get(stream),
                "needs": {need: key(need) for need in needs_of(extractor, by_stream) if need in by_stream},
            }
            keys[stream] = key_of(facts)
        return keys[stream]

    return {stream: key(stream) for stream in by_stream}
