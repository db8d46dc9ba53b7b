"""A checkpoint at work: utterances in, predictions out. Torch inside, numpy outside (as SamPredictor is to Sam).

Letters: b utterances of a batch, h heads, i target row, j source row. Utterances of similar size are batched, within a bound on padded
size, so memory does not grow with their number; who shares a batch with whom changes nothing (to float rounding).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from emofuse.pipeline.baseline import Tally
from emofuse.pipeline.errors import CheckpointError
from emofuse.pipeline.halving import in_halves
from emofuse.pipeline.results import Attention, AttentionKind, Prediction, Utterance
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import Floats64, Provenance, TimedSequence

from .batch import Batch
from .checkpoints import Checkpoint, listed, load
from .gates import gate_summary
from .outputs import Map, Output
from .preparation import Prepared
from .shipped import provenance_of

OWN_KINDS = ("self", "memory")
MAX_CELLS = 6_000_000
"""Bound on b * (rows of all streams, padded)^2: one utterance of 15 s with voice and face, or six of half that, in a batch."""


class Predictor:
    """A `FusionModel` (pipeline/ports.py) around one checkpoint.

    `kinds` are the attention maps to hand out when attention is asked for; "cross" alone by default, because the memory maps of a 15 s
    utterance at 100 Hz weigh 100 MB and say little about the clip. An utterance with one stream alone has no crossmodal attention: of
    it the maps of the stream's own stacks ("self" and "memory") are handed out too.

    `prior` says how likely each of the seven emotions is before anything is seen or heard: probabilities, trained under an even prior,
    are multiplied by it and sum to 1 again (Saerens et al. 2002, equation 4). None: even.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        module: nn.Module,
        *,
        device: str = "cpu",
        file: str = "",
        kinds: Sequence[str] = ("cross",),
        prior: Mapping[str, float] | None = None,
    ) -> None:
        if set(checkpoint.tasks.get("emotion", ())) != set(EMOTIONS):
            labels = ", ".join(checkpoint.tasks.get("emotion", ("no such task",)))
            raise CheckpointError(f"{checkpoint.model}: expected the task emotion with {', '.join(EMOTIONS)}; got {labels}")
        self.checkpoint = checkpoint
        self.module = module.eval().to(device)
        self.device = device
        self.file = file
        self.kinds = tuple(kinds)
        self.prior = None if prior is None else dict(prior)
        even = dict.fromkeys(EMOTIONS, 1.0)
        self._log_prior = torch.tensor([(self.prior or even)[e] for e in checkpoint.tasks["emotion"]], dtype=torch.float64).log()

    @classmethod
    def load(
        cls, path: Path, *, device: str = "cpu", kinds: Sequence[str] = ("cross",), prior: Mapping[str, float] | None = None
    ) -> Predictor:
        """From NAME.safetensors and NAME.json; raises `CheckpointError`."""
        checkpoint, module = load(path)
        return cls(checkpoint, module, device=device, file=path.name, kinds=kinds, prior=prior)

    @property
    def name(self) -> str:
        return self.checkpoint.model

    @property
    def wants(self) -> Mapping[str, tuple[str, ...]]:
        return {name: stream.columns for name, stream in self.checkpoint.streams.items()}

    @property
    def provenance(self) -> Provenance:
        return provenance_of(self.checkpoint.to_json(), self.file or f"{self.name}.safetensors", self.prior)

    def predict(self, utterances: Sequence[Utterance], *, attention: bool = True) -> list[Prediction]:
        """One prediction an utterance, in order; probabilities are softmax(logits / temperature of the streams that are there).

        Raises `CheckpointError` where a stream lacks columns, or an utterance has none of the streams that the model reads.
        """
        prepared: dict[tuple[str, int, int], Read] = {}
        inputs = [self._inputs(utterance, prepared) for utterance in utterances]
        answers: list[Prediction | None] = [None] * len(inputs)
        for members in batches([sum(len(s.rows) for s in streams.values()) for streams in inputs]):
            predicted = in_halves(members, lambda chunk: self._answers(inputs, chunk, attention), torch.OutOfMemoryError, self._release)
            for m, answer in zip(members, predicted, strict=True):
                answers[m] = answer
        return [answer for answer in answers if answer is not None]

    @property
    def reads_baseline(self) -> frozenset[str]:
        """Streams that the model was trained to read as departures from what is usual for a person."""
        return frozenset(name for name, stream in self.checkpoint.streams.items() if stream.baseline)

    def tallies(self, utterance: Utterance) -> dict[str, Tally]:
        """One utterance's rows of each stream in `reads_baseline` that it has, for the baseline of its person."""
        read = {name: utterance.streams[name] for name in sorted(self.reads_baseline) if len(utterance.streams.get(name, ()))}
        return {name: self.checkpoint.streams[name].tally(stream) for name, stream in read.items()}

    def _answers(self, inputs: Sequence[Mapping[str, Read]], members: Sequence[int], attention: bool) -> list[Prediction]:
        """One padded batch. Raises `torch.OutOfMemoryError` where a GPU does not hold it."""
        chosen = [inputs[m] for m in members]
        padded = {
            name: Batch.of([streams[name].rows for streams in chosen], stream.scaling).to(self.device)
            for name, stream in self.checkpoint.streams.items()
        }
        kinds = [self._kinds(streams) if attention else () for streams in chosen]
        with torch.inference_mode():
            output: Output = self.module(padded, maps=tuple(dict.fromkeys(kind for own in kinds for kind in own)))
        return [self._prediction(output, b, streams, padded, kinds[b]) for b, streams in enumerate(chosen)]

    def _unlike(self, name: str, rows: TimedSequence) -> float | None:
        stream = self.checkpoint.streams[name]
        return None if stream.likeness is None or not len(rows) else stream.likeness.unlike(stream.scaling.apply(rows.values))

    def _release(self) -> None:
        """Give what a failed try held back to the device."""
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _kinds(self, streams: Mapping[str, Read]) -> tuple[str, ...]:
        alone = sum(len(stream.rows) > 0 for stream in streams.values()) == 1
        return tuple(dict.fromkeys((*self.kinds, *(OWN_KINDS if alone else ()))))

    def _inputs(self, utterance: Utterance, prepared: dict[tuple[str, int, int], Read]) -> dict[str, Read]:
        """What the model reads of each stream. A stream that several utterances share, as they do where influence is computed, is prepared
        once: `prepared` holds it by stream, and the two objects' identities (they live as long as the utterances)."""
        nothing = Provenance("none", "0")
        streams = {}
        for name, wanted in self.checkpoint.streams.items():
            extracted, usual = utterance.streams.get(name), utterance.usual.get(name)
            key = name, id(extracted), id(usual)
            if key not in prepared:
                stream = TimedSequence.empty(name, wanted.columns, nothing, "not extracted") if extracted is None else extracted
                prepared[key] = Read.of(wanted.prepared(stream, usual), stream)
            streams[name] = prepared[key]
        if not any(len(s.rows) for s in streams.values()):
            span = f"{utterance.span.start:.2f}-{utterance.span.end:.2f} s"
            raise CheckpointError(f"{self.name}: reads {listed(list(streams))}, and the utterance at {span} has none of them")
        return streams

    def _prediction(
        self, output: Output, b: int, streams: Mapping[str, Read], padded: Mapping[str, Batch], kinds: Sequence[str]
    ) -> Prediction:
        widths = [len(labels) for labels in self.checkpoint.tasks.values()]
        logits = dict(zip(self.checkpoint.tasks, torch.split(output.logits[b].double(), widths), strict=True))
        temperature = self.checkpoint.temperature_of(name for name, stream in streams.items() if len(stream.rows))
        probabilities = (logits["emotion"].cpu() / temperature + self._log_prior).softmax(0).tolist()
        by_label = dict(zip(self.checkpoint.tasks["emotion"], probabilities, strict=True))
        maps = (_attention(m, b, streams, padded) for m in output.maps if m.kind in kinds)
        return Prediction(
            probabilities={emotion: by_label[emotion] for emotion in EMOTIONS},
            sentiment=logits["sentiment"][0].clamp(-3, 3).item() if "sentiment" in logits else None,
            confidence=max(probabilities),
            attention=tuple(m for m in maps if m is not None),
            gates=gate_summary(output.gates, b, list(self.checkpoint.streams)) if kinds else {},
            unlike={name: far for name, stream in streams.items() if (far := self._unlike(name, stream.rows)) is not None} if kinds else {},
        )


