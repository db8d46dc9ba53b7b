"""Pictures with matplotlib: every function draws into the Axes it is given (or a new figure's) and returns it, as seaborn's do.

Times are seconds on the clip's clock. Emotions have Okabe and Ito's colours; pictures use cividis: both are safe for colour-blind readers.
Figures are made without pyplot, so nothing is shown, kept open or chosen (no backend) by importing or calling this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..attention.shares import attended, attention_on, in_utterances, relative
from ..columns import ENERGY, PITCH, VOICED
from ..errors import StreamError
from ..palette import EMOTION_COLOURS, NEGATIVE, POSITIVE
from ..results import Analysis, Attention
from ..streams import EMOTIONS
from .report.data import ENERGY_UNITS, action_units_grid, read_face_document
from .report.line import with_gaps

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#0a58a8"


def new_figure(width: float, height: float) -> Figure:
    """A figure of its own, in inches; `figure.savefig(path)` writes PNG, SVG or PDF by the name."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def figure_of(ax: Axes) -> Figure:
    """The whole figure that an Axes lies in."""
    figure: Figure | None = ax.get_figure(root=True)
    assert figure is not None
    return figure


def _axes(ax: Axes | None, width: float = 8.0, height: float = 2.5) -> Axes:
    axes: Axes = new_figure(width, height).subplots() if ax is None else ax
    return axes


def emotions(analysis: Analysis, ax: Axes | None = None, *, legend: bool = True) -> Axes:
    """Stacked probabilities, one column per utterance."""
    ax = _axes(ax)
    answered = [u for u in analysis.utterances if u.prediction is not None]
    foot = np.zeros(len(answered))
    left, width = [u.span.start for u in answered], [u.span.duration for u in answered]
    for emotion in EMOTIONS:
        share = np.array([u.prediction.probabilities[emotion] for u in answered if u.prediction is not None])
        ax.bar(left, share, width, foot, align="edge", color=EMOTION_COLOURS[emotion], edgecolor="#333333", linewidth=0.4, label=emotion)
        foot = foot + share
    ax.set(ylim=(0, 1), ylabel="probability", xlabel="seconds", xlim=(0, analysis.facts.length))
    if legend:
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(EMOTIONS), fontsize="small", frameon=False, columnspacing=1.2)
    return ax


def sentiment(analysis: Analysis, ax: Axes | None = None) -> Axes:
    """Sentiment from -3 to 3, one bar per utterance. Raises `StreamError` where no utterance has one."""
    valued = [(u.span, u.prediction.sentiment) for u in analysis.utterances if u.prediction and u.prediction.sentiment is not None]
    if not valued:
        raise StreamError(f"sentiment: no utterance of {Path(analysis.info.path).name} has any")
    ax = _axes(ax, height=1.8)
    colours = [NEGATIVE if value < 0 else POSITIVE for _, value in valued]
    ax.bar([span.start for span, _ in valued], [v for _, v in valued], [span.duration for span, _ in valued], align="edge", color=colours)
    ax.axhline(0, color="#888888", linewidth=0.6)
    ax.set(ylim=(-3, 3), yticks=(-3, 0, 3), ylabel="sentiment\n-3 to 3", xlabel="seconds", xlim=(0, analysis.facts.length))
    return ax


def words(analysis: Analysis, ax: Axes | None = None) -> Axes:
    """The words over time, whether attention was paid to them or not. Raises `StreamError` where there are none."""
    stream = analysis.streams.get("words")
    if stream is None or not len(stream):
        raise StreamError(f"words: {Path(analysis.info.path).name} has none")
    ax = _axes(ax, height=1.5)
    for row, text in enumerate(stream.labels["word"]):
        at = (float(stream.start[row]) + float(stream.end[row])) / 2, 0.05
        ax.annotate(_plain(text), at, ha="center", va="bottom", rotation=60, fontsize=7)
        ax.axvspan(float(stream.start[row]), float(stream.end[row]), ymax=0.04, color="#f2a900")
    ax.set(ylim=(0, 1), yticks=(), ylabel="words", xlabel="seconds", xlim=(0, analysis.facts.length))
    return ax


