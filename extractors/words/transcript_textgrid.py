"""Words out of Praat's TextGrid files, long and short form; the file itself is read by `emofuse.pipeline.formats.textgrid`.

Interval tiers only; a tier named like words (also "speaker - words", as the Montreal Forced Aligner writes, and the overlap tiers that
emofuse writes) is preferred, tiers of sounds are left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from emofuse.pipeline.errors import TranscriptError
from emofuse.pipeline.formats.session import UTTERANCES
from emofuse.pipeline.formats.textgrid import read_tiers
from emofuse.pipeline.formats.tiers import Tier

from .cues import Cue, words_of

_WORD_TIERS = {"word", "words", "ort", "ort-mau", "orthography", "tokens"}
_SOUND_TIERS = {"phone", "phones", "phoneme", "phonemes", "mau", "kan", "kan-mau", "segments", "syllable", "syllables", "sounds"}
_SILENCES = {"", "sp", "sil", "<sil>", "<eps>", "<p:>", "<p>", "pau", "#", "spn", "<unk>"}
_OVERLAP = re.compile(r" \(overlap \d+\)$")


def read_textgrid(text: str, path: Path) -> tuple[Cue, ...]:
    return cues_of_tiers(read_tiers(text, path), path)


def cues_of_tiers(tiers: Sequence[Tier], path: Path) -> tuple[Cue, ...]:
    """The words that annotation tiers hold; raises `TranscriptError` where no tier can be words."""
    # A tier of points has rows without length.
    spans = [tier for tier in tiers if not tier.rows or any(end > start for start, end, _ in tier.rows)]
    of_words = [tier for tier in spans if _kind(tier.name) in _WORD_TIERS]
    of_sentences = [tier for tier in spans if _kind(tier.name) == UTTERANCES]
    chosen = of_words or of_sentences or [tier for tier in spans if _kind(tier.name) not in _SOUND_TIERS]
    if not chosen:
        names = ", ".join(repr(tier.name) for tier in spans)
        raise TranscriptError(f"{path}: line 1: expected an interval tier with words, got {names or 'no interval tier'}")
    speakers = len({_OVERLAP.sub("", tier.name) for tier in chosen})
    cues = []
    for tier in chosen:
        name = _OVERLAP.sub("", tier.name)
        named = speakers > 1 and _kind(name) not in _WORD_TIERS  # a tier "words" beside others has no speaker: that is not a name
        speaker = name.rsplit(" - ", 1)[0] if " - " in name else (name if named else "")
        cues += [cue for row in tier.rows if (cue := _cue(*row, speaker))]
    return tuple(cues)


def _kind(name: str) -> str:
    return _OVERLAP.sub("", name).rsplit(" - ", 1)[-1].strip().lower()


def _cue(start: float, end: float, label: str, speaker: str) -> Cue | None:
    # A recording may be annotated from before its zero; what begins there is cut at it.
    words = () if label.lower() in _SILENCES or end < 0 else words_of(label)
    return Cue(words, max(0.0, start), end, speaker=speaker) if words else None
