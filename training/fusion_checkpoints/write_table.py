"""The tables of docs/checkpoints.md, from the shipped checkpoints' own cards.

    python -m training.fusion_checkpoints.write_table [--weights fusion/weights] [--page docs/checkpoints.md] [--check]

Each table of the page stands between `<!-- table NAME -->` and `<!-- end -->`; what is between is written anew, the rest stays. With
--check nothing is written, and a page that differs from its cards is named (exit code 1).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from emofuse.fusion.shipped import FOLDER, description
from emofuse.pipeline.errors import FormatError

PAGE = Path(__file__).parents[2] / "docs" / "checkpoints.md"
SUBSETS = ("text", "face", "voice", "text+face", "text+voice", "face+voice", "text+face+voice")
OTHER_SETS = ("text+face+voice, neutral words", "voice, distorted", "face+voice, distorted")
STREAMS = ("text", "face", "voice")
TESTS = ("text", "face", "text+face")
BLOCK = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

Card = Mapping[str, Any]
Cell = Callable[[Card], str]


def uar(split: str, name: str) -> Cell:
    """Without, and where it was measured with, a baseline."""

    def cell(card: Card) -> str:
        sets, known = card[split], f"{name}, baseline"
        shown = [sets[key]["uar"] for key in (name, known) if key in sets]
        return " / ".join(f"{100 * value:.1f}" for value in shown)

    return cell


def interval(split: str, name: str) -> Cell:
    """UAR's 95 % interval over persons (photographs, texts)."""
    return lambda card: f"{100 * card[split][name]['uar_low']:.0f} to {100 * card[split][name]['uar_high']:.0f}"


def pair(split: str, name: str, first: str, second: str) -> Cell:
    return lambda card: f"{100 * card[split][name][first]:.1f}; {100 * card[split][name][second]:.1f}"


def sentiment(split: str, digits: int) -> Cell:
    def cell(card: Card) -> str:
        mosi = card[split]["sentiment, mosi"]
        return f"{100 * mosi['acc2_non_zero']:.1f}; {mosi['mae']:.{digits}f}"

    return cell


def validation() -> dict[str, Cell]:
    rows = {name: uar("validation", name) for name in (*SUBSETS, *OTHER_SETS)}
    rows |= {f"95 % interval, {name}": interval("validation", name) for name in ("voice", "face+voice", "text+face+voice")}
    rows["largest calibration error of the seven subsets"] = lambda c: f"{100 * max(c['validation'][k]['ece'] for k in SUBSETS):.1f}"
    rows["CMU-MOSI, words: Acc2 (non-zero); MAE"] = sentiment("validation", 2)
    return rows


def test() -> dict[str, Cell]:
    own = "under its own prior"
    return {
        **{name: uar("test", name) for name in TESTS},
        "GoEmotions, 4,968 comments: UAR; macro F1": pair("test", "text, goemotions", "uar", "macro_f1"),
        "the same under its own prior: accuracy; macro F1": pair("test", f"text, goemotions, {own}", "accuracy", "macro_f1"),
        "MELD, 2,610 lines: weighted F1": lambda c: f"{100 * c['test']['text, meld']['weighted_f1']:.1f}",
        "the same under its own prior: accuracy; weighted F1": pair("test", f"text, meld, {own}", "accuracy", "weighted_f1"),
        "CMU-MOSI, 686 sentences: Acc2 (non-zero); MAE": sentiment("test", 3),
    }


def attention() -> dict[str, Cell]:
    def looks(template: str, stream: str) -> Cell:
        return lambda c: template.format(**c["validation"]["attention"][stream])

    rows: dict[str, Cell] = {}
    for stream in STREAMS:
        even = "times its even share; evidence up to 15 % of the rows; longer"
        rows[f"{stream}: {even}"] = looks("{times_even:.1f}; {brief:.1f}; {longer:.1f}", stream)
        rows[f"{stream}: evidence among the two highest rows"] = looks("{top_two:.0%}", stream)
        rows[f"{stream}: perplexity; border"] = looks("{perplexity:.2f}; {border:.2f}", stream)
    for stream in STREAMS:
        rows[f"{stream}: influence is highest on the evidence"] = lambda c, s=stream: f"{c['validation']['influence'][s]['highest']:.0%}"  # type: ignore[misc]
    rows["deletion, all streams: fall without the top 20 % over a random 20 %"] = deletion
    return {name: percent(cell) for name, cell in rows.items()}


def percent(cell: Cell) -> Cell:
    """ "40%" as "40 %"."""
    return lambda card: re.sub(r"(\d)%", r"\1 %", cell(card))


def deletion(card: Card) -> str:
    fall = card["validation"]["influence"]["all"]
    return f"{fall['top']:.2f} / {fall['random']:.2f} = {fall['top'] / max(1e-9, fall['random']):.1f}"


def of_models(first: str, rows: Mapping[str, Cell], cards: Mapping[str, Card]) -> str:
    """A table with a column for each checkpoint."""
    lines = [f"| {first} | " + " | ".join(f"`{name}`" for name in cards) + " |", "|---" * (len(cards) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(cell(card) for card in cards.values()) + " |" for name, cell in rows.items()]
    return "\n".join(lines) + "\n"


def cost(cards: Mapping[str, Card]) -> str:
    """Processor seconds of each training."""
    return "".join(f"| `{name}`, {card['recipe']['steps']} steps | {card['cpu_seconds']} |\n" for name, card in cards.items())


def tables(cards: Mapping[str, Card]) -> dict[str, str]:
    """Every table by its name on the page; those of sets that were not measured are left out."""
    written = {
        "validation": of_models("streams, validation", validation(), cards),
        "attention": of_models("", attention(), cards),
        "cost": "| stage | processor seconds |\n|---|---|\n" + cost(cards),
    }
    if all("test" in card for card in cards.values()):
        written["test"] = of_models("streams, test", test(), cards)
    return written


def written_anew(page: str, written: Mapping[str, str]) -> str:
    """The page with its tables from the cards. Raises `FormatError` for a table that the page lacks."""
    if missing := sorted(set(written) - {match[2] for match in BLOCK.finditer(page)}):
        raise FormatError(f"docs: expected the page to hold <!-- table {missing[0]} --> and <!-- end -->")
    return BLOCK.sub(lambda match: match[1] + written[match[2]] + match[3] if match[2] in written else match[0], page)


def cards_of(weights: Path) -> dict[str, Card]:
    """Checkpoint -> the numbers of its card, in order of name."""
    return {path.stem: description(path)["card"]["numbers"] for path in sorted(weights.glob("*.safetensors"))}


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--weights", type=Path, default=FOLDER)
    arguments.add_argument("--page", type=Path, default=PAGE)
    arguments.add_argument("--check", action="store_true")
    options = arguments.parse_args()
    page = options.page.read_text(encoding="utf-8")
    anew = written_anew(page, tables(cards_of(options.weights)))
    if options.check:
        if anew != page:
            print(f"{options.page}: differs from the cards; python -m training.fusion_checkpoints.write_table writes it", file=sys.stderr)
        return int(anew != page)
    options.page.write_text(anew, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
