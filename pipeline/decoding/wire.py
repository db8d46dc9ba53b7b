"""The way out of the decoding process: messages to the parent, and frames in shared memory.

A message is four bytes of length, a JSON header and its payload. Frames lie in a ring of slots; one byte from the parent gives the oldest
slot back.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import DecodeCrashed

SLOTS = 6
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Placed:
    """A frame that lies in a slot of the ring."""

    slot: int
    height: int
    width: int


class Wire:
    """Messages to the parent, and the ring of frame slots in the memory of file descriptor `fd`."""

    def __init__(self, out: BinaryIO, back: BinaryIO, fd: int) -> None:
        self._out = out
        self._back = back
        self._fd = fd
        self._ring: mmap.mmap | None = None
        self._slot_bytes = 0
        self._slot = 0
        self._in_use = 0

    def say(self, kind: str, payload: bytes = b"", **facts: Any) -> None:
        header = json.dumps({"kind": kind, "payload": len(payload), **facts}).encode()
        self._out.write(struct.pack("<I", len(header)) + header + payload)
        self._out.flush()

    def place(self, image: Pixels) -> Placed:
        """Copies the pixels (h w 3, any strides) into a free slot; nobody hears of them before `send_frame`."""
        size = image.shape[0] * image.shape[1] * 3
        if size > self._slot_bytes:
            self._new_ring(size)
        if self._in_use == SLOTS:
            self._wait_for_slot()
        assert self._ring is not None
        placed = Placed(self._slot, image.shape[0], image.shape[1])
        np.frombuffer(self._ring, np.uint8, size, self._slot * self._slot_bytes).reshape(image.shape)[...] = image
        self._slot = (self._slot + 1) % SLOTS
        self._in_use += 1
        return placed

    def send_frame(self, start: float, end: float, placed: Placed) -> None:
        self.say("frame", start=start, end=end, height=placed.height, width=placed.width, slot=placed.slot)

    def _wait_for_slot(self) -> None:
        if not self._back.read(1):
            os._exit(0)  # the parent has gone or no longer reads
        self._in_use -= 1

    def _new_ring(self, slot_bytes: int) -> None:
        while self._in_use:
            self._wait_for_slot()
        page = mmap.ALLOCATIONGRANULARITY
        self._slot_bytes = -(-slot_bytes // page) * page
        size = self._slot_bytes * SLOTS
        try:
            os.ftruncate(self._fd, size)
            # The room is taken here: a page that is not there when it is written to would kill this process.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._fd, 0, size)
            self._ring = mmap.mmap(self._fd, size)
        except OSError as error:
            raise DecodeCrashed(f"expected {size >> 20} MiB of memory for {SLOTS} frames, got {error.strerror or error}") from None
        self._slot = 0
        self.say("ring", slot_bytes=self._slot_bytes, slots=SLOTS)
