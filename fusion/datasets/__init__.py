"""Data to train on, one file a form. `FORMATS` lists them: name -> how to import its reader (nothing heavy is imported before).

A reader takes a `Source` and gives a `Dataset` (examples.py). A new form is one new file and one line here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # numpy is imported with the first reader, not with the list
    from .examples import Dataset, Source


def _mult(source: Source) -> Dataset:
    from .pickles import read_mult

    return read_mult(source)


def _mmsa(source: Source) -> Dataset:
    from .pickles import read_mmsa

    return read_mmsa(source)


def _csd(source: Source) -> Dataset:
    from .csd import read_csd

    return read_csd(source)


def _streams(source: Source) -> Dataset:
    from .folders import read_streams

    return read_streams(source)


def _ravdess(source: Source) -> Dataset:
    from .actors import RAVDESS, read_actors

    return read_actors(source, RAVDESS)


def _cremad(source: Source) -> Dataset:
    from .actors import CREMAD, read_actors

    return read_actors(source, CREMAD)


def _clips(source: Source) -> Dataset:
    from .clips import read_clips

    return read_clips(source)


FORMATS: dict[str, Callable[[Source], Dataset]] = {
    "streams": _streams,
    "clips": _clips,
    "mult": _mult,
    "mmsa": _mmsa,
    "csd": _csd,
    "ravdess": _ravdess,
    "cremad": _cremad,
}
