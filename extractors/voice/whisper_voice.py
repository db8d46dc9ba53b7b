"""The voice as Whisper's encoder hears it: 50 rows per second of its middle layers, on the clip's clock.

A recogniser must separate speech from everything else, so its encoder knows much of how something is said, and its middle layers know
most (docs/voice.md has the numbers and the sources). The weights are the recogniser's own: one file serves words and voice.

Columns: `rms` (0..1, the root mean square of the row's own 20 ms), then for tiny.en `whisper_tiny.en_0`, ...: a projection of layers 1
to 3 joined (whisper_projection.json says what it was fitted on). For any other Whisper, `whisper_NAME_layerK_0`, ...: the columns of
its middle layer K as they are.

Attention sees a whole piece of sound (whisper_pieces.py): the sound itself where it is shorter than 6 s, else 4 s and 1 s on either
side. So a row depends on where its piece begins and ends, above all through the position that Whisper adds to every row; docs/voice.md
says how much.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emofuse.pipeline.errors import WeightsError
from emofuse.pipeline.hashing import check_sha256
from emofuse.pipeline.media import Media, Medium
from emofuse.pipeline.spool import Spool
from emofuse.pipeline.timed import Floats32, Floats64, Provenance, TimedSequence

from ..provider import Provider, Request, Status
from ..weights.device import resolve
from . import whisper_pieces as clock
from .whisper_pieces import Piece, pieces
from .whisper_weights import EncoderWeights, encoder_status, encoder_weights

if TYPE_CHECKING:  # torch is imported only when the extractor is made
    from torch import Tensor

    from .whisper_encoder import WhisperEncoder

DEFAULT_MODEL = "tiny.en"
PROJECTED = 384
"""Columns of the projection."""
SILENCE_ROWS = 50
"""Rows of silence behind the end of a sound, as a recording has them."""
LONGEST_PIECE = clock.KEPT_ROWS + 3 * clock.OVERLAP_ROWS + SILENCE_ROWS
PROJECTION = Path(__file__).with_name("whisper_projection.json")


@dataclass(frozen=True, eq=False)
class Projection:
    """Joined layers (t d) -> columns (t k): (layers - mean) @ matrix. Layers are numbered from 1."""

    layers: tuple[int, ...]
    mean: Floats32
    matrix: Floats32
    sha256: str

    @classmethod
    def load(cls, path: Path) -> Projection:
        """From NAME.json and the NAME.safetensors beside it; raises `WeightsError` where that is not the one described."""
        from safetensors.numpy import load_file

        described = json.loads(path.read_text("utf-8"))
        weights = path.with_suffix(".safetensors")
        digest = check_sha256(weights, described["sha256"])
        tensors = load_file(weights)
        return cls(tuple(described["layers"]), tensors["mean"].astype(np.float32), tensors["matrix"].astype(np.float32), digest)


def projection_of(weights: EncoderWeights) -> Projection | None:
    """The projection that was fitted on tiny.en's very weights; None for any other Whisper."""
    described = json.loads(PROJECTION.read_text("utf-8"))
    same = weights.fingerprint(max(described["layers"])) == described["encoder_fingerprint"]
    return Projection.load(PROJECTION) if same else None


def layers_of_piece(encoder: WhisperEncoder, group: Sequence[Piece], layers: Sequence[int]) -> Tensor:
    """(b t d): the joined layers of all rows of pieces of one length, on the encoder's device; silence stands behind a sound's end."""
    import torch

    sound = torch.from_numpy(np.stack([piece.values for piece in group])).to(encoder.positional_embedding.device)  # (b n)
    behind = SILENCE_ROWS if group[0].last else 0
    rows = sound.shape[1] // clock.ROW
    outputs = encoder(torch.nn.functional.pad(sound, (0, behind * clock.ROW)))
    return torch.cat([outputs[k - 1][:, :rows] for k in layers], 2)


