"""One .csd has one naming of columns, whoever reads it: training's data sets and `--voice FILE.csd` alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emofuse.fusion.datasets.csd import read_csd
from emofuse.fusion.datasets.examples import Source
from emofuse.pipeline.formats.csd import read_sequence, stream_of, write_sequence
from emofuse.pipeline.timed import Provenance, TimedSequence

BY = Provenance("test", "1")


@pytest.mark.parametrize("columns", [("F0", "VUV", "NAQ"), ("voice_0", "voice_1", "voice_2")])
def test_training_and_analysis_name_a_files_columns_alike(columns: tuple[str, ...], tmp_path: Path) -> None:
    start = np.arange(6.0)
    voice = TimedSequence("voice", columns, np.ones((6, 3), np.float32), start, start + 1, BY)
    labels = TimedSequence("labels", ("sentiment",), np.ones((1, 1), np.float32), np.zeros(1), np.full(1, 6.0), BY)
    write_sequence("COVAREP", {"clip": voice}, tmp_path / "COVAREP.csd")
    write_sequence("labels", {"clip": labels}, tmp_path / "labels.csd")
    dataset = read_csd(Source(tmp_path, {"voice": "COVAREP"}, "labels"))
    read = stream_of(read_sequence(tmp_path / "COVAREP.csd"), "clip", tmp_path / "COVAREP.csd", "voice")
    assert dataset.examples[0].streams["voice"].columns == read.columns == columns
