"""The one place that chooses: which provider makes each stream, which model reads them, on which device.

Everything here follows from `Options` and from what is on this machine; nothing is chosen at import.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from emofuse.extractors import EXTRACTORS, Request
from emofuse.extractors.face.speaking import who_speaks
from emofuse.extractors.weights.local import Status, reachable
from emofuse.fusion.shipped import description, locate
from emofuse.pipeline.clip import Clip
from emofuse.pipeline.errors import TranscriptError, UsageError
from emofuse.pipeline.extraction import Extraction, extract
from emofuse.pipeline.media import ClipInfo
from emofuse.pipeline.ports import Extractor
from emofuse.pipeline.profile import Profile
from emofuse.pipeline.results import Analysis
from emofuse.pipeline.shared_pass import Progress
from emofuse.pipeline.streams import STREAMS

from .options import Options, prior_of

if TYPE_CHECKING:  # torch is imported only when a model is loaded
    from emofuse.fusion.predictor import Predictor
    from emofuse.pipeline.attention.fuse import Maps

Say = Callable[[str], None]

TRANSCRIPT_SUFFIXES = (".srt", ".vtt", ".json", ".textgrid", ".eaf", ".csv", ".tsv", ".txt")
STREAM_SUFFIXES = (".csv", ".parquet", ".csd")


@dataclass(frozen=True)
class Choice:
    """What makes a stream, and why; `provider` None: the stream is left out."""

    stream: str
    provider: str | None
    argument: str
    why: str


class Assembly:
    """Extractors and a model, chosen by `options`, made when first needed and kept for the clips that follow.

    say   called with one line for every choice that `auto` made
    Raises `UsageError` for invalid options and `WeightsError` for weights that are not there.
    """

    def __init__(self, options: Options | None = None, say: Say | None = None) -> None:
        self.options = options or Options()
        self._say: Say = say or (lambda line: None)
        self._made: dict[tuple[str, bool], tuple[str, Extractor]] = {}  # of files only the last, however many clips there are

    @cached_property
    def device(self) -> str:
        return pick_device(self.options.device)

    @cached_property
    def choices(self) -> Mapping[str, Choice]:
        """Stream -> what makes it, decided once."""
        found: dict[str, Choice] = {}
        for stream in STREAMS:
            wish = self.options.wish(stream)
            choice = choose(stream, wish, self._request(""), self._read.get(stream, ()))
            if stream == "text" and choice.provider is not None and found["words"].provider is None:
                choice = Choice(stream, None, "", "there are no words to embed")
            found[stream] = choice
            if wish == "auto":
                self._say(f"{stream}: {choice.provider or 'none'} ({choice.why})")
        return found

    @cached_property
    def _read(self) -> Mapping[str, tuple[str, ...]]:
        """Stream -> columns that the model reads, by its description alone: the weights are not loaded for it."""
        streams = description(locate(self.options.checkpoint))["streams"]
        return {name: tuple(stream["columns"]) for name, stream in streams.items()}

    @cached_property
    def model(self) -> Predictor:
        from emofuse.fusion.predictor import Predictor

        return Predictor.load(locate(self.options.checkpoint), device=self.device, prior=prior_of(self.options.prior))

    def extractors(self, clip: Path, *, for_model: bool = True) -> list[Extractor]:
        """The extractors for one clip: the same ones each time, but for files, which belong to a clip. Without `for_model`, a file's
        stream is taken as it is, whatever the model reads."""
        made: list[Extractor] = []
        for stream, choice in self.choices.items():
            if choice.provider is None:
                continue
            argument = choice.argument
            if choice.provider == "transcript" and Path(argument).is_dir():
                argument = str(transcript_for(clip, Path(argument)))
            if choice.provider == "file" and Path(argument).is_dir():
                argument = str(stream_for(clip, Path(argument)))
            kept = self._made.get((stream, for_model))
            if kept is None or kept[0] != argument:
                asked = replace(self.request(choice), argument=argument)
                asked = asked if for_model else replace(asked, wanted=())
                kept = self._made[stream, for_model] = (argument, EXTRACTORS[stream][choice.provider].make(asked))
            made.append(kept[1])
        return made

    def extract(self, path: str | os.PathLike[str], progress: Progress | None = None) -> tuple[ClipInfo, Extraction]:
        """All chosen streams of a clip."""
        clip = Clip(path, self.options.limits)
        info = clip.info  # a file that is no clip is refused before anything is loaded for it
        return info, extract(clip, self.extractors(clip.path, for_model=False), progress)

    def analyze(
        self,
        path: str | os.PathLike[str],
        progress: Progress | None = None,
        *,
        maps: Maps = "small",
        profile: Profile | None = None,
    ) -> Analysis:
        """A clip's emotions over time and the attention that they rest on. A `profile` is told when each stage began and ended."""
        profile = profile or Profile()
        clip = Clip(path, self.options.limits)
        with profile.stage("open"):
            _ = clip.info
        with profile.stage("load extractors"):
            extractors = self.extractors(clip.path)
        extraction = extract(clip, extractors, progress)
        profile.add(extraction.spans)
        profile.passes = clip.passes
        with profile.stage("load model"):
            _ = self.model
        with profile.stage("fusion"):
            return self.fuse(clip, extraction, progress, maps=maps)

    def fuse(self, clip: Clip, extraction: Extraction, progress: Progress | None = None, *, maps: Maps = "small") -> Analysis:
        """Streams that are there already, to emotions and attention. What the options say of this half is put in here."""
        from emofuse.pipeline.attention.fuse import fuse

        return fuse(clip, extraction, self.model, maps=maps, progress=progress, chooser=who_speaks, face_id=self.options.face_id)

    def request(self, choice: Choice) -> Request:
        """What is asked of the provider of a stream. Only a file is told what the model reads: the others make what they make."""
        wanted = self._read.get(choice.stream, ()) if choice.provider == "file" else ()
        return replace(self._request(choice.argument), wanted=wanted)

    def _request(self, argument: str) -> Request:
        return Request(
            argument=argument,
            device=self.device,
            offline=self.options.offline,
            language=self.options.language,
            acoustic_model=self.options.aligner,
        )


