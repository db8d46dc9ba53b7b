"""An experiment's table: mean and deviation over seeds, a paired t-test against the first row, as CSV, Markdown and LaTeX.

Letters: s seeds. The test pairs runs of one seed: t = mean(d) / (sd(d) / sqrt(s)) of the differences d, two-sided, s - 1 degrees of
freedom. It says whether seeds agree on a difference, not whether other speakers would.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

BETTER_LOW = ("mae", "mse", "mse_sum", "mae_sum")


@dataclass(frozen=True)
class Cell:
    """mean and deviation (of the sample; NaN for one seed) of a score over seeds; p of the paired t-test against the first row, NaN where
    there is none (the first row, one seed, or no difference in any seed)."""

    mean: float
    deviation: float
    p: float


@dataclass(frozen=True)
class Table:
    """rows: label -> metric -> cell; seeds: how many runs are behind each row (labels as in `rows`)."""

    title: str
    metrics: tuple[str, ...]
    rows: Mapping[str, Mapping[str, Cell]]
    seeds: Mapping[str, int]


def paired_p(first: Sequence[float], other: Sequence[float]) -> float:
    """Two-sided p of the paired t-test; NaN for fewer than two pairs or where all differences are equal to 0."""
    differences = np.asarray(other, np.float64) - np.asarray(first, np.float64)
    if len(differences) < 2 or not differences.any():
        return math.nan
    deviation = differences.std(ddof=1)
    if deviation == 0:
        return 0.0
    t = differences.mean() / (deviation / math.sqrt(len(differences)))
    return float(2 * stats.t.sf(abs(t), len(differences) - 1))


def table_of(title: str, metrics: Sequence[str], scores: Mapping[str, Mapping[int, Mapping[str, float]]]) -> Table:
    """scores: label -> seed -> metric -> value. The first label is what the others are tested against, over the seeds that both have."""
    rows: dict[str, dict[str, Cell]] = {}
    reference = next(iter(scores.values()), {})
    for number, (label, by_seed) in enumerate(scores.items()):
        common = [seed for seed in by_seed if seed in reference]
        rows[label] = {}
        for metric in metrics:
            values = np.array([by_metric[metric] for by_metric in by_seed.values()], np.float64)
            p = paired_p([reference[s][metric] for s in common], [by_seed[s][metric] for s in common]) if number else math.nan
            rows[label][metric] = Cell(float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else math.nan, p)
    return Table(title, tuple(metrics), rows, {label: len(by_seed) for label, by_seed in scores.items()})


def short(metric: str) -> str:
    """A path as a column's head: "emotion.labels.anger.weighted_f1" -> "anger weighted_f1", "sentiment.mae" -> "mae"."""
    parts = metric.split(".")
    return " ".join(parts[2:]) if "labels" in parts else parts[-1]


def to_csv(table: Table) -> str:
    """One line per row and metric: row, metric, mean, deviation, p, seeds; full precision, empty where there is no number."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("row", "metric", "mean", "deviation", "p", "seeds"))
    for label, cells in table.rows.items():
        for metric, cell in cells.items():
            numbers = ["" if math.isnan(x) else repr(x) for x in (cell.mean, cell.deviation, cell.p)]
            writer.writerow((label, metric, *numbers, table.seeds[label]))
    return text.getvalue()


def to_markdown(table: Table) -> str:
    """mean ± deviation; * where p < 0.05 against the first row."""
    head = ["", *map(short, table.metrics), "seeds"]
    lines = [f"**{table.title}**", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for label, cells in table.rows.items():
        lines.append("| " + " | ".join([label, *(_text(cells[m], "±") for m in table.metrics), str(table.seeds[label])]) + " |")
    return "\n".join([*lines, "", "Mean ± deviation over seeds; * p < 0.05, paired t-test over seeds against the first row.", ""])


def to_latex(table: Table) -> str:
    """A booktabs table; * as in `to_markdown`."""
    columns = " & ".join(["", *(_latex(short(m)) for m in table.metrics)])
    lines = [r"\begin{table}", rf"\caption{{{_latex(table.title)}}}", rf"\begin{{tabular}}{{l{'r' * len(table.metrics)}}}", r"\toprule"]
    lines += [columns + r" \\", r"\midrule"]
    for label, cells in table.rows.items():
        lines.append(" & ".join([_latex(label), *(f"${_text(cells[m], chr(92) + 'pm')}$" for m in table.metrics)]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _text(cell: Cell, plus_minus: str) -> str:
    deviation = "" if math.isnan(cell.deviation) else f" {plus_minus} {cell.deviation:.4f}"
    return f"{cell.mean:.4f}{deviation}" + ("*" if cell.p < 0.05 else "")


def _latex(text: str) -> str:
    for character in "&%$#_{}":
        text = text.replace(character, f"\\{character}")
    return text.replace("->", r"$\rightarrow$")
