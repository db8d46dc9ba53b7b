"""CMU-MOSI's utterances as `emofuse train` reads them: MiniLM words and COVAREP means as streams, and a labels CSV.

    python benchmarks/mosi_streams.py --data ../shared/data/mosi/mosi_utterances.parquet --out MOSI

Writes MOSI/NAME/streams/{text,voice}.parquet and MOSI/labels.csv. The transcripts carry no times: words are spread evenly, 0.35 s each,
which is made up. Voice is one row an utterance (the table has only the means of 73 COVAREP columns, F0 first). A speaker is a video:
who speaks in which is not published with the table. Transcripts are in capitals; MiniLM's tokenizer lower-cases them.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from emofuse.extractors.bert_text import BertText
from emofuse.pipeline.exports.parquet import write_stream
from emofuse.pipeline.timed import Provenance, TimedSequence

WORD_SECONDS = 0.35


def main() -> None:
    arguments = argparse.ArgumentParser(description="Write CMU-MOSI as streams and labels.")
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--out", type=Path, required=True)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    table = pd.read_parquet(options.data)
    text, voice = BertText(offline=True), Provenance("covarep-means", "1", notes={"source": options.data.name})
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        labels = csv.writer(file)
        labels.writerow(("clip", "start", "end", "sentiment", "split", "speaker"))
        for row in table.itertuples():
            words = tuple(str(row.transcript).split())
            start = np.arange(len(words)) * WORD_SECONDS
            end = start + WORD_SECONDS
            seconds = float(end[-1])
            values = text.embed(words, start, end)
            means = np.asarray(row.audio, np.float32)[None]
            folder = options.out / str(row.name) / "streams"
            folder.mkdir(parents=True, exist_ok=True)
            spoken = TimedSequence("text", text.columns, values, start, end, text.provenance, labels={"word": words})
            names = tuple(f"covarep_mean_{j}" for j in range(means.shape[1]))
            heard = TimedSequence("voice", names, means, np.zeros(1), np.array([seconds]), voice)
            for stream in (spoken, heard):
                write_stream(stream, folder / f"{stream.name}.parquet")
            speaker = str(row.name).rpartition("_")[0]
            labels.writerow((row.name, 0, seconds, row.sentiment, row.split, speaker))


if __name__ == "__main__":
    main()
