"""Every shipped weight from the data of ../shared, one stage after the other; a stage that is done is not done again.

    python -m training.all --data ../shared/data --clips ../shared/clips --work WORK
    python -m training.all --data ../shared/data --clips ../shared/clips --work WORK --quick

    projection   the projection of Whisper's layers that `--voice whisper` ships       extractors/voice
    voiceprints  the space in which `--speakers` compares voices                       extractors/speakers
    text         the adapter of `--text minilm`                                        extractors/text
    voice-0..2   voices, and two distorted copies of each                              WORK/features
    faces        photographs and talking faces, through the shipped face network       WORK/features
    texts        sentences, through `--text minilm`                                    WORK/features
    mult ...     the five fusion models, then their test sets                          fusion/weights
    cards        their model cards                                                     docs/cards
    tables       the tables of docs/checkpoints.md

The face network has a training of its own, from a teacher that is no part of this project (`training/face_network`, docs/faces.md).
--quick runs every stage on a few dozen clips, photographs and texts, a dozen steps each, into WORK/quick, and leaves the shipped
weights alone; the features are made with the shipped encoders then. The SHA-256 of all that was written are printed;
tests/test_training_stages.py compares two runs.

Every stage is a command of its own, one thread, at most 30 minutes of a core; WORK/done says what was done by which command. A stage
is done again if its command, or a file that it wrote, is another than then, or if a stage that it rests on was. One that fails ends the run
with its code.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emofuse.extractors.text.bert_text import ADAPTER
from emofuse.fusion.shipped import FOLDER
from emofuse.pipeline.hashing import sha256_of

from .fusion_checkpoints.write_table import PAGE

MODELS = ("mult", "rrnn", "delta", "mcr", "pmr")
COPIES = (0, 1, 2)
STEPS_OF_TEXT = 2000
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Stage:
    """A command, `python -m` first, the files that it writes, and the stages that it rests on."""

    name: str
    command: tuple[str, ...]
    files: tuple[Path, ...]
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Places:
    """Where the data are, and where what is made goes."""

    data: Path
    clips: Path
    features: Path
    voice: Path
    speakers: Path
    text: Path
    weights: Path
    cards: Path
    page: Path
    text_work: Path

    @classmethod
    def of(cls, data: Path, clips: Path, work: Path, quick: bool) -> Places:
        """The package's own places, or, `quick`, one folder."""
        if not quick:
            voice, speakers, text = ROOT / "extractors" / "voice", ROOT / "extractors" / "speakers", ADAPTER.parent
            return cls(data, clips, work / "features", voice, speakers, text, FOLDER, ROOT / "docs" / "cards", PAGE, work / "text")
        out = work / "quick"
        voice, speakers, words, fusion = (out / name for name in ("voice", "speakers", "words", "fusion"))  # apart, as in the package
        return cls(data, clips, out / "features", voice, speakers, words, fusion, out / "cards", out / PAGE.name, out / "text")


