"""How right the compact face provider is, on photographs kept out of its training and on whole clips.

    python -m benchmarks.faces_accuracy photographs --data ../shared/data --labels runs/compact/labels.npz --clips ../shared/clips
    python -m benchmarks.faces_accuracy clips --clips ../shared/clips --teacher face_landmarker.task --out FOLDER

`photographs`: expression accuracy and mean recall, r of each action unit with the teacher's mean view beside the teacher's own
reliability, pose error, and the face score on off-face patches of pictures that did not train. `clips`: coverage, and r within a clip
against the teacher, which sees the same faces cut out and centred (its answer shifts where the face is far from the middle).
Both write their numbers as JSON and print them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from emofuse.extractors.face.compact.layout import AUS, SHAPES, activations, au_matrix
from emofuse.pipeline.streams import EMOTIONS

MOVES = 0.02
"""Teacher's standard deviation within a clip above which an action unit is said to move."""
PATCHES = 4000


def pearson(a: Any, b: Any) -> float:
    """r of two series; 0 where the first does not move (it did not follow)."""
    return round(float(np.corrcoef(a, b)[0, 1]), 3) if a.std() > 0 else 0.0


def photographs(data: Path, labels: Path, clips: Path, weights: Path) -> dict[str, Any]:
    """The held-out part: every tenth photograph by the hash of its pixels."""
    from emofuse.extractors.face.compact.network import Reader, load_network
    from training.face_network.distort import centred, off_face
    from training.face_network.photographs import read_photographs, scenes_of_clip, textures
    from training.face_network.score import scores
    from training.face_network.train import NEGATIVE_CLIPS, NEGATIVE_TEXTURES

    network, facts = load_network(weights)
    mean, spread = (np.asarray(facts[key], np.float32) for key in ("shape_mean", "shape_spread"))
    everything = read_photographs(data / "faces", labels)
    test = everything.where(everything.part == "test")
    measured = scores(network, test, mean, spread)
    trained = textures()[NEGATIVE_TEXTURES]
    kept = [scene for scene in textures() if not any(np.array_equal(scene.image, t.image) for t in trained)]
    for path in sorted(p for folder in ("cremad", "grid", "talking") for p in (clips / folder).iterdir() if p.suffix != ".flac"):
        kept += [] if path.stem in NEGATIVE_CLIPS else scenes_of_clip(path, 3)
    kept += [scene for scene in scenes_of_clip(clips / "edge" / "no_face.mp4", 8)]
    random = np.random.default_rng(7)
    reader = Reader(network, mean, spread, both=True)
    off = reader(np.stack([off_face(kept, 64, random) for _ in range(PATCHES)])).face
    seen = test.where(test.seen)
    said = reader(centred(seen))
    on = said.face
    ends = facts["activations"]
    assert isinstance(ends, dict)
    published = activations(said.shapes, np.asarray(ends["rest"], np.float32), np.asarray(ends["high"], np.float32))
    truth = seen.shapes @ au_matrix().T
    follows = {}
    for source in measured.r:
        here = (seen.source == source) | (source == "all")
        follows[source] = {au: pearson(published[here, k], truth[here, k]) for k, au in enumerate(AUS)}
    return {
        "photographs": len(test),
        "labelled": {s: int((np.isfinite(test.expression).all(1) & (test.source == s)).sum()) for s in measured.accuracy},
        "accuracy": measured.accuracy,
        "mean_recall": measured.uar,
        "confusion": measured.confusion.tolist(),
        "r": follows,
        "teacher_r": {s: dict(zip(AUS, np.round(v.astype(float), 3).tolist(), strict=True)) for s, v in measured.reliability.items()},
        "pose_median_degrees": np.round(measured.pose.astype(float), 2).tolist(),
        "pose_p95_degrees": np.round(measured.pose95.astype(float), 2).tolist(),
        "faces": {str(t): {"found": float((on > t).mean()), "false": float((off > t).mean())} for t in (0.5, 0.9, 0.99)},
        "patches": len(off),
        "false_at_99_percent_of_faces": float((off > np.quantile(on, 0.01)).mean()),
    }