class WhisperVoice(Provider):
    """One row per 20 ms of sound. `at_once` pieces of 6 s are computed together (one on a CPU, where more gain nothing).

    Equal on CPU and GPU within 1e-3 of a column's standard deviation. Raises `WeightsError` where torch or the weights are
    missing, and `UsageError` for a device that is not here.
    """

    name = "whisper"
    stream = "voice"
    argument = "[:MODEL]"
    help = "the middle layers of Whisper's encoder (tiny.en), 50 rows per second"
    columns = ("rms", *(f"whisper_{DEFAULT_MODEL}_{i}" for i in range(PROJECTED)))
    media: frozenset[Medium] = frozenset({"audio"})

    def __init__(self, model: str = "", *, device: str = "cpu", offline: bool = True, at_once: int | None = None) -> None:
        if find_spec("torch") is None:
            raise WeightsError("voice provider whisper: expected the package torch, and it is not installed")
        self._device = resolve(device)
        weights = encoder_weights(model or DEFAULT_MODEL, offline=offline)
        if len(weights.tensors["positional_embedding"]) < LONGEST_PIECE:
            held = len(weights.tensors["positional_embedding"])
            raise WeightsError(f"Whisper {weights.name}: expected at least {LONGEST_PIECE} positions, got {held}")
        self._projection = projection_of(weights)
        middle = max(1, weights.layers // 2)
        self._layers = self._projection.layers if self._projection is not None else (middle,)
        self._weights: EncoderWeights | None = weights
        self._encoder: WhisperEncoder | None = None
        self._at_once = at_once or (1 if self._device == "cpu" else 8)
        self.columns = ("rms", *self._names(weights, middle))
        self.provenance = Provenance(
            extractor=self.name,
            version=f"1, torch {version('torch')}",
            weights={**weights.sha256, **({} if self._projection is None else {"whisper_projection.safetensors": self._projection.sha256})},
            options={
                "model": weights.name,
                "layers": list(self._layers),
                "kept_seconds": clock.KEPT_ROWS * clock.ROW_SECONDS,
                "overlap_seconds": clock.OVERLAP_ROWS * clock.ROW_SECONDS,
                "device": self._device.partition(":")[0],
            },
        )

    def _names(self, weights: EncoderWeights, middle: int) -> Iterator[str]:
        if self._projection is not None:
            return (f"whisper_{weights.name}_{i}" for i in range(self._projection.matrix.shape[1]))
        return (f"whisper_{weights.name}_layer{middle}_{i}" for i in range(weights.tensors["positional_embedding"].shape[1]))

    def prepare(self) -> None:
        """Builds the network: what the first call would do otherwise."""
        self._loaded()

    def _loaded(self) -> WhisperEncoder:
        if self._encoder is None:
            from .whisper_encoder import WhisperEncoder

            assert self._weights is not None
            encoder = WhisperEncoder.of(self._weights.tensors, heads=self._weights.heads, layers=max(self._layers))
            self._encoder, self._weights = encoder.to(self._device), None  # the arrays are not needed again
        return self._encoder

    @classmethod
    def status(cls, request: Request) -> Status:
        """Whether the weights are here, and torch."""
        if find_spec("torch") is None:
            return Status.missing("the package torch is not installed")
        return encoder_status(request.argument or DEFAULT_MODEL)

    @classmethod
    def make(cls, request: Request) -> WhisperVoice:
        return cls(request.argument, device=request.device, offline=request.offline)

    def __call__(self, clip: Media, upstream: Mapping[str, TimedSequence]) -> TimedSequence:
        values = Spool((len(self.columns),))
        starts: list[Floats64] = []
        waiting = pieces(clip.samples())
        while batch := list(islice(waiting, self._at_once)):
            for _, same in groupby(batch, key=lambda piece: (len(piece.values), piece.last)):
                group = list(same)
                for piece, rows in zip(group, self._rows(group), strict=True):
                    values.add(rows)
                    starts.append(piece.start + clock.ROW_SECONDS * np.arange(piece.rows, dtype=np.float64))
        if not starts:
            return TimedSequence.empty("voice", self.columns, self.provenance, "the clip has less than 20 ms of sound")
        start = np.concatenate(starts)
        return TimedSequence("voice", self.columns, values.array(), start, start + clock.ROW_SECONDS, self.provenance)

    def _rows(self, group: list[Piece]) -> list[Floats32]:
        """The kept rows (t, columns) of pieces of one length."""
        import torch

        encoder = self._loaded()
        with torch.inference_mode():
            joined = layers_of_piece(encoder, group, self._layers)
            if self._projection is not None:
                mean, matrix = (torch.from_numpy(a).to(self._device) for a in (self._projection.mean, self._projection.matrix))
                joined = (joined - mean) @ matrix
            columns = joined.cpu().numpy()  # (b t k)
        rows = []
        for piece, made in zip(group, columns, strict=True):
            rms = np.sqrt((piece.values.astype(np.float64) ** 2).reshape(-1, clock.ROW).mean(1))
            rows.append(np.concatenate([rms[piece.kept, None], made[piece.kept]], axis=1).astype(np.float32))
        return rows
