"""Clips of one person in a batch: whose they are, what their baseline is, and what is made again when one joins."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from emofuse.pipeline.batch.cache import Cache
from emofuse.pipeline.batch.discovery import Candidate, Person, discover
from emofuse.pipeline.batch.events import Listener, Outcome
from emofuse.pipeline.batch.people import assigned
from emofuse.pipeline.batch.ray_engine import Actor
from emofuse.pipeline.batch.run import BatchOptions, part_of, run_batch
from emofuse.pipeline.batch.store import LocalStore
from emofuse.pipeline.batch.task import Task
from emofuse.pipeline.codec import decode, encode
from emofuse.pipeline.errors import UsageError

# Two people, three clips each, a second per word: one speaks in short words, the other in long ones.
CLIPS: Mapping[str, str] = {
    "anna/one": "fine a be see dee",
    "anna/two": "fine of it as",
    "anna/three": "fine so us we in on",
    "ben/one": "fine extraordinary considerations everywhere",
    "ben/two": "fine unbelievable circumstances nevertheless notwithstanding",
    "ben/three": "fine surroundings altogether",
}


def make(folder: Path, clips: Mapping[str, str] = CLIPS) -> None:
    for name, text in clips.items():
        path = folder / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def job(tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {"log": str(tmp_path / "log"), "pause": 0.0, "people": "folder", **more}


def ran(tmp_path: Path) -> Counter[str]:
    log = tmp_path / "log"
    found = Counter(line.split("\t")[0] for line in log.read_text().splitlines()) if log.exists() else Counter[str]()
    log.unlink(missing_ok=True)
    return found


def documents(out: Path) -> dict[str, dict[str, Any]]:
    """Place of the clip -> its analysis.json."""
    found = [json.loads(path.read_text()) for path in out.glob("*/analysis.json")]
    return {"/".join(Path(d["clip"]["path"]).with_suffix("").parts[-2:]): d for d in found}


def by_hand(name: str, clips: Mapping[str, str] = CLIPS) -> tuple[float, float, int]:
    """The answer, the share and the number of other clips: each clip is one utterance of its words' lengths."""
    means = {clip: float(np.mean([len(word) for word in text.split()])) for clip, text in clips.items()}
    others = [mean for clip, mean in means.items() if clip != name and clip.split("/")[0] == name.split("/")[0]]
    share = len(others) / (len(others) + 2)
    departure = means[name] - (share * float(np.mean(others)) if others else 0.0)
    return float(1 / (1 + np.exp(-departure + 1))), share, len(others)


def expect_by_hand(out: Path, clips: Mapping[str, str] = CLIPS) -> None:
    made = documents(out)
    assert set(made) == set(clips)
    for name, document in made.items():
        happy, share, others = by_hand(name, clips)
        assert document["utterances"][0]["probabilities"]["happiness"] == pytest.approx(happy, rel=1e-5), name
        (fact,) = document["baseline"]
        assert (fact["clips"], fact["share"]) == (others, pytest.approx(share))
        assert fact["utterances"] == pytest.approx(others) and fact["source"] == f"other utterances of {name.split('/')[0]}"
        same = [text for clip, text in clips.items() if clip != name and clip.split("/")[0] == name.split("/")[0]]
        assert fact["seconds"] == pytest.approx(0.9 * sum(len(text.split()) for text in same))
        assert len(fact["key"]) == 64


@pytest.mark.parametrize("workers", [0, 2])
def test_a_clip_is_read_against_the_person_s_other_clips(light: ModuleType, tmp_path: Path, workers: int) -> None:
    make(tmp_path / "clips")
    totals, events = light.batch(tmp_path / "clips", tmp_path / "out", job(tmp_path), workers=workers)
    assert (totals.done, totals.failed, totals.waiting) == (6, 0, 0)
    assert sum(name == "outcome" for name, _ in events) == 6, "each clip is settled once"
    expect_by_hand(tmp_path / "out")
    assert ran(tmp_path) == dict.fromkeys(("words", "text", "voice", "baseline", "fusion", "write"), 6)
    rows = {(r["person"], r["name"]): r for r in manifest(tmp_path / "out")}
    assert set(rows) == {tuple(f"{name}.mp4".split("/")) for name in CLIPS}
    assert {r["attempts"] for r in rows.values()} == {1}, "two stages of one run are one attempt"
    assert all(r["seconds_extract"] > 0 and r["seconds_baseline"] > 0 and r["seconds_fusion"] > 0 for r in rows.values())
    totals, _ = light.batch(tmp_path / "clips", tmp_path / "out", job(tmp_path), workers=workers)
    assert totals.kept == 6 and not ran(tmp_path)


