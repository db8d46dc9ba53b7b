"""WebVTT (https://www.w3.org/TR/webvtt1/), written with webvtt-py: captions that carry who speaks, when each word begins, and the emotion.

Within a cue each word after the first has a time stamp, a known speaker is a voice span, and the utterance's emotion is a class span
(`<c.happiness>`), which a page may colour by its own `::cue(.happiness)` rule. The file has no STYLE block of its own: ffmpeg before
version 6 (and the players built on it) stops at the first, and shows no cue at all. WebVTT's cue settings only place text, so what else
is known of an utterance (its span, probabilities, sentiment, confidence, flags) stands as JSON in a NOTE before its first cue, which
players skip.
"""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError
from ..streams import EMOTIONS
from ..timed import Provenance, TimedSequence
from .cue_files import STAMP, TAG, VOICE, seconds, vtt_cues
from .optional import require
from .session import UTTERANCE_COLUMNS, UTTERANCE_LABELS, UTTERANCES, Session
from .subtitles import Caption, captions, cue_session, cues_of
from .tiers import one_line

NO_BREAK = "\u00a0"
MARK = "emofuse utterance "


def write_vtt(sessions: Sequence[Session], path: Path) -> None:
    """One session; times are rounded to milliseconds."""
    webvtt = require("webvtt", "webvtt-py", "WebVTT")
    (session,) = sessions
    words, utterances = session.filled("words"), session.filled(UTTERANCES)
    noted: set[int] = set()
    cues = []
    for number, caption in enumerate(captions(session)):
        start = round(caption.start * 1000)
        text = _text(caption, words, _emotion(utterances, caption.utterance))
        cue = webvtt.Caption(_clock(start), _clock(max(start + 1, round(caption.end * 1000))), text, identifier=f"cue {number}")
        if utterances is not None and caption.utterance is not None and caption.utterance not in noted:
            noted.add(caption.utterance)
            cue.comments.append(MARK + _note(utterances, caption.utterance))
        cues.append(cue)
    path.write_text(webvtt.WebVTT(captions=cues).content.rstrip("\n") + "\n", encoding="utf-8")


def _emotion(utterances: TimedSequence | None, row: int | None) -> str:
    emotion = utterances.labels["emotion"][row] if utterances is not None and row is not None and "emotion" in utterances.labels else ""
    return emotion if emotion in EMOTIONS else ""


def _text(caption: Caption, words: TimedSequence | None, emotion: str) -> str:
    if words is None or not caption.words:
        inner = html.escape(caption.text, quote=False)
    else:
        inner, latest = "", round(caption.start * 1000)
        speakers = words.labels.get("speaker", ("",) * len(words))
        for speaker, group in groupby(caption.words, key=lambda i: one_line(speakers[i]).replace(">", "")):
            spoken = ""
            for i in group:
                begin = round(float(words.start[i]) * 1000)
                # Time stamps inside a cue lie after its start and follow each other; a word that does not shares the one before it.
                stamp = f"<{_clock(begin)}>" if latest < begin < round(caption.end * 1000) else ""
                latest = max(latest, begin)
                spoken += stamp + ("" if i == caption.words[0] else " ") + _word(words.labels["word"][i])
            inner += f"<v {html.escape(speaker, quote=False)}>{spoken}</v>" if speaker else spoken
    return f"<c.{emotion}>{inner}</c>" if emotion else inner or "&nbsp;"


def _word(text: str) -> str:
    # A space inside a word must not part it.
    return html.escape(one_line(text).replace(" ", NO_BREAK), quote=False)


def _note(utterances: TimedSequence, row: int) -> str:
    facts: dict[str, Any] = {"start": float(utterances.start[row]), "end": float(utterances.end[row])}
    facts |= {label: texts[row] for label, texts in utterances.labels.items() if texts[row]}
    values = utterances.values[row]
    numbers = {column: float(str(v)) for column, v in zip(utterances.columns, values, strict=True) if not np.isnan(v)}
    facts |= {column: int(v) if column == "face_id" else v for column, v in numbers.items()}
    # An arrow would end the note.
    return json.dumps(facts, ensure_ascii=False).replace(">", "\\u003e")