def cut_out(clips: Path, out: Path) -> dict[str, dict[str, Any]]:
    """Runs the provider over every clip; writes each face it saw, cut out at twice its box, for the teacher. Numbers by clip."""
    import cv2
    import pandas

    from emofuse.extractors.face.compact.extractor import Compact
    from emofuse.pipeline.clip import Clip

    provider = Compact()
    by_clip: dict[str, dict[str, Any]] = {}
    cuts: dict[str, list[Any]] = {"name": [], "image": []}
    paths = [p for folder in ("cremad", "grid", "talking", "edge") for p in sorted((clips / folder).iterdir()) if p.suffix != ".flac"]
    for path in paths:
        stream = provider(Clip(path), {})
        notes = stream.provenance.notes
        key = f"{path.parent.name}/{path.stem}"
        by_clip[key] = {"frames": notes["frames"], "covered": notes["frames_with_face"], "faces": notes["faces"], "stream": stream}
        if not len(stream) or path.parent.name == "edge":
            continue
        number = stream.column("frame").astype(int)
        for i, frame in enumerate(Clip(path).frames()):
            for row in np.flatnonzero((number == i) & (stream.column("face_id") == 0)):
                x, y, side, _, _ = (float(v) for v in stream.values[row, :5])
                patch = cv2.getRectSubPix(frame.image, (round(2 * side), round(2 * side)), (x + side / 2, y + side / 2))
                cuts["name"].append(f"{key}:{i}")
                cuts["image"].append(cv2.imencode(".png", patch[:, :, ::-1])[1].tobytes())
    (out / "faces").mkdir(parents=True, exist_ok=True)
    pandas.DataFrame(cuts).to_parquet(out / "faces" / "clips.parquet")
    return by_clip


def in_clips(clips: Path, teacher: Path, python: Path, out: Path) -> dict[str, Any]:
    """Coverage, means and r within each clip."""
    cut = cut_out(clips, out)
    labels = out / "clips.npz"
    if not labels.is_file():
        options = ["--data", out / "faces", "--teacher", teacher, "--out", labels]
        subprocess.run([python, "-m", "training.face_network.teacher", *options], check=True)
    with np.load(labels) as file:
        taught = {name: file[name] for name in file.files}
    row_of = {name.removeprefix("clips:"): i for i, name in enumerate(taught["names"].tolist())}
    shapes = np.concatenate([taught["blendshapes"], taught["lip_gap"][:, :, None]], axis=2)
    assert shapes.shape[2] == len(SHAPES)
    units = shapes @ au_matrix().T  # (n 2 16)
    table: dict[str, Any] = {}
    for key, entry in cut.items():
        stream = entry.pop("stream")
        entry["coverage"] = entry["covered"] / entry["frames"]
        table[key] = entry
        if not len(stream):
            continue
        entry["mean"] = {name: round(float(stream.column(name).mean()), 3) for name in ("AU12", *EMOTIONS)}
        rows = [(i, row_of[f"{key}:{n}"]) for i, n in enumerate(stream.column("frame").astype(int)) if f"{key}:{n}" in row_of]
        mine = np.array([i for i, _ in rows if stream.column("face_id")[i] == 0], int)
        theirs = np.array([t for i, t in rows if stream.column("face_id")[i] == 0], int)
        both = taught["found"][theirs].all(1) if len(theirs) else np.zeros(0, bool)
        entry["teacher_found"] = int(both.sum())
        if both.sum() < 10:
            continue
        mine, theirs = mine[both], theirs[both]
        truth = units[theirs].mean(1)
        said = stream.select(AUS).values[mine]
        moving = [k for k in range(len(AUS)) if truth[:, k].std() > MOVES]
        entry["r"] = {AUS[k]: pearson(said[:, k], truth[:, k]) for k in moving}
        entry["teacher_r"] = {AUS[k]: pearson(units[theirs, 0, k], units[theirs, 1, k]) for k in moving}
        pose = np.rad2deg(np.abs(stream.select(("Pitch", "Yaw", "Roll")).values[mine] - taught["pose"][theirs].mean(1)))
        entry["pose_median_degrees"] = np.round(np.median(pose, 0), 2).tolist()
    summary = {}
    for folder in ("cremad", "grid", "talking"):
        entries = [entry for key, entry in table.items() if key.startswith(folder)]
        mine, theirs = ([r for entry in entries for r in entry.get(which, {}).values()] for which in ("r", "teacher_r"))
        summary[folder] = {"mean_r": float(np.mean(mine)), "median_r": float(np.median(mine)), "teacher_mean_r": float(np.mean(theirs))}
        summary[folder]["moving"] = len(mine)
    return {"clips": table, "summary": summary}


def main() -> None:
    parser = argparse.ArgumentParser(description="Accuracy of the compact face provider.")
    parser.add_argument("what", choices=("photographs", "clips"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="another safetensors file than the shipped one (photographs only)")
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--teacher-python", type=Path, default=Path(sys.executable), help="with emofuse[mediapipe]")
    parser.add_argument("--out", type=Path, required=True, help="folder for the JSON and, with clips, the cut-out faces")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.what == "photographs":
        from emofuse.extractors.face.compact.extractor import WEIGHTS

        numbers = photographs(arguments.data, arguments.labels, arguments.clips, arguments.weights or WEIGHTS)
    else:
        numbers = in_clips(arguments.clips, arguments.teacher, arguments.teacher_python, arguments.out)
    text = json.dumps(numbers, indent=1)
    (arguments.out / f"{arguments.what}.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