def manifest(out: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(out / "manifest.parquet").to_pylist()
    return rows


def test_a_new_clip_changes_its_person_s_results_and_nobody_else_s(light: ModuleType, tmp_path: Path) -> None:
    make(tmp_path / "clips")
    light.batch(tmp_path / "clips", tmp_path / "out", job(tmp_path))
    ran(tmp_path)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("*/analysis.json")}
    more = {**CLIPS, "anna/four": "fine me"}
    make(tmp_path / "clips", {"anna/four": more["anna/four"]})
    totals, _ = light.batch(tmp_path / "clips", tmp_path / "out", job(tmp_path))
    assert (totals.done, totals.kept) == (4, 3)
    assert ran(tmp_path) == {"words": 1, "text": 1, "voice": 1, "baseline": 1, "fusion": 4, "write": 4}
    expect_by_hand(tmp_path / "out", more)
    untouched = {p for p, changed in before.items() if p.stat().st_mtime_ns == changed}
    assert {json.loads(p.read_text())["clip"]["path"].split("/")[-2] for p in untouched} == {"ben"} and len(untouched) == 3
    whole = tmp_path / "whole"
    light.batch(tmp_path / "clips", whole, job(tmp_path))
    assert {n: d["utterances"] for n, d in documents(whole).items()} == {n: d["utterances"] for n, d in documents(tmp_path / "out").items()}
    # It leaves again: the answers of before are there, and are written.
    ran(tmp_path)
    (tmp_path / "clips/anna/four.mp4").unlink()
    light.batch(tmp_path / "clips", tmp_path / "out", job(tmp_path))
    assert ran(tmp_path) == {"write": 3}


def test_stopped_between_the_stages_it_goes_on_from_there(light: ModuleType, tmp_path: Path) -> None:
    make(tmp_path / "clips")
    log = tmp_path / "log"

    def stopping() -> bool:
        return log.exists() and sum(line.startswith("baseline") for line in log.read_text().splitlines()) >= 4

    totals, _ = light.batch(tmp_path / "clips", tmp_path / "out", job(tmp_path), stopping=stopping)
    assert totals.stopped and totals.waiting == 6 - totals.done and totals.waiting > 0
    assert {r["state"] for r in manifest(tmp_path / "out")} <= {"done", "waiting"}
    first = ran(tmp_path)
    totals, _ = light.batch(tmp_path / "clips", tmp_path / "out", job(tmp_path))
    second = ran(tmp_path)
    assert {stage: first[stage] + second[stage] for stage in ("words", "text", "voice", "baseline", "fusion")} == dict.fromkeys(
        ("words", "text", "voice", "baseline", "fusion"), 6
    ), "no finished stage runs twice"
    expect_by_hand(tmp_path / "out")


def test_a_clip_that_fails_does_not_count_and_holds_nobody_up(light: ModuleType, tmp_path: Path) -> None:
    make(tmp_path / "clips", {**CLIPS, "anna/bad": "broken"})
    (tmp_path / "clips/ben/bug.mp4").write_text("bug in here")
    (tmp_path / "clips/ben/list.mp4").write_text("#EXTM3U\nhttp://127.0.0.1/a.ts\n")
    for _ in range(2):
        totals, _ = light.batch(tmp_path / "clips", tmp_path / "out", job(tmp_path))
        assert (totals.done + totals.kept, totals.failed, totals.waiting) == (6, 3, 0)
        expect_by_hand(tmp_path / "out")
    ran(tmp_path)
    (tmp_path / "clips/ben/bug.mp4").write_text("fine now")
    totals, _ = light.batch(tmp_path / "clips", tmp_path / "out", job(tmp_path))
    assert ran(tmp_path)["fusion"] == 4
    expect_by_hand(tmp_path / "out", {**CLIPS, "ben/bug": "fine now"})