def attention(analysis: Analysis, stream: str, ax: Axes | None = None) -> Axes:
    """Attention paid to a stream's rows over time, 1 being an even spread over the utterance's rows; words as bars with their names.

    Raises `StreamError` where no attention was paid to this stream.
    """
    paid = attention_on(analysis, stream)
    rows = attended(paid) if paid is not None else np.zeros(0, np.intp)
    if paid is None or not len(rows):
        raise StreamError(f"attention on {stream}: none was paid in {Path(analysis.info.path).name}")
    ax = _axes(ax)
    values, start, end = relative(paid, rows, "overall", in_utterances(paid, rows)), paid.stream.start[rows], paid.stream.end[rows]
    if stream == "text":
        ax.bar(start, values, end - start, align="edge", color="#f2a900", edgecolor="white", linewidth=0.5)
        for row, value in zip(rows.tolist(), values, strict=True):
            point = ((paid.stream.start[row] + paid.stream.end[row]) / 2, value)
            ax.annotate(
                _plain(paid.stream.labels["word"][row]), point, (0, 2), textcoords="offset points", ha="center", rotation=60, fontsize=7
            )
        ax.margins(y=0.35)
        ax.set_ylim(bottom=0)
    else:
        time, table = with_gaps(start, end, values[:, None])
        ax.plot(time, table[:, 0], color=INK, linewidth=0.9)
        ax.set_ylim(0, max(1.2, float(np.nanmax(values))) * 1.06)  # from 0, as the report: an even spread looks even
    ax.axhline(1, color="#888888", linewidth=0.6, linestyle=":")
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    ax.set(ylabel=f"attention\non {'words' if stream == 'text' else stream}", xlabel="seconds", xlim=(0, analysis.facts.length))
    ax.set_title(f"times an even share (1 = even); here {low:.2f} to {high:.2f}", fontsize=8, loc="right")
    return ax


def influence(analysis: Analysis) -> Figure:
    """How much the log odds of each utterance's answer fall without a word, or without half a second of face or voice, over time.

    Above 0 a part speaks for the answer, below 0 against it; all lanes have one scale. Raises `StreamError` where none was computed.
    """
    measured = {name: one for name, one in analysis.attention.streams.items() if not np.isnan(one.influence).all()}
    if not measured:
        raise StreamError(f"influence: none was computed in {Path(analysis.info.path).name}")
    most = max(0.05, *(float(np.nanmax(np.abs(one.influence))) for one in measured.values())) * 1.1
    figure = new_figure(11, 1.5 * len(measured) + 0.9)
    lanes = figure.subplots(len(measured), 1, sharex=True, squeeze=False)[:, 0]
    for ax, (name, one) in zip(lanes, measured.items(), strict=True):
        start, end, values = one.stream.start, one.stream.end, np.asarray(one.influence)
        if name == "text":
            ax.bar(start, np.nan_to_num(values), end - start, align="edge", color=[NEGATIVE if v < 0 else POSITIVE for v in values])
            for row in np.flatnonzero(~np.isnan(values)).tolist():
                at, above = (float(start[row]) + float(end[row])) / 2, max(float(values[row]), 0.0)
                text = _plain(one.stream.labels["word"][row])
                ax.annotate(text, (at, above), (0, 2), textcoords="offset points", ha="center", rotation=60, fontsize=7)
        else:
            rows = np.flatnonzero(~np.isnan(values))
            time, table = with_gaps(start[rows], end[rows], values[rows, None])
            ax.plot(time, table[:, 0], color=INK, linewidth=1.2)
        ax.axhline(0, color="#888888", linewidth=0.6)
        ax.set(ylim=(-most, most * (1.5 if name == "text" else 1)), ylabel="words" if name == "text" else name)
    lanes[-1].set(xlabel="seconds", xlim=(0, analysis.facts.length))
    answers = ", ".join(dict.fromkeys(u.influence.on for u in analysis.utterances if u.influence is not None))
    figure.suptitle(f"{_plain(Path(analysis.info.path).name)}: influence on {answers}, in log odds", fontsize=11)
    return figure


