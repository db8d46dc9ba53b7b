"""A dataset in memory: utterances with streams, labels, split and speaker, whatever form they came in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emofuse.pipeline.errors import DatasetError
from emofuse.pipeline.timed import Provenance, TimedSequence

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Example:
    """One utterance. A stream that it does not have is missing from `streams`, or empty with its reason.

    labels   name -> a number ("sentiment" -> -1.8, "happiness" -> 0.67) or a class ("emotion" -> "anger")
    split    train, valid or test; "" where the data do not say
    speaker  "" where the data do not say
    text     what is said, where the data have it as text
    copy_of  the utterance that this is a changed copy of (played faster, say); such a copy is trained on, never validated or tested on
    """

    name: str
    streams: Mapping[str, TimedSequence]
    labels: Mapping[str, float | str]
    split: str = ""
    speaker: str = ""
    text: str = ""
    copy_of: str = ""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Utterances, and what the reader had to do to them (counted facts for the run's record: "voice: values that were not finite")."""

    name: str
    examples: tuple[Example, ...]
    notes: Mapping[str, int | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.examples:
            raise DatasetError(f"{self.name}: no utterance found")


@dataclass(frozen=True)
class Source:
    """Where data lie and what is wanted of them.

    path     file or folder
    streams  our stream -> its name in the data ("" = the form's own: voice is `audio` in a MulT pickle)
    labels   the labels' file or key, where the form has several ("" = its own)
    extract  a clip -> its streams, for raw clips (handed in by the command line: this floor knows no extractors)
    """

    path: Path
    streams: Mapping[str, str]
    labels: str = ""
    extract: Callable[[Path], Mapping[str, TimedSequence]] | None = None


def sequence(
    name: str,
    values: NDArray[np.floating],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    provenance: Provenance,
    columns: tuple[str, ...] = (),
) -> tuple[TimedSequence, int]:
    """A stream of values (n c) with these columns, by default NAME_0, NAME_1 ..; start and end (n) seconds. Values that are not finite
    become NaN (not measured) and are counted."""
    with np.errstate(over="ignore"):
        rows = np.array(values, np.float32)
    broken = ~np.isfinite(rows)
    rows[broken] = np.nan
    columns = columns or tuple(f"{name}_{j}" for j in range(rows.shape[1]))
    reason = "" if len(rows) else "no rows in the data"
    return TimedSequence(name, columns, rows, start, end, provenance, reason=reason), int(broken.sum())
