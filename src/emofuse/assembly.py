"""The one place that chooses: which provider makes each stream, which model reads them, on which device.

Everything here follows from `Options` and from what is on this machine; nothing is chosen at import.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from emofuse.extractors import EXTRACTORS, Provider, Request, Status
from emofuse.extractors.face.speaking import who_speaks
from emofuse.extractors.weights.device import resolve
from emofuse.extractors.weights.download import reachable
from emofuse.fusion.shipped import description, locate, provenance_of
from emofuse.pipeline.clip import Clip
from emofuse.pipeline.errors import ClipChanged, UsageError
from emofuse.pipeline.extraction import Extraction, extract
from emofuse.pipeline.hashing import FileState, sha256_of
from emofuse.pipeline.media import ClipInfo
from emofuse.pipeline.person import BaselineSource, ClipTallies, KnownPerson, PersonSums, recorded
from emofuse.pipeline.ports import Extractor
from emofuse.pipeline.profile import Profile
from emofuse.pipeline.results import Analysis
from emofuse.pipeline.shared_pass import Progress
from emofuse.pipeline.speaker_face import FaceSelector
from emofuse.pipeline.streams import STREAMS
from emofuse.pipeline.summary import decoded_to_the_end, length_of
from emofuse.pipeline.timed import Provenance, TimedSequence
from emofuse.pipeline.turns import SPEAKERS, SpeakerFinder
from emofuse.pipeline.utterances import segment, utterance

from .options import Options, prior_of

if TYPE_CHECKING:  # torch is imported only when a model is loaded
    from emofuse.fusion.predictor import Predictor
    from emofuse.pipeline.attention.fuse import Maps

Say = Callable[[str], None]

TRIES = 3  # readings of a clip that is replaced each time


@dataclass(frozen=True)
class Choice:
    """What makes a stream, and why.

    provider   the class that makes it; None: the stream is left out
    argument   what the user gave it: a model, a path; "" for its default
    """

    stream: str
    provider: type[Provider] | None
    argument: str
    why: str

    @property
    def name(self) -> str | None:
        """The provider's name; None where the stream is left out."""
        return None if self.provider is None else self.provider.name


