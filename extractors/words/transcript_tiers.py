"""Words out of annotation files: Praat's TextGrid and ELAN's .eaf. The files are read by `emofuse.pipeline.formats`; here their tiers are
told apart.

An annotation file has many tiers, and few of them are what is said: others hold phones, translations, glosses, identifiers, gestures. The
words are found, in this order, by
  the tiers that the user names (`--tier`);
  a name that says words, as "words", "Anna - words" (Montreal Forced Aligner), "word@Anna", "A_words", or a linguistic type named so;
  structure: a tier that divides another one into its words;
  a name that says sentences ("utterances", "orth@Anna", "phrase"), or one remaining tier, or one for each of the file's participants.
What a speaker says in sentences that have no words below them is read from the sentences. Where none of this tells, the file is refused
with the list of its tiers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from emofuse.pipeline.errors import FormatError, TranscriptError
from emofuse.pipeline.formats import eaf, textgrid
from emofuse.pipeline.formats.text_file import read_text
from emofuse.pipeline.formats.tiers import Tier

from .cues import Cue, Skipped, words_of

_WORDS = frozenset(["word", "words", "wd", "wds", "wort", "woerter", "mot", "mots", "ort", "mau-ort", "orthography", "token", "tokens"])
_SENTENCES = frozenset(
    [
        "utterance",
        "utterances",
        "utt",
        "utts",
        "phrase",
        "phrases",
        "sentence",
        "sentences",
        "orth",
        "orthographic",
        "transcript",
        "transcription",
        "transcriptions",
        "text",
        "texts",
        "tx",
        "speech",
        "spoken",
        "turn",
        "turns",
        "default",
    ]
)
_SOUNDS = frozenset(
    ["phone", "phones", "phoneme", "phonemes", "mau", "kan", "segment", "segments", "syllable", "syllables", "sounds", "ipa", "phonetic"]
)
_OTHERS = _SOUNDS | frozenset(
    [
        "gesture",
        "gestures",
        "gaze",
        "head",
        "hand",
        "hands",
        "face",
        "posture",
        "translation",
        "translations",
        "trans",
        "ft",
        "free",
        "gloss",
        "glosses",
        "gl",
        "pos",
        "morph",
        "morphs",
        "mb",
        "ge",
        "lemma",
        "comment",
        "comments",
        "note",
        "notes",
        "code",
        "codes",
        "id",
        "ids",
        "ref",
        "vcm",
        "xds",
        "lex",
        "mwu",
        "com",
        "english",
        "german",
        "french",
        "spanish",
        "emotion",
        "emotions",
        "probability",
        "probabilities",
        "sentiment",
        "confidence",
        "flags",
    ]
)
_SILENCES = {"", "sp", "sil", "<sil>", "<eps>", "<p:>", "<p>", "pau", "#", "spn", "<unk>", "xxx", "{sl}", "{sp}", "{ns}", "{lg}"}
_OVERLAP = re.compile(r" \(overlap \d+\)$")
_PARTS = re.compile(r"[@_\s.:/-]+")
_IDENTIFIER = re.compile(r"\S*\d\S*")
_SAME = 0.8
"""Share of rows that must agree before a tier is said to hold the words, or the identifiers, of another."""


@dataclass(frozen=True)
class TierWords:
    """The cues of an annotation file, the names of the tiers that they are from, and a word about those that were passed over."""

    cues: tuple[Cue, ...]
    tiers: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def read_textgrid(path: Path, skipped: Skipped, wanted: str | None = None) -> TierWords:
    decoded = read_text(path, TranscriptError)
    words = words_in(textgrid.read_tiers(decoded.text, path), path, skipped, wanted)
    return TierWords(words.cues, words.tiers, (*([decoded.remark] if decoded.remark else []), *words.remarks))


def read_eaf(path: Path, skipped: Skipped, wanted: str | None = None) -> TierWords:
    try:
        return words_in(eaf.read_tiers(path), path, skipped, wanted)
    except FormatError as error:
        raise TranscriptError(str(error)) from None


def words_in(tiers: Sequence[Tier], path: Path, skipped: Skipped, wanted: str | None = None) -> TierWords:
    """What is said in a file's tiers; raises `TranscriptError` with the list of tiers where that is not clear."""
    # A tier of points has rows without length.
    spans = [tier for tier in tiers if tier.rows and any(end > start for start, end, _ in tier.rows)]
    chosen = _named(spans, wanted, path) if wanted is not None else _found(spans, path)
    names = {tier.name for tier in chosen}
    sentences = [] if wanted is not None else _wordless(chosen, spans)
    several = len({_OVERLAP.sub("", tier.name) for tier in (*chosen, *(tier for tier, _ in sentences))}) > 1
    cues: list[Cue] = []
    for tier in chosen:
        cues += _cues(tier, range(len(tier.rows)), _speaker(tier, several), skipped)
    for tier, rows in sentences:
        cues += _cues(tier, rows, _speaker(tier, several), skipped)
    cues.sort(key=lambda cue: cue.start or 0.0)
    read = [tier.name for tier in tiers if tier.name in names | {t.name for t, _ in sentences}]
    left = [tier.name for tier in spans if tier.name not in read]
    remark = f"{path.name}: read the tiers {_listed(read)}, not {_listed(left)} (--tier chooses others)" if left and wanted is None else ""
    return TierWords(tuple(cues), tuple(read), (remark,) if remark else ())


