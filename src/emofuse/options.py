"""What a user may choose: `Options`, checked when it is made.

Whatever a caller hands in (a path as text or as a Path, a prior as text or as a dict) is kept in one form, so that equal choices are equal
values and can go to a worker as JSON.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from emofuse.pipeline.clip import Limits
from emofuse.pipeline.errors import UsageError
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.turns import SPEAKERS

PathLike = str | os.PathLike[str]
Prior = str | Mapping[str, float]
ALIGNMENTS = ("none", "words")
MOST_SPEAKERS = 50


@dataclass(frozen=True)
class Options:
    """What a user may choose.

    words, text, face, voice
                    "auto"; "none" to leave the stream out; a provider ("whisper"); a provider with its argument ("whisper:base",
                    "glove:FILE"); or a path: a transcript or a folder of transcripts for words, an encoder's folder or a GloVe file for
                    text, a stream's file or a folder of them for any stream (docs/formats.md: OpenFace, Fex, .csd, Parquet, CSV)
    speakers        who speaks in the clip (docs/speakers.md): 1 (or "1"): one person, and nobody is told apart, but for speakers that a
                    transcript names; "auto": as many as are told apart; a number; or an RTTM file, or a folder of them
    model           the name of a shipped checkpoint, a checkpoint's .json, or the folder of a training run; None: the default checkpoint
    device          "auto", "cpu", "cuda", "cuda:N" or "mps"
    offline         never open a network connection
    language        of the speech, as a code such as "en"; None: detected where the recogniser can
    acoustic_model  folder of a CTC model (wav2vec 2.0 and its kin) that aligns transcripts; None: pocketsphinx, English
    tier            names of the tiers of a TextGrid or ELAN file that hold the words, separated by commas; None: found by structure
    limits          what one clip may cost
    audio_track     which of a clip's audio tracks to read, counted from 1; None: the one that is marked as default, else the first
    face_id         read this face only; None: if there are several, the one whose lips move with the voice
    prior           how likely emotions are beforehand: {"neutral": 0.5} or "neutral=0.5,anger=0.1". Emotions that are not named share
                    the rest evenly; None: all seven alike. Shipped checkpoints are trained under an even prior; for a model that is not,
                    its own prior would count twice
    baseline        what is usual for the person, for models that read departures from it (docs/baseline.md): "auto": the person's other
                    utterances of the clip; "none": everybody's; or a recording of the person, best a calm and neutral one
    align           "none": face and voice keep their own rows; "words": one row per word, the mean over the word's span, as word-aligned
                    data sets have it (docs/training.md); what lies outside of words is left out
    influence       compute how much each answer rests on each word, half second and stream (docs/influence.md)
    Raises `UsageError` for a value of the wrong kind or an impossible prior. Whether a provider or a path exists is checked on use.
    """

    words: PathLike = "auto"
    text: PathLike = "auto"
    face: PathLike = "auto"
    voice: PathLike = "auto"
    speakers: PathLike | int = "1"
    model: PathLike | None = None
    device: str = "auto"
    offline: bool = False
    language: str | None = None
    acoustic_model: PathLike | None = None
    tier: str | None = None
    limits: Limits | None = None
    audio_track: int | None = None
    face_id: int | None = None
    prior: Prior | None = None
    baseline: PathLike = "auto"
    align: str = "none"
    influence: bool = True

    def __post_init__(self) -> None:
        for name in ("words", "text", "face", "voice"):
            self._keep(name, _text(name, getattr(self, name), "auto, none, a provider or a path"))
        self._keep("speakers", _speakers(self.speakers))
        for name, expected in (("model", "a checkpoint's name or a path"), ("acoustic_model", "a folder")):
            if getattr(self, name) is not None:
                self._keep(name, _text(name, getattr(self, name), expected))
        self._keep("baseline", _text("baseline", self.baseline, "auto, none or a recording"))
        _is(self.device, str, "device", "auto, cpu, cuda, cuda:N or mps")
        _is(self.offline, bool, "offline", "True or False")
        _is(self.influence, bool, "influence", "True or False")
        _is(self.language, str | None, "language", "a code such as en, or None")
        _is(self.tier, str | None, "tier", "names of tiers, or None")
        _is(self.limits, Limits | None, "limits", "emofuse.Limits or None")
        if self.align not in ALIGNMENTS:
            raise UsageError(f"align: expected {' or '.join(ALIGNMENTS)}, got {self.align!r}")
        for name in ("face_id", "audio_track"):
            if isinstance(getattr(self, name), bool):
                raise UsageError(f"{name}: expected a whole number or None, got {getattr(self, name)!r}")
            _is(getattr(self, name), int | None, name, "a whole number or None")
        if isinstance(self.prior, Mapping):
            self._keep("prior", ",".join(f"{name}={share}" for name, share in self.prior.items()))
        prior_of(self.prior)  # an impossible prior is refused before anything is extracted

    def _keep(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    @property
    def checkpoint(self) -> str | None:
        """`model` as text."""
        return None if self.model is None else os.fspath(self.model)

    @property
    def aligner(self) -> str | None:
        """`acoustic_model` as text."""
        return None if self.acoustic_model is None else os.fspath(self.acoustic_model)

    @property
    def reading(self) -> Limits:
        """The limits, with the audio track that is asked for."""
        limits = self.limits or Limits()
        return limits if self.audio_track is None else replace(limits, audio_track=self.audio_track)

    def requested(self, stream: str) -> str:
        """What was asked for a stream: words, text, face, voice or speakers."""
        if stream == SPEAKERS:
            return "none" if self.speakers == "1" else str(self.speakers)
        return os.fspath({"words": self.words, "text": self.text, "face": self.face, "voice": self.voice}[stream])


def options_with(options: Options | None, changes: Mapping[str, object]) -> Options:
    """`options` (None: the defaults) with those `changes` that are not None. Raises `UsageError`."""
    if options is not None and not isinstance(options, Options):
        raise UsageError(f"options: expected emofuse.Options or None, got {type(options).__name__}")
    values: dict[str, Any] = {field.name: getattr(options, field.name) for field in fields(Options)} if options is not None else {}
    values |= {name: value for name, value in changes.items() if value is not None}
    return Options(**values)


def prior_of(prior: Prior | None) -> dict[str, float] | None:
    """Emotion -> probability, summing to 1, of "neutral=0.5,anger=0.1"; None for None. Raises `UsageError`."""
    if prior is None:
        return None
    if not isinstance(prior, str):
        raise UsageError(f"prior: expected text or a dict of emotion to share, got {type(prior).__name__}")
    named: dict[str, float] = {}
    for part in prior.split(","):
        name, _, number = (piece.strip() for piece in part.partition("="))
        try:
            share = float(number)
        except ValueError:
            share = -1.0
        if name not in EMOTIONS or not 0 < share < 1 or name in named:
            raise UsageError(
                f"--prior {prior}: expected EMOTION=SHARE, with {', '.join(EMOTIONS)} once each and a share between 0 and 1; got {part!r}"
            )
        named[name] = share
    left, others = 1 - sum(named.values()), len(EMOTIONS) - len(named)
    if (left <= 0 and others) or (not others and abs(left) > 1e-6):
        raise UsageError(f"--prior {prior}: expected shares that leave something for the {others} others; these sum to {1 - left:g}")
    return {emotion: named.get(emotion, left / max(1, others)) for emotion in EMOTIONS}


def _speakers(value: object) -> str:
    """As text: auto, none, a number from 1, a provider or a path. Raises `UsageError`, also for what says whose clip each is."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else _text("speakers", value, "auto, a number or a file")
    if text == "folder" or text.startswith("name:") or text.lower().endswith((".csv", ".tsv")):
        raise UsageError(f"--speakers {text}: expected auto, a number of speakers or an RTTM file; whose clip each is, --people says")
    number = text.removeprefix("voices:")
    if number.lstrip("-").isdecimal() and not (number.isascii() and 1 <= int(number) <= MOST_SPEAKERS):
        raise UsageError(f"--speakers {text}: expected 1 to {MOST_SPEAKERS} speakers")
    return str(int(text)) if text.isdecimal() else text


def _text(name: str, value: object, expected: str) -> str:
    if isinstance(value, str) or (isinstance(value, os.PathLike) and isinstance(os.fspath(value), str)):
        return os.fspath(value)
    raise UsageError(f"{name}: expected {expected}, got {value!r}")


def _is(value: object, kind: Any, name: str, expected: str) -> None:
    if not isinstance(value, kind):
        raise UsageError(f"{name}: expected {expected}, got {value!r}")