class Assembly:
    """Extractors and a model, chosen by `options`, made when first needed and kept for the clips that follow.

    say   called with one line for every choice that `auto` made
    Raises `UsageError` for invalid options and `WeightsError` for weights that are not there.
    """

    def __init__(self, options: Options | None = None, say: Say | None = None) -> None:
        self.options = options or Options()
        self._say: Say = say or (lambda line: None)
        self._made: dict[tuple[str, bool], tuple[str, Extractor]] = {}  # of files only the last, however many clips there are
        _ = self.recording  # one that is not there is refused before anything is extracted

    @cached_property
    def device(self) -> str:
        return resolve(self.options.device)

    @cached_property
    def choices(self) -> Mapping[str, Choice]:
        """Stream -> what makes it, decided once."""
        choices: dict[str, Choice] = {}
        for stream in STREAMS:
            requested = self.options.requested(stream)
            choice = choose(stream, requested, self._request(""), self._read.get(stream, ()))
            for needed in choice.provider.needs if choice.provider is not None else ():
                if choices[needed].provider is None:
                    choice = Choice(stream, None, "", f"it needs {needed}, and there are none")
            choices[stream] = choice
            if requested == "auto":
                self._say(f"{stream}: {choice.name or 'none'} ({choice.why})")
        return choices

    @cached_property
    def _read(self) -> Mapping[str, tuple[str, ...]]:
        """Stream -> columns that the model reads, by its description alone: the weights are not loaded for it."""
        streams = description(locate(self.options.checkpoint))["streams"]
        return {name: tuple(stream["columns"]) for name, stream in streams.items()}

    @property
    def model_provenance(self) -> Provenance:
        """The model's, by its description alone: neither torch nor the weights are loaded for it."""
        path = locate(self.options.checkpoint)
        return provenance_of(description(path), path.name, prior_of(self.options.prior))

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
            if choice.provider.one_clip and Path(argument).is_dir():
                argument = str(choice.provider.file_for(clip, Path(argument)))
            kept = self._made.get((stream, for_model))
            if kept is None or kept[0] != argument:
                asked = replace(self.request(choice), argument=argument)
                asked = asked if for_model else replace(asked, wanted=())
                kept = self._made[stream, for_model] = (argument, choice.provider.make(asked))
            made.append(kept[1])
        return made

    def extract(self, path: str | os.PathLike[str], progress: Progress | None = None) -> tuple[ClipInfo, Extraction]:
        """All chosen streams of a clip."""
        clip = Clip(path, self.options.reading)
        info = clip.info  # a file that is no clip is refused before anything is loaded for it
        return info, self._aligned(extract(clip, self.extractors(clip.path, for_model=False), progress))

    def _aligned(self, extraction: Extraction) -> Extraction:
        """Face and voice per word where the options say so. Doing it twice changes nothing."""
        if self.options.align == "none":
            return extraction
        from emofuse.fusion.word_alignment import onto_words

        words = extraction.streams.get("words")
        if words is None:
            raise UsageError("--align words: there are no words to average over; give a transcript or a recogniser with --words")
        streams = {name: onto_words(s, words) if name in ("face", "voice") else s for name, s in extraction.streams.items()}
        return replace(extraction, streams=streams)

    def analyze(
        self,
        path: str | os.PathLike[str],
        progress: Progress | None = None,
        *,
        maps: Maps = "small",
        profile: Profile | None = None,
    ) -> Analysis:
        """A clip's emotions over time and the attention that they rest on. A `profile` is told when each stage began and ended.

        A clip that is replaced or written to while it is read is read again; raises `ClipChanged` where it never rests.
        """
        profile = profile or Profile()
        for _ in range(TRIES):
            before = FileState.at(path)
            analysis = self._analyze(path, progress, maps, profile)
            sha256 = sha256_of(Path(path))
            if FileState.at(path) == before:
                return replace(analysis, facts=replace(analysis.facts, sha256=sha256))
        raise ClipChanged(f"{path}: expected a file that stays as it is while it is read, but it was replaced or written to each time")

    def _analyze(self, path: str | os.PathLike[str], progress: Progress | None, maps: Maps, profile: Profile) -> Analysis:
        clip = Clip(path, self.options.reading)
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

    def fuse(
        self,
        clip: Clip,
        extraction: Extraction,
        progress: Progress | None = None,
        *,
        maps: Maps = "small",
        person: KnownPerson | None = None,
    ) -> Analysis:
        """Streams that are there already, to emotions and attention. What the options say of this half is put in here.

        person   whose clip it is, where other clips of theirs are known
        """
        from emofuse.pipeline.attention.fuse import fuse
        from emofuse.pipeline.attention.influence import InfluenceOptions

        influence = InfluenceOptions(self._embed(clip), prior_of(self.options.prior)) if self.options.influence else None
        return fuse(
            clip,
            self._aligned(extraction),
            self.model,
            maps=maps,
            progress=progress,
            chooser=who_speaks,
            face_id=self.options.face_id,
            influence=influence,
            baseline=None if self.baseline is None else replace(self.baseline, person=person),
        )

    @property
    def reads_baseline(self) -> frozenset[str]:
        """Streams that the model reads against a person's baseline, by its description alone; none where none is to be read."""
        streams = description(locate(self.options.checkpoint))["streams"]
        wanted = frozenset(name for name, stream in streams.items() if stream.get("baseline") is True)
        return frozenset() if self.options.baseline == "none" else wanted

    def tally(self, clip: Clip, extraction: Extraction, person: str) -> PersonSums:
        """What a clip says of the baseline of the person whose clip it is."""
        extraction = self._aligned(extraction)
        streams = extraction.streams
        length = length_of(clip, extraction, decoded_to_the_end(clip, extraction))
        faces = FaceSelector.of(streams, who_speaks, self.options.face_id)
        speakers = SpeakerFinder(streams)
        pieces = (utterance(span, streams, faces, speakers) for span in segment(streams, length).spans)
        return ClipTallies(self.model.tallies, pieces).of_person(person)

    @property
    def recording(self) -> Path | None:
        """The recording of the person that was named as the baseline; raises `UsageError` where it is no file."""
        if self.options.baseline in ("auto", "none"):
            return None
        path = Path(self.options.baseline)
        if not path.is_file():
            raise UsageError(f"--baseline {path}: expected auto, none, or a recording of the person, and there is no such file")
        return path

    @cached_property
    def baseline(self) -> BaselineSource | None:
        """Where what is usual for the person comes from; None where the model reads no baselines, or none is to be read."""
        recording = self.recording
        if self.options.baseline == "none" or not self.model.reads_baseline:
            return None
        if recording is None:
            return BaselineSource(self.model.tallies)
        wanted = self.model.reads_baseline & {c.stream for c in self.choices.values() if c.provider is not None and not c.provider.one_clip}
        if not wanted:
            reads = " and ".join(sorted(self.model.reads_baseline))
            raise UsageError(f"--baseline {recording}: expected {reads} to be extracted, but they come from files or are left out")
        clip = Clip(recording, self.options.reading)
        extraction = extract(clip, [e for e in self.extractors(recording) if e.stream in wanted])  # one person's: nobody is told apart
        faces = FaceSelector.of(extraction.streams, who_speaks, None)
        length = length_of(clip, extraction, decoded_to_the_end(clip, extraction))
        spans = segment(extraction.streams, length).spans
        tallies = recorded(self.model.tallies, (utterance(span, extraction.streams, faces) for span in spans))
        return BaselineSource(self.model.tallies, tallies, recording.name)

    def _embed(self, clip: Clip) -> Callable[[TimedSequence], TimedSequence] | None:
        """The text provider as a function of the words alone; None if the text comes from a file or there is none."""
        provider = self.choices["text"].provider
        if provider is None or provider.one_clip:
            return None

        def embed(words: TimedSequence) -> TimedSequence:
            (text,) = (extractor for extractor in self.extractors(clip.path) if extractor.stream == "text")
            return text(clip, {"words": words})

        return embed

    def request(self, choice: Choice) -> Request:
        """What is asked of the provider of a stream. Only a file is told what the model reads: the others make what they make."""
        wanted = self._read.get(choice.stream, ()) if choice.provider is not None and choice.provider.one_clip else ()
        beside = tuple(name for name, other in self.choices.items() if other.provider is not None) if choice.stream == SPEAKERS else ()
        return replace(self._request(choice.argument), wanted=wanted, beside=beside)

    def _request(self, argument: str) -> Request:
        return Request(
            argument=argument,
            device=self.device,
            offline=self.options.offline,
            language=self.options.language,
            acoustic_model=self.options.aligner,
            tier=self.options.tier,
        )


