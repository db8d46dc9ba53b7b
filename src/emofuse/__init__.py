"""emofuse turns a video of someone speaking into emotions over time, and shows what they rest on.

The public names below are imported when they are first used, so that `import emofuse` and `emofuse --help` cost nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .adapting import adapt
    from .api import analyze, analyze_folder
    from .assembly import Assembly
    from .conversion import convert, load, words_table
    from .options import Options
    from .pipeline.clip import Clip, Limits
    from .pipeline.errors import EmofuseError, UsageError
    from .pipeline.results import Analysis
    from .pipeline.timed import Span, TimedSequence

__version__ = "0.1.0"

_WHERE = {
    "Analysis": ".pipeline.results",
    "Assembly": ".assembly",
    "Clip": ".pipeline.clip",
    "EmofuseError": ".pipeline.errors",
    "Limits": ".pipeline.clip",
    "Options": ".options",
    "Span": ".pipeline.timed",
    "TimedSequence": ".pipeline.timed",
    "UsageError": ".pipeline.errors",
    "adapt": ".adapting",
    "analyze": ".api",
    "analyze_folder": ".api",
    "convert": ".conversion",
    "load": ".conversion",
    "words_table": ".conversion",
}

__all__ = [
    "Analysis",
    "Assembly",
    "Clip",
    "EmofuseError",
    "Limits",
    "Options",
    "Span",
    "TimedSequence",
    "UsageError",
    "__version__",
    "adapt",
    "analyze",
    "analyze_folder",
    "convert",
    "load",
    "words_table",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name], __name__), name)
    raise AttributeError(f"module 'emofuse' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Only what is public, so that completion in a notebook shows it before it was ever used."""
    return sorted(__all__)


if "IPython" in sys.modules:  # a notebook shows an Analysis as a table and a picture
    from .notebooks import register

    register()