def _named(tiers: Sequence[Tier], wanted: str, path: Path) -> list[Tier]:
    """The tiers that a user asks for: by name, by speaker, by kind ("word" is every "word@SPEAKER"), or by linguistic type."""
    chosen: list[Tier] = []
    for name in (part.strip().lower() for part in wanted.split(",") if part.strip()):
        exact = [tier for tier in tiers if _OVERLAP.sub("", tier.name).strip().lower() == name]
        near = [tier for tier in tiers if name in (_kind(tier), tier.kind.lower(), *_parts(tier.name))]
        if not (exact or near):
            raise TranscriptError(f"{path}: expected a tier named {name} (--tier), got {_listed([tier.name for tier in tiers])}")
        chosen += [tier for tier in exact or near if tier not in chosen]
    return chosen


def _found(tiers: Sequence[Tier], path: Path) -> list[Tier]:
    if len(tiers) == 1 and not _is(tiers[0], _SOUNDS):
        return list(tiers)
    of_words = _deepest([tier for tier in tiers if _is(tier, _WORDS)], tiers)
    if of_words:
        # A speaker whose sentences nobody divided into words has them in sentences.
        return of_words + [tier for tier in tiers if _is(tier, _SENTENCES) and not _related(tier, of_words, tiers) and not tier.parent]
    by_name = {tier.name: tier for tier in tiers}
    divided = [tier for tier in tiers if tier.parent in by_name and not _is(tier, _OTHERS) and _divides(tier, by_name[tier.parent])]
    if divided:
        return _deepest(divided, tiers)
    if sentences := _deepest([tier for tier in tiers if _is(tier, _SENTENCES)], tiers):
        return sentences
    left = [tier for tier in tiers if not _is(tier, _OTHERS) and not _identifies(tier)]
    roots = [tier for tier in left if tier.parent not in {other.name for other in left}]
    speakers = {tier.speaker for tier in roots}
    if len(roots) == 1 or (roots and len(speakers) == len(roots) and "" not in speakers):
        return roots
    names = _listed([tier.name for tier in tiers]) or "no interval tier"
    raise TranscriptError(f"{path}: line 1: expected an interval tier with words, got {names}; --tier NAME chooses one")


def _is(tier: Tier, names: frozenset[str]) -> bool:
    """Whether a tier's name says one of these; its linguistic type counts where the name says nothing known.

    ELAN's own type for everything, "default-lt", says nothing."""
    kind = _name_kind(tier.name)
    of_type = "" if tier.kind.lower().startswith("default") else tier.kind
    return kind in names if kind is not None else _name_kind(of_type) in names if of_type else False


def _name_kind(name: str) -> str | None:
    """What a name says of its tier: the last of its parts that is a known word, but "Anna - words" is words whatever Anna is."""
    whole = _OVERLAP.sub("", name).strip().lower()
    last = whole.rsplit(" - ", 1)[-1]
    known = _WORDS | _SENTENCES | _OTHERS
    if last in known:
        return last
    parts = [part for part in _parts(last) if part in known]
    # "word probability" is about words, and holds none.
    others = [part for part in parts if part in _OTHERS]
    return next(reversed(others or parts), None)


def _parts(name: str) -> list[str]:
    return [part for part in _PARTS.split(_OVERLAP.sub("", name).lower()) if part]


def _kind(tier: Tier) -> str:
    return _OVERLAP.sub("", tier.name).rsplit(" - ", 1)[-1].strip().lower()


