"""The cluster's engine: the same bytes as this machine's, and a node that dies costs nothing. Two nodes are simulated on one machine."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from emofuse.pipeline.batch.local import Allowance
from emofuse.pipeline.batch.manifest import TIMINGS

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without room for work, and two nodes with room for two workers each."""
    pytest.importorskip("ray")
    import ray  # pyright: ignore[reportMissingImports]
    from ray.cluster_utils import Cluster  # pyright: ignore[reportMissingImports]

    # What the nodes start must find this test's stand-ins.
    monkeypatch.setenv("PYTHONPATH", f"{os.environ.get('PYTHONPATH', '')}:{Path(__file__).parent}")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    made.nodes = [made.add_node(num_cpus=2) for _ in range(2)]  # pyright: ignore[reportAttributeAccessIssue]
    made.wait_for_nodes()
    yield made
    ray.shutdown()
    made.shutdown()


def make_clips(folder: Path, n: int) -> None:
    folder.mkdir()
    for i in range(n):
        (folder / f"clip{i:02}.mp4").write_text(f"fine {'long ' * (i % 5)}words of number {i}")


def contents(out: Path) -> dict[str, Any]:
    import pyarrow.parquet as pq

    files: dict[str, Any] = {}
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        name = path.relative_to(out).as_posix()
        if name == "manifest.parquet":
            files[name] = [{k: v for k, v in row.items() if k not in TIMINGS} for row in pq.read_table(path).to_pylist()]
        elif name != "manifest.csv" and "/records/" not in name and "/tmp/" not in name:
            files[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return files


def test_a_cluster_gives_the_bytes_of_one_machine(light: ModuleType, cluster: Any, tmp_path: Path) -> None:
    make_clips(tmp_path / "clips", 12)
    (tmp_path / "clips/broken.mp4").write_text("broken")
    job = {"log": str(tmp_path / "log"), "pause": 0.05}
    light.batch(tmp_path / "clips", tmp_path / "local", job, workers=2)
    totals, _ = light.batch(tmp_path / "clips", tmp_path / "ray", job, address=cluster.address)
    assert (totals.done, totals.failed) == (12, 1)
    one, other = contents(tmp_path / "local"), contents(tmp_path / "ray")
    assert len(one) > 100 and one == other


def test_a_person_s_clips_wait_for_each_other_on_a_cluster_too(light: ModuleType, cluster: Any, tmp_path: Path) -> None:
    make_clips(tmp_path / "clips", 6)
    job = {"log": str(tmp_path / "log"), "pause": 0.05, "people": r"name:clip0([0-2]?)"}
    light.batch(tmp_path / "clips", tmp_path / "local", job)
    totals, _ = light.batch(tmp_path / "clips", tmp_path / "ray", job, address=cluster.address)
    assert (totals.done, totals.failed) == (6, 0)
    one, other = contents(tmp_path / "local"), contents(tmp_path / "ray")
    assert any("/baselines/" in name for name in one) and one == other


def test_what_goes_wrong_on_a_cluster_has_its_reason(light: ModuleType, cluster: Any, tmp_path: Path) -> None:
    make_clips(tmp_path / "clips", 3)
    for name in ("crash", "hang", "bug"):
        (tmp_path / "clips" / f"bad {name}.mp4").write_text(name)
    job = {"log": str(tmp_path / "log"), "pause": 0.0}
    allowance = Allowance(seconds_base=15.0, seconds_factor=0.0)
    totals, events = light.batch(tmp_path / "clips", tmp_path / "out", job, address=cluster.address, allowance=allowance)
    assert totals.done == 3
    reasons = {Path(f["path"]).name: f["record"].reason for e, f in events if e == "outcome" and f["record"].state == "failed"}
    assert reasons == {"bad crash.mp4": "worker_crashed", "bad hang.mp4": "timed_out", "bad bug.mp4": "internal_error"}
    log = Counter((tmp_path / "log").read_text().splitlines())
    assert log["voice\tbad crash.mp4"] == 3, "tried on other actors before it is blamed"


def test_a_node_that_dies_costs_nothing(light: ModuleType, cluster: Any, tmp_path: Path) -> None:
    make_clips(tmp_path / "clips", 24)
    job = {"log": str(tmp_path / "log"), "pause": 0.2}
    light.batch(tmp_path / "clips", tmp_path / "local", {**job, "pause": 0.0, "log": str(tmp_path / "other")}, workers=2)
    killed: list[float] = []

    def kill() -> None:
        log = tmp_path / "log"
        while not log.exists() or log.read_text().count("write") < 5:
            time.sleep(0.05)
        cluster.remove_node(cluster.nodes[0], allow_graceful=False)
        killed.append(time.monotonic())

    thread = threading.Thread(target=kill)
    thread.start()
    totals, events = light.batch(tmp_path / "clips", tmp_path / "ray", job, address=cluster.address, workers=4)
    thread.join()
    assert killed and any(e == "worker" for e, _ in events), "the node died while its workers worked"
    assert (totals.done, totals.failed) == (24, 0)
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
