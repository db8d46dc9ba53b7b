"""A decoded file as what the voice providers read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emofuse.pipeline.media import SAMPLE_RATE, AudioInfo, ClipInfo, Frame, Samples


@dataclass(frozen=True)
class Sound:
    """A `Media` of samples (n) at 16 kHz: the clips of these corpora have nothing for a container's clock to say."""

    values: NDArray[np.float32]

    @property
    def info(self) -> ClipInfo:
        return ClipInfo("memory", "flac", len(self.values) / SAMPLE_RATE, None, AudioInfo("flac", SAMPLE_RATE, 1))

    def frames(self) -> Iterator[Frame]:
        return iter(())

    def samples(self, *, fill_silence: bool = False) -> Iterator[Samples]:
        yield Samples(0.0, self.values)