def test_a_worker_that_dies_of_a_clip_holds_nobody_up(light: ModuleType, tmp_path: Path) -> None:
    make(tmp_path / "clips")
    (tmp_path / "clips/anna/crash.mp4").write_text("crash")
    totals, _ = light.batch(tmp_path / "clips", tmp_path / "out", job(tmp_path), workers=2)
    assert (totals.done, totals.reasons) == (6, {"worker_crashed": 1})
    expect_by_hand(tmp_path / "out")


def test_limits_shards_force_and_a_look(light: ModuleType, tmp_path: Path) -> None:
    clips, out = tmp_path / "clips", tmp_path / "out"
    make(clips)
    _, events = light.batch(clips, out, job(tmp_path), BatchOptions(dry_run=True))
    assert {f["plan"] for e, f in events if e == "outcome"} == {"new: to extract words, text, voice"}
    assert not out.exists() and not ran(tmp_path), "a look leaves no trace"
    runs = 0
    while sum(r["state"] == "done" for r in manifest(out)) < 6 if out.exists() else True:
        light.batch(clips, out, job(tmp_path), BatchOptions(limit=2))
        assert sum(count for stage, count in ran(tmp_path).items() if stage == "baseline") <= 2
        runs += 1
        assert runs < 12
    expect_by_hand(out)
    for i in (1, 2, 3):
        light.batch(clips, tmp_path / "shards", job(tmp_path), BatchOptions(shard=(i, 3)))
    expect_by_hand(tmp_path / "shards")
    ran(tmp_path)
    light.batch(clips, out, job(tmp_path), BatchOptions(force=True))
    assert ran(tmp_path) == dict.fromkeys(("words", "text", "voice", "baseline", "fusion", "write"), 6), "each stage once"
    light.batch(clips, out, job(tmp_path, model="other"))
    assert ran(tmp_path) == {"baseline": 6, "fusion": 6, "write": 6}


@dataclass(frozen=True)
class Wire:
    """Every task and outcome as it goes to a cluster's actor and comes back (`RayEngine`), without the cluster."""

    actor: Actor

    def run(self, tasks: Iterable[Task | None], tell: Listener, stopping: Callable[[], bool] = lambda: False) -> Iterator[Outcome]:
        for task in tasks:
            assert task is not None
            yield decode(Outcome, json.loads(self.actor.run(json.dumps(encode(task)))))


def test_an_actor_of_a_cluster_gives_the_same(light: ModuleType, tmp_path: Path) -> None:
    make(tmp_path / "clips")
    discovery = discover([tmp_path / "clips"])
    discovery = replace(discovery, clips=assigned(discovery.clips, "folder").clips)
    engine = Wire(Actor("light:stages", (str(tmp_path / "out"), json.dumps(job(tmp_path)))))
    store = LocalStore(tmp_path / "out")
    totals = run_batch(discovery, store, engine, BatchOptions(), lambda event: None)
    store.close()
    vars(vars(engine.actor)["_stages"])["_store"].close()
    assert (totals.done, totals.waiting) == (6, 0)
    expect_by_hand(tmp_path / "out")


def test_a_copy_of_a_clip_is_not_another_utterance(light: ModuleType, tmp_path: Path) -> None:
    make(tmp_path / "clips")
    shutil.copy(tmp_path / "clips/anna/one.mp4", tmp_path / "clips/anna/copy.mp4")
    light.batch(tmp_path / "clips", tmp_path / "out", job(tmp_path))
    made = documents(tmp_path / "out")
    happy, _, _ = by_hand("anna/one")
    for name in ("anna/one", "anna/copy"):
        assert made[name]["utterances"][0]["probabilities"]["happiness"] == pytest.approx(happy, rel=1e-5)


def test_a_damaged_baseline_is_made_again(light: ModuleType, tmp_path: Path) -> None:
    make(tmp_path / "clips")
    light.batch(tmp_path / "clips", tmp_path / "out", job(tmp_path))
    for path in (tmp_path / "out/.emofuse/baselines").rglob("*.json"):
        path.write_bytes(path.read_bytes().replace(b"AAAA", b"AAAB"))
        store = LocalStore(tmp_path / "out")
        assert Cache(store).sums(path.stem) is None
        store.close()
    shutil.rmtree(tmp_path / "out/.emofuse/answers")
    light.batch(tmp_path / "clips", tmp_path / "out", job(tmp_path, model="other"))
    light.batch(tmp_path / "clips", tmp_path / "out", job(tmp_path))
    expect_by_hand(tmp_path / "out")


