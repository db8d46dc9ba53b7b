"""Diarization error on composed conversations of speakers of whom nothing was learned (training/conversations.py, TEST).

    python -m benchmarks.speakers --data ../shared/data [--resemblyzer pretrained.pt]

Everything is as `emofuse analyze --speakers` does it: Silero says where there is speech, `--voice whisper` reads the sound, and there
are no faces. Conversations are of one corpus each: every pair, every single speaker, every three. DER counts missed and false speech
and the wrong speaker, without a collar and with 0.25 s on either side of each border. `--resemblyzer` puts Resemblyzer's prints in the
place of ours, all else alike.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from emofuse.extractors.speakers.voiceprints import Space, Tenths
from emofuse.extractors.speakers.voices import found
from emofuse.extractors.voice.whisper_voice import WhisperVoice
from emofuse.extractors.words.silero import spoken_stretches
from emofuse.pipeline.diarization_error import DiarizationError, diarization_error
from emofuse.pipeline.media import Samples
from emofuse.pipeline.timed import Provenance, Span
from emofuse.pipeline.turns import turns_of
from training.conversations import TEST, Conversation, compose, one_corpus, recordings
from training.sound import Sound

COLLAR = 0.25
TURNS = {1: 12, 2: 24, 3: 30}
BY = Provenance("benchmark", "1")


@dataclass(frozen=True)
class Set:
    """Conversations of so many people of one corpus."""

    corpus: str
    people: int
    overlap: float

    @property
    def name(self) -> str:
        return f"{self.corpus}, {self.people} speaker{'' if self.people == 1 else 's'}{', overlapping' if self.overlap else ''}"


def conversations(data: Path, chosen: Set, times: int) -> Iterator[Conversation]:
    clips = recordings(data)
    speakers = one_corpus(TEST)[0 if chosen.corpus == "RAVDESS" else 1]
    for k, people in enumerate(list(combinations(speakers, chosen.people)) * times):
        random = np.random.default_rng([k, chosen.people, round(100 * chosen.overlap), chosen.corpus == "RAVDESS"])
        yield compose(clips, people, TURNS[chosen.people], random, overlap=chosen.overlap)


def measured(chosen: Set, data: Path, times: int, encoder: object | None) -> list[dict[str, object]]:
    voice, space, rows = WhisperVoice(), Space.load(), []
    for conversation in conversations(data, chosen, times):
        begin = time.process_time()
        blocks = [Samples(0.0, conversation.values)]
        speech = [Span(s.start, s.end) for stretch in spoken_stretches(blocks) for s in stretch.speech]
        tenths = Tenths(voice(Sound(conversation.values), {}))
        readers = {"whisper": (tenths, space)}
        if encoder is not None:
            from benchmarks.resemblyzer import ResemblyzerPrints

            prints = ResemblyzerPrints(encoder, conversation.values)
            readers["resemblyzer"] = (prints, prints)
        for reader, (sums, turned) in readers.items():
            for count in (chosen.people, None) if reader == "whisper" else (chosen.people,):
                turns = turns_of(found(sums, turned, speech, None, count, BY))
                errors = [diarization_error(conversation.turns, turns, collar=collar) for collar in (0.0, COLLAR)]
                rows.append(
                    {"set": chosen.name, "reader": reader, "count": count, "found": len({t.speaker for t in turns}), "errors": errors}
                )
        print(f"{chosen.name}: {conversation.length:.0f} s, {time.process_time() - begin:.1f} processor seconds", flush=True)
    return rows


def table(rows: list[dict[str, object]]) -> str:
    lines = [
        "| conversations | voices by | `--speakers` | missed | false | wrong speaker | DER | DER, 0.25 s collar | speakers found |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for key in dict.fromkeys((r["set"], r["reader"], r["count"]) for r in rows):
        part = [r for r in rows if (r["set"], r["reader"], r["count"]) == key]
        plain, collared = (total([r["errors"][k] for r in part]) for k in (0, 1))
        count = "auto" if key[2] is None else str(key[2])
        shares = " | ".join(f"{100 * x / plain.speech:.1f}" for x in (plain.missed, plain.false_alarm, plain.confusion))
        numbers = ", ".join(f"{n}: {c}" for n, c in sorted(Counter(r["found"] for r in part).items()))
        lines.append(
            f"| {key[0]} ({len(part)}) | {key[1]} | {count} | {shares} | {100 * plain.rate:.1f} | {100 * collared.rate:.1f} | {numbers} |"
        )
    return "\n".join(lines)


def total(errors: list[DiarizationError]) -> DiarizationError:
    whole = errors[0]
    for error in errors[1:]:
        whole = whole + error
    return whole


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--times", type=int, default=1, help="conversations of each pair (others: one)")
    arguments.add_argument("--resemblyzer", type=Path, help="pretrained.pt of the package Resemblyzer 0.1.4")
    arguments.add_argument("--json", type=Path, help="where to keep the rows")
    given = arguments.parse_args()
    encoder = None
    if given.resemblyzer is not None:
        from benchmarks.resemblyzer import Encoder

        encoder = Encoder(given.resemblyzer)
    rows: list[dict[str, object]] = []
    for people, overlap in ((2, 0.0), (1, 0.0), (3, 0.0), (2, 0.3)):
        for corpus in ("RAVDESS", "EmoDB"):
            plain_pair = people == 2 and not overlap
            rows += measured(Set(corpus, people, overlap), given.data, given.times if plain_pair else 1, encoder if plain_pair else None)
            print(table(rows), flush=True)
    if given.json is not None:
        given.json.write_text(json.dumps([{**r, "errors": [e.__dict__ for e in r["errors"]]} for r in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
