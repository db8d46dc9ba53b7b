"""Where a clip's time goes: when each stage began and ended, side by side."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

BAR = 48  # characters for the whole time


@dataclass
class Profile:
    """Stages of one clip's analysis by name, in wall seconds since the profile was made, and how often the file was decoded.

    A stage that reads the clip while it is decoded (every extractor of a shared pass) lasts at least as long as the decoding.
    """

    stages: dict[str, tuple[float, float]] = field(default_factory=dict)
    passes: int = 0
    began: float = field(default_factory=time.perf_counter)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add({name: (start, time.perf_counter())})

    def add(self, spans: Mapping[str, tuple[float, float]]) -> None:
        """Stages that somebody else timed, in seconds of `time.perf_counter`."""
        self.stages |= {name: (start - self.began, end - self.began) for name, (start, end) in spans.items()}

    def lines(self) -> list[str]:
        """A line per stage: name, start, end, and where it lies in the whole."""
        whole = max((end for _, end in self.stages.values()), default=0.0) or 1.0
        width = max((len(name) for name in self.stages), default=0)
        lines = []
        for name, (start, end) in sorted(self.stages.items(), key=lambda item: item[1]):
            first = int(BAR * start / whole)
            bar = " " * first + "#" * max(1, round(BAR * end / whole) - first)
            lines.append(f"{name:<{width}}  {start:7.2f} to {end:7.2f} s  |{bar:<{BAR}}|")
        return [*lines, f"decoded {self.passes} time{'s' if self.passes != 1 else ''}, {whole:.2f} s in all"]
