"""Chained Ogg files: recordings laid end to end in one file, each with headers of its own (RFC 3533, section 4).

FFmpeg goes on into the second link only where its streams have the same numbers and forms as the first's. Here each link is found by its
pages and read as a file of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import IO

from ..errors import ClipLimit, NoStream, NotMedia
from .container import Job, choose_streams, duration_of, open_container

PAGE, CAPTURE, FIRST = 27, b"OggS", 2
"""Bytes of a page's header before its table of segments; how a page begins; the flag of a stream's first page."""
MOST_LINKS = 1000
CHUNK = 1 << 16


def links_of(job: Job) -> tuple[Job, ...]:
    """The job for each link of a chained file, in order; the job as it is for every other file. Raises `ClipLimit` for too many links."""
    try:
        with open(job.path, "rb") as file:
            starts = _starts(file)
    except OSError:
        return (job,)  # opening it tells why
    if len(starts) > MOST_LINKS:
        raise ClipLimit(f"{job.path}: over {MOST_LINKS} recordings in one chained file, more than the limit")
    return tuple(replace(job, part=part) for part in zip(starts, [*starts[1:], None], strict=True)) if len(starts) > 1 else (job,)


def _starts(file: IO[bytes]) -> list[int]:
    """Where links begin: at a first page that comes after pages that are none."""
    starts, at, data = [0], 0, False
    if file.read(len(CAPTURE)) != CAPTURE:
        return starts
    while len(starts) <= MOST_LINKS:
        file.seek(at)
        header = file.read(PAGE)
        if len(header) < PAGE:
            break
        if not header.startswith(CAPTURE):
            if (found := _next_page(file, at + 1)) is None:
                break
            at = found
            continue
        if not header[5] & FIRST:
            data = True
        elif data:
            starts.append(at)
            data = False
        at += PAGE + header[26] + sum(file.read(header[26]))
    return starts


def _next_page(file: IO[bytes], at: int) -> int | None:
    """Where the next page begins after bytes that are none."""
    while True:
        file.seek(at)
        chunk = file.read(CHUNK)
        if (found := chunk.find(CAPTURE)) >= 0:
            return at + found
        if len(chunk) < CHUNK:
            return None
        at += CHUNK - len(CAPTURE) + 1


def length_of(links: Sequence[Job]) -> float:
    """Seconds of these links together, by their own word; one that cannot be opened has none."""
    seconds = 0.0
    for link in links:
        try:
            with open_container(link) as container:
                seconds += duration_of(container, choose_streams(container, link)) or 0.0
        except (NotMedia, NoStream):
            continue
    return seconds