def stages(places: Places, quick: bool) -> list[Stage]:
    """All of them, in order."""
    data, features, weights = str(places.data), str(places.features), str(places.weights)
    short = ("--quick",) if quick else ()
    made = "training.fusion_checkpoints"

    def feature(name: str, module: str, *arguments: str, files: Sequence[str], after: tuple[str, ...] = ("projection",)) -> Stage:
        command = (f"{made}.{module}", "--data", data, "--out", features, *arguments, *short)
        return Stage(name, command, tuple(places.features / f"{file}.npz" for file in files), after)

    clips = ("--clips", "1" if quick else "10")
    steps = short or ("--steps", str(STEPS_OF_TEXT))
    of_text = ("training.text", "--data", data, "--work", str(places.text_work), "--out", str(places.text), *steps)
    texts = [f"{name}_{split}" for name in ("text", "mosi") for split in ("train", "dev", "test")]
    pairs = {name: tuple(places.weights / f"{name}.{kind}" for kind in ("safetensors", "json")) for name in MODELS}
    read = (*(f"voice-{copy}" for copy in COPIES), "faces", "texts")
    trainings = [Stage(name, (made, name, "--features", features, "--out", weights, *short), pairs[name][:1], read) for name in MODELS]
    tests = [Stage(f"{name}-test", (made, name, "--features", features, "--out", weights, "--test"), (), (name,)) for name in MODELS]
    measured = tuple(stage.name for stage in tests)
    pages = tuple(places.cards / f"{name}.md" for name in MODELS)
    return [
        Stage(
            "projection",
            ("training.voice_projection", "--data", data, "--out", str(places.voice), *clips),
            tuple(places.voice / f"whisper_projection.{kind}" for kind in ("safetensors", "json")),
        ),
        Stage(
            "voiceprints",
            ("training.voiceprints", "--data", data, "--out", str(places.speakers), "--conversations", "2" if quick else "60"),
            tuple(places.speakers / f"voiceprints.{kind}" for kind in ("safetensors", "json")),
            ("projection",),
        ),
        Stage("text", of_text, tuple((places.text / ADAPTER.name).with_suffix(kind) for kind in (".safetensors", ".json"))),
        *(feature(f"voice-{copy}", "extract_voices", "--copy", str(copy), files=[f"voice_{copy}"]) for copy in COPIES),
        feature("faces", "extract_faces", "--clips", str(places.clips), files=["faces", "talking"], after=()),
        feature("texts", "extract_texts", files=[*texts, "spoken"], after=("text",)),
        *trainings,
        *tests,
        Stage("cards", (made, "--out", weights, "--cards", str(places.cards)), (*pages, *(pairs[name][1] for name in MODELS)), measured),
        Stage("tables", (f"{made}.write_table", "--weights", weights, "--page", str(places.page)), (places.page,), ("cards",)),
    ]


def is_done(stage: Stage, record: Path) -> bool:
    """Whether the stage was done by this command, and its files are as it left them."""
    if not record.is_file():
        return False
    then = json.loads(record.read_text(encoding="utf-8"))
    return bool(then["command"] == list(stage.command) and then["files"] == hashes(stage.files))


def hashes(files: Sequence[Path]) -> dict[str, str]:
    """File -> SHA-256; "" for one that is not there."""
    return {str(path): sha256_of(path) if path.is_file() else "" for path in files}


def run(stage: Stage, record: Path) -> int:
    """The command's exit code; what it did is recorded where that is 0."""
    began = time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    code = subprocess.run([sys.executable, "-m", *stage.command], cwd=ROOT, env=environment, check=False).returncode
    print(f"{stage.name}: {'done' if code == 0 else f'failed, code {code}'}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    if code == 0:
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps({"command": stage.command, "files": hashes(stage.files)}, indent=1) + "\n", encoding="utf-8")
    return code


def main(given: Sequence[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "clips", "work"):
        arguments.add_argument(f"--{name}", type=Path, required=True)
    arguments.add_argument("--quick", action="store_true", help="every stage on next to nothing, into WORK/quick")
    arguments.add_argument("--until", metavar="STAGE", help="stop after this one")
    options = arguments.parse_args(given)
    work = options.work.resolve() / ("quick" if options.quick else "")
    places = Places.of(options.data.resolve(), options.clips.resolve(), options.work.resolve(), options.quick)
    if options.quick and not places.page.exists():
        places.page.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PAGE, places.page)
    every = stages(places, options.quick)
    if options.until not in (None, *(stage.name for stage in every)):
        arguments.error(f"--until {options.until}: expected {', '.join(stage.name for stage in every)}")
    anew: set[str] = set()
    for stage in every:
        record = work / "done" / f"{stage.name}.json"
        if is_done(stage, record) and not anew & set(stage.after):
            print(f"{stage.name}: was done", file=sys.stderr)
        elif code := run(stage, record):
            return code
        else:
            anew.add(stage.name)
        if stage.name == options.until:
            break
    for stage in every:
        for path, digest in hashes(stage.files).items():
            if digest:
                print(f"{digest}  {Path(path).relative_to(places.page.parent if options.quick else '/')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
