"""How often influence points at the word that carries a sentence's emotion: one emotional word planted in a neutral sentence.

    python benchmarks/influence.py [MODEL ...]

Each of six neutral frames gets one of five words in its slot; words alone are read. Counted: sentences in which the planted word has the
highest influence of all words, on the model's own answer, and for comparison those in which it gets the highest attention.
"""

from __future__ import annotations

import sys
import time
from itertools import product

import numpy as np

from emofuse.assembly import Assembly
from emofuse.fusion.shipped import shipped
from emofuse.options import Options
from emofuse.pipeline.attention.influence import influence_of
from emofuse.pipeline.attention.timeline import shares
from emofuse.pipeline.results import Utterance
from emofuse.pipeline.timed import Provenance, Span, TimedSequence

FRAMES = (
    "He was {} when the parcel came to the office this morning.",
    "They looked {} as the train left the station at noon.",
    "The teacher seemed {} about the new table in the room.",
    "She told me a {} story about the road to the lake.",
    "We had a {} time at the market on Tuesday afternoon.",
    "My neighbour is {} with the colour of the garden fence.",
)
WORDS = ("furious", "disgusting", "terrified", "wonderful", "heartbroken")
MADE = Provenance("planted", "1")


def sentence(text: str) -> TimedSequence:
    """The words of a sentence, 0.4 s each."""
    words = text.split()
    start = np.arange(len(words), dtype=np.float64) * 0.4
    values = np.ones((len(words), 1), np.float32)
    return TimedSequence("words", ("probability",), values, start, start + 0.4, MADE, {"word": tuple(words), "speaker": ("",) * len(words)})


def measured(model: str) -> tuple[int, int, float]:
    """Sentences in which the planted word has the highest influence, and the highest attention; processor seconds of influence in all."""
    assembly = Assembly(Options(face="none", voice="none", offline=True, model=model))
    choice = assembly.choices["text"]
    assert choice.provider is not None
    text = choice.provider.make(assembly.request(choice))

    def embed(words: TimedSequence) -> TimedSequence:
        return text(None, {"words": words})  # type: ignore[arg-type]  # it reads words alone

    right, looked, cost = 0, 0, 0.0
    for frame, planted in product(FRAMES, WORDS):
        words, position = sentence(frame.format(planted)), frame.split().index("{}")
        rows = embed(words)
        utterance = Utterance(Span(0.0, float(words.end[-1])), "", {"text": rows}, {"text": np.arange(len(rows))})
        began = time.process_time()
        influence = influence_of(utterance, assembly.model, words=words, embed=embed)
        cost += time.process_time() - began
        assert influence is not None
        right += int(np.argmax(influence.rows["text"])) == position
        (answer,) = assembly.model.predict([utterance])
        overall = shares("text", answer.attention, {"text": len(rows)})[1]
        looked += overall is not None and int(np.argmax(overall)) == position
    return right, looked, cost


def main() -> None:
    count = len(FRAMES) * len(WORDS)
    print("| model | planted word has the highest influence | the highest attention | processor s per sentence |\n|---|---|---|---|")
    for model in sys.argv[1:] or list(shipped()):
        right, looked, cost = measured(model)
        print(f"| {model} | {right} of {count} | {looked} of {count} | {cost / count:.2f} |", flush=True)


if __name__ == "__main__":
    main()
