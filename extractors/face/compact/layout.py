"""What the compact network is shown and what it answers: crops, shapes, action units, heads. Names and sizes only, no torch.

Shapes are the teacher's 52 blendshapes and the lip gap; action units are means of some of them. They are activations, not FACS
intensities.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from emofuse.pipeline.streams import EMOTIONS
from emofuse.pipeline.timed import Floats32

CROP = 64
NOMINAL = 1.2

BLENDSHAPES: tuple[str, ...] = tuple(
    """
    _neutral browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft cheekSquintRight
    eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight eyeLookInLeft eyeLookInRight eyeLookOutLeft eyeLookOutRight
    eyeLookUpLeft eyeLookUpRight eyeSquintLeft eyeSquintRight eyeWideLeft eyeWideRight jawForward jawLeft jawOpen jawRight mouthClose
    mouthDimpleLeft mouthDimpleRight mouthFrownLeft mouthFrownRight mouthFunnel mouthLeft mouthLowerDownLeft mouthLowerDownRight
    mouthPressLeft mouthPressRight mouthPucker mouthRight mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmileLeft
    mouthSmileRight mouthStretchLeft mouthStretchRight mouthUpperUpLeft mouthUpperUpRight noseSneerLeft noseSneerRight
    """.split()  # noqa: SIM905
)
"""MediaPipe's 52 blendshapes, in its order."""
SHAPES: tuple[str, ...] = (*BLENDSHAPES, "lipGap")
"""What the shape head answers: the teacher's 52 blendshapes and the gap between the inner lips over the face's height."""


def mirrored_order() -> NDArray[np.intp]:
    """(s) for each of the s SHAPES the index of its mirror image (Left <-> Right)."""

    def other(name: str) -> str:
        return name.replace("Left", "Right") if "Left" in name else name.replace("Right", "Left")

    return np.array([SHAPES.index(other(name)) for name in SHAPES])


MIRRORED = mirrored_order()

AU_SOURCES: dict[str, tuple[str, ...]] = {
    "AU01": ("browInnerUp",),
    "AU02": ("browOuterUpLeft", "browOuterUpRight"),
    "AU04": ("browDownLeft", "browDownRight"),
    "AU05": ("eyeWideLeft", "eyeWideRight"),
    "AU07": ("eyeSquintLeft", "eyeSquintRight"),
    "AU10": ("mouthUpperUpLeft", "mouthUpperUpRight"),
    "AU12": ("mouthSmileLeft", "mouthSmileRight"),
    "AU14": ("mouthDimpleLeft", "mouthDimpleRight"),
    "AU15": ("mouthFrownLeft", "mouthFrownRight"),
    "AU17": ("mouthShrugLower",),
    "AU20": ("mouthStretchLeft", "mouthStretchRight"),
    "AU24": ("mouthPressLeft", "mouthPressRight"),
    "AU25": ("lipGap",),
    "AU26": ("jawOpen",),
    "AU28": ("mouthRollLower", "mouthRollUpper"),
    "AU43": ("eyeBlinkLeft", "eyeBlinkRight"),
}
"""Action unit -> shapes whose mean it is. AU06, AU09, AU11 and AU23 have no source in this teacher and are left out."""
AUS: tuple[str, ...] = tuple(AU_SOURCES)


def au_matrix() -> Floats32:
    """(16, 53): shapes -> action units, each the mean of its sources."""
    matrix = np.zeros((len(AUS), len(SHAPES)), np.float32)
    for row, sources in enumerate(AU_SOURCES.values()):
        matrix[row, [SHAPES.index(s) for s in sources]] = 1 / len(sources)
    return matrix


def activations(shapes: Floats32, rest: Floats32, high: Floats32) -> Floats32:
    """(n 53) in the teacher's units -> (n 16) action units 0..1: 0 at or below `rest` (16), 1 at or above `high` (16)."""
    return np.asarray(np.clip((shapes @ au_matrix().T - rest) / (high - rest), 0, 1), np.float32)


HEADS: dict[str, int] = {"shapes": len(SHAPES), "pose": 3, "box": 3, "expression": len(EMOTIONS), "face": 1}
"""What the network answers, in the order of its outputs, and how many numbers each."""
_ENDS = tuple(accumulate(HEADS.values()))


@dataclass(frozen=True, eq=False)
class Read:
    """What the network says of n crops: values (n 67) float32, the heads side by side, in the units given below."""

    values: Floats32

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, index: NDArray[np.intp]) -> Read:
        """The answers to the crops with these numbers (k)."""
        return Read(self.values[index])

    @property
    def shapes(self) -> Floats32:
        """(n 53) in the teacher's units, in the order of SHAPES."""
        return self.values[:, : _ENDS[0]]

    @property
    def pose(self) -> Floats32:
        """(n 3) pitch, yaw, roll in radians: R = Rz(roll) Ry(yaw) Rx(pitch), y up."""
        return self.values[:, _ENDS[0] : _ENDS[1]]

    @property
    def box(self) -> Floats32:
        """(n 3) where the face lies off the crop: dx, dy in face sides, logarithm of side."""
        return self.values[:, _ENDS[1] : _ENDS[2]]

    @property
    def expression(self) -> Floats32:
        """(n 7) probabilities in the order of EMOTIONS."""
        return self.values[:, _ENDS[2] : _ENDS[3]]

    @property
    def face(self) -> Floats32:
        """(n) 0..1: that there is a face at all."""
        return self.values[:, -1]