def action_units(analysis: Analysis, ax: Axes | None = None) -> Axes:
    """The face's action units over time; grey where no face was seen. Raises `StreamError` where there are none."""
    grid = action_units_grid(analysis)
    if grid is None:
        raise StreamError(f"action units: {Path(analysis.info.path).name} has no face stream with any")
    ax = _axes(ax, height=0.17 * len(grid.columns) + 1)
    ax.set_facecolor("#dddddd")
    extent = (grid.start, grid.start + grid.step * grid.values.shape[1], len(grid.columns) - 0.5, -0.5)
    image = ax.imshow(grid.values, aspect="auto", interpolation="nearest", cmap="cividis", vmin=0, vmax=grid.most, extent=extent)
    ax.set_yticks(range(len(grid.columns)), grid.columns, fontsize=7)
    ax.set(xlim=(0, analysis.facts.length), xlabel="seconds", ylabel="action unit")
    whose = read_face_document(analysis)
    ax.set_title("action units" + (f": {whose['text']}" if whose and whose["text"] else ""), fontsize=9)
    ax.figure.colorbar(image, ax=ax, label="activation, 0 to 1" if grid.most <= 1 else "activation", pad=0.01)
    return ax


def voice(analysis: Analysis, column: str | None = None, ax: Axes | None = None) -> Axes:
    """A column of the voice stream over time (default: its pitch); unvoiced rows are gaps. Raises `StreamError` naming what there is."""
    stream = analysis.streams.get("voice")
    if stream is None or not len(stream):
        raise StreamError(f"voice: {Path(analysis.info.path).name} has no voice stream")
    chosen = column or next((c for c in (*PITCH, *ENERGY) if c in stream.columns), stream.columns[0])
    values = np.array(stream.column(chosen), np.float64)
    if chosen in PITCH:
        # COVAREP keeps an estimate everywhere: it is a pitch only where the voice is voiced.
        unvoiced = np.nan_to_num(stream.column(VOICED)) <= 0.5 if VOICED in stream.columns else np.zeros(len(stream), bool)
        values[(values <= 0) | unvoiced] = np.nan
    ax = _axes(ax)
    time, table = with_gaps(stream.start, stream.end, values[:, None])
    ax.plot(time, table[:, 0], color=INK, linewidth=0.9)
    unit = ENERGY_UNITS.get(chosen, "")
    ax.set(ylabel=f"{chosen}, Hz" if chosen in PITCH else f"{chosen}\n{unit}" if unit else chosen, xlabel="seconds")
    ax.set_title("pitch of the voice, where it is voiced" if chosen in PITCH else f"voice: {chosen}", fontsize=9)
    ax.set_xlim(0, analysis.facts.length)
    return ax


def timeline(analysis: Analysis) -> Figure:
    """Everything over time, on one clock: emotions, sentiment, words, attention, action units, pitch; what a clip lacks is left out."""
    lanes: list[tuple[float, Any]] = [(1.6, lambda ax: emotions(analysis, ax))]
    if any(u.prediction is not None and u.prediction.sentiment is not None for u in analysis.utterances):
        lanes.append((0.8, lambda ax: sentiment(analysis, ax)))
    attended_streams = [
        name for name in ("text", "face", "voice") if (paid := attention_on(analysis, name)) is not None and len(attended(paid))
    ]
    if "text" not in attended_streams and len(analysis.streams.get("words", ())):
        lanes.append((0.9, lambda ax: words(analysis, ax)))
    for stream in attended_streams:
        lanes.append((1.2, lambda ax, stream=stream: attention(analysis, stream, ax)))
    if action_units_grid(analysis) is not None:
        lanes.append((2.0, lambda ax: action_units(analysis, ax)))
    voice_stream = analysis.streams.get("voice")
    if voice_stream is not None and len(voice_stream):
        lanes.append((1.0, lambda ax: voice(analysis, ax=ax)))
    figure = new_figure(11, sum(height for height, _ in lanes) + 0.8)
    every = figure.subplots(len(lanes), 1, sharex=True, squeeze=False, height_ratios=[height for height, _ in lanes])[:, 0]
    for ax, (_, draw) in zip(every, lanes, strict=True):
        draw(ax)
    for ax in every[:-1]:
        ax.set_xlabel("")
    every[-1].set_xlabel("seconds")
    figure.suptitle(_plain(Path(analysis.info.path).name), fontsize=11)
    return figure


