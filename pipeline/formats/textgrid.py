"""Praat's TextGrid (https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html): tiers with times in seconds.

Written with praatio, in the long form, UTF-8, gaps filled with empty intervals as Praat wants them. Read here, as Praat itself does: only
free-standing numbers, quoted strings and flags in angle brackets count, everything else ("xmin =", "intervals [1]:") is decoration; so one
reader takes both forms, and a label may hold any text (praatio 6.2 takes the file apart at the words "intervals [").
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import FormatError, TranscriptError
from ..timed import Provenance
from .optional import require
from .session import UTTERANCES, Session
from .text_file import read_text
from .tiers import Tier, session_of_tiers, tiers_of

_TOKEN = re.compile(
    r'"(?P<string>(?:[^"]|"")*)"|(?P<number>(?<![^\s])-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![^\s]))|(?P<flag><\w+>)|(?P<comment>!.*)'
)


def write_textgrid(sessions: Sequence[Session], path: Path) -> None:
    """One session. One without annotations gets an empty tier `utterances`, because a TextGrid has at least one; raises `FormatError`
    where it has no length either."""
    textgrid = require("praatio.textgrid", "praatio", "TextGrid")
    (session,) = sessions
    tiers = tiers_of(session)
    length = max([session.length, *(tier.rows[-1][1] for tier in tiers)])
    if length <= 0:
        raise FormatError(f"{session.name}: expected a clip that lasts to write as a TextGrid, got {length:g} s without annotations")
    grid = textgrid.Textgrid(0.0, length)
    for tier in tiers or (Tier(UTTERANCES, ()),):
        grid.addTier(textgrid.IntervalTier(tier.name, tier.rows, 0.0, length))
    grid.save(str(path), format="long_textgrid", includeBlankSpaces=True, reportingMode="error")


def read_textgrid(path: Path) -> tuple[Session, ...]:
    """One session: words and utterances where the tiers are named so, the others as tiers. Raises `TranscriptError` naming the line."""
    decoded = read_text(path, FormatError)
    file = _Tiers(decoded.text, path)
    # A recording may be annotated from before its zero; what begins there is cut at it.
    tiers = [Tier(tier.name, tuple((max(0.0, a), b, label) for a, b, label in tier.rows if b >= 0)) for tier in file.read()]
    notes = {"remarks": [decoded.remark]} if decoded.remark else {}
    by = Provenance("TextGrid", "1", options={"file": path.name}, notes=notes)
    return (session_of_tiers(tiers, path.stem, by, length=max(0.0, file.end)),)


def read_tiers(text: str, path: Path) -> list[Tier]:
    """All tiers of a TextGrid's text, labels stripped, empty ones included; the points of a point tier start where they end."""
    return _Tiers(text, path).read()


class _Tiers:
    """The file's values in order, each with its line."""

    def __init__(self, text: str, path: Path) -> None:
        self._text, self._path, self._line = text, path, 1
        self.end = 0.0
        self._values = self._scan()

    def _scan(self) -> Iterator[tuple[str, str]]:
        position = 0
        for match in _TOKEN.finditer(self._text):
            self._line += self._text.count("\n", position, match.start())
            position = match.start()
            if match.lastgroup != "comment":
                yield match.lastgroup or "", match.group(match.lastgroup or 0)

    def _error(self, expected: str, got: str) -> TranscriptError:
        return TranscriptError(f"{self._path}: line {self._line}: expected {expected}, got {got}")

    def _next(self, kind: str, what: str) -> str:
        token, value = next(self._values, ("", ""))
        if token != kind:
            raise self._error(what, repr(value[:40]) if token else "the end of the file")
        return value.replace('""', '"') if kind == "string" else value

    def _number(self, what: str) -> float:
        value = float(self._next("number", what))
        if not math.isfinite(value):
            raise self._error(what, repr(value))
        return value

    def _skip_number(self, what: str) -> None:
        self._number(what)

    def read(self) -> list[Tier]:
        # "ooTextFile short" is what old Praat and P2FA write.
        first, second = self._next("string", '"ooTextFile"'), self._next("string", '"TextGrid"')
        if first.split() not in (["ooTextFile"], ["ooTextFile", "short"]) or second.split()[:1] != ["TextGrid"]:
            raise self._error('a TextGrid ("ooTextFile", "TextGrid")', "another kind of Praat file")
        self._skip_number("the start")
        self.end = self._number("the end")
        if self._next("flag", "<exists>") != "<exists>":
            return []
        tiers = []
        for _ in range(int(self._number("the number of tiers"))):
            kind, name = self._next("string", "a tier's class"), self._next("string", "a tier's name")
            self._skip_number("the tier's start")
            self._skip_number("the tier's end")
            count = int(self._number("the number of intervals"))
            if kind == "IntervalTier":
                tiers.append(Tier(name, tuple(self._interval() for _ in range(count))))
            elif kind == "TextTier":
                tiers.append(Tier(name, tuple(self._point() for _ in range(count))))
            else:
                raise self._error('"IntervalTier" or "TextTier"', repr(kind))
        return tiers

    def _point(self) -> tuple[float, float, str]:
        at = self._number("a point's time")
        return at, at, self._next("string", "a point's label").strip()

    def _interval(self) -> tuple[float, float, str]:
        start, end = self._number("an interval's start"), self._number("an interval's end")
        label = self._next("string", "an interval's label").strip()
        if end < start:
            raise self._error("start <= end", f"{start:g} and {end:g}")
        return start, end, label