def _ancestors(tier: Tier, tiers: Sequence[Tier]) -> list[Tier]:
    by_name = {other.name: other for other in tiers}
    above: list[Tier] = []
    while (parent := by_name.get(tier.parent)) is not None and parent not in above:
        above.append(parent)
        tier = parent
    return above


def _deepest(chosen: list[Tier], tiers: Sequence[Tier]) -> list[Tier]:
    """Those of which no other one is a part."""
    above = [ancestor.name for tier in chosen for ancestor in _ancestors(tier, tiers)]
    return [tier for tier in chosen if tier.name not in above]


def _related(tier: Tier, chosen: Sequence[Tier], tiers: Sequence[Tier]) -> bool:
    """Whether a tier is above a chosen one, or of the same speaker."""
    speakers = {_speaker(other, True) for other in chosen}
    return any(tier in _ancestors(other, tiers) for other in chosen) or _speaker(tier, True) in speakers | {""}


def _divides(tier: Tier, parent: Tier) -> bool:
    """Whether the rows of a tier, joined, are what its parent says, and more of them than there."""
    if len(tier.rows) <= len(parent.rows):
        return False
    same = 0
    for start, end, text in parent.rows:
        labels = [label for a, b, label in tier.rows if start - 1e-6 <= (a + b) / 2 <= end + 1e-6]
        same += _letters("".join(labels)) == _letters(text)
    return same >= _SAME * len(parent.rows)


def _letters(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalnum())


def _identifies(tier: Tier) -> bool:
    """Whether a tier's rows are identifiers ("anna.001"): one word each with a digit, no two alike."""
    labels = [label for _, _, label in tier.rows]
    return len(set(labels)) == len(labels) and sum(bool(_IDENTIFIER.fullmatch(label)) for label in labels) >= _SAME * len(labels)


def _wordless(chosen: Sequence[Tier], tiers: Sequence[Tier]) -> list[tuple[Tier, list[int]]]:
    """Rows of sentence tiers above the chosen ones in which no word lies: nobody divided them."""
    sentences = []
    for parent in {ancestor.name: ancestor for tier in chosen for ancestor in _ancestors(tier, tiers)[:1]}.values():
        if _is(parent, _OTHERS) or _identifies(parent):
            continue
        middles = [(a + b) / 2 for tier in chosen if tier.parent == parent.name for a, b, _ in tier.rows]
        rows = [k for k, (a, b, _) in enumerate(parent.rows) if not any(a <= middle <= b for middle in middles)]
        if rows:
            sentences.append((parent, rows))
    return sentences


def _speaker(tier: Tier, several: bool) -> str:
    """Who speaks in a tier: the participant, else what its name holds beside its kind; "" where the file has one tier that says nothing."""
    name = _OVERLAP.sub("", tier.name)
    if tier.speaker:
        return tier.speaker
    if " - " in name:
        return name.rsplit(" - ", 1)[0]
    known = _WORDS | _SENTENCES | _OTHERS
    parts = [part for part in _PARTS.split(name) if part]
    others = [part for part in parts if part.lower() not in known]
    if len(others) < len(parts):
        return " ".join(others)  # a tier "words" beside others has no speaker: that is not a name
    return name if several else ""


def _cues(tier: Tier, rows: Sequence[int], speaker: str, skipped: Skipped) -> list[Cue]:
    """The tier's rows as cues; rows that share one span are one cue, whose words are found in the sound."""
    make: Callable[..., Cue | None] = partial(_cue, speaker=speaker, skipped=skipped)
    if not tier.shared:
        return [cue for k in rows if (cue := make(*tier.rows[k])) is not None]
    cues: list[Cue] = []
    for span, group in groupby(rows, key=lambda k: tier.shared[k]):
        text = " ".join(label for k in group if (label := tier.rows[k][2]).strip().lower() not in _SILENCES)
        if (cue := make(*span, text)) is not None:
            cues.append(cue)
    return cues


def _cue(start: float, end: float, label: str, *, speaker: str, skipped: Skipped) -> Cue | None:
    # A recording may be annotated from before its zero; what begins there is cut at it.
    words = () if label.strip().lower() in _SILENCES or end < 0 else words_of(label, markup=False)
    if not words or not skipped.checked(max(0.0, start), end, f"the row at {start:g} s"):
        return None
    return Cue(words, max(0.0, start), end, speaker=speaker)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:12])
    return shown + (f" and {len(names) - 12} more" if len(names) > 12 else "")
