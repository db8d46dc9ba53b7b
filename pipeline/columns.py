"""Names of the numeric columns that several extractors fill and several readers look for. Each group is in its usual order.

FACE_BOX     pixels of the upright frame: the square over the face;  FACE_SCORE 0..1
HEAD_POSE    radians, R = Rz(Roll) Ry(Yaw) Rx(Pitch), y up
GLOTTAL      COVAREP's descriptions of the glottal pulse, defined where VUV > 0.5
PITCH, ENERGY  names that a voice stream may give its pitch (Hz) and its loudness, the best first
"""

from __future__ import annotations

import re

FACE_BOX = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight")
FACE_SCORE = "FaceScore"
FACE_ID = "face_id"
HEAD_POSE = ("Pitch", "Roll", "Yaw")

VOICED = "VUV"
GLOTTAL = ("NAQ", "QOQ", "H1H2", "PSP", "MDQ")
PULSE_SHAPE = ("Rd", "Rd_conf")
MCEP = tuple(f"MCEP_{i}" for i in range(25))
HMPDM = tuple(f"HMPDM_{i}" for i in range(25))
HMPDD = tuple(f"HMPDD_{i}" for i in range(13))
COVAREP: tuple[str, ...] = ("F0", VOICED, *GLOTTAL, "peakSlope", *PULSE_SHAPE, "creak", *MCEP, *HMPDM, *HMPDD)

PITCH = ("F0", "f0", "F0final_sma", "pitch")
ENERGY = ("rms", "energy", "intensity", "loudness", "MCEP_0", "mcep_0")

_ACTION_UNIT = re.compile(r"AU\d\d")


def is_action_unit(column: str) -> bool:
    """Whether a column is an activation of one of the Facial Action Coding System's units: AU01, AU12_r, ..."""
    return _ACTION_UNIT.match(column) is not None
