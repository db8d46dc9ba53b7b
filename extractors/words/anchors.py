"""Where a long text and a rough recognition of it surely agree, so that both can be cut into short pieces.

After Moreno, Joerg, Van Thong and Glickman, "A recursive algorithm for the forced alignment of very long audio segments" (ICSLP
1998): words recognised with a language model of the text itself are matched with the text; runs of agreement are anchors, and
sound and text are cut together where an anchor crosses the border of two stretches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise

ANCHOR = 3  # words in a row that must agree: pairs like "of the" occur by chance
REACH = 2  # words of text, unheard, that may lie between the last anchor before a border and the first after it


@dataclass(frozen=True)
class Piece:
    """Stretches [first, last) say words [word, end) of the text."""

    first: int
    last: int
    word: int
    end: int


@dataclass(frozen=True)
class Cutting:
    """Text and sound cut together, and the stretches in which some of the text was heard for sure."""

    pieces: tuple[Piece, ...]
    anchored: frozenset[int]


def cut_at_anchors(text: Sequence[str], recognised: Sequence[Sequence[str]]) -> Cutting:
    """Cuts text (words as recognised ones are written) along stretches, given what was recognised in each stretch.

    A border between two stretches becomes a cut only where words right before and right after it are anchored and adjoin in the
    text; other stretches stay together with their neighbours. Every word and every stretch lies in exactly one piece.
    """
    flat = [word for words in recognised for word in words]
    place_of = [k for k, words in enumerate(recognised) for _ in words]
    matcher = SequenceMatcher(None, flat, list(text), autojunk=False)
    anchored = [
        (place_of[block.a + i], block.b + i) for block in matcher.get_matching_blocks() if block.size >= ANCHOR for i in range(block.size)
    ]
    pieces: list[Piece] = []
    first = word = 0
    for (before, spoken), (after, next_spoken) in pairwise(anchored):
        if after <= before or next_spoken - spoken > 1 + REACH:
            continue
        # Unheard words between two anchors (at most REACH) go to the later piece; so do stretches in which nothing was heard.
        pieces.append(Piece(first, before + 1, word, spoken + 1))
        first, word = before + 1, spoken + 1
    pieces.append(Piece(first, len(recognised), word, len(text)))
    return Cutting(tuple(pieces), frozenset(stretch for stretch, _ in anchored))
