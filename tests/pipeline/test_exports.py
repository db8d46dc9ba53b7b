"""What leaves is what was found: tables, document, streams and subtitles, whole folders or none."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emofuse.pipeline.attention_rows import AttentionRow, AttentionRows
from emofuse.pipeline.errors import EmofuseError, StreamError
from emofuse.pipeline.formats.document import analysis_document
from emofuse.pipeline.formats.parquet import read_stream, write_stream
from emofuse.pipeline.formats.result_folder import ResultFolders, read_analysis, write_streams
from emofuse.pipeline.formats.subtitles import srt
from emofuse.pipeline.formats.tables import ATTENTION_COLUMNS, EMOTION_COLUMNS, attention_csv, emotions_csv, safe_text
from emofuse.pipeline.media import AudioInfo, ClipInfo
from emofuse.pipeline.results import Analysis, AnalyzedUtterance, ClipFacts, Prediction, Quality
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import Provenance, Span, TimedSequence
from emofuse.writing import write_analysis

BY = Provenance("test", "1", {"a.safetensors": "00"}, {"option": 1}, {"note": [0.5]})


def word_stream(words: tuple[str, ...] = ("so", "=1+1", "naïve, really")) -> TimedSequence:
    start = np.array([0.25 + 0.5 * i for i in range(len(words))])
    values = np.full((len(words), 1), np.nan, np.float32)
    labels = {"word": words, "speaker": ("",) * len(words)}
    return TimedSequence("words", ("probability",), values, start, start + 1 / 3, BY, labels=labels)


def analysis(path: Path) -> Analysis:
    probabilities = dict(zip(EMOTIONS, (0.1, 0.1, 0.1, 0.4, 0.1, 0.1, 0.1), strict=True))
    said = Prediction(probabilities, sentiment=None, confidence=0.4)
    good = Quality(("no_face",), {"face": "the clip has no video stream"}, {"text": 1.0})
    rows = (
        AttentionRow(0, "text", 0, 0.25, 0.5, "=1+1", {"text": None, "face": None, "voice": 0.123456789012}, 0.123456789012),
        AttentionRow(None, "voice", 0, 0.07, 0.08, "", {"text": None, "face": None, "voice": None}, None),
    )
    one = np.zeros((1, 1), np.float32)
    text = TimedSequence("text", ("a",), one, np.array([0.25]), np.array([0.5]), BY, labels={"word": ("=1+1",)})
    voice = TimedSequence("voice", ("a",), one, np.array([0.07]), np.array([0.08]), BY)
    face = TimedSequence.empty("face", ("AU01",), BY, "the clip has no video stream")
    streams = {"words": word_stream(), "text": text, "face": face, "voice": voice}
    return Analysis(
        info=ClipInfo(str(path), "wav", 2.0, None, AudioInfo("pcm_s16le", 16000, 1)),
        streams=streams,
        model=BY,
        utterances=(
            AnalyzedUtterance(0, Span(0.05, 1.0), "=1+1", said, good),
            AnalyzedUtterance(1, Span(1.0, 2.0), "", None, Quality(("no_face", "no_text"), {}, {})),
        ),
        summary=said,
        attention=AttentionRows.of(rows, streams),
        reasons={"face": "the clip has no video stream"},
        facts=ClipFacts(length=2.0, cut_by="words"),
    )


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "a clip.wav"
    path.write_bytes(b"not opened here")
    return path


def test_emotions_csv_has_one_row_an_utterance_and_a_last_row_for_the_clip(clip: Path) -> None:
    rows = list(csv.reader(io.StringIO(emotions_csv(analysis(clip)))))
    assert tuple(rows[0]) == EMOTION_COLUMNS
    assert [r[0] for r in rows[1:]] == ["0", "1", "clip"]
    table = pd.read_csv(io.StringIO(emotions_csv(analysis(clip))))
    assert table[list(EMOTIONS)].to_numpy()[0].sum() == pytest.approx(1.0)
    assert bool(np.isnan(table[list(EMOTIONS)].to_numpy()[1]).all()), "nothing answers for it: empty, not zero"
    assert bool(np.isnan(table["sentiment"].to_numpy()).all())
    assert table["flags"].tolist()[2] == "no_face", "the clip's flags are those of all its utterances"


def test_attention_csv_is_empty_where_there_is_nothing(clip: Path) -> None:
    table = pd.read_csv(io.StringIO("".join(attention_csv(analysis(clip)))))
    assert tuple(table.columns) == ATTENTION_COLUMNS
    assert table["from_voice"].iloc[0] == pytest.approx(0.123456789, abs=1e-9)
    assert table[["from_text", "from_face"]].isna().all().all()
    assert table["utterance"].isna().tolist() == [False, True]


def test_hops_are_columns_of_their_own(clip: Path) -> None:
    hops = {f"hop_{k}": k / 100 for k in range(1, 12)}
    row = AttentionRow(0, "voice", 0, 0.0, 0.01, "", hops, 0.06)
    whole = analysis(clip)
    table = pd.read_csv(io.StringIO("".join(attention_csv(replace(whole, attention=AttentionRows.of((row,), whole.streams))))))
    assert tuple(table.columns) == (*ATTENTION_COLUMNS, *hops), "in order of the hops, ten after nine"
    assert table["hop_11"].iloc[1] == pytest.approx(0.11) and table["utterance"].tolist()[1] == 0


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx"])
def test_text_is_no_formula_in_a_spreadsheet(text: str) -> None:
    assert safe_text(text) == "'" + text
    assert safe_text("so " + text) == "so " + text


def test_streams_come_back_from_parquet_as_they_were(tmp_path: Path) -> None:
    stream = word_stream()
    write_stream(stream, tmp_path / "words.parquet")
    back = read_stream(tmp_path / "words.parquet")
    assert np.array_equal(back.values, stream.values, equal_nan=True)
    assert np.array_equal(back.start, stream.start) and np.array_equal(back.end, stream.end)
    assert dict(back.labels) == dict(stream.labels)
    assert (back.name, back.columns, back.provenance, back.reason) == (stream.name, stream.columns, stream.provenance, stream.reason)
    table = pd.read_parquet(tmp_path / "words.parquet")
    assert table["probability"].isna().all() and list(table["word"]) == ["so", "=1+1", "naïve, really"]


def test_an_empty_stream_comes_back_with_its_reason(tmp_path: Path) -> None:
    write_stream(TimedSequence.empty("face", ("AU01",), BY, "no video"), tmp_path / "face.parquet")
    back = read_stream(tmp_path / "face.parquet")
    assert len(back) == 0 and back.reason == "no video" and back.columns == ("AU01",)


def test_what_is_no_stream_of_ours_is_refused(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(StreamError, match="expected a stream written by emofuse"):
        read_stream(tmp_path / "x.parquet")
    (tmp_path / "y.parquet").write_text("no")
    with pytest.raises(StreamError, match="cannot be read"):
        read_stream(tmp_path / "y.parquet")


def test_the_document_is_json_with_reasons(clip: Path) -> None:
    document = json.loads(json.dumps(analysis_document(analysis(clip), version="9"), allow_nan=False))
    assert document["schema_version"] == 1 and document["emofuse"] == "9"
    assert document["clip"]["name"] == "a clip.wav" and len(document["clip"]["sha256"]) == 64
    assert document["utterances"][0]["emotion"] == "happiness"
    assert document["utterances"][1]["probabilities"] is None
    assert document["streams"]["face"]["reason"] == "the clip has no video stream"
    assert document["streams"]["words"]["provenance"]["weights_sha256"] == {"a.safetensors": "00"}


def test_subtitles_carry_every_word_at_its_time() -> None:
    text = srt(word_stream(("one", "two", "three")))
    assert text == "1\n00:00:00,250 --> 00:00:01,583\none two three\n\n"
    assert srt(TimedSequence.empty("words", (), BY, "silence", ("word", "speaker"))) == ""


def test_a_result_folder_is_written_whole(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out/a clip"
    files = write_analysis(analysis(clip), folder, version="9")
    names = {f.relative_to(folder).as_posix() for f in files}
    expected = {"analysis.json", "emotions.csv", "attention.csv", "transcript.srt"}
    expected |= {f"streams/{name}.parquet" for name in ("words", "text", "face", "voice")}
    assert names == expected and all(f.is_file() for f in files)
    assert [p.name for p in folder.parent.iterdir()] == ["a clip"], "nothing half-written beside it"


def test_gates_come_back_from_a_result_folder(clip: Path, tmp_path: Path) -> None:
    plain = analysis(clip)
    first = plain.utterances[0]
    assert first.prediction is not None
    gates = {"alpha_text_face": (0.1, 1 / 3), "memory": (0.123456789012,)}
    gated = replace(first, prediction=replace(first.prediction, gates=gates))
    write_analysis(replace(plain, utterances=(gated, *plain.utterances[1:])), tmp_path / "out", version="9")
    again = read_analysis(tmp_path / "out").utterances
    assert again[0].prediction is not None and again[0].prediction.gates == gates
    write_analysis(plain, tmp_path / "plain", version="9")
    assert '"gates"' not in (tmp_path / "plain/analysis.json").read_text()


def test_a_failure_leaves_the_earlier_result_and_no_half_result(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out/a clip"
    write_analysis(analysis(clip), folder, version="first")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("emofuse.pipeline.formats.result_folder.write_stream", full)
    with pytest.raises(EmofuseError, match="No space left"):
        write_analysis(analysis(clip), folder, version="second")
    assert json.loads((folder / "analysis.json").read_text())["emofuse"] == "first"
    assert [p.name for p in folder.parent.iterdir()] == ["a clip"]


def test_two_clips_of_one_name_never_share_a_folder_and_each_keeps_its_own(tmp_path: Path) -> None:
    clips = [tmp_path / "x/talk.mp4", tmp_path / "y/talk.mp4", tmp_path / "x/talk.mov"]
    for path in clips:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    out = tmp_path / "out"

    def run(order: list[Path]) -> dict[str, str]:
        folders = ResultFolders(out)
        chosen = {}
        for path in order:
            folder = folders.folder_for(path)
            write_streams(ClipInfo(str(path), "mov", 1.0, None, None), {"words": word_stream()}, folder, version="1")
            chosen[str(path)] = folder.name
        return chosen

    first = run(clips)
    assert sorted(first.values()) == ["talk", "talk-2", "talk-3"]
    assert run(clips[::-1]) == first, "a rerun in another order finds each clip's own folder"


def test_a_folder_that_is_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "talk").mkdir()
    (tmp_path / "talk/notes.txt").write_text("mine")
    assert ResultFolders(tmp_path).folder_for(tmp_path / "talk.mp4").name == "talk-2"


def test_an_output_folder_that_cannot_be_written_is_one_line(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EmofuseError, match="expected a folder that can be written"):
        write_analysis(analysis(clip), tmp_path / "file/out", version="1")
