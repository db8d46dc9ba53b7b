"""The pictures of docs/faces.md: a sample clip's frame with its face and action units, its timeline, and the confusion matrix.

python benchmarks/faces_pictures.py --numbers FOLDER/photographs.json --out docs/pictures    (see faces_accuracy.py for the numbers)
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from emofuse.extractors.face.compact.extractor import Compact
from emofuse.extractors.face.compact.layout import AUS
from emofuse.pipeline.clip import Clip
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import TimedSequence

SAMPLES = Path(__file__).parent.parent / "samples"
BLUE, ORANGE, GREY = "#2b6cb0", "#dd6b20", "#a0aec0"
NAMES = {
    "AU01": "inner brow up",
    "AU02": "outer brow up",
    "AU04": "brow down",
    "AU05": "eyes wide",
    "AU07": "lids tight",
    "AU10": "upper lip up",
    "AU12": "smile",
    "AU14": "dimple",
    "AU15": "lip corners down",
    "AU17": "chin up",
    "AU20": "lips stretched",
    "AU24": "lips pressed",
    "AU25": "lips apart",
    "AU26": "jaw down",
    "AU28": "lips sucked",
    "AU43": "eyes closed",
}


def frame_with_units(clip: Path, face: TimedSequence, second: float, out: Path) -> None:
    """One frame, the box of each face in it, its action units and expressions as bars."""
    at = int(np.argmax((face.start <= second) & (face.end > second)))
    image = next(f.image for f in Clip(clip).frames() if f.start <= second < f.end)
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 4.3), width_ratios=(1.15, 1, 0.8), layout="constrained")
    left.imshow(image)
    row = dict(zip(face.columns, face.values[at].tolist(), strict=True))
    x, y, side = row["FaceRectX"], row["FaceRectY"], row["FaceRectWidth"]
    left.add_patch(Rectangle((x, y), side, row["FaceRectHeight"], fill=False, color=ORANGE, linewidth=2))
    label = {"facecolor": ORANGE, "edgecolor": "none", "pad": 2}
    left.text(x, y - 5, f"face {row['face_id']:.0f}, score {row['FaceScore']:.2f}", color="white", fontsize=9, bbox=label)
    turns = ", ".join(f"{name.lower()} {np.rad2deg(row[name]):+.0f}°" for name in ("Pitch", "Yaw", "Roll"))
    left.set_title(f"{clip.name} at {second:.2f} s", fontsize=10)
    left.set_xlabel(turns, fontsize=9)
    left.set_xticks([])
    left.set_yticks([])
    middle.barh([f"{NAMES[au]}  {au}" for au in AUS][::-1], [row[au] for au in AUS][::-1], color=BLUE)
    middle.set_title("action units (activation)", fontsize=10)
    right.barh(list(EMOTIONS)[::-1], [row[e] for e in EMOTIONS][::-1], color=ORANGE)
    right.set_title("expression (probability)", fontsize=10)
    for axes in (middle, right):
        axes.set_xlim(0, 1)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(out, dpi=110)
    plt.close(figure)


def timeline(clip: Path, face: TimedSequence, out: Path) -> None:
    """The units that move over the clip's seconds; what was planted is shaded."""
    truth = json.loads((SAMPLES / "truth.json").read_text())["clips"][clip.name]
    planted = {
        "AU12": ("smile", [(truth["smile"]["start"], truth["smile"]["end"])]),
        "AU01": ("raised brows", [(truth["brow"]["start"], truth["brow"]["end"])]),
        "AU25": ("open mouth", truth["mouth_open"]),
        "happiness": ("smile", [(truth["smile"]["start"], truth["smile"]["end"])]),
    }
    figure, rows = plt.subplots(len(planted), 1, figsize=(10, 5.2), sharex=True, layout="constrained")
    middle = (face.start + face.end) / 2
    for axes, (au, (what, spans)) in zip(rows, planted.items(), strict=True):
        for start, end in spans:
            axes.axvspan(start, end, color=ORANGE, alpha=0.2, linewidth=0)
        axes.text(1.0, 0.98, f"planted: {what}", transform=axes.transAxes, fontsize=8, color="#9c4221", va="top", ha="right")
        axes.plot(middle, face.column(au), color=BLUE, linewidth=1.4)
        axes.set_ylim(0, 1)
        axes.set_ylabel(f"{au}\n{NAMES.get(au, 'probability')}", fontsize=9, rotation=0, ha="right", va="center")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    rows[0].set_title(f"{clip.name}: action units over time (shaded: what was warped into the picture)", fontsize=10)
    rows[-1].set_xlabel("seconds of the clip", fontsize=9)
    rows[-1].set_xlim(0, float(face.end[-1]))
    figure.savefig(out, dpi=110)
    plt.close(figure)


def confusion(numbers: Path, out: Path) -> None:
    """Held-out FER2013 photographs: rows are labels, columns what the network says; shares of the row."""
    measured = json.loads(numbers.read_text())
    counts = np.array(measured["confusion"])
    shares = counts / counts.sum(1, keepdims=True)
    figure, axes = plt.subplots(figsize=(6.2, 5.4), layout="constrained")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(shares.shape):
        axes.text(
            j, i, f"{100 * shares[i, j]:.0f}", ha="center", va="center", fontsize=9, color="white" if shares[i, j] > 0.5 else "#2d3748"
        )
    axes.set_xticks(range(len(EMOTIONS)), EMOTIONS, rotation=40, ha="right", fontsize=9)
    rows = [f"{e} ({n})" for e, n in zip(EMOTIONS, counts.sum(1), strict=True)]
    axes.set_yticks(range(len(EMOTIONS)), rows, fontsize=9)
    axes.set_xlabel("said", fontsize=9)
    axes.set_ylabel("label (photographs)", fontsize=9)
    accuracy = measured["accuracy"]["fer2013_train"]
    recall = measured["mean_recall"]["fer2013_train"]
    axes.set_title(f"FER2013, held out: {100 * accuracy:.1f} % right, mean recall {100 * recall:.1f} %\n(% of each label)", fontsize=10)
    figure.savefig(out, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the pictures of docs/faces.md.")
    parser.add_argument("--numbers", type=Path, required=True, help="photographs.json of faces_accuracy.py")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    clip = SAMPLES / "smile.mp4"
    face = Compact()(Clip(clip), {})
    frame_with_units(clip, face, 4.0, arguments.out / "face_units.png")
    timeline(clip, face, arguments.out / "face_timeline.png")
    confusion(arguments.numbers, arguments.out / "face_confusion.png")


if __name__ == "__main__":
    main()
