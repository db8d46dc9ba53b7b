"""How good the compact network is on photographs that it never saw: expression, action units against the teacher, pose, faces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emofuse.extractors.face.compact.layout import au_matrix
from emofuse.extractors.face.compact.network import CompactNetwork, Reader
from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import Floats32

from .distort import centred
from .photographs import Photographs


@dataclass(frozen=True, eq=False)
class Scores:
    """accuracy and uar (mean recall) by source; confusion (7 7) true x said of FER; r (16) against the teacher's mean view, all sources;
    reliability (16): r between the teacher's two views; pose (3) median and pose95 (3) in degrees; faces: share with a score above 0.5."""

    accuracy: dict[str, float]
    uar: dict[str, float]
    confusion: NDArray[np.int64]
    r: dict[str, Floats32]
    reliability: dict[str, Floats32]
    pose: Floats32
    pose95: Floats32
    faces: float

    def brief(self) -> dict[str, float]:
        numbers = {f"accuracy {k}": v for k, v in self.accuracy.items()} | {f"uar {k}": v for k, v in self.uar.items()}
        numbers |= {f"r {k}": float(v.mean()) for k, v in self.r.items()}
        return numbers | {"pose": float(self.pose.mean()), "faces": self.faces}


def correlation(a: Floats32, b: Floats32) -> Floats32:
    """(n d), (n d) -> (d) Pearson's r; NaN where a column does not move."""
    a, b = a - a.mean(0), b - b.mean(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((a * b).sum(0) / np.sqrt((a**2).sum(0) * (b**2).sum(0)), np.float32)


def scores(network: CompactNetwork, photographs: Photographs, mean: Floats32, spread: Floats32) -> Scores:
    """Score the network on these photographs and their mirror images, cut as the teacher boxed them and read as the provider reads
    faces.

    `mean` and `spread` (s) are those of SHAPES.
    """
    answers = Reader(network, mean, spread, both=True)(centred(photographs))
    labelled = np.isfinite(photographs.expression).all(1)
    truth = photographs.expression.argmax(1)
    guess = answers.expression.argmax(1)
    confusion = {}
    for source in np.unique(photographs.source).tolist():
        here = labelled & (photographs.source == source)
        confusion[source] = np.zeros((len(EMOTIONS), len(EMOTIONS)), np.int64)
        np.add.at(confusion[source], (truth[here], guess[here]), 1)
    to_units = au_matrix().T
    r, reliability = {}, {}
    for source in (*confusion, "all"):
        here = photographs.seen & ((photographs.source == source) | (source == "all"))
        r[source] = correlation(answers.shapes[here] @ to_units, photographs.shapes[here] @ to_units)
        reliability[source] = correlation(photographs.views[here, 0] @ to_units, photographs.views[here, 1] @ to_units)
    error = np.rad2deg(np.abs(answers.pose[photographs.seen] - photographs.pose[photographs.seen]))
    recall = {k: np.diag(c)[c.sum(1) > 0] / c.sum(1)[c.sum(1) > 0] for k, c in confusion.items()}
    return Scores(
        accuracy={k: float(np.trace(c) / max(c.sum(), 1)) for k, c in confusion.items()},
        uar={k: float(v.mean()) for k, v in recall.items()},
        confusion=confusion.get("fer2013_train", np.zeros((7, 7), np.int64)),
        r=r,
        reliability=reliability,
        pose=np.median(error, 0).astype(np.float32),
        pose95=np.percentile(error, 95, axis=0).astype(np.float32),
        faces=float((answers.face > 0.5).mean()),
    )


def temperature(network: CompactNetwork, photographs: Photographs, mean: Floats32, spread: Floats32) -> float:
    """What to divide the expression logits by so that these labels are most likely (Guo et al. 2017): smoothed labels make it timid.

    `mean` and `spread` (s) are those of SHAPES.
    """
    labelled = np.isfinite(photographs.expression).all(1)
    answered = Reader(network, mean, spread, both=True)(centred(photographs)).expression[labelled]
    truth = photographs.expression[labelled]
    logits = np.log(np.clip(answered, 1e-9, 1))

    def unlikely(candidate: float) -> float:
        scaled = logits / candidate
        return float(-(truth * (scaled - np.log(np.exp(scaled).sum(1, keepdims=True)))).sum(1).mean())

    return float(min(np.geomspace(0.3, 2.0, 96), key=unlikely))
