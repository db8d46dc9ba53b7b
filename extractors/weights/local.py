"""Where weights come from and whether they are the right ones: local caches first, pinned SHA-256, the network only when asked.

A provider tells what it can do on this machine with a `Status`; `auto` and `emofuse doctor` read nothing else.
"""

from __future__ import annotations

import hashlib
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from emofuse.pipeline.errors import WeightsError

HUB_HOST = "huggingface.co"


@dataclass(frozen=True)
class Status:
    """What a provider can do on this machine right now.

    usable      it would run without any download
    fetchable   its weights are missing but could be fetched where a network is allowed
    reason      one line for people: what is there, or what is missing and where it would come from
    """

    usable: bool
    fetchable: bool
    reason: str


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_sha256(path: Path, expected: str) -> str:
    """The file's SHA-256; raises `WeightsError` if it is not the expected one."""
    found = sha256_of(path)
    if found != expected:
        raise WeightsError(f"{path}: expected SHA-256 {expected}, got {found}")
    return found


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
