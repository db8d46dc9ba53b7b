"""CMU-MOSI's utterances as `emofuse train` reads them: MiniLM words and COVAREP means as streams, and a labels CSV.

    python benchmarks/mosi_streams.py --data ../shared/data/mosi/mosi_utterances.parquet --out MOSI
    python benchmarks/mosi_streams.py --data ../shared/data/mosi/mosi_utterances.parquet --out BCLSTM --split bclstm_split

Writes MOSI/VIDEO/streams/{text,voice}.parquet, a video's utterances end to end, and MOSI/labels.csv. The transcripts carry no times:
words are spread evenly, 0.35 s each, which is made up. Voice is one row per utterance (the table has only the means of 73 COVAREP
columns, F0 first). The table's video columns come of a network that was trained on the training part of `bclstm_split`, so they are
written for that split alone, one row per utterance. That split names no validation part: every eighth of its training videos, in
order of name, becomes it. The network has seen those too, so with video the validation loss is too good. A speaker is a video: who
speaks in which is not published with the table. Transcripts are in capitals; MiniLM's tokenizer lower-cases them.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from emofuse.extractors.text.bert_text import PLAIN_MINILM, BertText
from emofuse.pipeline.formats.parquet import write_stream
from emofuse.pipeline.timed import Provenance, TimedSequence

WORD_SECONDS = 0.35
VALIDATION = 8  # every so many of bclstm_split's training videos


def main() -> None:
    arguments = argparse.ArgumentParser(description="Write CMU-MOSI as streams and labels.")
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--split", choices=("split", "bclstm_split"), default="split", help="the official one, or bc-LSTM's, with video")
    arguments.add_argument("--text", default=PLAIN_MINILM, help="a text encoder, as `emofuse extract --text` takes it")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    table = pd.read_parquet(options.data)
    text, voice = BertText(options.text, offline=True), Provenance("covarep-means", "1", notes={"source": options.data.name})
    options.out.mkdir(parents=True, exist_ok=True)
    table["speaker"] = table.name.str.rpartition("_")[0]
    means = {"voice": ("audio", "covarep_mean", voice)}
    if options.split == "bclstm_split":
        table["split"] = table.bclstm_split
        held = sorted(set(table.speaker[table.split == "train"]))[::VALIDATION]
        table.loc[table.speaker.isin(held), "split"] = "valid"
        means["video"] = ("video", "cnn", Provenance("bclstm-cnn", "1", notes={"source": options.data.name}))
    with (options.out / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        labels = csv.writer(file)
        labels.writerow(("clip", "start", "end", "sentiment", "split", "speaker"))
        for video, rows in table.groupby("speaker"):
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
            streams = [
                TimedSequence("text", text.columns, np.concatenate(values), start, start + WORD_SECONDS, text.provenance, {"word": spoken})
            ]
            for name, (column, prefix, made) in means.items():
                features = np.stack([np.asarray(row, np.float32) for row in rows[column]])
                names = tuple(f"{prefix}_{j}" for j in range(features.shape[1]))
                streams.append(TimedSequence(name, names, features, extent[:, 0], extent[:, 1], made))
            for stream in streams:
                write_stream(stream, folder / f"{stream.name}.parquet")


if __name__ == "__main__":
    main()
