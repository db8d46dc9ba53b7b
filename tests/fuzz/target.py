"""The readers that are fuzzed, in a process of their own: `python target.py NAME`, a path a line in, a line of JSON out.

ok and refused (an `EmofuseError`) are answers; anything else that is raised is a bug, and so is a death of this process.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
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


def session(path: Path) -> None:
    from emofuse.conversion import load

    load(path)


def results(path: Path) -> None:
    """A result folder that somebody sends: its analysis.json is bent."""
    from emofuse.pipeline.errors import FormatError
    from emofuse.pipeline.formats.result_folder import read_analysis, read_results

    folder = path.parent / "results"
    os.replace(path, folder / "analysis.json")
    read_analysis(folder)
    try:
        read_results(folder)
    except FormatError as error:
        raise AssertionError("one reader takes it and the other does not") from error


def face_table(path: Path) -> None:
    from emofuse.extractors.stream_file import StreamFile

    StreamFile("face", path)


def people(path: Path) -> None:
    from emofuse.pipeline.batch.discovery import Candidate
    from emofuse.pipeline.batch.people import assigned

    assigned([Candidate(f"/clips/{name}.mp4", f"{name}.mp4", f"{name}.mp4") for name in ("one", "two")], str(path))


def record(path: Path) -> None:
    """What a results folder of somebody else says that was done; whatever it is, it is a record or none."""
    from emofuse.pipeline.batch.manifest import row_of, write_manifest
    from emofuse.pipeline.batch.store import HIDDEN, LocalStore, is_ours, is_whole, read_record

    out = path.parent / "out"
    (out / HIDDEN / "records").mkdir(parents=True, exist_ok=True)
    os.replace(path, out / HIDDEN / "records/0123456789abcdef.json")
    store = LocalStore(out)
    read = read_record(store, "0123456789abcdef")
    if read is not None:
        row_of(read)
        is_whole(store, read)
        is_ours(store, read)
        write_manifest(store, [read])
    store.close()


def adapter(path: Path) -> None:
    from emofuse.extractors.text.adapter import read_adapter

    if path.suffix == ".json":
        os.replace(path, path.with_name("adapter.json"))
        path = path.with_name("adapter.safetensors")
    else:
        shutil.copy(path.with_name("good adapter.json"), path.with_suffix(".json"))
    read_adapter(path)


def checkpoint(path: Path) -> None:
    from emofuse.fusion.checkpoints import load

    os.replace(path, path.with_name("checkpoint.json"))
    load(path.with_name("checkpoint.safetensors"))


def state(path: Path) -> None:
    from emofuse.fusion.run_folder import STATE, read_state

    folder = path.parent / "run"
    folder.mkdir(exist_ok=True)
    os.replace(path, folder / STATE)
    read_state(folder)


def ctranslate2(path: Path) -> None:
    from emofuse.extractors.weights.ctranslate2 import read_model

    read_model(path)


def whisper_folder(path: Path) -> None:
    """config.json of a folder as transformers saves a Whisper."""
    from emofuse.extractors.weights.openai_whisper import find_weights

    folder = path.parent / "whisper"
    os.replace(path, folder / "config.json")
    find_weights(str(folder), offline=True).load("cpu")


def whisper_index(path: Path) -> None:
    from emofuse.extractors.weights.openai_whisper import find_weights

    folder = path.parent / "whisper in parts"
    os.replace(path, folder / "model.safetensors.index.json")
    find_weights(str(folder), offline=True)


TARGETS: dict[str, Callable[[Path], None]] = {
    "ogg": sound,
    "ogv": container,
    "avi": container,
    "ts": container,
    "h264": container,
    "gif": container,
    "tsv": transcript,
    "txt": transcript,
    "eaf": transcript,
    "short.TextGrid": transcript,
    **{f"load.{suffix}": session for suffix in ("srt", "vtt", "csv", "TextGrid", "eaf", "rttm", "csd", "parquet", "pkl")},
    "openface.csv": face_table,
    "fex.csv": face_table,
    "results.json": results,
    "people.csv": people,
    "record.json": record,
    "adapter.json": adapter,
    "safetensors": adapter,
    "checkpoint.json": checkpoint,
    "state.safetensors": state,
    "ctranslate2.bin": ctranslate2,
    "config.json": whisper_folder,
    "index.json": whisper_index,
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