def _attention(one_map: Map, b: int, streams: Mapping[str, Read], padded: Mapping[str, Batch]) -> Attention | None:
    """One utterance's share of a map, for the streams' own rows; None where target or source has no row.

    Rows that the model read as one (preparation.py) share its attention: as targets they all look where it looks, as sources each gets
    an equal part, so that what a target pays still sums to 1.
    """
    target, source = _rows(one_map.target, b, streams, padded), _rows(one_map.source, b, streams, padded)
    if not (target.present.any() and source.present.any()):
        return None
    weights = one_map.weights[:, b].float().cpu().numpy()[:, :, target.present][:, :, :, source.present]  # (layer h i j)
    return Attention(
        kind=cast(AttentionKind, one_map.kind),
        target=one_map.target,
        source=one_map.source,
        weights=np.ascontiguousarray((weights[:, :, target.member] / source.count)[:, :, :, source.member], np.float32),
        target_start=target.start,
        target_end=target.end,
        source_start=source.start,
        source_end=source.end,
    )


@dataclass(frozen=True, eq=False)
class Read:
    """One stream of an utterance: the rows that the model reads (m), and the stream's own rows (n) with their member and count."""

    rows: TimedSequence
    start: Floats64
    end: Floats64
    member: NDArray[np.intp]
    count: NDArray[np.intp]

    @classmethod
    def of(cls, prepared: Prepared, stream: TimedSequence) -> Read:
        return cls(prepared.rows, stream.start, stream.end, prepared.member, prepared.count)


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a map: the streams' own rows (n), which of the model's real rows (m) each went into, how many each took, and which of
    the padded rows are real."""

    start: Floats64
    end: Floats64
    member: NDArray[np.intp]
    count: NDArray[np.float32]
    present: NDArray[np.bool_]


def _rows(name: str, b: int, streams: Mapping[str, Read], padded: Mapping[str, Batch]) -> Side:
    """A map's side; names as in `Map`."""
    if name == "utterance":
        spans = [s.rows.span for s in streams.values() if len(s.rows)]
        start, end = min(s.start for s in spans), max(s.end for s in spans)
        return Side(np.array([start]), np.array([end]), np.zeros(1, np.intp), np.ones(1, np.float32), np.ones(1, bool))
    parts = [streams[part] for part in name.split("+")]
    before = np.cumsum([0, *(len(part.rows) for part in parts)])
    return Side(
        np.concatenate([part.start for part in parts]),
        np.concatenate([part.end for part in parts]),
        np.concatenate([part.member + first for part, first in zip(parts, before, strict=False)]),
        np.concatenate([part.count for part in parts]).astype(np.float32),
        np.concatenate([padded[part].present[b].cpu().numpy() for part in name.split("+")]),
    )


def batches(sizes: Sequence[int], max_cells: int = MAX_CELLS) -> Iterator[list[int]]:
    """Indices grouped by similar size (rows of all streams), so that number * largest^2 stays within `max_cells`; never an empty group."""
    group: list[int] = []
    for index in sorted(range(len(sizes)), key=lambda i: sizes[i]):  # the last of a group is its largest
        if group and (len(group) + 1) * sizes[index] ** 2 > max_cells:
            yield group
            group = []
        group.append(index)
    if group:
        yield group