def attention_matrix(
    analysis: Analysis,
    utterance: int = 0,
    target: str | None = None,
    source: str | None = None,
    *,
    layer: int = -1,
    head: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """One map of one utterance, of a layer and a head (None: the mean of all): rows of `target` against rows of `source`.

    Without `target` and `source` it is words against voice, or the first map that there is. Colours are the difference from an even spread:
    the logarithm of each row's share times the columns, 0 at an even share, on a scale that ends where the map does. The title says how
    far the map is from an even spread (`distance_from_even`). Raises `StreamError` naming the maps that there are.
    """
    analyzed = next((u for u in analysis.utterances if u.index == utterance), None)
    maps = () if analyzed is None or analyzed.prediction is None else analyzed.prediction.attention
    chosen = _chosen_map(maps, target, source)
    if chosen is None:
        known = ", ".join(dict.fromkeys(f"{a.target} <- {a.source}" for a in maps)) or "none"
        wanted = f"{target or 'text'} <- {source or 'voice'}"
        raise StreamError(f"attention of utterance {utterance}, {wanted}: no such map; there are: {known}")
    layers, heads = chosen.weights.shape[:2]
    if not -layers <= layer < layers or (head is not None and not 0 <= head < heads):
        pair = f"attention {chosen.target} <- {chosen.source}"
        raise StreamError(f"{pair}: {layers} layers and {heads} heads; layer {layer}, head {head} (from 0) was asked for")
    weights = chosen.weights[layer].mean(0) if head is None else chosen.weights[layer, head]
    even = even_shares(chosen)
    ratio = times_even(weights, even)
    ax = _axes(ax, 9, max(2.5, 0.2 * len(weights) + 1.2) if chosen.target == "text" else 5)
    limit = _limit(ratio)
    with np.errstate(divide="ignore"):
        shown = np.log2(np.clip(ratio, 1 / limit, limit))
    most = float(np.log2(limit))
    image = ax.imshow(shown, aspect="auto", interpolation="nearest", cmap="PuOr_r", vmin=-most, vmax=most)
    for axis, side in ((ax.yaxis, _side(analysis, chosen, "target")), (ax.xaxis, _side(analysis, chosen, "source"))):
        places, texts, name = side
        axis.set_ticks(places, texts, fontsize=7)
        axis.set_label_text(name)
    if chosen.source == "text":
        ax.tick_params("x", rotation=60)
    which = f"layer {layer % layers + 1}, " + ("mean of heads" if head is None else f"head {head + 1}")
    far = f"{100 * distance_from_even(weights, even):.1f} % from an even spread"
    ax.set_title(f"utterance {utterance}: {chosen.target} looks at {chosen.source} ({which}); {far}", fontsize=9)
    bar = ax.figure.colorbar(image, ax=ax, pad=0.01, ticks=[-most, 0, most], label="times an even share")
    bar.ax.set_yticklabels([f"{1 / limit:.2f}", "1 (even)", f"{limit:.2f}"])
    return ax


def _chosen_map(maps: Sequence[Attention], target: str | None, source: str | None) -> Attention | None:
    """The map of this pair; where no pair is asked for, words on voice, else the first between streams, else the first."""
    if target is None and source is None:
        usual = next((a for a in maps if (a.target, a.source) == ("text", "voice")), None)
        return usual or next((a for a in maps if a.kind == "cross"), None) or next(iter(maps), None)
    return next((a for a in maps if (a.target, a.source) == (target or "text", source or "voice")), None)


def even_shares(attention: Attention) -> NDArray[np.float64]:
    """(j) the share of each source row in an even spread: equal for words; frames that were taken together count as long as they last."""
    lasts = np.asarray(attention.source_end - attention.source_start, np.float64)
    if attention.source == "text" or not lasts.sum() > 0:
        lasts = np.ones(len(lasts))
    return np.asarray(lasts / lasts.sum())


def times_even(weights: NDArray[Any], even: NDArray[np.float64]) -> NDArray[np.float64]:
    """weights (i j), even (j) -> (i j): each row's share of its own sum, over the even share. NaN in a row that looks at nothing."""
    sums = weights.sum(1, keepdims=True, dtype=np.float64)
    shares = np.divide(weights, sums, out=np.full(weights.shape, np.nan), where=sums > 0)
    return np.asarray(np.divide(shares, even, out=np.full(weights.shape, np.nan), where=even > 0))


def distance_from_even(weights: NDArray[Any], even: NDArray[np.float64]) -> float:
    """0..1: the part of a row's attention that would have to move to make it even (total variation), the mean of the rows (i j)."""
    moved = np.nansum(np.abs(times_even(weights, even) - 1) * even, axis=1)[weights.sum(1) > 0] / 2
    return float(moved.mean()) if len(moved) else 0.0


def _limit(ratio: NDArray[np.float64]) -> float:
    """Where the scale ends: the map's own extreme, as far below an even share as above; 1.05 at least and 8 at most."""
    if not np.isfinite(ratio).any():
        return 1.05
    low, high = float(np.nanmin(ratio)), float(np.nanmax(ratio))
    return min(8.0, max(1.05, high, 1 / low if low > 0 else 8.0))


def _side(analysis: Analysis, one_map: Attention, side: str) -> tuple[list[int], list[str], str]:
    """Ticks of one side of a map: every word, or ten times."""
    name = getattr(one_map, side)
    start, end = getattr(one_map, f"{side}_start"), getattr(one_map, f"{side}_end")
    stream = analysis.streams.get(name)
    if stream is not None and "word" in stream.labels:
        at = {(float(a), float(b)): w for a, b, w in zip(stream.start, stream.end, stream.labels["word"], strict=True)}
        return list(range(len(start))), [_plain(at.get((float(a), float(b)), "")) for a, b in zip(start, end, strict=True)], ""
    places = list(range(0, len(start), max(1, len(start) // 10)))
    return places, [f"{start[i]:.2f}" for i in places], f"{name}, seconds"


def confusion(counts: NDArray[np.int64], labels: Sequence[str], title: str = "", ax: Axes | None = None) -> Axes:
    """counts (c c) [truth, answer]: shade is the share of the truth's class, the number the count."""
    size = max(3.5, 0.7 * len(labels) + 1.5)
    ax = _axes(ax, size, size)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (i, j), count in np.ndenumerate(counts):
        ax.text(j, i, str(count), ha="center", va="center", color="white" if shares[i, j] > 0.5 else "black", fontsize=8)
    ax.set_xticks(range(len(labels)), labels, rotation=60, ha="right")
    ax.set_yticks(range(len(labels)), labels)
    ax.set(xlabel="answer", ylabel="truth", title=title)
    return ax


def curves(history: Sequence[Mapping[str, Any]], phase: str | None = None, ax: Axes | None = None) -> Axes:
    """Training and validation loss over a phase's epochs (None: the last phase's); `history` as in a run's metrics.csv."""
    phase = phase or str(history[-1]["phase"])
    rows = [row for row in history if row["phase"] == phase]
    ax = _axes(ax, 5, 3.5)
    for key, label in (("train_loss", "training"), ("valid_loss", "validation")):
        ax.plot([int(row["epoch"]) for row in rows], [float(row[key]) for row in rows], marker=".", label=label)
    ax.set(xlabel="epoch", ylabel="loss", title=phase)
    ax.locator_params(axis="x", integer=True)
    ax.legend()
    return ax


def _plain(text: str) -> str:
    """Text as it is: a dollar sign begins no formula, and what is no valid text shows as what it is."""
    return text.replace("$", r"\$").encode("utf-8", "backslashreplace").decode()
