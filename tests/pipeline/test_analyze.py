"""From a clip to emotions and attention: the timeline's shares, the summary, and what happens where something is absent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

import av
import numpy as np
import pytest

from emofuse.pipeline.attention.fuse import Maps, fuse
from emofuse.pipeline.clip import Clip, DecodeEnd, MediumEnd
from emofuse.pipeline.errors import UsageError
from emofuse.pipeline.extraction import Extraction
from emofuse.pipeline.formats.document import analysis_document
from emofuse.pipeline.media import AudioInfo, ClipInfo, VideoInfo
from emofuse.pipeline.results import Attention, FaceChoice, Prediction, Utterance
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import Provenance, TimedSequence

BY = Provenance("test", "1")


def regular(name: str, n: int, step: float, seed: int = 0) -> TimedSequence:
    start = np.asarray(np.arange(n) * step, np.float64)
    values = np.random.default_rng(seed).normal(size=(n, 2)).astype(np.float32)
    labels = {"word": tuple(f"w{i}" for i in range(n))} if name == "text" else {}
    return TimedSequence(name, ("a", "b"), values, start, np.asarray(start + step, np.float64), BY, labels=labels)


def word_stream(text: TimedSequence) -> TimedSequence:
    labels = {"word": text.labels["word"], "speaker": ("",) * len(text)}
    return TimedSequence("words", ("probability",), np.ones((len(text), 1), np.float32), text.start, text.end, BY, labels=labels)


@dataclass(frozen=True)
class ToyModel:
    """Attends to the rows in proportion to a seeded draw; says happiness as often as the first column is positive."""

    name: str = "toy"
    wants: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"text": ("a",), "face": ("a",), "voice": ("a",)})
    provenance: Provenance = BY

    def predict(self, utterances: Sequence[Utterance], *, attention: bool = True) -> list[Prediction]:
        return [self._one(u) for u in utterances]

    def _one(self, piece: Utterance) -> Prediction:
        rng = np.random.default_rng(len(piece.text))
        maps = []
        here = {name: stream for name, stream in piece.streams.items() if len(stream)}
        for target, t in here.items():
            for source, s in here.items():
                weights = rng.random((2, 3, len(t), len(s))).astype(np.float32)
                weights /= weights.sum(-1, keepdims=True)
                kind = "memory" if target == source else "cross"
                maps.append(Attention(kind, target, source, weights, t.start, t.end, s.start, s.end))
        p = dict.fromkeys(EMOTIONS, 0.0) | {"happiness": 0.75, "neutral": 0.25}
        return Prediction(p, sentiment=1.0, confidence=0.7, attention=tuple(maps))


def clip(tmp_path: Path, duration: float) -> Clip:
    made = Clip(tmp_path / "not opened.mp4")
    made._info = ClipInfo(str(made.path), "mov", duration, None, AudioInfo("aac", 48000, 2))
    return made


def analysis_of(tmp_path: Path, streams: dict[str, TimedSequence]):  # type: ignore[no-untyped-def]
    return fuse(clip(tmp_path, 4.0), Extraction(streams, None, {}), ToyModel())


def test_shares_sum_to_one_over_each_utterance_source_and_target(tmp_path: Path) -> None:
    text = regular("text", 8, 0.5)
    streams = {"words": word_stream(text), "text": text, "face": regular("face", 100, 0.04), "voice": regular("voice", 400, 0.01)}
    rows = analysis_of(tmp_path, streams).attention
    assert len(rows) == 8 + 100 + 400, "one row an element"
    sums: dict[tuple[object, ...], float] = defaultdict(float)
    for row in rows:
        for target, share in row.shares.items():
            if share is None:
                assert target == row.stream, "a stream pays no crossmodal attention to itself"
            else:
                sums[row.utterance, row.stream, target] += share
        assert row.overall is not None
        sums[row.utterance, row.stream, "overall"] += row.overall
    assert len(sums) == 3 * 2 + 3
    assert all(total == pytest.approx(1.0, abs=1e-6) for total in sums.values())
    assert [r.label for r in rows if r.stream == "text"] == [f"w{i}" for i in range(8)]


def test_share_is_the_mean_over_heads_and_targets_of_the_last_layer(tmp_path: Path) -> None:
    text = regular("text", 3, 0.5)
    streams = {"words": word_stream(text), "text": text, "voice": regular("voice", 4, 0.4)}
    analysis = fuse(clip(tmp_path, 4.0), Extraction(streams, None, {}), ToyModel(), maps="all")
    prediction = analysis.utterances[0].prediction
    assert prediction is not None
    weights = next(a.weights for a in prediction.attention if (a.target, a.source) == ("text", "voice"))
    by_hand = [np.mean([weights[1, h, i, j] for h in range(3) for i in range(3)]) for j in range(4)]
    assert [r.shares["text"] for r in analysis.attention if r.stream == "voice"] == pytest.approx(by_hand)


def test_an_absent_stream_leaves_its_column_empty_and_has_a_reason(tmp_path: Path) -> None:
    text = regular("text", 8, 0.5)
    nothing = TimedSequence.empty("face", ("a", "b"), BY, "the clip has no video stream")
    analysis = analysis_of(tmp_path, {"words": word_stream(text), "text": text, "face": nothing, "voice": regular("voice", 400, 0.01)})
    assert all(row.shares["face"] is None for row in analysis.attention)
    assert analysis.reasons == {"face": "the clip has no video stream"}
    assert all("no_face" in u.quality.flags for u in analysis.utterances)


def test_a_stream_alone_is_read_by_its_own_stack(tmp_path: Path) -> None:
    analysis = analysis_of(tmp_path, {"voice": regular("voice", 100, 0.01)})
    assert all(set(row.shares.values()) == {None} for row in analysis.attention)
    assert sum(row.overall or 0 for row in analysis.attention) == pytest.approx(1.0, abs=1e-6)


def test_rows_outside_every_utterance_are_listed_without_attention(tmp_path: Path) -> None:
    text = regular("text", 2, 0.5)  # words until 1 s, voice until 4 s
    analysis = analysis_of(tmp_path, {"words": word_stream(text), "text": text, "voice": regular("voice", 400, 0.01)})
    outside = [r for r in analysis.attention if r.utterance is None]
    assert len(outside) == 280 and all(r.start >= 1.2 - 1e-9 and r.overall is None for r in outside)
    assert [r.index for r in analysis.attention if r.stream == "voice"] == list(range(400))


def test_nothing_at_all_is_an_answer_with_reasons(tmp_path: Path) -> None:
    nothing = {name: TimedSequence.empty(name, ("a",), BY, "no such stream") for name in ("face", "voice")}
    analysis = analysis_of(tmp_path, nothing)
    assert analysis.summary is None
    assert [u.prediction for u in analysis.utterances] == [None]


def test_a_stream_that_the_model_does_not_read_is_named(tmp_path: Path) -> None:
    streams = {"face": regular("face", 10, 0.04), "voice": regular("voice", 400, 0.01)}
    analysis = fuse(clip(tmp_path, 4.0), Extraction(streams, None, {}), ToyModel(wants={"voice": ("a",)}))
    assert analysis.reasons == {"face": "extracted, but the model toy does not read it"}
    analysis = fuse(clip(tmp_path, 4.0), Extraction({"face": streams["face"]}, None, {}), ToyModel(wants={"voice": ("a",)}))
    assert analysis.summary is None, "nothing that the model reads: no answer, not a made-up one"


def test_the_summary_weighs_utterances_by_their_seconds(tmp_path: Path) -> None:
    analysis = analysis_of(tmp_path, {"voice": regular("voice", 400, 0.01)})
    assert analysis.summary is not None
    assert analysis.summary.probabilities["happiness"] == pytest.approx(0.75)
    assert sum(analysis.summary.probabilities.values()) == pytest.approx(1.0)


def test_maps_are_kept_small_whole_or_not_at_all(tmp_path: Path) -> None:
    text = regular("text", 3, 0.5)
    streams = {"words": word_stream(text), "text": text, "voice": regular("voice", 2000, 0.01)}
    analyses = {}
    for keep in get_args(Maps):
        analysis = fuse(clip(tmp_path, 4.0), Extraction(streams, None, {}), ToyModel(), maps=keep)
        prediction = analysis.utterances[0].prediction
        assert prediction is not None
        analyses[keep] = prediction.attention
    assert analyses["none"] == ()
    assert {a.weights.shape[2:] for a in analyses["all"] if a.kind == "cross"} == {(3, 170), (170, 3)}
    assert sum(a.weights.size for a in analyses["small"]) <= 100_000 < sum(a.weights.size for a in analyses["all"])


def test_another_word_for_which_maps_are_kept_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected one of none, small, all, got 'big'"):
        fuse(clip(tmp_path, 4.0), Extraction({"voice": regular("voice", 400, 0.01)}, None, {}), ToyModel(), maps="big")  # type: ignore[arg-type]


def test_the_document_says_whose_face_was_read(tmp_path: Path) -> None:
    analysis = analysis_of(tmp_path, {"voice": regular("voice", 400, 0.01)})
    choice = FaceChoice(1, "lips", 0.8, (0, 1))
    answered = replace(analysis, utterances=tuple(replace(u, face=choice) for u in analysis.utterances))
    assert analysis_document(answered, version="0")["utterances"][0]["face"] == {
        "face_id": 1,
        "by": "lips",
        "confidence": 0.8,
        "faces": [0, 1],
    }
    assert analysis_document(analysis, version="0")["utterances"][0]["face"] is None


def spoken(seconds: float) -> dict[str, TimedSequence]:
    """Words until so many seconds, as a transcript file gives them; nothing is decoded."""
    text = regular("text", round(seconds / 0.5), 0.5)
    return {"words": word_stream(text), "text": text}


def test_the_length_is_the_clip_s_when_nothing_was_decoded(tmp_path: Path) -> None:
    analysis = fuse(clip(tmp_path, 4.0), Extraction(spoken(1.0), None, {}), ToyModel())
    assert analysis.facts.length == 4.0 and not analysis.facts.ends_early
    assert analysis_document(analysis, version="0")["clip"]["length"] == 4.0


def test_the_length_is_the_clip_s_when_only_its_sound_was_decoded(tmp_path: Path) -> None:
    """Sound until 3.5 s beside pictures until 4 s: within what containers are off by, so nothing more is decoded."""
    video = VideoInfo("h264", 64, 48, 0, 25.0)
    media = clip(tmp_path, 4.0)
    media._info = replace(media.info, video=video)
    sound = DecodeEnd({"audio": MediumEnd(3.5, 0)})
    assert fuse(media, Extraction(spoken(1.0), sound, {}), ToyModel()).facts.length == 4.0
    both = DecodeEnd({"audio": MediumEnd(3.5, 0), "video": MediumEnd(3.96, 0)})
    assert fuse(media, Extraction(spoken(1.0), both, {}), ToyModel()).facts.length == 3.96, "what was decoded is truer than the header"


def test_pictures_that_outlast_the_sound_are_decoded_for_the_length(tmp_path: Path, samples: Path) -> None:
    """Two seconds of sound under four of pictures: no truncated clip; the same pictures with a header that promises ten are one."""
    path = tmp_path / "short sound.mkv"
    with av.open(str(path), "w") as file:
        video, sound = file.add_stream("mpeg4", rate=10), file.add_stream("pcm_s16le", rate=16000, layout="mono")
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for _ in range(40):
            file.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 32000), np.int16), "s16", "mono")
        frame.sample_rate = 16000
        file.mux(sound.encode(frame))
        file.mux(video.encode(None))
    media = Clip(path)
    heard = DecodeEnd({"audio": MediumEnd(2.0, 0)})
    analysis = fuse(media, Extraction(spoken(1.0), heard, {}), ToyModel())
    assert analysis.facts.length == pytest.approx(4.0, abs=0.11) and not analysis.facts.ends_early
    media._info = replace(media.info, duration=10.0)
    cut_off = fuse(media, Extraction(spoken(1.0), heard, {}), ToyModel())
    assert cut_off.facts.ends_early and cut_off.facts.length == pytest.approx(4.0, abs=0.11)
    media._info = replace(media.info, duration=None)
    assert fuse(media, Extraction(spoken(1.0), None, {}), ToyModel()).facts.length == pytest.approx(4.0, abs=0.11)
