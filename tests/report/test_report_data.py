"""What the page is given: shares over an even part, gaps where nothing was measured, pictures of units, bounded size."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emofuse.pipeline.attention_rows import AttentionRows
from emofuse.pipeline.results import Analysis
from emofuse.pipeline.views.report import address, data, line, report_html
from emofuse.pipeline.views.report.gates import meaning
from emofuse.pipeline.views.report.page import harmless


def floats(packed: dict[str, str]) -> np.ndarray[Any, Any]:
    return np.frombuffer(base64.b64decode(packed["f4"]), "<f4")


def picture(packed: dict[str, Any]) -> np.ndarray[Any, Any]:
    return np.frombuffer(base64.b64decode(packed["u1"]), np.uint8).reshape(packed["shape"])


def test_attention_is_relative_to_an_even_part(analyzed: Callable[..., Analysis], tmp_path: Path) -> None:
    page_data = data.report_data(analyzed(tmp_path / "x.mp4"), version="9")
    by = page_data["words"]["by"]
    assert list(by) == ["overall", "face", "voice"]
    for name in by:
        for utterance in {0, 1}:
            part = [x for x, u in zip(by[name], page_data["words"]["utterance"], strict=True) if u == utterance]
            assert np.mean(part) == pytest.approx(1.0, abs=1e-5), "the mean of n shares times n is 1"


def test_a_curve_breaks_where_rows_do_not_follow_each_other() -> None:
    start = np.array([0.0, 0.1, 0.2, 1.0, 1.1])
    time, values = line.with_gaps(start, start + 0.1, np.arange(5.0)[:, None])
    assert np.isnan(values[:, 0]).tolist() == [False, False, False, True, False, False]
    assert time[3] == pytest.approx((0.25 + 1.05) / 2)


def test_a_long_curve_is_averaged_and_a_gap_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "LONGEST", 3)
    numbers = np.array([1.0, 3.0, np.nan, np.nan, 5.0, np.nan])[:, None]
    every = line.Line.of(np.arange(6.0), np.arange(6.0))
    time, values = every.drawn(lambda rows: numbers[rows], 1)
    assert values[:, 0] == pytest.approx([2.0, np.nan, 5.0], nan_ok=True) and time.tolist() == [0, 2, 4]


@pytest.mark.parametrize("at_once", [1, 7, 8192])
def test_a_line_is_the_same_read_whole_or_in_pieces(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """Against numpy on the whole line: gaps inserted, then neighbours averaged."""
    monkeypatch.setattr(line, "LONGEST", 50)
    monkeypatch.setattr(line, "AT_ONCE", at_once)
    draw = np.random.default_rng(5)
    start = np.cumsum(draw.choice([0.01, 0.01, 0.01, 0.5], 400))
    numbers = draw.normal(size=(400, 2))
    numbers[draw.random(400) < 0.3, 0] = np.nan
    time, values = line.Line.of(start, start + 0.01).drawn(lambda rows: numbers[rows], 2)
    after = np.flatnonzero(np.diff(start) > 0.3) + 1
    middle = np.insert(start + 0.005, after, (start[after - 1] + start[after]) / 2 + 0.005)
    whole = np.insert(numbers, after, np.nan, axis=0)
    first = np.linspace(0, len(whole), 50, endpoint=False).astype(int)
    groups = [whole[a:b] for a, b in zip(first, [*first[1:], len(whole)], strict=True)]
    by_hand = [[np.nan if np.isnan(c).all() else np.nanmean(c) for c in g.T] for g in groups]
    np.testing.assert_allclose(values, by_hand, rtol=1e-12)
    np.testing.assert_allclose(time, middle[first], rtol=1e-12)


def test_a_page_says_that_its_curves_are_averaged(
    analyzed: Callable[..., Analysis], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysis = analyzed(tmp_path / "x.mp4")
    assert data.report_data(analysis, version="9")["averaged"] is None
    monkeypatch.setattr(line, "LONGEST", 400)
    assert data.report_data(analysis, version="9")["averaged"] == analysis.facts.length / 400


def test_pitch_has_gaps_where_there_is_no_voice(analyzed: Callable[..., Analysis], tmp_path: Path) -> None:
    analysis = analyzed(tmp_path / "x.mp4")
    voice = data.voice_curves(analysis.streams["voice"])
    assert voice is not None
    measured = analysis.streams["voice"].column("f0")
    assert np.array_equal(np.isnan(floats(voice["pitch"]["values"])), measured <= 0)
    assert floats(voice["energy"]["values"]) == pytest.approx(analysis.streams["voice"].column("rms"))
    assert floats(voice["time"])[0] == pytest.approx(0.005)


def test_units_are_a_picture_with_nothing_where_no_face_was(analyzed: Callable[..., Analysis], tmp_path: Path) -> None:
    analysis = analyzed(tmp_path / "x.mp4")
    face = analysis.streams["face"]
    without = face.rows(np.flatnonzero((face.start < 1) | (face.start >= 2)))
    from dataclasses import replace

    units = data.action_units(replace(analysis, streams={**analysis.streams, "face": without}))
    assert units is not None and units["columns"] == ["AU01", "AU02", "AU04", "AU06", "AU12", "AU25"]
    image = picture(units["image"])
    assert (image[:, 25:50] == 255).all() and (image[:, :25] < 255).all() and (image[:, 50:] < 255).all()
    assert image[4, 10] / 254 * units["most"] == pytest.approx(face.column("AU12")[10], abs=1 / 254)


def test_no_byte_of_the_data_is_markup() -> None:
    text = harmless({"a": "</script><!--&\u2028é", "b": [1.5, None]})
    assert not set("<>&") & set(text) and text.isascii()
    assert json.loads(text) == {"a": "</script><!--&\u2028é", "b": [1.5, None]}


def test_an_address_keeps_what_a_url_would_take_for_its_own() -> None:
    assert address("../a b/50% #1?.mp4") == "../a%20b/50%25%20%231%3F.mp4"
    assert address("caf\udce9.mp4") == "caf%E9.mp4", "a name that is no valid text is kept byte by byte"


def test_the_maps_of_a_long_clip_stay_within_their_bytes(
    analyzed: Callable[..., Analysis], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "MAP_BYTES", 60_000)
    analysis = analyzed(tmp_path / "x.mp4", words=[f"w{i}" for i in range(100)], seconds=60.0)
    assert len(analysis.utterances) > 15
    maps = data.report_data(analysis, version="9")["maps"].values()
    assert 30_000 < sum(len(base64.b64decode(m["root"]["u1"])) for some in maps for m in some) <= 60_000


def test_every_gate_of_every_model_has_its_line(analyzed: Callable[..., Analysis], tmp_path: Path) -> None:
    """The names that a model's summary has (fusion/gates.py), of the shipped streams."""
    streams = ("text", "face", "voice")
    names = [f"alpha_{t}_{s}" for t in streams for s in streams if s != t]
    names += [f"{gate}_{s}" for gate in ("mu", "phi", "branches", "view", "joined", "hub_from") for s in streams]
    names += [f"{s}_from_hub" for s in streams] + [f"gamma_{t}_{part}" for t in streams for part in ("sources", "itself")] + ["memory"]
    lines = [meaning(name) for name in names]
    assert len(set(lines)) == len(names) and not set(lines) & set(names)
    assert meaning("alpha_text_face") == "share of text's selective attention that lies on face"
    assert meaning("of_another_model") == "of_another_model"
    plain = analyzed(tmp_path / "x.mp4")
    assert data.report_data(plain, version="9")["gates"] is None
    page_data = data.report_data(with_gates(plain, {"memory": (0.25, 0.5), "mu_face": (0.75,)}), version="9")
    assert page_data["gates"] == {"step": "layer", "meanings": {name: meaning(name) for name in ("memory", "mu_face")}}
    assert page_data["utterances"][0]["gates"] == {"memory": [0.25, 0.5], "mu_face": [0.75]}
    hops = with_gates(analyzed(tmp_path / "x.mp4", hops=True), {"memory": (0.25,)})
    assert data.report_data(hops, version="9")["gates"]["step"] == "hop"


def with_gates(analysis: Analysis, gates: dict[str, tuple[float, ...]]) -> Analysis:
    """The same analysis of a model that has gates."""
    predicted = (u if u.prediction is None else replace(u, prediction=replace(u.prediction, gates=gates)) for u in analysis.utterances)
    return replace(analysis, utterances=tuple(predicted))


def test_nothing_at_all_is_a_page_too(analyzed: Callable[..., Analysis], tmp_path: Path) -> None:
    analysis = analyzed(tmp_path / "x.mp4")
    bare = replace(
        analysis, streams={}, utterances=(), attention=AttentionRows([]), summary=None, reasons={"voice": "the clip has no audio stream"}
    )
    page_data = data.report_data(bare, version="9")
    assert page_data["words"] is None and page_data["units"] is None and page_data["voice"] is None and page_data["maps"] == {}
    assert "the clip has no audio stream" in report_html(bare, version="9")
