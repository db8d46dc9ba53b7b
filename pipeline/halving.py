"""Work in batches on a device whose memory is not known beforehand: what does not fit is halved, and the work goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from .errors import OutOfMemory

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_halves(
    items: Sequence[Item],
    work: Callable[[Sequence[Item]], Sequence[Result]],
    too_large: type[BaseException],
    release: Callable[[], object] = lambda: None,
) -> list[Result]:
    """`work` over all items, in order, in as few pieces as memory allows.

    too_large  what `work` raises where memory does not suffice (torch.OutOfMemoryError)
    release     called then, before the next try: gives back what a failed try still holds
    Raises `OutOfMemory` where one item alone is too large.
    """
    try:
        return list(work(items))
    except too_large as error:
        if len(items) <= 1:
            raise OutOfMemory(f"one item alone does not fit into the device's memory ({str(error).splitlines()[0]})") from None
    # Outside of the handler: the error's traceback would keep the failed try's tensors alive.
    release()
    middle = len(items) // 2
    return in_halves(items[:middle], work, too_large, release) + in_halves(items[middle:], work, too_large, release)
