"""Libraries that one format needs: imported when it is used, and named in one line where they are missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..errors import FormatError


def require(module: str, package: str, file_format: str) -> Any:
    """The module; raises `FormatError` with the command that installs its package."""
    try:
        return import_module(module)
    except ImportError as error:
        raise FormatError(f"{file_format}: expected the package {package} ({error}); install it with: pip install {package}") from error
