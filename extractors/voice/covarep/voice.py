"""The two voice streams: `CovarepVoice`, COVAREP's methods with their faults corrected, and `CovarepCompatVoice`, the program as it is.

Both give one row for every 10 ms of sound, its first at the sound's own start; no row lies in a gap. Source of the feature set: G.
Degottex, J. Kane, T. Drugman, T. Raitio, S. Scherer, "COVAREP - A collaborative voice analysis repository for speech technologies",
ICASSP 2014. What each column means, and how near it comes: docs/covarep.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from emofuse.pipeline.columns import COVAREP
from emofuse.pipeline.media import SAMPLE_RATE, Media, Medium
from emofuse.pipeline.timed import Floats32, Floats64, Provenance, TimedSequence

from ...provider import Provider, Request, Status

VERSION = "1"
ROW_SECONDS = 0.01
ROWS_A_SECOND = 100
BLOCK_SECONDS = 10
BRIDGED_SECONDS = 1.0
QUALITY = ("rms", "voicing_probability")


class CovarepVoice(Provider):
    """COVAREP's 74 columns, corrected, and two of quality beside them: `rms` (0..1) and `voicing_probability` (0..1).

    Everything is finite. Where VUV is 0 there is no voice, and the columns that describe the glottal pulse (NAQ, QOQ, H1H2, PSP, MDQ, Rd,
    Rd_conf) are 0 and mean nothing; F0 there is the best guess, 0 without any sound. `creak` is always 0: it is not measured.
    """

    name = "covarep"
    stream = "voice"
    help = "COVAREP's 74 voice features with its faults corrected, and 2 of quality"
    columns = (*COVAREP, *QUALITY)
    media: frozenset[Medium] = frozenset({"audio"})
    needs: tuple[str, ...] = ()

    def __init__(self, *, device: str = "cpu", block_seconds: int = BLOCK_SECONDS) -> None:
        """`device` other than "cpu" ("cuda") computes there what is large: spectra and envelopes, by torch, in single precision.

        So many seconds are worked on at once: it sets the memory that is used, and changes no number.
        """
        self.device = device
        self.block_rows = ROWS_A_SECOND * block_seconds
        self.provenance = Provenance(
            extractor=self.name, version=VERSION, options={"f0_lowest": 50, "f0_highest": 500, "hop": 160, "device": device}
        )

    def prepare(self) -> None:
        """Imports what computes."""
        from . import corrected, survey  # noqa: F401

    @classmethod
    def make(cls, request: Request) -> CovarepVoice:
        return cls(device=request.device)

    @classmethod
    def status(cls, request: Request) -> Status:
        """Always usable: numpy and scipy are all it needs."""
        return Status.here("COVAREP's voice features; no weights needed")

    def __call__(self, clip: Media, upstream: Mapping[str, TimedSequence]) -> TimedSequence:
        from . import corrected
        from .arithmetic import on_device, one_thread
        from .sound import Sound
        from .survey import survey

        on = on_device(self.device)
        sound = Sound(clip.samples())
        with one_thread():
            surveyed = survey(sound, self.block_rows, on)
            values, start = corrected.features(sound, surveyed, self.block_rows, on)
        notes = {"polarity": surveyed.polarity}
        return stream_of(self.columns, values, start, self.provenance, notes)


class CovarepCompatVoice(Provider):
    """COVAREP's 74 columns as the program gives them, oddities included, for models trained on its files.

    Gaps of up to a second are taken as digital silence, as in a decoded file, and their rows left out; a longer one begins a new file.
    A file is worked on as a whole, as the program does it: of the providers of this package this one's memory grows with the clip.
    The -inf that the program gives for peakSlope beside digital silence is NaN here, since a stream holds no infinity.
    """

    name = "covarep-compat"
    stream = "voice"
    help = "COVAREP's 74 voice features exactly as the program gives them"
    columns = COVAREP
    media: frozenset[Medium] = frozenset({"audio"})
    needs: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.provenance = Provenance(extractor=self.name, version=VERSION, options={"commit": "5a2be5d", "run_under": "Octave 7.3"})

    @classmethod
    def make(cls, request: Request) -> CovarepCompatVoice:
        return cls()

    @classmethod
    def status(cls, request: Request) -> Status:
        """Always usable: numpy and scipy are all it needs."""
        return Status.here("COVAREP's own numbers; no weights needed")

    def __call__(self, clip: Media, upstream: Mapping[str, TimedSequence]) -> TimedSequence:
        from . import compat
        from .arithmetic import one_thread
        from .sound import Sound

        values: list[Floats32] = [np.zeros((0, len(COVAREP)), np.float32)]
        start: list[Floats64] = [np.zeros(0)]
        sound = Sound(clip.samples())
        with one_thread():
            for file in _files(sound.stretches):
                begin = file[0].start
                whole = np.zeros(round((file[-1].end - begin) * SAMPLE_RATE))
                heard = np.zeros(len(whole), np.bool_)
                for stretch in file:
                    at = round((stretch.start - begin) * SAMPLE_RATE)
                    part = slice(at, min(at + stretch.length, len(whole)))
                    whole[part] = sound.read(stretch, 0, stretch.length)[: part.stop - part.start]
                    heard[part] = True
                rows = compat.features(whole)
                centre = compat.GRID_START + compat.HOP * np.arange(len(rows)) - 1
                kept = heard[centre]
                rows[np.isinf(rows)] = np.nan
                values.append(rows[kept].astype(np.float32))
                start.append(begin + ROW_SECONDS * np.flatnonzero(kept))
        return stream_of(self.columns, np.concatenate(values), np.concatenate(start), self.provenance, {})


def _files(stretches: list[Any]) -> list[list[Any]]:
    """Stretches in groups with less than a second between neighbours."""
    files: list[list[Any]] = []
    for stretch in stretches:
        if files and stretch.start - files[-1][-1].end < BRIDGED_SECONDS:
            files[-1].append(stretch)
        else:
            files.append([stretch])
    return files


def stream_of(columns: tuple[str, ...], values: Floats32, start: Floats64, made_by: Provenance, notes: dict[str, Any]) -> TimedSequence:
    """The stream of rows (n f) that start at `start` (n) seconds; an empty one says why."""
    if len(values) == 0:
        return TimedSequence.empty("voice", columns, made_by, "the clip has less than 10 ms of sound")
    provenance = Provenance(extractor=made_by.extractor, version=made_by.version, options=made_by.options, notes=notes)
    return TimedSequence("voice", columns, values, start, start + ROW_SECONDS, provenance)