def choose(stream: str, wish: str, request: Request, read: tuple[str, ...] = ()) -> Choice:
    """What makes a stream; `read` are the columns that the model wants of it. Raises `UsageError` for a provider that does not exist."""
    providers = EXTRACTORS[stream]
    if wish == "none":
        return Choice(stream, None, "", "left out by request")
    if wish == "auto":
        return _best(stream, request, read)
    name, _, argument = wish.partition(":")
    if name in providers:
        return Choice(stream, name, argument, "by request")
    if _names_a_stream(stream, Path(wish)):
        return Choice(stream, "file", wish, "by request")
    if stream == "words" and (Path(wish).exists() or Path(wish).suffix.lower() in TRANSCRIPT_SUFFIXES):
        return Choice(stream, "transcript", wish, "by request")
    if stream == "text" and Path(wish).is_file():
        return Choice(stream, "glove", wish, "by request")
    if stream == "text":
        return Choice(stream, "bert", wish, "by request")
    raise UsageError(f"--{stream} {wish}: expected auto, none, {', '.join(providers)}, or a file named {', '.join(STREAM_SUFFIXES)}")


def _names_a_stream(stream: str, path: Path) -> bool:
    """Whether a path is a stream's file, or a folder of them: for words a .csv is a transcript, for words and text a folder is theirs."""
    suffix = path.suffix.lower()
    if stream in ("words", "text"):
        return suffix in STREAM_SUFFIXES and suffix != ".csv"
    return suffix in STREAM_SUFFIXES or path.is_dir()


def _best(stream: str, request: Request, read: tuple[str, ...]) -> Choice:
    """The first provider that the model can read and that runs here, or could if its weights were fetched; never asks a hub offline."""
    passed_over: list[str] = []
    for name, provider in EXTRACTORS[stream].items():
        if not provider.auto:
            continue
        if provider.columns and not set(read) <= set(provider.columns):
            passed_over.append(f"{name}: the model reads columns that it does not fill")
            continue
        status = provider.status(request)
        if status.usable or (status.fetchable and not request.offline and reachable()):
            return Choice(stream, name, "", "; ".join([status.reason, *passed_over]))
        passed_over.append(f"{name}: {_why_not(status, request)}")
    return Choice(stream, None, "", "; ".join(passed_over) or "no provider")


def _why_not(status: Status, request: Request) -> str:
    if not status.fetchable:
        return status.reason
    return f"{status.reason}, and {'the network is not to be used' if request.offline else 'the model hub cannot be reached'}"


def transcript_for(clip: Path, folder: Path) -> Path:
    """The transcript in a folder that has the clip's name; raises `TranscriptError` where there is none or several."""
    found = sorted(p for p in folder.iterdir() if p.stem == clip.stem and p.suffix.lower() in TRANSCRIPT_SUFFIXES)
    if len(found) != 1:
        raise TranscriptError(f"{folder}: expected one transcript named {clip.stem} ({', '.join(TRANSCRIPT_SUFFIXES)}), found {len(found)}")
    return found[0]


def stream_for(clip: Path, folder: Path) -> Path:
    """The stream's file in a folder that has the clip's name, else the folder's only .csd; raises `UsageError` for none or several."""
    names = {f"{clip.stem}{kind}{suffix}" for kind in ("", ".openface", ".fex") for suffix in STREAM_SUFFIXES}
    found = sorted(p for p in folder.iterdir() if p.name in names) or sorted(folder.glob("*.csd"))
    if len(found) != 1:
        raise UsageError(f"{folder}: expected one file named {clip.stem} ({', '.join(STREAM_SUFFIXES)}), found {len(found)}")
    return found[0]


def pick_device(wish: str) -> str:
    """The device that a name means here; raises `UsageError` for one that this machine does not have."""
    import torch

    if wish == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=wish)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {wish}: not on this machine ({str(error).splitlines()[0]})") from None
    return wish
