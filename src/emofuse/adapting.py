"""`adapt`: a checkpoint fitted to a few labelled clips of one's own (docs/adapt.md)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from emofuse.extractors.face.speaking import who_speaks
from emofuse.fusion.datasets.clips import read_clips
from emofuse.fusion.datasets.examples import Example, Source
from emofuse.fusion.shipped import RUN_BEST, locate
from emofuse.pipeline.errors import DatasetError, UsageError
from emofuse.pipeline.formats.parquet import read_stream
from emofuse.pipeline.formats.result_folder import write_streams
from emofuse.pipeline.hashing import sha256_of
from emofuse.pipeline.speaker_face import FaceSelector
from emofuse.pipeline.speech import SPEECH
from emofuse.pipeline.streams import EMOTIONS, STREAMS
from emofuse.pipeline.timed import TimedSequence
from emofuse.pipeline.utterances import segment, utterance

from .assembly import Assembly, Say
from .options import Options, PathLike, options_with

if TYPE_CHECKING:  # torch is imported with the first clip
    from emofuse.fusion.adapted import Adapted, LabelledClip

NO_LABEL = "none"


def adapt(
    data: PathLike,
    out: PathLike,
    options: Options | None = None,
    *,
    model: PathLike | None = None,
    rename: Mapping[str, str] | None = None,
    extracted: PathLike | None = None,
    say: Say | None = None,
) -> Adapted:
    """Fit a checkpoint to a few labelled clips, and tell by leaving clips out whether that helps.

    data       a folder of clips with labels.csv (columns clip and emotion, perhaps speaker, start, end), or with a folder for each emotion
    out        folder for the new checkpoint: what `analyze` takes as `model`
    options    how streams are made
    model      the checkpoint to adapt: a shipped one's name, a checkpoint's .json, or the folder of a run; None: as `options` says
    rename     label -> emotion, for labels that are not emotions of the model; "none" leaves such clips out
    extracted  folder that keeps the clips' streams; None: OUT/extracted
    say        called with one line for each choice and each clip
    Returns an `Adapted`: scores before and after, and what was changed. Raises `DatasetError` for labels and clips that cannot be used.
    """
    from emofuse.fusion.adapted import adapt as fit_and_write
    from emofuse.fusion.checkpoints import load

    options = options_with(options, {"model": model})
    data, out, say = Path(data), Path(out), say or (lambda line: None)
    path = locate(options.checkpoint)
    if path.resolve() == (out / RUN_BEST).resolve():
        raise UsageError(f"{out}: expected another folder than that of the checkpoint which is adapted")
    checkpoint, module = load(path)
    if set(checkpoint.tasks.get("emotion", ())) != set(EMOTIONS):
        raise UsageError(f"{path}: expected a model that answers with {', '.join(EMOTIONS)}")
    extract = _Extraction(options, Path(extracted) if extracted is not None else out / "extracted", say)
    dataset = read_clips(Source(data, dict.fromkeys((*STREAMS, SPEECH), ""), extract=extract))
    examples = [example for example in dataset.examples if example.split != "test"]
    if left := len(dataset.examples) - len(examples):
        say(f"{left} clips of the split test are left alone")
    clips = [clip for clip in (_labelled(example, rename or {}) for example in examples) if clip is not None]
    if left := len(examples) - len(clips):
        say(f"{left} clips are left out, as --rename says")
    name = options.checkpoint or path.stem
    return fit_and_write(checkpoint, module, name if path.name != RUN_BEST else str(name), clips, out)


def _labelled(example: Example, rename: Mapping[str, str]) -> LabelledClip | None:
    """An example's utterances, cut as `analyze` cuts them; None where its label is not wanted. Raises `DatasetError`."""
    from emofuse.fusion.adapted import LabelledClip

    label = str(example.labels["emotion"])
    emotion = rename.get(label, label)
    if emotion == NO_LABEL:
        return None
    if emotion not in EMOTIONS:
        raise DatasetError(
            f"{example.name}: expected the label {', '.join(EMOTIONS)}, got {emotion!r}; --rename {label}=EMOTION says which it is, "
            f"--rename {label}={NO_LABEL} leaves such clips out"
        )
    streams = example.streams
    length = max((stream.span.end for stream in streams.values() if len(stream)), default=0.0)
    faces = FaceSelector.of(streams, who_speaks, None)
    pieces = tuple(utterance(span, streams, faces) for span in segment(streams, length).spans)
    return LabelledClip(example.name, pieces, emotion, example.speaker)


class _Extraction:
    """A clip's streams, made once and kept in a folder by what the clip holds and how they were made."""

    def __init__(self, options: Options, folder: Path, say: Callable[[str], None]) -> None:
        self._options, self._folder, self._say = options, folder, say
        self._made: Assembly | None = None

    def __call__(self, clip: Path) -> Mapping[str, TimedSequence]:
        if self._made is None:
            self._made = Assembly(self._options, say=self._say)
        how = {stream: (choice.name, choice.argument) for stream, choice in self._made.choices.items()}
        named = {**how, "options": repr(replace(self._options, model=None, device="auto")), "clip": sha256_of(clip)}
        key = hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()
        folder = self._folder / f"{clip.stem}-{key[:12]}"
        if not (folder / "streams").is_dir():
            self._say(f"{clip}: extracting")
            info, extraction = self._made.extract(clip)
            write_streams(info, extraction.streams, folder)
        return {path.stem: read_stream(path) for path in sorted((folder / "streams").glob("*.parquet"))}
