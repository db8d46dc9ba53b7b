"""Downloads of weights: the local cache first, a probe of under a second before the network, never a socket when offline.

The hub's own client retries for half a minute where there is no network; nothing here asks it before `reachable()` has answered.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from emofuse.pipeline.errors import WeightsError
from emofuse.pipeline.hashing import check_sha256

HUB_HOST = "huggingface.co"
PART = "[A-Za-z0-9]+(?:[_.-][A-Za-z0-9]+)*"
HUB_NAME = re.compile(f"(?:{PART}/)?{PART}")
"""Names that are surely the hub's."""


def cache_folder() -> Path:
    """Where this user's programs keep what can be fetched again."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))


@cache
def reachable(host: str = HUB_HOST, seconds: float = 0.7) -> bool:
    """Whether a TCP connection to `host`:443 opens within so many seconds; asked once a process.

    Never call it when offline was asked for.
    """
    done = threading.Event()
    answers: list[bool] = []

    def knock() -> None:
        with suppress(OSError), socket.create_connection((host, 443), timeout=seconds):
            answers.append(True)
        done.set()

    # A thread, since looking the name up has no time limit of its own and hangs for many seconds where no name server answers.
    threading.Thread(target=knock, daemon=True).start()
    done.wait(seconds)
    return bool(answers)


def fetch(address: str, target: Path, sha256: str | None, *, offline: bool) -> None:
    """Downloads one file from a web address. It gets its name only when it is whole and its SHA-256 is right.

    Raises `WeightsError` in about a second where that is not allowed or not possible.
    """
    host = urlsplit(address).hostname or ""
    if offline:
        raise WeightsError(f"{target.name}: not on this machine, and offline was asked for")
    if not reachable(host):
        raise WeightsError(f"{target.name}: not on this machine, and {host} cannot be reached from here")
    from urllib.request import urlopen  # slow to import, and only wanted here

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as folder:
            part = Path(folder) / target.name
            with urlopen(address, timeout=30) as answer, part.open("wb") as file:
                shutil.copyfileobj(answer, file, 1 << 20)
            if sha256 is not None:
                check_sha256(part, sha256)
            os.replace(part, target)
    except OSError as error:
        raise WeightsError(f"{target.name}: download from {host} failed: {error}") from error


@contextmanager
def quiet_hub() -> Iterator[None]:
    """The hub's progress bars stay away: the library never prints."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    quiet = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not quiet:
            enable_progress_bars()


def hub_file(repository: str, name: str, cache: Path | None = None) -> Path | None:
    """A file of a hub repository in the local cache (the hub's own if none is named), None where it is not there. Opens no socket."""
    from huggingface_hub import constants

    folder = Path(cache or constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    if HUB_NAME.fullmatch(repository) and not folder.is_dir():
        return None  # the common case: the hub's client, whose import takes a fifth of torch's, is not asked
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(repository, name, cache_dir=cache)
    except HFValidationError as error:
        raise WeightsError(f"{repository}: expected a folder or a hub name OWNER/NAME ({error})") from error
    return Path(cached) if isinstance(cached, str) else None


def hub_fetch(repository: str, patterns: Sequence[str], *, offline: bool) -> Path:
    """Downloads the files that match into the local cache and gives the snapshot's folder; raises `WeightsError` in about a second
    where that is not allowed or not possible (the hub's own client retries for half a minute)."""
    if offline:
        raise WeightsError(f"{repository}: not in the local cache, and offline was asked for (emofuse models pull, with a network)")
    if not reachable():
        raise WeightsError(f"{repository}: not in the local cache, and {HUB_HOST} cannot be reached from here")
    from huggingface_hub import snapshot_download

    try:
        with quiet_hub():
            return Path(snapshot_download(repository, allow_patterns=list(patterns)))
    except Exception as error:  # the hub's client raises a dozen kinds; each means the same here
        raise WeightsError(f"{repository}: download from {HUB_HOST} failed: {str(error).splitlines()[0]}") from error