def clips_of(*places: str) -> Sequence[Candidate]:
    return [Candidate(f"/data/{relative}", relative, relative) for relative in places]


def names(found: Sequence[Candidate]) -> list[str | None]:
    return [None if clip.person is None else clip.person.name for clip in found]


def test_rules() -> None:
    clips = clips_of("a/x_p01_1.wav", "b/x_p02_1.wav", "b/p03.wav", "odd.wav")
    assert names(assigned(clips, "folder").clips) == ["a", "b", "b", "data"]
    assert names(assigned(clips, r"name:p(\d+)").clips) == ["01", "02", "03", None]
    assert names(assigned(clips, r"name:p\d\d").clips) == ["p01", "p02", "p03", None]
    (remark,) = assigned(clips, r"name:p(\d+)").remarks
    assert "1 of 4 clips have no person" in remark and "odd.wav" in remark
    one, other = (Candidate(f"/{root}/p/x.wav", "x", "p/x.wav") for root in ("study1", "study2"))
    first, second = (clip.person for clip in assigned([one, other], "folder").clips)
    assert first is not None and second is not None and first.name == second.name and first != second, "two folders are two people"
    with pytest.raises(UsageError, match="a regular expression"):
        assigned(clips, "name:(")
    with pytest.raises(UsageError, match="there is no such file"):
        assigned(clips, "nowhere.csv")


def test_tables(tmp_path: Path) -> None:
    for relative in ("a/x.wav", "b/x.wav", "b/y.wav", "z.wav"):
        path = tmp_path / relative
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"RIFF\x00\x00\x00\x00WAVEfmt ")
    clips = discover([tmp_path]).clips
    table = tmp_path / "who.csv"

    def of(text: str) -> list[str | None]:
        table.write_text(text, encoding="utf-8")
        return [dict(zip([c.relative for c in clips], names(assigned(clips, str(table)).clips), strict=True))[c] for c in PLACES]

    PLACES = ("a/x.wav", "b/x.wav", "b/y.wav", "z.wav")
    assert of("clip,person\na/x.wav,Anna\nb/x.wav,Ben\ny,Ben\nz.wav,Zoë\n") == ["Anna", "Ben", "Ben", "Zoë"]
    assert of(f"\ufeffSpeaker,age,Clip\nAnna,3,{tmp_path}/a/x.wav\n,4,y\n") == ["Anna", None, None, None]
    remarks = assigned(clips, str(table)).remarks
    assert len(remarks) == 1 and "3 of 4 clips have no person" in remarks[0]
    of("clip,person\ngone.wav,Anna\nz,Z\n")
    assert any("1 rows name clips that are not here (gone.wav)" in remark for remark in assigned(clips, str(table)).remarks)
    for text, expected in (
        ("clip,person\nx.wav,Anna\n", "2 clips are called x.wav"),
        ("clip,person\nz,Anna\nz.wav,Ben\n", "expected one person for z.wav"),
        ("file,who\nz,Anna\n", "the columns clip and person"),
        ("", "the columns clip and person"),
    ):
        with pytest.raises(UsageError, match=expected):
            of(text)
    table.write_bytes(b"clip,person\n\xff\xfe,a\n")
    with pytest.raises(UsageError, match="in UTF-8"):
        assigned(clips, str(table))
    tabs = tmp_path / "who.tsv"
    tabs.write_text("clip\tperson\nz\tZ, the last\n")
    assert "Z, the last" in names(assigned(clips, str(tabs)).clips)


def test_a_person_s_clips_are_in_one_shard() -> None:
    clips = [Candidate(f"/data/c{i}.wav", "", f"c{i}.wav", person=Person(f"p{i % 7}")) for i in range(70)]
    parts = {clip.person: part_of(clip, 5) for clip in clips}
    assert all(parts[clip.person] == part_of(clip, 5) for clip in clips) and len(set(parts.values())) > 1
    here, there = (Candidate(f"{r}/p1/a.wav", "", "p1/a.wav", person=Person("p1", f"{r}/p1")) for r in ("/mnt/one", "/data"))
    assert part_of(here, 5) == part_of(there, 5), "on every machine the same"
