"""The page itself: template, style, scripts and data in one file, behind a policy that lets nothing be loaded and no other script run.

Every script in the page is named by its SHA-256 in its Content-Security-Policy. Texts from clips reach the page in one block of JSON
without a `<`, and the script puts them there as text, never as HTML; so a transcript or file name with tags in it is shown as it is.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ...errors import EmofuseError

SCRIPT_END = re.compile(r"</(script)", re.IGNORECASE)


def page(template: str, data: Any, *, scripts: tuple[str, ...], style: str, connect: str = "'none'", **texts: str) -> str:
    """A whole page: `template` beside this file, given `data` as JSON, `scripts` and `style` as text, and `texts` (escaped).

    connect   what its scripts may talk to, as the policy says it
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    contained = [SCRIPT_END.sub(r"<\\/\1", script) for script in scripts]
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in contained)
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src 'self' file: data: blob:; "
        f"media-src 'self' file: blob:; connect-src {connect}; base-uri 'none'; form-action 'none'"
    )
    markup = environment.from_string(asset(template)).render(
        policy=policy,
        style=Markup(style),
        scripts=[Markup(script) for script in contained],
        data=Markup(harmless(data)),
        **{name: text.encode("utf-8", "replace").decode() for name, text in texts.items()},
    )
    return str(markup)


def harmless(data: Any) -> str:
    """JSON that no HTML parser takes for markup: ASCII only, and none of < > & in it."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def asset(name: str) -> str:
    """The text of a file beside this one."""
    return files(__name__.rpartition(".")[0]).joinpath(name).read_text(encoding="utf-8")


def bokeh() -> tuple[str, str]:
    """Bokeh's own scripts, as its package brings them; raises `EmofuseError` where they are not there."""
    specification = find_spec("bokeh")
    folder = Path(specification.origin).parent / "server/static/js" if specification is not None and specification.origin else None
    if folder is None or not (folder / "bokeh.min.js").is_file():
        raise EmofuseError("report.html: expected the bokeh package with its scripts: pip install bokeh")
    return (folder / "bokeh.min.js").read_text(encoding="utf-8"), (folder / "bokeh-api.min.js").read_text(encoding="utf-8")