def read_vtt(path: Path) -> tuple[Session, ...]:
    """One session. A file of ours gives its utterances and words back (a word ends where the next begins); in any other the cues are
    utterances, and words are those that have time stamps of their own."""
    cues = cues_of(path, vtt_cues)
    by = Provenance("WebVTT", "1", options={"file": path.name})
    words: list[tuple[float, float, str, str]] = []
    notes = [_noted(note[len(MARK) :], path) for cue in cues for note in cue.notes if note.startswith(MARK)]
    plain: list[tuple[float, float, str]] = []
    for cue in cues:
        end = max(cue.start, cue.end)
        plain.append((cue.start, end, one_line(html.unescape(TAG.sub("", STAMP.sub("", cue.text))))))
        words += _timed(cue.text, cue.start, end)
    if not notes:
        rows = sorted(plain)
        session = cue_session(path, "WebVTT", rows, np.full((len(rows), len(UTTERANCE_COLUMNS)), np.nan, np.float32), [""] * len(rows))
        timed = [row for row in words if row[2]] if any(STAMP.search(cue.text) for cue in cues) else []
    else:
        session, timed = Session(path.stem, {UTTERANCES: _utterances(notes, by, path)}), words
    if not timed:
        return (session,)
    return (Session(session.name, {"words": _words(timed, by), **session.streams}),)


def _timed(raw: str, start: float, end: float) -> list[tuple[float, float, str, str]]:
    """(start, end, word, speaker): what lies between two time stamps; several words there share its span in equal parts."""
    speaker, at = "", start
    pieces: list[tuple[float, str, str]] = []
    for part in re.split(r"(<[^>]*>)", raw):
        if match := STAMP.fullmatch(part):
            at = min(max(at, seconds(match.groups())), end)
        elif match := VOICE.fullmatch(part):
            speaker = html.unescape(match.group(1)).strip()
        elif part == "</v>":
            speaker = ""
        elif not part.startswith("<"):
            spoken = (word.replace(NO_BREAK, " ").strip() for word in re.split(r"[ \t\n]+", html.unescape(part)))
            pieces += [(at, word, speaker) for word in spoken if word]
    rows: list[tuple[float, float, str, str]] = []
    for begin, group in groupby(pieces, key=lambda piece: piece[0]):
        together = list(group)
        later = next((at for at, _, _ in pieces if at > begin), end)
        step = (later - begin) / len(together)
        rows += [(begin + k * step, begin + (k + 1) * step, word, who) for k, (_, word, who) in enumerate(together)]
    return rows


def _noted(text: str, path: Path) -> dict[str, Any]:
    try:
        note = json.loads(text)
        if not (math.isfinite(note["start"]) and math.isfinite(note["end"])):
            raise ValueError("times that are not finite")
        return dict(note)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise FormatError(f"{path}: expected JSON with start and end in a note of emofuse, got {text[:60]!r} ({error!r})") from None


def _utterances(notes: list[dict[str, Any]], by: Provenance, path: Path) -> TimedSequence:
    notes = sorted(notes, key=lambda note: float(note["start"]))
    columns = UTTERANCE_COLUMNS if not any("label" in n or "split" in n for n in notes) else ("label",)
    labels = UTTERANCE_LABELS if columns == UTTERANCE_COLUMNS else ("text", "split")
    try:
        values = np.array([[float(n.get(column, math.nan)) for column in columns] for n in notes], np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise FormatError(f"{path}: expected numbers in a note of emofuse ({error})") from None
    return TimedSequence(
        name=UTTERANCES,
        columns=columns,
        values=values,
        start=np.array([n["start"] for n in notes], np.float64),
        end=np.array([n["end"] for n in notes], np.float64),
        provenance=by,
        labels={label: tuple(str(n.get(label, "")) for n in notes) for label in labels},
    )


def _words(rows: list[tuple[float, float, str, str]], by: Provenance) -> TimedSequence:
    rows = sorted(rows, key=lambda row: row[0])
    return TimedSequence(
        name="words",
        columns=("probability",),
        values=np.full((len(rows), 1), np.nan, np.float32),
        start=np.array([row[0] for row in rows], np.float64),
        end=np.array([row[1] for row in rows], np.float64),
        provenance=by,
        labels={"word": tuple(row[2] for row in rows), "speaker": tuple(row[3] for row in rows)},
    )


def _clock(ms: int) -> str:
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}"
