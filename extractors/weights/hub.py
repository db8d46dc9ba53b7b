"""The model hub as we use it: the local cache first, a probe of under a second before the network, never a socket when offline.

The hub's own client retries for half a minute where there is no network; nothing here asks it before `reachable()` has answered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from emofuse.pipeline.errors import WeightsError

from .local import HUB_HOST, reachable


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
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(repository, name, cache_dir=cache)
    except HFValidationError as error:
        raise WeightsError(f"{repository}: expected a folder or a hub name OWNER/NAME ({error})") from error
    return Path(found) if isinstance(found, str) else None


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
