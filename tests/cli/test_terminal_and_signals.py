"""Names and words never reach the terminal as commands; signals leave nothing half-written; a clip is read as it was hashed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emofuse.assembly import Assembly
from emofuse.cli.analyze import show
from emofuse.cli.messages import printable
from emofuse.options import Options
from emofuse.pipeline.attention_rows import AttentionRows
from emofuse.pipeline.errors import ClipChanged, ClipLimit, FormatError
from emofuse.pipeline.formats.eaf import read_eaf
from emofuse.pipeline.media import ClipInfo
from emofuse.pipeline.results import Analysis, AnalyzedUtterance, ClipFacts, Quality
from emofuse.pipeline.timed import Provenance, Span
from emofuse.pipeline.whole_folder import sweep, whole_folder

NASTY = "a\x1b]0;pwned\x07\x1b[31mred\u202eevil\x9b2J\r\nb"
QUIET = Options(words="none", text="none", face="none", voice="whisper", offline=True)


def test_printable_shows_what_a_terminal_would_obey() -> None:
    shown = printable(NASTY)
    assert shown.isprintable() and "\\x1b]0;pwned\\x07" in shown and "\\u202e" in shown
    assert printable("naïve 音 <b>[bold]") == "naïve 音 <b>[bold]"


def test_the_table_of_a_clip_holds_no_command_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    by = Provenance("test", "1")
    one = AnalyzedUtterance(0, Span(0, 1), NASTY, None, Quality(("no_face",), {}, {}))
    info = ClipInfo(f"/x/{NASTY}.wav", "wav", 1.0, None, None)
    rows = AttentionRows.empty({})
    analysis = Analysis(info, {}, by, (one,), None, rows, {"face": NASTY}, ClipFacts(1.0, "words"))
    show(analysis, Path("out") / NASTY, [Path("report.html"), Path(NASTY)], "a model")
    text = capsys.readouterr().out
    assert "pwned" in text and not [c for c in text if not c.isprintable() and c != "\n"]


@pytest.fixture
def sound(samples: Path, tmp_path: Path) -> Path:
    path = tmp_path / "clip.flac"
    shutil.copy(samples / "voice_only.flac", path)
    return path


class Swapping(Assembly):
    """Another recording takes the clip's place while its streams are fused."""

    swaps: int
    other: Path

    def fuse(self, clip: Any, *arguments: Any, **more: Any) -> Analysis:
        if self.swaps:
            self.swaps -= 1
            shutil.copy(self.other, f"{clip.path}.new")
            os.replace(f"{clip.path}.new", clip.path)
        return super().fuse(clip, *arguments, **more)


def test_a_single_clip_that_is_replaced_while_it_is_read_is_read_again(sound: Path, samples: Path, tmp_path: Path) -> None:
    import av

    other = tmp_path / "other.wav"
    with av.open(str(other), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray((1000 * np.sin(np.arange(32000) / 20)).astype(np.int16)[None], "s16", "mono")
        frame.sample_rate = 16000
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    assembly = Swapping(QUIET)
    assembly.swaps, assembly.other = 1, other
    analysis = assembly.analyze(sound)
    assert analysis.facts.length == pytest.approx(2.0, abs=0.05)
    assert analysis.facts.sha256 == hashlib.sha256(other.read_bytes()).hexdigest()
    assembly.swaps = 99
    with pytest.raises(ClipChanged, match="stays as it is"):
        assembly.analyze(sound)


def test_a_folder_that_a_killed_process_left_half_written_goes_with_the_next(tmp_path: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True).stdout.strip()
    dead = tmp_path / f".emofuse-{os.uname().nodename}-{gone}-abc123"
    living = tmp_path / f".emofuse-{os.uname().nodename}-{os.getpid()}-abc123"
    elsewhere, mine = tmp_path / f".emofuse-otherhost-{gone}-abc123", tmp_path / ".emofuse-notes"
    for folder in (dead, living, elsewhere, mine):
        folder.mkdir()
        (folder / "file").write_text("x")
    link = tmp_path / f".emofuse-{os.uname().nodename}-{gone}-link00"
    link.symlink_to(mine, target_is_directory=True)

    def fill(target: Path) -> None:
        (target / "analysis.json").write_text("{}")

    whole_folder(tmp_path / "clip", fill)
    assert not dead.exists() and all((f / "file").exists() for f in (living, elsewhere, mine))
    sweep(tmp_path)
    assert (mine / "file").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_single_run_that_is_ended_while_it_writes_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    code = (
        "import sys, time, click\n"
        "from pathlib import Path\n"
        "from emofuse.cli import main as m\n"
        "from emofuse.pipeline.whole_folder import whole_folder\n"
        "@click.command('analyze')\n"
        "def command():\n"
        "    def fill(target):\n"
        "        (target / 'report.html').write_text('half'); print('writing', flush=True); time.sleep(60)\n"
        f"    whole_folder(Path({str(tmp_path)!r}) / 'out' / 'clip', fill)\n"
        "import emofuse.cli.analyze as a\n"
        "a.command = command\n"
        "m.main(['analyze'])\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "writing\n"
        time.sleep(0.1)
        process.send_signal(number)
        assert process.wait(20) == 128 + number
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be", "iso-8859-1", "windows-1252"])
def test_a_document_type_is_refused_in_every_encoding(encoding: str, tmp_path: Path) -> None:
    text = f'<?xml version="1.0" encoding="{encoding.removesuffix("-le").removesuffix("-be")}"?>'
    text += '<!-- <x/> --><!DOCTYPE a [<!ENTITY e "boo">]><ANNOTATION_DOCUMENT>&e;</ANNOTATION_DOCUMENT>'
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    path = tmp_path / "a.eaf"
    path.write_bytes(mark + text.encode(encoding))
    with pytest.raises(FormatError, match="no document type declaration"):
        read_eaf(path)


@pytest.mark.parametrize("rate", [1, 8, 100, 999])
def test_sound_below_a_kilohertz_is_refused_at_once(rate: int, tmp_path: Path) -> None:
    import struct

    from emofuse.pipeline.clip import Clip

    data = b"\x00\x01" * 20_000
    head = b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate, rate * 2, 2, 16)
    (tmp_path / "slow.wav").write_bytes(head + b"data" + struct.pack("<I", len(data)) + data)
    with pytest.raises(ClipLimit, match="less than the 1000 Hz"):
        _ = Clip(tmp_path / "slow.wav").info


def test_the_document_of_a_single_clip_names_the_bytes_that_were_read(sound: Path) -> None:
    from emofuse.pipeline.formats.document import analysis_document

    document = json.loads(json.dumps(analysis_document(Assembly(QUIET).analyze(sound), version="1")))
    assert document["clip"]["sha256"] == hashlib.sha256(sound.read_bytes()).hexdigest()
