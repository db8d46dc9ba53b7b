"""Whose clip each is, as a table, a folder or a file's name says. Nobody is recognised: no voice and no face is looked up.

folder        clips that lie in one folder are one person's
name:REGEX    the first group of the expression (all of it where it has none), searched in the file's name, is the person
FILE.csv      a table with the columns clip and person (or speaker; .tsv: separated by tabs); a clip by its path, or by its name with or
              without suffix where only one clip has it
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from ..errors import UsageError
from .discovery import Candidate, Person

FOLDER = "folder"
NAME = "name:"
EXPECTED = f"{FOLDER}, {NAME}REGEX, or a table with the columns clip and person"


@dataclass(frozen=True)
class Assigned:
    """The clips with whose they are, and what a reader must know of how they were assigned."""

    clips: tuple[Candidate, ...]
    remarks: tuple[str, ...]


def assigned(clips: Sequence[Candidate], rule: str) -> Assigned:
    """Every clip with its person, where the rule has one for it. Raises `UsageError` for a rule or a table that cannot be used."""
    if rule == FOLDER:
        named = tuple(replace(clip, person=_by_folder(clip)) for clip in clips)
        return Assigned(named, _left_alone(named, rule))
    if rule.startswith(NAME):
        expression = _expression(rule)
        named = tuple(replace(clip, person=_by_name(clip, expression)) for clip in clips)
        return Assigned(named, _left_alone(named, rule))
    rows = _table(Path(rule))
    people, unused = _matched(rows, clips, rule)
    named = tuple(replace(clip, person=people.get(clip.path)) for clip in clips)
    remarks = (f"{rule}: {len(unused)} rows name clips that are not here ({', '.join(unused[:3])})",) if unused else ()
    return Assigned(named, (*remarks, *_left_alone(named, rule)))


def _left_alone(clips: Sequence[Candidate], rule: str) -> tuple[str, ...]:
    nobody = [clip.named for clip in clips if clip.person is None]
    return (f"{rule}: {len(nobody)} of {len(clips)} clips have no person: each is read alone ({nobody[0]})",) if nobody else ()


def _by_folder(clip: Candidate) -> Person | None:
    folder = clip.path.rpartition("/")[0]
    return Person(PurePosixPath(folder).name, folder) if folder else None


def _expression(rule: str) -> re.Pattern[str]:
    try:
        return re.compile(rule.removeprefix(NAME))
    except re.error as error:
        raise UsageError(f"--people {rule}: expected a regular expression, got one with a mistake ({error})") from None


def _by_name(clip: Candidate, expression: re.Pattern[str]) -> Person | None:
    match = expression.search(PurePosixPath(clip.path).name)
    name = "" if match is None else (match[1] if expression.groups else match[0]) or ""
    return Person(name) if name else None


def _table(path: Path) -> list[tuple[str, str]]:
    """(clip, person) of every row that has both; raises `UsageError`."""
    if not path.is_file():
        raise UsageError(f"--people {path}: expected {EXPECTED}, and there is no such file")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
            header = [(name or "").strip().casefold() for name in reader.fieldnames or ()]
            person = next((name for name in ("person", "speaker") if name in header), None)
            if "clip" not in header or person is None:
                raise UsageError(f"--people {path}: expected the columns clip and person, got {', '.join(header)[:200] or 'none'}")
            reader.fieldnames = header
            rows = [((row["clip"] or "").strip(), (row[person] or "").strip()) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"--people {path}: expected a table in UTF-8 that can be read, got {error}") from None
    return [(clip, who) for clip, who in rows if clip and who]


def _matched(rows: Iterable[tuple[str, str]], clips: Sequence[Candidate], rule: str) -> tuple[dict[str, Person], list[str]]:
    """Path -> person, and the rows' clips that are not among `clips`."""
    places = _places(clips, Path(rule).parent)
    person_of: dict[str, Person] = {}
    unused: list[str] = []
    for name, person in rows:
        paths = places.get(name) or places.get(os.path.normpath(name)) or frozenset()
        if len(paths) > 1:
            raise UsageError(f"--people {rule}: expected a path, since {len(paths)} clips are called {name}")
        for path in paths:
            if path in person_of and person_of[path].name != person:
                raise UsageError(f"--people {rule}: expected one person for {name}, got {person_of[path].name} and {person}")
            person_of[path] = Person(person)
        if not paths:
            unused.append(name)
    return person_of, unused


def _places(clips: Sequence[Candidate], home: Path) -> Mapping[str, frozenset[str]]:
    """What a table may call a clip -> the paths of those that it may mean: whole paths first, then places, names, stems."""
    paths_of: dict[str, frozenset[str]] = {}
    for calls in (
        lambda clip: (clip.path, os.path.relpath(clip.path, home) if "://" not in clip.path else clip.path),
        lambda clip: (clip.relative,),
        lambda clip: (PurePosixPath(clip.relative).name,),
        lambda clip: (PurePosixPath(clip.relative).stem,),
    ):
        level: dict[str, set[str]] = {}
        for clip in clips:
            for name in set(calls(clip)):
                level.setdefault(name, set()).add(clip.path)
        paths_of = {**{name: frozenset(paths) for name, paths in level.items()}, **paths_of}
    return paths_of
