"""What a batch asks of the floors above it: who makes the streams, which model reads them, and what is written."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ..clip import Clip, Limits
from ..extraction import Extraction
from ..media import ClipInfo
from ..person import KnownPerson, PersonSums
from ..ports import Extractor
from ..results import Analysis
from ..shared_pass import Progress
from ..timed import Provenance


class Setup(Protocol):
    """What the floors above hand in. Made once per worker; what it loads is kept for the clips that follow.

    limits         what a clip may cost
    configuration  JSON: all that was asked for and that a result may depend on
    requests       stream -> JSON: what was asked of its provider
    """

    @property
    def limits(self) -> Limits: ...
    @property
    def configuration(self) -> Mapping[str, Any]: ...
    @property
    def requests(self) -> Mapping[str, Any]: ...
    @property
    def model(self) -> Provenance: ...

    def extractors(self, clip: Path) -> Sequence[Extractor]: ...
    def tally(self, clip: Clip, extraction: Extraction, person: str) -> PersonSums:
        """What the clip says of its person's baseline, for a model that reads one."""
        ...

    def fuse(self, clip: Clip, extraction: Extraction, progress: Progress | None, person: KnownPerson | None = None) -> Analysis: ...
    def write(self, analysis: Analysis, folder: Path, home: Path | None) -> Mapping[str, str]:
        """All files of the result into a folder that is there and empty, and will be `home` in the end (None: not on this machine).

        Returns formats that were asked for and cannot hold this clip: name -> why."""
        ...


OpenClip = Callable[[str | os.PathLike[str], Limits | None, ClipInfo | None], Clip]
"""How a clip is opened: `Clip` itself, or something that stands in for it."""