def choose(stream: str, requested: str, request: Request, read: tuple[str, ...] = ()) -> Choice:
    """What makes a stream: the provider that `requested` names, or the first that accepts it.

    read   the columns that the model reads of this stream
    Raises `UsageError` where no provider accepts `requested`.
    """
    if requested == "none":
        return Choice(stream, None, "", "left out by request")
    if requested == "auto":
        return _best(stream, request, read)
    name, _, argument = requested.partition(":")
    for provider in EXTRACTORS[stream]:
        if name == provider.name:
            return Choice(stream, provider, argument, "by request")
    for provider in EXTRACTORS[stream]:
        if provider.accepts(requested):
            return Choice(stream, provider, requested, "by request")
    known = ", ".join(provider.name + provider.argument for provider in EXTRACTORS[stream])
    known = f"a number, {known}" if stream == SPEAKERS else known
    raise UsageError(f"--{stream} {requested}: expected auto, none, a file that exists, or one of {known}")


def _best(stream: str, request: Request, read: tuple[str, ...]) -> Choice:
    """The first provider that the model can read and that runs here, or could if its weights were fetched; never asks a hub offline."""
    passed_over: dict[str, list[str]] = {}  # why not -> providers
    for provider in EXTRACTORS[stream]:
        if not provider.auto:
            continue
        if provider.columns and not set(read) <= set(provider.columns):
            passed_over.setdefault("without columns that the model reads", []).append(provider.name)
            continue
        status = provider.status(request)
        if status.usable or (status.fetchable and not request.offline and reachable()):
            return Choice(stream, provider, "", "; ".join([status.reason, *_listed(passed_over)]))
        passed_over.setdefault(_why_not(status, request), []).append(provider.name)
    return Choice(stream, None, "", "; ".join(_listed(passed_over)) or "no provider")


def _listed(passed_over: Mapping[str, Sequence[str]]) -> list[str]:
    return [f"{', '.join(providers)}: {reason}" for reason, providers in passed_over.items()]


def _why_not(status: Status, request: Request) -> str:
    if not status.fetchable:
        return status.reason
    return f"{status.reason}, and {'the network is not to be used' if request.offline else 'the model hub cannot be reached'}"
