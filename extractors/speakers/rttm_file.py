"""Who speaks when, as an RTTM file says it (pipeline/formats/rttm.py): another program's diarization, or somebody's annotation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from emofuse.pipeline.errors import FormatError, UsageError
from emofuse.pipeline.formats.rttm import file_name, read_rttm
from emofuse.pipeline.formats.session import Session
from emofuse.pipeline.hashing import sha256_of
from emofuse.pipeline.media import Media, Medium
from emofuse.pipeline.timed import Provenance, TimedSequence
from emofuse.pipeline.turns import CONFIDENCE, SPEAKERS, turn_stream, turns_of

from ..provider import Provider, Request, Status

SUFFIX = ".rttm"


class RttmSpeakers(Provider):
    """Makes the stream `speakers` from an RTTM file. Lines of several recordings may be in it: those that are named like the clip are
    taken, or all where the file knows one recording only. Raises `FormatError` for a file that cannot be read or names other clips."""

    name = "rttm"
    stream = SPEAKERS
    argument = ":FILE"
    help = f"who speaks, from your file (*{SUFFIX}), or a folder with one for each clip"
    auto = False
    one_clip = True
    columns = (CONFIDENCE,)
    media: frozenset[Medium] = frozenset()
    needs: tuple[str, ...] = ()

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        if not self._path.is_file():
            raise FormatError(f"{path}: no such file")
        self._sessions = read_rttm(self._path)
        self.provenance = Provenance(self.name, "1", options={"file": self._path.name, "file_sha256": sha256_of(self._path)})

    @classmethod
    def accepts(cls, requested: str) -> bool:
        return Path(requested).suffix.lower() == SUFFIX or Path(requested).is_dir()

    @classmethod
    def status(cls, request: Request) -> Status:
        return Status.here("reads the file that you name")

    @classmethod
    def make(cls, request: Request) -> RttmSpeakers:
        return cls(request.argument)

    @classmethod
    def file_for(cls, clip: Path, folder: Path) -> Path:
        """CLIP.rttm in a folder; raises `UsageError` where there is none."""
        path = folder / f"{clip.stem}{SUFFIX}"
        if not path.is_file():
            raise UsageError(f"{folder}: expected {path.name} for {clip.name}, found none")
        return path

    def __call__(self, clip: Media, upstream: Mapping[str, TimedSequence]) -> TimedSequence:
        stem = Path(clip.info.path).stem
        return turn_stream(turns_of(self._session(stem).streams[SPEAKERS]), self.provenance)

    def _session(self, stem: str) -> Session:
        if len(self._sessions) == 1:
            return self._sessions[0]
        for session in self._sessions:
            if session.name in (stem, file_name(stem)):
                return session
        names = ", ".join(session.name for session in self._sessions[:5])
        raise FormatError(f"{self._path}: expected turns of {stem}, but the file is about {len(self._sessions)} other recordings ({names})")
