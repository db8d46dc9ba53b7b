"""Reader of Praat's TextGrid files, long and short form (https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html).

As Praat itself reads them: only free-standing numbers, quoted strings and flags in angle brackets count, everything else ("xmin =",
"intervals [1]:") is decoration; so one reader takes both forms. Interval tiers only; a tier named like words (also "speaker -
words", as the Montreal Forced Aligner writes) is preferred, tiers of sounds are left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from emofuse.pipeline.errors import TranscriptError

from .cues import Cue, words_of

_TOKEN = re.compile(
    r'"(?P<string>(?:[^"]|"")*)"|(?P<number>(?<![^\s])-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![^\s]))|(?P<flag><\w+>)|(?P<comment>!.*)'
)
_WORD_TIERS = {"word", "words", "ort", "ort-mau", "orthography", "tokens"}
_SOUND_TIERS = {"phone", "phones", "phoneme", "phonemes", "mau", "kan", "kan-mau", "segments", "syllable", "syllables", "sounds"}
_SILENCES = {"", "sp", "sil", "<sil>", "<eps>", "<p:>", "<p>", "pau", "#", "spn", "<unk>"}


@dataclass(frozen=True)
class _Tier:
    name: str
    cues: tuple[Cue, ...]


def read_textgrid(text: str, path: Path) -> tuple[Cue, ...]:
    tiers = _Tiers(text, path).read()
    of_words = [tier for tier in tiers if _kind(tier.name) in _WORD_TIERS]
    chosen = of_words or [tier for tier in tiers if _kind(tier.name) not in _SOUND_TIERS]
    if not chosen:
        names = ", ".join(repr(tier.name) for tier in tiers)
        raise TranscriptError(f"{path}: line 1: expected an interval tier with words, got {names or 'no interval tier'}")
    cues = []
    for tier in chosen:
        speaker = tier.name.rsplit(" - ", 1)[0] if " - " in tier.name else (tier.name if len(chosen) > 1 else "")
        cues += [Cue(cue.words, cue.start, cue.end, speaker=speaker) for cue in tier.cues]
    return tuple(cues)


def _kind(name: str) -> str:
    return name.rsplit(" - ", 1)[-1].strip().lower()


class _Tiers:
    """The file's values in order, each with its line."""

    def __init__(self, text: str, path: Path) -> None:
        self._text, self._path, self._line = text, path, 1
        self._values = self._scan()

    def _scan(self) -> Iterator[tuple[str, str]]:
        place = 0
        for match in _TOKEN.finditer(self._text):
            self._line += self._text.count("\n", place, match.start())
            place = match.start()
            if match.lastgroup != "comment":
                yield match.lastgroup or "", match.group(match.lastgroup or 0)

    def _error(self, expected: str, got: str) -> TranscriptError:
        return TranscriptError(f"{self._path}: line {self._line}: expected {expected}, got {got}")

    def _next(self, kind: str, what: str) -> str:
        found, value = next(self._values, ("", ""))
        if found != kind:
            raise self._error(what, repr(value[:40]) if found else "the end of the file")
        return value.replace('""', '"') if kind == "string" else value

    def _number(self, what: str) -> float:
        value = float(self._next("number", what))
        if not math.isfinite(value):
            raise self._error(what, repr(value))
        return value

    def _skip_number(self, what: str) -> None:
        self._number(what)

    def read(self) -> list[_Tier]:
        if self._next("string", '"ooTextFile"') != "ooTextFile" or self._next("string", '"TextGrid"') != "TextGrid":
            raise self._error('a TextGrid ("ooTextFile", "TextGrid")', "another kind of Praat file")
        self._skip_number("the start")
        self._skip_number("the end")
        if self._next("flag", "<exists>") != "<exists>":
            return []
        tiers = []
        for _ in range(int(self._number("the number of tiers"))):
            kind, name = self._next("string", "a tier's class"), self._next("string", "a tier's name")
            self._skip_number("the tier's start")
            self._skip_number("the tier's end")
            count = int(self._number("the number of intervals"))
            if kind == "IntervalTier":
                tiers.append(_Tier(name, tuple(cue for _ in range(count) if (cue := self._interval()))))
            elif kind == "TextTier":
                for _ in range(count):
                    self._skip_number("a point's time")
                    self._next("string", "a point's label")
            else:
                raise self._error('"IntervalTier" or "TextTier"', repr(kind))
        return tiers

    def _interval(self) -> Cue | None:
        start, end = self._number("an interval's start"), self._number("an interval's end")
        label = self._next("string", "an interval's label").strip()
        if end < start:
            raise self._error("start <= end", f"{start:g} and {end:g}")
        # A recording may be annotated from before its zero; what begins there is cut at it.
        words = () if label.lower() in _SILENCES or end < 0 else words_of(label)
        return Cue(words, max(0.0, start), end) if words else None
