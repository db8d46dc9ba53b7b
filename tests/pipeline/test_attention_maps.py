"""Maps made small still say what they said: whole words, sums over sources, means over targets, and the file gives them back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emofuse.pipeline.attention.maps import pairs, pooled, read_maps, small, write_maps
from emofuse.pipeline.attention_rows import AttentionRows, labels_of
from emofuse.pipeline.errors import StreamError
from emofuse.pipeline.results import Attention, AttentionKind
from emofuse.pipeline.timed import Provenance, TimedSequence


def attention(target: str, source: str, n: int, m: int, layers: int = 2, heads: int = 3, kind: AttentionKind = "cross") -> Attention:
    weights = np.random.default_rng(n + m).random((layers, heads, n, m)).astype(np.float32)
    weights /= weights.sum(-1, keepdims=True)
    i, j = np.arange(n, dtype=np.float64) * 0.5, np.arange(m, dtype=np.float64) * 0.25
    return Attention(kind, target, source, weights, i, i + 0.5, j, j + 0.25)


def test_frames_are_summed_as_sources_and_averaged_as_targets() -> None:
    whole = attention("face", "voice", 4, 6)
    smaller = pooled(whole, 2, 3)
    by_hand = whole.weights.reshape(2, 3, 2, 2, 3, 2).mean(axis=3).sum(axis=4)
    assert smaller.weights == pytest.approx(by_hand, rel=1e-3), "float16"
    assert smaller.weights.sum(-1) == pytest.approx(1.0, abs=1e-3)
    assert smaller.target_start.tolist() == [0.0, 1.0] and smaller.target_end.tolist() == [1.0, 2.0]
    assert smaller.source_start.tolist() == [0.0, 0.5, 1.0] and smaller.source_end.tolist() == [0.5, 1.0, 1.5]


@pytest.mark.parametrize(("side", "fewer"), [(256, 192), (192, 128), (128, 96), (96, 64), (64, 48), (48, 32), (32, 24), (24, 16), (16, 12)])
def test_a_map_has_the_largest_side_that_fits(side: int, fewer: int) -> None:
    whole = attention("face", "voice", 768, 768, layers=1, heads=1)
    for cells, rows in ((side * side, side), (side * side - 1, fewer)):
        (kept,) = small([whole], {"face": 768, "voice": 768}, cells=cells)
        assert kept.weights.shape == (1, 1, rows, rows)


def test_maps_between_streams_come_first_where_not_all_fit() -> None:
    maps = [
        attention("voice", "voice", 50, 50, 1, 1, kind="self"),
        attention("face", "voice", 50, 50, 1, 1),
        attention("voice", "face", 50, 50, 1, 1),
    ]
    kept = small(maps, {"face": 50, "voice": 50}, cells=2 * 12 * 12)
    assert [(a.kind, a.target) for a in kept] == [("cross", "face"), ("cross", "voice")]
    memory = replace(maps[0], kind="memory")
    assert [a.kind for a in small([memory, maps[0], maps[1]], {"face": 50, "voice": 50}, cells=12 * 12)] == ["cross"]


def test_rows_are_counted_from_either_end() -> None:
    start = np.arange(3, dtype=np.float64)
    streams = {
        name: TimedSequence(name, ("a",), np.zeros((3, 1), np.float32), start, start + 1, Provenance("test", "1"))
        for name in ("face", "voice")
    }
    attended = AttentionRows.empty(streams)
    order = [(row.stream, row.index) for row in attended]
    assert len(attended) == len(order) == 6
    for at in range(-6, 6):
        assert (attended[at].stream, attended[at].index) == order[at]
    assert [(row.stream, row.index) for row in attended[1:-1]] == order[1:-1]
    for at in (-7, 6):
        with pytest.raises(IndexError, match=rf"row {at} of 6"):
            _ = attended[at]


def test_words_stay_one_by_one_and_the_rest_fits() -> None:
    rows = {"text": 40, "face": 375, "voice": 1500}
    maps = [attention(a, b, rows[a], rows[b]) for a in rows for b in rows if a != b]
    kept = small(maps, rows, cells=100_000)
    assert sum(a.weights.size for a in kept) <= 100_000
    assert len(kept) == 6
    for a in kept:
        for stream, side in ((a.target, a.target_start), (a.source, a.source_start)):
            assert len(side) == 40 if stream == "text" else 12 <= len(side) < rows[stream]
        assert a.weights.sum(-1) == pytest.approx(1.0, abs=1e-3)


def test_what_is_small_already_is_left_as_it_is() -> None:
    whole = attention("text", "voice", 5, 80)
    (kept,) = small([whole], {"text": 5, "voice": 80})
    assert np.array_equal(kept.weights, whole.weights.astype(np.float16)) and np.array_equal(kept.source_end, whole.source_end)


def test_streams_joined_in_time_come_apart_and_keep_their_parts_of_one() -> None:
    joined = attention("text", "text+voice", 3, 3 + 8)
    parts = pairs(joined, {"text": 3, "voice": 8, "face": 0})
    assert [(a.target, a.source, a.weights.shape[-1]) for a in parts] == [("text", "text", 3), ("text", "voice", 8)]
    assert sum(a.weights.sum(-1) for a in parts) == pytest.approx(1.0, abs=1e-5)


def test_maps_come_back_from_their_file(tmp_path: Path) -> None:
    maps = {
        0: (attention("text", "voice", 5, 8),),
        3: (attention("utterance", "voice", 1, 8), attention("face", "text", 4, 2, kind="self")),
    }
    write_maps(maps, tmp_path / "maps.npz")
    back = read_maps(tmp_path / "maps.npz")
    assert list(back) == [0, 3]
    for index, attentions in maps.items():
        for a, b in zip(attentions, back[index], strict=True):
            assert (a.kind, a.target, a.source) == (b.kind, b.target, b.source)
            assert b.weights == pytest.approx(a.weights, rel=1e-3), "float16"
            assert np.array_equal(a.target_start, b.target_start) and np.array_equal(a.source_end, b.source_end)


def test_what_is_no_file_of_maps_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", a=np.zeros(2))
    (tmp_path / "text.npz").write_text("no")
    np.savez(tmp_path / "objects.npz", index=np.array([{"a": 1}], dtype=object))
    for name in ("other", "text", "objects", "missing"):
        with pytest.raises(StreamError, match=f"{name}.npz: expected attention maps"):
            read_maps(tmp_path / f"{name}.npz")


def test_an_even_map_stays_even_when_frames_are_pooled() -> None:
    even = attention("text", "voice", 3, 556)
    even = replace(even, weights=np.full_like(even.weights, 1 / 556))
    weights = pooled(even, 3, 200).weights
    assert np.allclose(weights[..., :-1], 3 / 556, rtol=1e-3), "no stripes where groups would differ in size"
    assert weights.sum(-1) == pytest.approx(1.0, abs=1e-3)


def test_rows_are_labelled_by_word_by_face_or_not_at_all() -> None:
    start = np.arange(3, dtype=np.float64)
    by = Provenance("test", "1")
    face = TimedSequence("face", ("AU12", "face_id"), np.array([[0, 0], [0, 1], [0, 12]], np.float32), start, start + 1, by)
    assert list(labels_of(face, slice(1, 3))) == ["face 1", "face 12"]
    assert list(labels_of(replace(face, name="voice"), slice(1, 3))) == ["", ""]
    assert list(labels_of(replace(face, columns=("AU12", "AU06")), slice(0, 2))) == ["", ""]
    words = replace(face, name="words", labels={"word": ("a", "b", "c")})
    assert list(labels_of(words, slice(1, 3))) == ["b", "c"]
