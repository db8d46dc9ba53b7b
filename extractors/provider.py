"""What a provider is: an extractor class that also says what it is called, what it accepts and whether it can run here.

`EXTRACTORS` (extractors/__init__.py) lists the classes. The choice of `--words`, `--text`, `--face`, `--voice` and `--speakers`,
their help texts, `emofuse doctor` and the table in docs/providers.md read nothing but what these classes say.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from emofuse.pipeline.errors import UsageError
from emofuse.pipeline.ports import Extractor


@dataclass(frozen=True)
class Status:
    """What a provider can do on this machine right now; made by `Status.here` or `Status.missing`.

    usable      it would run without any download
    fetchable   its weights are missing but could be fetched where a network is allowed
    reason      one line for people: what is there, or what is missing and where it would come from
    """

    usable: bool
    fetchable: bool
    reason: str

    @classmethod
    def here(cls, reason: str) -> Status:
        """It would run now."""
        return cls(usable=True, fetchable=False, reason=reason)

    @classmethod
    def missing(cls, reason: str, *, fetchable: bool = False) -> Status:
        """It would not run now; `fetchable`: the network could change that."""
        return cls(usable=False, fetchable=fetchable, reason=reason)


@dataclass(frozen=True)
class Request:
    """What a user asks of a provider.

    argument        the part after the colon (`whisper:small`), or the path that the user gave; "" for the provider's default
    device          where to compute, a name that torch knows and that is here
    offline         never open a network connection
    language        of the speech; None where it is not known
    acoustic_model  folder of a CTC acoustic model to align words with; None: pocketsphinx's, English
    tier            names of the tiers of an annotation file that hold the words, separated by commas; None: they are found
    wanted          columns that the model reads of this stream; () where no model reads
    beside          the other streams that are made of the clip, for a provider that reads what there is (speakers); else ()
    """

    argument: str = ""
    device: str = "cpu"
    offline: bool = True
    language: str | None = None
    acoustic_model: str | None = None
    tier: str | None = None
    wanted: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


class Provider(Protocol):
    """One way to make a stream. Subclass it for the defaults; the class that does is the extractor itself (pipeline/ports.py).

    name       as users write it: `--voice librosa`
    stream     words, text, face, voice or speakers
    argument   how what follows the name is written in help texts: "", ":FILE", "[:MODEL]"
    help       one line: what it is
    auto       whether `auto` may choose it; within a stream it prefers the providers that are listed first
    columns    numeric columns that it fills, where they are known before it is made; () where weights or a file decide
    needs      streams that must be made before this one
    one_clip   its argument is a file that belongs to one clip, or a folder with a file for each clip
    """

    name: str
    stream: str
    help: str
    argument: str = ""
    auto: bool = True
    columns: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    one_clip: bool = False

    @classmethod
    def accepts(cls, requested: str) -> bool:
        """Whether `requested` (a path or a model's name, not a provider's) is for this one. Asked in the order of the list."""
        return False

    @classmethod
    def status(cls, request: Request) -> Status:
        """Whether it can run here: within a second, without importing a heavy library, without a socket if `request.offline`."""
        return Status.here("needs nothing")

    @classmethod
    def make(cls, request: Request) -> Extractor:
        """The extractor; raises `WeightsError` or `UsageError` in one line where it cannot run."""
        ...

    @classmethod
    def file_for(cls, clip: Path, folder: Path) -> Path:
        """The clip's file in a folder, for a provider with `one_clip`; raises an `EmofuseError` where there is none or several."""
        raise UsageError(f"{folder}: {cls.name} reads no folder of files named like clips")
