"""How an `Analysis` shows itself in a notebook: its table of utterances, and its timeline as a picture. No script, nothing loaded."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path

from ..results import Analysis, Prediction

CELL = "text-align:left;padding:2px 10px"


def html(analysis: Analysis) -> str:
    """HTML for Jupyter and its kin; every text of the clip is escaped."""
    from . import plots

    name = escape(_text(Path(analysis.info.path).name))
    head = "".join(f'<th style="{CELL}">{title}</th>' for title in ("start", "end", "emotion", "p", "sentiment", "text", "flags"))
    rows = [_row(f"{u.span.start:.2f}", f"{u.span.end:.2f}", u.prediction, u.text, " ".join(u.quality.flags)) for u in analysis.utterances]
    rows.append(_row("", "clip", analysis.summary, "", ""))
    picture = io.BytesIO()
    plots.timeline(analysis).savefig(picture, format="png", dpi=80)
    image = base64.b64encode(picture.getvalue()).decode("ascii")
    reasons = "".join(f"<p>{escape(_text(k))}: {escape(_text(v))}</p>" for k, v in sorted(analysis.reasons.items()))
    return (
        f"<div><p><b>{name}</b> ({analysis.facts.length:.1f} s, model {escape(analysis.model.extractor)})</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>{reasons}"
        '<img alt="Emotions, attention, action units and pitch over time" style="max-width:100%" '
        f'src="data:image/png;base64,{image}"></div>'
    )


def _row(start: str, end: str, prediction: Prediction | None, text: str, flags: str) -> str:
    if prediction is None:
        answer = ["none", "", ""]
    else:
        emotion = max(prediction.probabilities, key=lambda e: prediction.probabilities[e])
        sentiment = "" if prediction.sentiment is None else f"{prediction.sentiment:+.2f}"
        answer = [emotion, f"{prediction.probabilities[emotion]:.2f}", sentiment]
    cells = [start, end, *answer, text, flags]
    return "<tr>" + "".join(f'<td style="{CELL}">{escape(_text(cell))}</td>' for cell in cells) + "</tr>"


def _text(value: str) -> str:
    return value.encode("utf-8", "backslashreplace").decode()
