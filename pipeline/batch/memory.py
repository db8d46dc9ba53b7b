"""A process's memory at its highest, clip by clip (Linux; elsewhere since the process began)."""

from __future__ import annotations

import sys
from pathlib import Path


def forget_peak() -> None:
    """Let the process's peak memory count from here."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory() -> int:
    """Bytes of this process's resident memory at its highest since `forget_peak`."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
