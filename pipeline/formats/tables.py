"""emotions.csv and attention.csv: plain UTF-8 tables for pandas, R and spreadsheets."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from ..attention_rows import AT_ONCE
from ..results import Analysis, Prediction
from ..streams import EMOTIONS, MODALITIES

EMOTION_COLUMNS = ("utterance", "start", "end", "text", *EMOTIONS, "sentiment", "confidence", "flags", "speaker")
ATTENTION_COLUMNS = (
    "utterance",
    "stream",
    "index",
    "start",
    "end",
    "label",
    *(f"from_{m}" for m in MODALITIES),
    "overall",
    "influence",
    "influence_on",
    "speaker",
)

# A spreadsheet takes a cell that opens with one of these for a formula. One that has apostrophes before it already gets one more, so
# that `unsafe_text` always gives the same text back.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def safe_text(text: str) -> str:
    """Text that no spreadsheet runs: an apostrophe is put before what would open a formula."""
    return "'" + text if _FORMULA.match(text) else text


def unsafe_text(text: str) -> str:
    """What `safe_text` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def emotions_csv(analysis: Analysis) -> str:
    """One row per utterance, then one row `clip`. Times are seconds; an utterance that nothing answers for has empty cells."""
    rows: list[list[str]] = []
    for u in analysis.utterances:
        numbers = _numbers(u.prediction)
        times = [_seconds(u.span.start), _seconds(u.span.end)]
        rows.append([str(u.index), *times, safe_text(u.text), *numbers, " ".join(u.quality.flags), safe_text(u.speaker)])
    flags = common_flags([u.quality.flags for u in analysis.utterances])
    whole = safe_text(" ".join(u.text for u in analysis.utterances if u.text))
    rows.append(["clip", _seconds(0.0), _seconds(analysis.facts.length), whole, *_numbers(analysis.summary), " ".join(flags), ""])
    return _lines([list(EMOTION_COLUMNS), *rows])


def common_flags(flags: Sequence[Sequence[str]]) -> list[str]:
    """The flags that all utterances of a clip have: those of the clip as a whole, in alphabetical order."""
    return sorted(set.intersection(*(set(names) for names in flags))) if flags else []


def attention_csv(analysis: Analysis) -> Iterator[str]:
    """One row per word, video frame and voice frame; empty where there is no such stream or no utterance covers the row.
    In pieces: an hour of voice has 360,000 rows.

    A model that looks in hops (RRNN) adds a column per hop: hop_1, hop_2, ...
    """
    attention = analysis.attention
    hops = sorted({x for stream in attention.streams.values() for x in stream.shares if x not in MODALITIES}, key=lambda x: (len(x), x))
    speaker_of = {u.index: safe_text(u.speaker) for u in analysis.utterances}
    influence_on = {u.index: u.influence.on for u in analysis.utterances if u.influence is not None}
    rows = iter(
        [
            "" if r.utterance is None else str(r.utterance),
            r.stream,
            str(r.index),
            _seconds(r.start),
            _seconds(r.end),
            safe_text(r.label),
            *(_share(r.shares.get(m)) for m in MODALITIES),
            _share(r.overall),
            _share(r.influence),
            "" if r.influence is None or r.utterance is None else influence_on.get(r.utterance, ""),
            "" if r.utterance is None else speaker_of.get(r.utterance, ""),
            *(_share(r.shares.get(hop)) for hop in hops),
        ]
        for r in attention
    )
    yield _lines([[*ATTENTION_COLUMNS, *hops]])
    while chunk := list(islice(rows, AT_ONCE)):
        yield _lines(chunk)


def _numbers(prediction: Prediction | None) -> list[str]:
    if prediction is None:
        return [""] * (len(EMOTIONS) + 2)
    sentiment = "" if prediction.sentiment is None else f"{prediction.sentiment:.4f}"
    return [*(f"{prediction.probabilities[e]:.6f}" for e in EMOTIONS), sentiment, f"{prediction.confidence:.4f}"]


def _seconds(value: float) -> str:
    return f"{value:.6f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.9g}"


def _lines(rows: Iterable[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
