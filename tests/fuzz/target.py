"""The readers that are fuzzed, in a process of their own: `python target.py NAME`, a path a line in, a line of JSON out.

ok and refused (an `EmofuseError`) are answers; anything else that is raised is a bug, and so is a death of this process.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

from emofuse.pipeline.errors import EmofuseError

MEMORY = 4 << 30


def container(path: Path) -> None:
    from emofuse.pipeline.clip import Clip, Limits

    for _ in Clip(path, Limits(stall_seconds=20.0, cpu_base=15.0, cpu_factor=0.0)).decode(frames=True, samples=False):
        pass


def sound(path: Path) -> None:
    from emofuse.pipeline.clip import Clip, Limits

    for _ in Clip(path, Limits(stall_seconds=20.0, cpu_base=15.0, cpu_factor=0.0)).decode(frames=False, samples=True):
        pass


def transcript(path: Path) -> None:
    from emofuse.extractors.words.transcripts import read_transcript

    read_transcript(path)


def csd(path: Path) -> None:
    from emofuse.fusion.datasets import FORMATS
    from emofuse.fusion.datasets.examples import Source

    folder = path.parent / "csd"
    folder.mkdir(exist_ok=True)
    os.replace(path, folder / "labels.csd")
    FORMATS["csd"](Source(folder, {"text": "labels"}, "labels"))


def pickled(path: Path) -> None:
    from emofuse.fusion.datasets.unpickling import unpickled

    unpickled(path)


def glove(path: Path) -> None:
    from emofuse.extractors.text.glove_text import open_table

    open_table(path, path.parent / "cache")


def stream(path: Path) -> None:
    from emofuse.pipeline.formats.parquet import read_stream

    read_stream(path)


TARGETS: dict[str, Callable[[Path], None]] = {
    "mp4": container,
    "mkv": container,
    "flac": sound,
    "srt": transcript,
    "vtt": transcript,
    "json": transcript,
    "TextGrid": transcript,
    "csv": transcript,
    "csd": csd,
    "pkl": pickled,
    "glove": glove,
    "zip": glove,
    "parquet": stream,
}


def answer(name: str, path: Path) -> dict[str, str]:
    try:
        TARGETS[name](path)
    except EmofuseError as error:
        text = str(error)
        return {"how": "refused", "why": text} if text and len(text) < 2000 else {"how": "bug", "why": f"a message of {len(text)} letters"}
    except BaseException:
        return {"how": "bug", "why": traceback.format_exc()}
    return {"how": "ok"}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        out.write(json.dumps(answer(sys.argv[1], Path(line.rstrip("\n")))) + "\n")
        out.flush()
