"""report.html: one page per clip that opens from disk with no network.

`data.py` gathers what the page shows, `page.py` puts it together with the template, the style and the script that lie beside it, and
`moving.py` sees to the video. The plots are drawn in the browser by Bokeh, whose script comes with its Python package and is written into
the page: 1.4 MB, where Plotly's is 4.8 MB, and it draws sixty thousand points on a canvas without help.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from emofuse import __version__

from ...clip import Clip
from ...errors import EmofuseError
from ...results import Analysis
from .data import report_data
from .page import asset, bokeh, page

SCRIPTS = (
    "shared.js",
    "core.js",
    "player.js",
    "words.js",
    "figures.js",
    "lanes.js",
    "timeline.js",
    "matrix.js",
    "gates.js",
    "tables.js",
)


@dataclass(frozen=True)
class Video:
    """What the page plays: `source` as a URL relative to the page (None: nothing), "video" or "audio", and a word to the reader.

    poster  a picture beside the page that is shown until the clip plays
    """

    source: str | None
    kind: str = "video"
    note: str = ""
    poster: str | None = None


def write_report(analysis: Analysis, target: Path, *, home: Path | None, version: str = __version__, new_film: bool = True) -> None:
    """report.html and thumbnail.jpg into `target`, and beside them clip.mp4 or clip.m4a where no browser plays the clip itself.

    home      the folder that `target` will be in the end: the page names the clip relative to it; None: by its whole path
    new_film  whether such a film may be made (it takes about a tenth of the clip's length)
    """
    video = video_for(analysis, target, home, new_film=new_film)
    thumbnail(analysis, target / "thumbnail.jpg")
    if (target / "thumbnail.jpg").is_file():
        video = replace(video, poster="thumbnail.jpg")
    (target / "report.html").write_text(report_html(analysis, version=version, video=video), encoding="utf-8")


def report_html(analysis: Analysis, *, version: str = __version__, video: Video | None = None) -> str:
    """The page as text; without `video` it plays nothing."""
    video = video or Video(None, note="The clip is not part of this page.")
    data = report_data(analysis, version=version)
    data["video"] = {"src": video.source, "kind": video.kind, "note": video.note, "poster": video.poster}
    name = Path(analysis.info.path).name
    scripts = (*bokeh(), *(asset(script) for script in SCRIPTS))
    return page("report.html.j2", data, scripts=scripts, style=asset("page.css"), title=f"{name}: emotions over time", name=name)


def video_for(analysis: Analysis, target: Path, home: Path | None, *, new_film: bool = True) -> Video:
    """The clip itself where browsers play it, by its path relative to `home`; else a small film made from it in `target`."""
    from ..transcode import fitted, playable, transcode

    path, info = Path(analysis.info.path), analysis.info
    kind = "video" if info.video is not None else "audio"
    if not path.is_file():
        return Video(None, kind, f"The clip is no longer at {path}.")
    if playable(info, path.suffix):
        with suppress(ValueError):  # another drive
            if home is not None:
                return Video(address(os.path.relpath(path.resolve(), home.resolve())), kind)
        return Video(path.resolve().as_uri(), kind)
    if not new_film:
        return Video(None, kind, f"Browsers do not play this clip ({info.container}), and no film was made of it.")
    name = "clip.mp4" if kind == "video" else "clip.m4a"
    try:
        transcode(Clip(path), target / name, size=fitted(info))
    except EmofuseError as error:
        (target / name).unlink(missing_ok=True)
        return Video(None, kind, f"Browsers do not play this clip, and no film could be made of it: {error}")
    return Video(name, kind, "A small copy, made because browsers do not play the clip itself.")


def address(path: str) -> str:
    """A relative path as a URL, whatever bytes are in it."""
    return quote(os.fsencode(path.replace(os.sep, "/")))


def thumbnail(analysis: Analysis, path: Path) -> None:
    """A small JPEG (240 lines) of the clip a second into it, or of its last frame before that; none where there is no picture."""
    from PIL import Image

    from ..transcode import fitted, resized

    clip = Path(analysis.info.path)
    size = fitted(analysis.info, most=240)
    if size is None or not clip.is_file():
        return
    picture = None
    with suppress(EmofuseError):
        for frame in Clip(clip).frames():
            picture = resized(frame.image, size)
            if frame.start >= min(1.0, analysis.facts.length / 3):
                break
    if picture is not None:
        Image.fromarray(picture).save(path, quality=80)
