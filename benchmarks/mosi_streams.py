"""CMU-MOSI's utterances as `emofuse train` reads them: MiniLM words and COVAREP means as streams, and a labels CSV.

    python benchmarks/mosi_streams.py --data ../shared/data/mosi/mosi_utterances.parquet --out MOSI

Writes MOSI/VIDEO/streams/{text,voice}.parquet, a video's utterances end to end, and MOSI/labels.csv. The transcripts carry no times:
words are spread evenly, 0.35 s each, which is made up. Voice is one row an utterance (the table has only the means of 73 COVAREP
columns, F0 first). A speaker is a video: who speaks in which is not published with the table. Transcripts are in capitals; MiniLM's
tokenizer lower-cases them.
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
    table["video"] = table.name.str.rpartition("_")[0]
    columns = tuple(f"covarep_mean_{j}" for j in range(len(table.audio.iloc[0])))
    with (options.out / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        labels = csv.writer(file)
        labels.writerow(("clip", "start", "end", "sentiment", "split", "speaker"))
        for video, rows in table.groupby("video"):
            spoken, starts, values, spans, at = [], [], [], [], 0.0
            for row in rows.itertuples():
                words = str(row.transcript).split()
                start = at + np.arange(len(words)) * WORD_SECONDS
                values.append(text.embed(words, start, start + WORD_SECONDS))  # by itself: no sentence runs over two utterances
                at = float(start[-1] + WORD_SECONDS)
                spans.append((float(start[0]), at))
                spoken += words
                starts.append(start)
                labels.writerow((video, *spans[-1], row.sentiment, row.split, video))
            folder = options.out / str(video) / "streams"
            folder.mkdir(parents=True, exist_ok=True)
            start, extent = np.concatenate(starts), np.array(spans)
            heard = np.stack([np.asarray(means, np.float32) for means in rows.audio])
            for stream in (
                TimedSequence("text", text.columns, np.concatenate(values), start, start + WORD_SECONDS, text.provenance, {"word": spoken}),
                TimedSequence("voice", columns, heard, extent[:, 0], extent[:, 1], voice),
            ):
                write_stream(stream, folder / f"{stream.name}.parquet")


if __name__ == "__main__":
    main()
