"""Streams held against the clip: rows that a file puts after the clip's end are left out, or cut, and counted.

A transcript or a table of another clip, or of an uncut version, fits its clip's name and not its length. Half a second is allowed for:
recognisers and decoders disagree by that much about where a clip ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .clip import Clip, DecodeEnd
from .errors import ClipError, StreamError
from .timed import TimedSequence

TOLERANCE = 0.5
"""Seconds."""


def within_clip(clip: Clip, streams: Mapping[str, TimedSequence], end: DecodeEnd | None) -> dict[str, TimedSequence]:
    """The same streams without what lies after the clip's end; the notes of each say how many rows were left out or cut.

    end  how decoding ended, None where nothing was decoded; what is needed beside to know the clip's end is decoded here
    Raises `StreamError` where all of a stream lies after the clip's end: it is another clip's.
    """
    latest = max((stream.span.end for stream in streams.values() if len(stream)), default=0.0)
    length = max(end.end if end is not None else 0.0, clip.info.duration or 0.0)
    if latest > length + TOLERANCE:
        # The container may have said too little (joined files do), and a medium that nobody decoded may be longer.
        undecoded = {medium for medium, info in (("audio", clip.info.audio), ("video", clip.info.video)) if info is not None}
        undecoded -= set(end.media) if end is not None else set()
        try:
            length = max(length, _end_of(clip, undecoded)) if undecoded else length
        except ClipError:
            return dict(streams)
    return {name: _cut(stream, length, clip) for name, stream in streams.items()}


def _end_of(clip: Clip, media: set[str]) -> float:
    for item in clip.decode(frames="video" in media, samples="audio" in media):
        if isinstance(item, DecodeEnd):
            return item.end
    return 0.0


def _cut(stream: TimedSequence, length: float, clip: Clip) -> TimedSequence:
    if not len(stream) or length <= 0 or stream.span.end <= length + TOLERANCE:
        return stream
    source = stream.provenance.options.get("file", stream.provenance.extractor)
    inside = np.flatnonzero(stream.start < length + TOLERANCE)
    if not len(inside):
        raise StreamError(
            f"{source}: all {len(stream)} rows of {stream.name} lie after the end of {clip.path.name} at {length:.1f} s, "
            f"the first at {stream.start[0]:.1f} s: it is another clip's"
        )
    kept = stream.rows(inside)
    over = kept.end > length + TOLERANCE
    ends = np.where(over, np.maximum(kept.start, length), kept.end)
    counts = {"left_out": len(stream) - len(kept), "cut": int(over.sum())}
    remark = f"{source}: {counts['left_out']} rows of {stream.name} lie after the clip's end at {length:.1f} s and were left out"
    if counts["cut"]:
        remark += f"; {counts['cut']} that last longer were cut there"
    notes = {**stream.provenance.notes, "after_the_clips_end": counts}
    if "file" in stream.provenance.options:
        notes["remarks"] = [*notes.get("remarks", ()), remark]
    return replace(kept, end=ends, provenance=replace(stream.provenance, notes=notes))
