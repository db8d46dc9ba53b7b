"""MMSA's .pkl (https://github.com/thuiar/MMSA), written: utterances with padded streams, for models of that library.

    {train | valid | test: {raw_text [n], audio (n a f), vision (n v f), text (n t f), text_bert (n 3 t), audio_lengths [n], vision_lengths
                            [n], annotations [n], regression_labels (n), id [n] "CLIP$_$NUMBER"}}

Labels are those of labels.csv beside the results (labels.py), never a model's answers: without one, `regression_labels` is NaN,
`annotations` is empty and every utterance is in `test`. Padding is zeros, on the right. The form holds no times, and what is not measured
(NaN) becomes 0, as MMSA's own loader does. `text` is one row per word; `text_bert` has the mask in its second row and token ids -1, which
no BERT takes for words: use MMSA with `use_bert` off.

This is the only file of emofuse that imports `pickle`, and it calls `dump` alone (tests/test_floors.py): reading one is
fusion/datasets/unpickling.py's work, which runs nothing.
"""

from __future__ import annotations

import math
import pickle  # noqa: TID251 (only written here: it is the form that MMSA reads)
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError
from ..results import Utterance
from ..speaker_face import FaceSelector
from ..streams import MODALITIES
from ..timed import Floats32, Span
from ..utterances import utterance
from .session import UTTERANCES, Session

SPLITS = ("train", "valid", "test")
NAMES = {"text": "text", "voice": "audio", "face": "vision"}
PROTOCOL = 4


def write_mmsa(sessions: Sequence[Session], path: Path) -> None:
    """Every utterance of every session; raises `FormatError` where there is none, or clips have different columns."""
    by_split: dict[str, list[tuple[str, Utterance, float]]] = {split: [] for split in SPLITS}
    for session in sessions:
        for number, (span, label, split) in enumerate(_spans(session)):
            if split not in ("", *SPLITS):
                raise FormatError(f"{session.name}: expected the split train, valid, test or nothing, got {split!r}")
            by_split[split or "test"].append((f"{session.name}$_${number}", _piece(session, span, number), label))
    every = [piece for rows in by_split.values() for _, piece, _ in rows]
    if not every:
        raise FormatError(f"{path}: expected utterances to write, found none")
    widths = {name: _width(name, every) for name in MODALITIES}
    lengths = {name: max(1, *(len(piece.streams.get(name, ())) for piece in every)) for name in MODALITIES}
    content = {split: _split(rows, widths, lengths) for split, rows in by_split.items()}
    with path.open("wb") as file:
        pickle.dump(content, file, PROTOCOL)


def _spans(session: Session) -> list[tuple[Span, float, str]]:
    utterances = session.filled(UTTERANCES)
    if utterances is None:
        return []
    labels = utterances.column("label").tolist() if "label" in utterances.columns else [math.nan] * len(utterances)
    splits = utterances.labels.get("split", ("",) * len(utterances))
    spans = [Span(a, b) for a, b in zip(utterances.start.tolist(), utterances.end.tolist(), strict=True)]
    return list(zip(spans, labels, splits, strict=True))


def _piece(session: Session, span: Span, number: int) -> Utterance:
    """The rows in a span, of several faces those of the one that the analysis read."""
    utterances = session.streams[UTTERANCES]
    read = float(utterances.column("face_id")[number]) if "face_id" in utterances.columns else math.nan
    return utterance(span, session.streams, None if math.isnan(read) else FaceSelector(face_id=int(read)), words_floor=0.0)


def _width(name: str, every: Sequence[Utterance]) -> int:
    columns = {piece.streams[name].columns for piece in every if name in piece.streams and len(piece.streams[name])}
    if len(columns) > 1:
        counts = " and ".join(str(len(c)) for c in sorted(columns))
        raise FormatError(f"MMSA: expected one set of columns of {name} in all clips, got sets of {counts}")
    return len(columns.pop()) if columns else 0


def _split(rows: Sequence[tuple[str, Utterance, float]], widths: dict[str, int], lengths: dict[str, int]) -> dict[str, Any]:
    padded: dict[str, Floats32] = {NAMES[m]: np.zeros((len(rows), lengths[m], widths[m]), np.float32) for m in MODALITIES}
    counts: dict[str, list[int]] = {NAMES[m]: [] for m in MODALITIES}
    for i, (_, piece, _) in enumerate(rows):
        for name in MODALITIES:
            stream = piece.streams.get(name)
            n = 0 if stream is None else len(stream)
            if stream is not None and n:
                padded[NAMES[name]][i, :n] = np.nan_to_num(stream.values, nan=0.0)
            counts[NAMES[name]].append(n)
    bert = np.zeros((len(rows), 3, lengths["text"]), np.int64)
    bert[:, 0] = -1
    for i, n in enumerate(counts["text"]):
        bert[i, 1, :n] = 1
    labels = [label for _, _, label in rows]
    return {
        "raw_text": [piece.text for _, piece, _ in rows],
        **padded,
        "text_bert": bert,
        "audio_lengths": counts["audio"],
        "vision_lengths": counts["vision"],
        "annotations": ["" if math.isnan(v) else "Negative" if v < 0 else "Positive" if v > 0 else "Neutral" for v in labels],
        "regression_labels": np.array(labels, np.float32),
        "id": [name for name, _, _ in rows],
    }
