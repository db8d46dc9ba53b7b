"""What does not fit is halved; results keep their order; one item too large is an error of ours."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from emofuse.pipeline.errors import OutOfMemory
from emofuse.pipeline.halving import in_halves


class Full(RuntimeError):
    pass


def test_batches_are_halved_until_they_fit() -> None:
    tried: list[int] = []
    freed: list[int] = []

    def work(items: Sequence[int]) -> list[int]:
        tried.append(len(items))
        if sum(items) > 10:
            raise Full("no room")
        return [2 * item for item in items]

    items = [1, 2, 3, 4, 5, 6, 7]
    assert in_halves(items, work, Full, lambda: freed.append(1)) == [2 * item for item in items]
    assert tried == [7, 3, 4, 2, 2, 1, 1] and len(freed) == 3
    with pytest.raises(OutOfMemory, match="one item alone does not fit"):
        in_halves([1, 11], work, Full)
    with pytest.raises(ZeroDivisionError):
        in_halves([1], lambda items: [1 // 0], Full)
