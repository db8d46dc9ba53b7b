"""What a process of ours does first if it reads what somebody else wrote: set bounds that the machine allows, and end with its parent."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def bound(kind: int, wanted: int) -> int:
    """Limit a resource to `wanted`, or to what the machine's own limit allows where that is less (ulimit); returns the limit."""
    _, hard = resource.getrlimit(kind)
    granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(kind, (granted, granted if hard == resource.RLIM_INFINITY else hard))
    return granted


def bound_memory(more: int) -> None:
    """Let this process take up `more` bytes of addresses beyond those that it has (Linux; elsewhere in total)."""
    held = 0
    with suppress(OSError, ValueError, IndexError):
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    bound(resource.RLIMIT_AS, held + more)


def die_with_parent(parent: int) -> None:
    """End this process when its parent's does, however that ended (Linux). `parent` is the process that it was started by."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it had ended before we asked
        os._exit(1)
