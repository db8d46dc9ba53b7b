"""`Span` and `TimedSequence` refuse what cannot be, once, at the door."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from emofuse.pipeline.errors import StreamError
from emofuse.pipeline.timed import Provenance, Span, TimedSequence

BY = Provenance("test", "1")


def stream(n: int = 3, **changes: Any) -> TimedSequence:
    fields: dict[str, Any] = {
        "name": "voice",
        "columns": ("a", "b"),
        "values": np.arange(2 * n, dtype=np.float32).reshape(n, 2),
        "start": np.arange(n) * 0.5,
        "end": np.arange(n) * 0.5 + 0.5,
        "provenance": BY,
        "reason": "" if n else "nothing",
    }
    return TimedSequence(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": ("a",)}, r"expected values \(n, 1\)"),
        ({"columns": ("a", "a")}, "named twice: a"),
        ({"start": np.array([0.0, 1.0, 0.5]), "end": np.array([1.0, 2.0, 3.0])}, "row 2 starts at 0.5 s, before row 1 at 1.0 s"),
        ({"end": np.array([0.5, 0.1, 1.5])}, "row 1 ends at 0.1 s before it starts at 0.5 s"),
        ({"start": np.array([0.0, np.nan, 1.0])}, "must be finite"),
        ({"values": np.array([[0, 1], [2, np.inf], [0, 0]], np.float32)}, "row 1, column b is infinite"),
        ({"labels": {"word": ("x",)}}, "expected 3 word labels, got 1"),
    ],
)
def test_what_cannot_be_is_refused_with_its_numbers(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StreamError, match=message):
        stream(**changes)


def test_an_empty_stream_must_say_why() -> None:
    with pytest.raises(StreamError, match="must say why"):
        stream(0, reason="")
    assert TimedSequence.empty("face", ("AU01",), BY, "no video").reason == "no video"


def test_not_measured_is_nan_and_legal() -> None:
    assert np.isnan(stream(values=np.full((3, 2), np.nan, np.float32)).column("a")).all()


def test_a_missing_column_names_both_lists() -> None:
    with pytest.raises(StreamError, match=r"columns AU12 wanted, but test has a, b"):
        stream().select(("a", "AU12"))


def test_values_cannot_be_changed_behind_its_back() -> None:
    with pytest.raises(ValueError, match="read-only"):
        stream().values[0, 0] = 5


def test_inside_counts_each_row_once_over_neighbouring_spans() -> None:
    whole = stream(10)
    parts = [whole.inside(Span(a, a + 1.1)) for a in (0.0, 1.1, 2.2, 3.3, 4.4)]
    assert sorted(int(i) for part in parts for i in part) == list(range(10))


def test_shifting_moves_times_and_nothing_else() -> None:
    moved = stream().shifted(8.6)
    assert moved.start.tolist() == [8.6, 9.1, 9.6]
    assert np.array_equal(moved.values, stream().values)


@pytest.mark.parametrize(("start", "end"), [(1.0, 0.0), (0.0, float("inf")), (float("nan"), 1.0)])
def test_spans_are_finite_and_forward(start: float, end: float) -> None:
    with pytest.raises(StreamError, match="finite start <= end"):
        Span(start, end)


def test_a_stream_becomes_a_table_of_its_own() -> None:
    values = np.array([[0, np.nan], [2, 3]], np.float32)
    said = stream(2, values=values, labels={"word": ("naïve", "=1+1")}, reason="the last word is cut off")
    table = said.to_pandas()
    assert list(table.columns) == ["start", "end", "word", "a", "b"]
    assert table["start"].dtype == np.float64 and table["a"].dtype == np.float32
    assert table["word"].tolist() == ["naïve", "=1+1"] and table["end"].tolist() == [0.5, 1.0]
    assert table["b"].isna().tolist() == [True, False], "not measured is not zero"
    assert table.attrs["name"] == "voice" and table.attrs["reason"] == "the last word is cut off"
    table.loc[0, "a"] = 7
    assert said.values[0, 0] == 0, "changing the table changes nothing else"


def test_an_empty_stream_is_a_table_with_its_columns() -> None:
    table = TimedSequence.empty("words", ("probability",), BY, "silence", ("word", "speaker")).to_pandas()
    assert list(table.columns) == ["start", "end", "word", "speaker", "probability"] and len(table) == 0
