"""The 74 columns of COVAREP's feature files, in their order."""

from __future__ import annotations

GLOTTAL = ("NAQ", "QOQ", "H1H2", "PSP", "MDQ")
PULSE_SHAPE = ("Rd", "Rd_conf")
MCEP = tuple(f"MCEP_{i}" for i in range(25))
HMPDM = tuple(f"HMPDM_{i}" for i in range(25))
HMPDD = tuple(f"HMPDD_{i}" for i in range(13))
COLUMNS: tuple[str, ...] = ("F0", "VUV", *GLOTTAL, "peakSlope", *PULSE_SHAPE, "creak", *MCEP, *HMPDM, *HMPDD)
