"""The table of docs/checkpoints.md from the shipped checkpoints' own cards.

python -m training.fusion_checkpoints.write_table [validation|test]
"""

from __future__ import annotations

import sys

from emofuse.fusion.shipped import description, shipped

SUBSETS = ("text", "face", "voice", "text+face", "text+voice", "face+voice", "text+face+voice")
SETS = (*SUBSETS, "text+face+voice, neutral words", "voice, distorted", "face+voice, distorted")
TEXTS = ("goemotions", "meld")


def main() -> None:
    split = sys.argv[1] if len(sys.argv) > 1 else "validation"
    cards = {name: description(path)["card"]["numbers"].get(split, {}) for name, path in shipped().items()}
    print("| streams | " + " | ".join(cards) + " |\n|---" + "|---" * len(cards) + "|")
    for key in SETS:
        print(f"| {key} | " + " | ".join(f"{100 * c[key]['uar']:.1f}" if key in c else "" for c in cards.values()) + " |")
    worst = {name: max((c[k]["ece"] for k in SUBSETS if k in c), default=float("nan")) for name, c in cards.items()}
    print("| largest calibration error of the seven subsets | " + " | ".join(f"{100 * w:.1f}" for w in worst.values()) + " |")
    for corpus in TEXTS:
        for kind in ("", ", under its own prior"):
            for measure in ("uar", "accuracy", "macro_f1", "weighted_f1", "majority", "ece"):
                key = f"text, {corpus}{kind}"
                shown = (f"{100 * c[key][measure]:.1f}" if key in c else "" for c in cards.values())
                print(f"| {key}: {measure} | " + " | ".join(shown) + " |")
    key = "sentiment, mosi"
    print(
        "| CMU-MOSI, words: Acc2 (non-zero) | "
        + " | ".join(f"{100 * c[key]['acc2_non_zero']:.1f}" for c in cards.values() if key in c)
        + " |"
    )


if __name__ == "__main__":
    main()
