"""The two calls that most programs need: `analyze` for one clip, `analyze_folder` for many (docs/python.md)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, get_args

from emofuse.pipeline.attention.fuse import Maps
from emofuse.pipeline.clip import Limits
from emofuse.pipeline.errors import UsageError
from emofuse.pipeline.results import Analysis
from emofuse.pipeline.shared_pass import Progress

from .assembly import Assembly
from .options import Options, PathLike, Prior, options_with

if TYPE_CHECKING:
    from emofuse.pipeline.batch.events import Totals


def analyze(
    path: PathLike,
    options: Options | None = None,
    *,
    words: PathLike | None = None,
    text: PathLike | None = None,
    face: PathLike | None = None,
    voice: PathLike | None = None,
    speakers: PathLike | int | None = None,
    model: PathLike | None = None,
    device: str | None = None,
    offline: bool | None = None,
    language: str | None = None,
    acoustic_model: PathLike | None = None,
    tier: str | None = None,
    limits: Limits | None = None,
    audio_track: int | None = None,
    face_id: int | None = None,
    prior: Prior | None = None,
    baseline: PathLike | None = None,
    align: str | None = None,
    influence: bool | None = None,
    maps: Maps = "small",
    progress: Progress | None = None,
) -> Analysis:
    """Emotions over time of one clip, and the attention behind them.

    path      a local video or audio file
    options   an `Options`; every keyword from `words` to `influence` is one of its fields and overrides it. None: as `options` says
    maps      how much of each utterance's attention maps (layer, head, target row, source row) to keep: "small": enough to draw;
              "all": as the model made them, large for long clips; "none": nothing
    progress  called with (stage, seconds of the clip) as the work goes on
    Returns an `Analysis`: utterances with probabilities, sentiment and flags, streams, attention per row; times in seconds.
    Raises `UsageError` for an option of the wrong kind, and other `EmofuseError`s for what cannot be read.

    >>> import emofuse
    >>> analysis = emofuse.analyze("samples/voice_only.flac", words="none", offline=True)
    >>> sorted(analysis.summary.probabilities)
    ['anger', 'disgust', 'fear', 'happiness', 'neutral', 'sadness', 'surprise']
    """
    given = dict(locals())
    if maps not in get_args(Maps):
        raise UsageError(f"maps: expected {', '.join(get_args(Maps))}, got {maps!r}")
    changes = {field.name: given[field.name] for field in fields(Options)}
    return Assembly(options_with(options, changes)).analyze(path, progress, maps=maps)


def analyze_folder(
    paths: PathLike | Sequence[PathLike],
    out: PathLike,
    options: Options | None = None,
    *,
    formats: Sequence[str] = (),
    report: bool = True,
    overlay: bool = False,
    workers: int | None = None,
    retry_failed: bool = False,
    force: bool = False,
    seconds: float | None = None,
    memory: int | None = None,
    follow_links: bool = False,
    people: PathLike | None = None,
) -> Totals:
    """Every clip under `paths` into its own folder under `out`, in worker processes; the same call again does only what is missing.

    paths         files and folders; folders are searched for clips
    out           the folder of results (docs/batch.md): manifest.csv, emotions.csv, index.html, one folder per clip
    options       what to use for every clip; None: the defaults
    formats       more formats to write beside each result (docs/formats.md): "eaf", "textgrid", "csd", ...
    report, overlay  whether to write report.html, and overlay.mp4
    workers       processes; None: as many as cores and memory allow
    retry_failed  try clips again that failed before;  force: do everything again
    seconds       wall seconds that one clip may take; None: 600 + 120 times its length
    memory        bytes that one worker may use; None: its share of what is free
    follow_links  also read files that links lead to outside of the folders
    people        whose clip each is: a table with the columns clip and person, "folder", or "name:REGEX" (docs/baseline.md); None: unknown
    Returns how many clips are done, kept, failed and why. A clip that fails ends nothing: its reason is in manifest.csv.
    Raises `UsageError` if there is no clip at all or an option is wrong, `EmofuseError` if `out` cannot be written.

    >>> import emofuse, tempfile
    >>> with tempfile.TemporaryDirectory() as out:
    ...     totals = emofuse.analyze_folder("samples/voice_only.flac", out, emofuse.Options(words="none", offline=True), workers=1)
    >>> totals.done, totals.failed
    (1, 0)
    """
    from emofuse.pipeline.batch.run import BatchOptions
    from emofuse.pipeline.formats.registry import named

    from .batch import Job, run

    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    writing = {"formats": named(",".join(formats)), "report": report, "overlay": overlay}
    return run(
        paths,
        out,
        Job(options_with(options, {}), writing),
        batch=BatchOptions(force=force, retry_failed=retry_failed),
        workers=workers,
        seconds=seconds,
        memory=memory,
        follow_links=follow_links,
        people=people,
    )
