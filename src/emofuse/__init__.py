"""emofuse: raw video of a person speaking in, emotions over time and what they rest on out.

The public names below are imported when they are first used, so that `import emofuse` and `emofuse --help` cost nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .assembly import Assembly, Options, analyze
    from .conversion import convert, load, words_table
    from .pipeline.clip import Clip, Limits
    from .pipeline.errors import EmofuseError
    from .pipeline.results import Analysis
    from .pipeline.timed import Span, TimedSequence

__version__ = "0.1.0"

_WHERE = {
    "Analysis": ".pipeline.results",
    "Assembly": ".assembly",
    "Clip": ".pipeline.clip",
    "EmofuseError": ".pipeline.errors",
    "Limits": ".pipeline.clip",
    "Options": ".assembly",
    "Span": ".pipeline.timed",
    "TimedSequence": ".pipeline.timed",
    "analyze": ".assembly",
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
    "__version__",
    "analyze",
    "convert",
    "load",
    "words_table",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name], __name__), name)
    raise AttributeError(f"module 'emofuse' has no attribute {name!r}")


if "IPython" in sys.modules:  # a notebook shows an Analysis as a table and a picture
    from .notebooks import register

    register()
