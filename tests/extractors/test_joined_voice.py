"""Several voice providers as one stream: the first one's clock, the others' nearest rows, gaps as NaN."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from emofuse.extractors import EXTRACTORS, Request
from emofuse.extractors.voice.covarep.voice import CovarepVoice
from emofuse.extractors.voice.joined_voice import DEFAULT, NEAR_SECONDS, VOICES, JoinedVoice, nearest_rows
from emofuse.extractors.voice.librosa_voice import LibrosaVoice
from emofuse.pipeline.errors import UsageError
from emofuse.pipeline.media import SAMPLE_RATE, Media, Medium, Samples
from emofuse.pipeline.timed import Provenance, TimedSequence

from .conftest import ArrayClip


class Counted:
    """A voice whose rows hold their own start, `step` seconds apart, wherever there is sound."""

    stream = "voice"
    media: frozenset[Medium] = frozenset({"audio"})
    needs: tuple[str, ...] = ()

    def __init__(self, name: str, step: float, hears: tuple[float, float] = (0.0, np.inf)) -> None:
        self.name = name
        self.columns = ("rms", f"{name}_start")
        self.provenance = Provenance(name, "1", weights={f"{name}.bin": "0" * 64}, options={"step": step})
        self._step, self._hears = step, hears

    def __call__(self, clip: Media, upstream: Mapping[str, TimedSequence]) -> TimedSequence:
        start = np.concatenate([np.zeros(0), *self._starts(clip)])
        if not len(start):
            return TimedSequence.empty("voice", self.columns, self.provenance, f"{self.name} heard nothing")
        values = np.stack([np.full(len(start), self._step), start], axis=1).astype(np.float32)
        return TimedSequence("voice", self.columns, values, start, start + self._step, self.provenance)

    def _starts(self, clip: Media) -> Iterator[np.ndarray]:
        for block in clip.samples():
            start = block.start + self._step * np.arange(int(len(block.values) / SAMPLE_RATE / self._step + 1e-9))
            yield start[(start >= self._hears[0]) & (start < self._hears[1])]


def sound(start: float, seconds: float) -> Samples:
    return Samples(start, np.zeros(round(seconds * SAMPLE_RATE), np.float32))


def test_rows_are_the_first_ones_and_take_the_nearest_of_the_others() -> None:
    joined = JoinedVoice([Counted("slow", 0.02), Counted("fast", 0.01)])
    made = joined(ArrayClip(sound(1.0, 0.1), sound(5.0, 0.06)), {})
    assert made.columns == joined.columns == ("rms", "slow_start", "fast_start")
    np.testing.assert_allclose(made.column("fast_start"), made.start, atol=1e-6)  # of two equally near, the earlier
    np.testing.assert_allclose(made.column("rms"), 0.02)
    other = JoinedVoice([Counted("fast", 0.01), Counted("slow", 0.02)])(ArrayClip(sound(0.0, 0.06)), {})
    np.testing.assert_allclose(other.column("slow_start"), [0, 0, 0.02, 0.02, 0.04, 0.04], atol=1e-6)


def test_where_another_heard_nothing_its_columns_are_not_measured() -> None:
    joined = JoinedVoice([Counted("slow", 0.02), Counted("deaf", 0.01, hears=(0.5, np.inf))])
    made = joined(ArrayClip(sound(0.0, 1.0)), {})
    late = made.start >= 0.5 - NEAR_SECONDS
    assert np.isfinite(made.column("deaf_start")[late]).all()
    assert np.isnan(made.column("deaf_start")[made.start < 0.46]).all() and np.isfinite(made.column("slow_start")).all()
    never = JoinedVoice([Counted("slow", 0.02), Counted("deaf", 0.01, hears=(9, 10))])(ArrayClip(sound(0.0, 1.0)), {})
    assert len(never) == 50 and np.isnan(never.column("deaf_start")).all()


def test_nothing_heard_is_the_first_one_s_reason() -> None:
    made = JoinedVoice([Counted("slow", 0.02, hears=(9, 10)), Counted("fast", 0.01)])(ArrayClip(sound(0.0, 0.1)), {})
    assert len(made) == 0 and made.reason == "slow heard nothing" and made.columns == ("rms", "slow_start", "fast_start")


@pytest.mark.parametrize("seed", range(5))
def test_the_nearest_row_is_the_nearest(seed: int) -> None:
    random = np.random.default_rng(seed)
    ours, theirs = np.sort(random.uniform(0, 2, 40)), np.sort(random.uniform(0, 2, 1 + seed * 20))
    index, near = nearest_rows(ours, theirs)
    distance = np.abs(ours[:, None] - theirs[None])
    np.testing.assert_allclose(distance[np.arange(40), index], distance.min(1))
    np.testing.assert_array_equal(near, distance.min(1) <= NEAR_SECONDS)


def test_the_provenance_keeps_every_part_s_facts() -> None:
    made = JoinedVoice([Counted("slow", 0.02), Counted("fast", 0.01)])(ArrayClip(sound(0.0, 0.1)), {}).provenance
    assert made.extractor == "slow+fast" and set(made.weights) == {"slow.bin", "fast.bin"}
    assert made.options == {"slow": {"step": 0.02}, "fast": {"step": 0.01}}


def test_real_providers_are_joined_by_name() -> None:
    voice = JoinedVoice.make(Request("librosa+covarep"))
    assert voice.columns == (*LibrosaVoice.columns, *(c for c in CovarepVoice.columns if c not in LibrosaVoice.columns))
    blocks = ArrayClip(Samples(0.5, np.random.default_rng(1).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)))
    made = voice(blocks, {})
    alone = CovarepVoice()(blocks, {})
    np.testing.assert_array_equal(made.column("F0"), alone.column("F0"))
    np.testing.assert_array_equal(made.start, alone.start)


@pytest.mark.parametrize(
    ("requested", "taken"),
    [("whisper+covarep", True), ("covarep+whisper:base", True), ("whisper", False), ("a+b", False), ("covarep+opensmile", False)],
)
def test_what_is_accepted(requested: str, taken: bool) -> None:
    assert JoinedVoice.accepts(requested) is taken
    assert sum(provider.accepts(requested) for provider in EXTRACTORS["voice"]) == int(taken)


@pytest.mark.parametrize("requested", ["covarep", "covarep+covarep", "covarep+", "covarep+nothing"])
def test_what_cannot_be_joined_is_one_line(requested: str) -> None:
    with pytest.raises(UsageError, match="expected several of covarep, librosa, torchaudio, covarep-compat, whisper, each once"):
        JoinedVoice.make(Request(requested))


def test_all_readers_of_sound_can_be_joined() -> None:
    assert set(EXTRACTORS["voice"]) - set(VOICES) == {JoinedVoice, EXTRACTORS["voice"][-1]} and DEFAULT == "whisper+covarep"
