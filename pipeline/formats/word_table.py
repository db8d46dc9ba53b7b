"""A table of words with what was measured while each was said: for pandas, R and statistics.

One row per word: clip, start, end, word, speaker, probability, the utterance that it lies in with its emotion, and the means of the streams
over the rows whose middle lies in the word's [start, end). What is not measured is left out of a mean; a word in which nothing was
measured has NaN. Of several faces the one that the analysis read is taken. COVAREP's F0 counts only where the voice is voiced (VUV),
because COVAREP keeps an estimate everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import StreamError
from ..streams import EMOTIONS
from ..timed import Floats32, Floats64, TimedSequence
from .session import UTTERANCES, Session

if TYPE_CHECKING:
    import pandas

PITCH = ("f0", "F0", "rms")
_AU = re.compile(r"AU\d\d")


def words_table(sessions: Iterable[Session], columns: Sequence[str] | None = None) -> pandas.DataFrame:
    """Every word of every session.

    columns   columns of the face and voice streams to average; None: action units, expressions (`face_anger` ..), pitch and loudness
    Raises `StreamError` for a column that no session has.
    """
    import pandas

    sessions = tuple(sessions)
    known = {c for session in sessions for name in ("face", "voice") if name in session.streams for c in session.streams[name].columns}
    if columns is not None and (unknown := [c for c in columns if c not in known]):
        raise StreamError(f"words table: columns {', '.join(unknown)} wanted, but the streams have {', '.join(sorted(known))}"[:400])
    tables = [_of_one(session, columns) for session in sessions]
    return pandas.concat(tables, ignore_index=True) if tables else pandas.DataFrame(columns=["clip", "start", "end", "word", "speaker"])


def _of_one(session: Session, columns: Sequence[str] | None) -> pandas.DataFrame:
    words = session.streams.get("words")
    if words is None:
        raise StreamError(f"{session.name}: expected words for a table of words, found {', '.join(session.streams) or 'no stream'}")
    table = words.to_pandas()
    table.attrs = {}
    table.insert(0, "clip", session.name)
    at = utterance_of(words, session.filled(UTTERANCES))
    utterances = session.filled(UTTERANCES)
    emotions = utterances.labels.get("emotion") if utterances is not None else None
    table["utterance"] = [None if i < 0 else int(i) for i in at]
    table["utterance"] = table["utterance"].astype("Int64")
    table["emotion"] = ["" if i < 0 or emotions is None else emotions[i] for i in at]
    for name, stream in (("face", _read_face(session)), ("voice", session.streams.get("voice"))):
        for column, values in _means(name, stream, words, columns).items():
            table[column] = values
    return table


def _means(name: str, stream: TimedSequence | None, words: TimedSequence, columns: Sequence[str] | None) -> dict[str, Floats32]:
    if stream is None:
        return {}
    wanted = [c for c in stream.columns if (c in columns if columns is not None else _usual(name, c))]
    chosen = stream.select(wanted)
    if "F0" in wanted and "VUV" in stream.columns:
        values = chosen.values.copy()
        values[np.nan_to_num(stream.column("VUV")) < 0.5, wanted.index("F0")] = np.nan
        chosen = TimedSequence(
            chosen.name, chosen.columns, values, chosen.start, chosen.end, chosen.provenance, reason=chosen.reason or "no rows"
        )
    means = means_in(chosen, words.start, words.end)
    # The utterance has an emotion too, and a probability for each: the face's expressions are named so that nobody confuses them.
    return {f"face_{c}" if name == "face" and c in EMOTIONS else c: means[:, j] for j, c in enumerate(wanted)}


def _usual(name: str, column: str) -> bool:
    return bool(_AU.fullmatch(column)) or column in EMOTIONS if name == "face" else column in PITCH


def means_in(stream: TimedSequence, start: Floats64, end: Floats64) -> Floats32:
    """(w d): for each span [start, end) the mean of the rows whose middle lies in it, NaN left out; NaN where no row measured anything.

    Cost grows with rows and spans, not with their product.
    """
    middle = (stream.start + stream.end) / 2
    order = np.argsort(middle, kind="stable")
    values = stream.values[order].astype(np.float64)
    measured = ~np.isnan(values)
    nothing = np.zeros((1, values.shape[1]))
    sums = np.concatenate([nothing, np.cumsum(np.where(measured, values, 0), axis=0)])
    counts = np.concatenate([nothing, np.cumsum(measured, axis=0)])
    first, last = np.searchsorted(middle[order], start, "left"), np.searchsorted(middle[order], end, "left")
    last = np.maximum(first, last)
    count = counts[last] - counts[first]
    means: Floats64 = np.divide(sums[last] - sums[first], count, out=np.full(count.shape, np.nan), where=count > 0)
    return means.astype(np.float32)


def utterance_of(words: TimedSequence, utterances: TimedSequence | None) -> np.ndarray:
    """(w) the row of the utterance that a word's middle lies in; -1 where there is none."""
    index = np.full(len(words), -1)
    middle = (words.start + words.end) / 2
    for i in range(len(utterances)) if utterances is not None else ():
        assert utterances is not None
        index[(index < 0) & (middle >= utterances.start[i]) & (middle < utterances.end[i])] = i
    return index


def _read_face(session: Session) -> TimedSequence | None:
    """The face stream with the rows of those faces alone that the utterances were read from, each in its utterance; where it is not known
    which was read, the face with the most rows."""
    face, utterances = session.streams.get("face"), session.filled(UTTERANCES)
    if face is None or not len(face) or "face_id" not in face.columns:
        return face
    identity = face.column("face_id")
    numbers, rows = np.unique(identity, return_counts=True)
    wanted = np.full(len(face), numbers[np.argmax(rows)])
    if utterances is not None and "face_id" in utterances.columns:
        inside = utterance_of(face, utterances)
        read = utterances.column("face_id")[inside]
        wanted = np.where((inside >= 0) & ~np.isnan(read), read, wanted)
    return face.rows(np.flatnonzero(identity == wanted), reason="another face was read")
