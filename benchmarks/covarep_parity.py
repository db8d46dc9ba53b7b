"""Parity of `covarep-compat` with COVAREP itself, as a table, and one picture a group of columns: both providers over COVAREP's own.

python benchmarks/covarep_parity.py ../shared/reference/covarep docs/pictures

The folder holds COVAREP's output, made under Octave: npz files with `features` (rows, 74), `names` and `samples` (int16). The pictures show
the last of them. HMPDM columns are compared as angles; HMPDD without its first and last valid row, which are rounding noise in the program.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from emofuse.extractors.voice.covarep import compat
from emofuse.extractors.voice.covarep.voice import CovarepVoice
from emofuse.pipeline.columns import COVAREP, HMPDD, HMPDM, MCEP
from emofuse.pipeline.media import ClipInfo, Frame, Samples

ROWS: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in COVAREP[:10]},
    "MCEP_0..24": MCEP,
    "HMPDM_8..9": HMPDM[8:10],
    "HMPDM_10..23": HMPDM[10:24],
    "HMPDM_24": HMPDM[24:],
    "HMPDD_0..12": HMPDD,
}
PICTURES: dict[str, tuple[str, ...]] = {
    "pitch": ("F0", "VUV"),
    "glottal": ("NAQ", "QOQ", "H1H2", "PSP", "MDQ"),
    "slope": ("peakSlope",),
    "rd": ("Rd", "Rd_conf"),
    "mcep": ("MCEP_0", "MCEP_1", "MCEP_4", "MCEP_24"),
    "hmpdm": ("HMPDM_1", "HMPDM_10", "HMPDM_14", "HMPDM_20"),
    "hmpdd": ("HMPDD_0", "HMPDD_1", "HMPDD_6"),
}


class Sounding:
    """A clip of this sound."""

    info = ClipInfo(path="reference", container="none", duration=None, video=None, audio=None)

    def __init__(self, signal: np.ndarray) -> None:
        self.signal = signal.astype(np.float32)

    def frames(self) -> Iterator[Frame]:
        return iter(())

    def samples(self, *, fill_silence: bool = False) -> Iterator[Samples]:
        yield Samples(0.0, self.signal)


def compared(ours: np.ndarray, theirs: np.ndarray, name: str) -> tuple[float, float]:
    """Correlation (of the sines and cosines where it is an angle; NaN where constant) and largest difference."""
    usable = np.isfinite(ours) & np.isfinite(theirs)
    if name.startswith("HMPDD"):
        valid = np.flatnonzero(theirs)
        usable[valid[[0, -1]]] = False
    ours, theirs = ours[usable], theirs[usable]
    apart = ours - theirs
    if name.startswith("HMPDM"):
        apart = np.angle(np.exp(1j * apart))
    constant = min(np.ptp(ours), np.ptp(theirs)) < 1e-9
    return (np.nan if constant else float(np.corrcoef(ours, theirs)[0, 1])), float(np.abs(apart).max())


def table(clips: list[Path]) -> None:
    print("| columns | lowest correlation | largest difference |\n|---|---|---|")
    results: dict[str, list[tuple[float, float]]] = {row: [] for row in ROWS}
    for path in clips:
        with np.load(path) as reference:
            ours, theirs = compat.features(reference["samples"] / 32768.0), reference["features"].astype(np.float64)
        for row, names in ROWS.items():
            for name in names:
                i = COVAREP.index(name)
                results[row].append(compared(ours[:, i], theirs[:, i], name))
    for row, values in results.items():
        known = [r for r, _ in values if not np.isnan(r)]
        print(f"| {row} | {min(known):.6f} | {max(d for _, d in values):.1e} |" if known else f"| {row} | constant | - |")


def pictures(path: Path, folder: Path) -> None:
    with np.load(path) as reference:
        theirs, signal = reference["features"], reference["samples"] / 32768.0
    same, ours = compat.features(signal), CovarepVoice()(Sounding(signal), {})
    start = 0.005 + 0.01 * np.arange(len(theirs))
    voiced = ours.column("VUV") > 0
    for picture, names in PICTURES.items():
        figure, axes = plt.subplots(len(names), 1, figsize=(9, 0.6 + 1.5 * len(names)), sharex=True, squeeze=False)
        for axis, name in zip(axes[:, 0], names, strict=True):
            i = COVAREP.index(name)
            axis.plot(start, theirs[:, i], color="0.72", linewidth=3.5, label="COVAREP under Octave")
            axis.plot(start, same[:, i], color="C0", linewidth=0.9, label="covarep-compat")
            values = ours.column(name).astype(np.float64)
            if name in COVAREP[2:7] or name in ("Rd", "Rd_conf"):
                values[~voiced] = np.nan
            axis.plot(ours.start + 0.005, values, color="C3", linewidth=0.9, label="covarep (default)")
            axis.set_ylabel(name)
            axis.margins(x=0)
        axes[0, 0].legend(ncols=3, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
        axes[-1, 0].set_xlabel("seconds")
        figure.tight_layout()
        drawn = BytesIO()
        figure.savefig(drawn, dpi=80)
        plt.close(figure)
        Image.open(drawn).convert("RGB").quantize(32).save(folder / f"covarep_{picture}.png", optimize=True)  # 32 colours are enough


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    clips = sorted(Path(sys.argv[1]).glob("*.npz"))
    if not clips:
        sys.exit(f"{sys.argv[1]}: no npz file there")
    table(clips)
    pictures(clips[-1], Path(sys.argv[2]))


if __name__ == "__main__":
    main()
