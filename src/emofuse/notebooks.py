"""How a notebook shows an `Analysis`: registered with IPython where it runs, so that the type itself knows no view."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .pipeline.results import Analysis


def register() -> None:
    """Tell a running IPython how to show an `Analysis`; nothing where there is none."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is not None:
        shell.display_formatter.formatters["text/html"].for_type_by_name("emofuse.pipeline.results", "Analysis", html)


def html(analysis: Analysis) -> str:
    """The table of utterances and the timeline."""
    from .pipeline.views.notebook import html as drawn

    return drawn(analysis)
