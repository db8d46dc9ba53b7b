"""Stage times: where they lie in the whole, and that a real clip is decoded once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from emofuse.pipeline.clip import Clip
from emofuse.pipeline.extraction import extract
from emofuse.pipeline.media import Media, Medium
from emofuse.pipeline.profile import BAR, Profile
from emofuse.pipeline.timed import Provenance, TimedSequence

SAMPLES = Path(__file__).parents[2] / "samples"


class Reader:
    """Reads a medium to its end and makes an empty stream."""

    name = "reader"
    columns = ("a",)
    needs: tuple[str, ...] = ()
    provenance = Provenance("reader", "1")

    def __init__(self, stream: str, media: Medium) -> None:
        self.stream = stream
        self.media: frozenset[Medium] = frozenset({media})

    def __call__(self, clip: Media, upstream: Mapping[str, TimedSequence]) -> TimedSequence:
        for _ in clip.frames() if "video" in self.media else clip.samples():
            pass
        return TimedSequence.empty(self.stream, self.columns, self.provenance, "only reads")


def test_lines_draw_stages_where_they_lie() -> None:
    profile = Profile(stages={"late": (5.0, 10.0), "early": (0.0, 5.0)}, passes=1)
    early, late, end = profile.lines()
    assert early.startswith("early") and late.startswith("late ")
    assert early.count("#") == late.count("#") == BAR // 2
    assert late.index("#") == early.index("#") + BAR // 2
    assert end == "decoded 1 time, 10.00 s in all"


def test_two_readers_share_one_pass_and_overlap() -> None:
    clip = Clip(SAMPLES / "smile.mp4")
    extraction = extract(clip, [Reader("face", "video"), Reader("voice", "audio")])
    assert clip.passes == 1
    (face_start, face_end), (voice_start, voice_end) = extraction.spans["face"], extraction.spans["voice"]
    assert face_start < voice_end and voice_start < face_end
    list(clip.samples())
    assert clip.passes == 2
