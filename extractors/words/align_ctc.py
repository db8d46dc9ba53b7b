"""Forced alignment with a CTC acoustic model (wav2vec 2.0 and its kin) from a local folder, through torchaudio's Viterbi search.

The model gives log probabilities of characters every 20 ms; `torchaudio.functional.forced_align` finds the best path of the text's
characters through them (Graves et al. 2006, CTC; Pratap et al. 2023 for the aligner). Sound goes through the model in stretches
cut at pauses, so that memory follows the stretch; only the log probabilities are kept. A token in another alphabet than the
model's is left to its neighbours' room.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from emofuse.pipeline.errors import TranscriptError, WeightsError
from emofuse.pipeline.hashing import sha256_of
from emofuse.pipeline.timed import Floats32, Span

from .align import Alignment, fill_between
from .recording import Recording, Stretch
from .spelling import readings
from .voice_activity import speech_stretches

# Chance is -ln(number of characters), about -3.4: a text that scores like chance is not what is said.
WORST_FIT = -3.0
WINDOW = 40  # characters


class CtcAligner:
    """`Aligner` with a transformers CTC model folder (config.json, vocab.json, model.safetensors); never fetches anything.

    Raises `WeightsError` where the folder lacks one of these files. Characters come from the model's own vocabulary: any language.
    """

    name = "torchaudio-ctc"

    def __init__(self, folder: str | Path, device: str = "cpu") -> None:
        self._folder, self._device = Path(folder), device
        for name in ("config.json", "vocab.json", "model.safetensors"):
            if not (self._folder / name).is_file():
                raise WeightsError(f"{self._folder}: expected a CTC model (config.json, vocab.json, model.safetensors), found no {name}")
        config = json.loads((self._folder / "config.json").read_text("utf-8"))
        self._vocabulary: dict[str, int] = json.loads((self._folder / "vocab.json").read_text("utf-8"))
        self._blank = int(config.get("pad_token_id") or 0)
        # Where the model's outputs lie in time, from its strided convolutions: output k is computed from `receptive` samples that
        # begin at k * step, and speaks for the step around their middle.
        self._step, receptive = 1, 1
        for kernel, stride in zip(config["conv_kernel"], config["conv_stride"], strict=True):
            receptive += (kernel - 1) * self._step
            self._step *= stride
        self._offset = (receptive - self._step) / 2
        self._least = receptive
        preprocessor = self._folder / "preprocessor_config.json"
        self._normalise = not preprocessor.is_file() or json.loads(preprocessor.read_text("utf-8")).get("do_normalize", True)
        self._weights = {"model.safetensors": sha256_of(self._folder / "model.safetensors")}
        self._model: Any = None

    @property
    def version(self) -> str:
        return metadata.version("torchaudio")

    @property
    def weights(self) -> Mapping[str, str]:
        return self._weights

    def align(self, tokens: Sequence[str], stretch: Stretch) -> Alignment:
        return self._aligned(tokens, [stretch])

    def align_text(self, tokens: Sequence[str], recording: Recording) -> Alignment:
        return self._aligned(tokens, list(speech_stretches(recording.blocks())))

    def _aligned(self, tokens: Sequence[str], stretches: Sequence[Stretch]) -> Alignment:
        stretches = [stretch for stretch in stretches if len(stretch.values) >= self._least]
        if not stretches:
            raise TranscriptError(f"alignment: expected speech for {len(tokens)} words, found none")
        characters, token_of = self._characters(tokens)
        if not characters:
            raise TranscriptError(
                f"alignment: expected words in the model's alphabet, got none from {tokens[0]!r} on ({len(tokens)} words)"
            )
        emissions = [self._emission(stretch) for stretch in stretches]
        places = [(k, frame) for k, emission in enumerate(emissions) for frame in range(len(emission))]
        path, scores = _best_path(np.concatenate(emissions), characters, self._blank, tokens)
        ranges: dict[int, tuple[int, int]] = {}
        delimiter = self._vocabulary.get("|")
        for number, (first, last) in enumerate(path):
            token = token_of[number]
            if characters[number] != delimiter and token is not None:
                ranges[token] = (ranges.get(token, (first, last))[0], last)
        spans: list[Span | None] = []
        for k in range(len(tokens)):
            if k not in ranges:
                spans.append(None)
                continue
            (a, first), (b, last) = places[ranges[k][0]], places[ranges[k][1]]
            start = stretches[a].start_of(first * self._step + self._offset)
            spans.append(Span(start, max(start, stretches[b].end_of((last + 1) * self._step + self._offset))))
        fit = float(scores.mean())
        if fit < WORST_FIT:
            raise TranscriptError(
                f"alignment: the {len(tokens)} words from {tokens[0]!r} to {tokens[-1]!r} are not what is said"
                f" (log probability {fit:.1f} a character, {WORST_FIT} or better expected)"
            )
        whole = Span(stretches[0].span.start, stretches[-1].span.end)
        window = np.ones(min(WINDOW, len(scores)))
        poorest = float((np.convolve(scores, window, "valid") / len(window)).min())
        return Alignment(fill_between(tokens, spans, whole), fit, poorest)

    def _characters(self, tokens: Sequence[str]) -> tuple[list[int], list[int | None]]:
        """Vocabulary indices of the whole text, and which token each belongs to (None: between two)."""
        delimiter = self._vocabulary.get("|")
        characters: list[int] = []
        token_of: list[int | None] = []
        for k, token in enumerate(tokens):
            spelled = self._spelled(token)
            if spelled and characters and delimiter is not None:
                characters.append(delimiter)
                token_of.append(None)
            characters += spelled
            token_of += [k] * len(spelled)
        return characters, token_of

    def _spelled(self, token: str) -> list[int]:
        """A token in the model's characters: as written where it knows the letters, else as it is said (digits, symbols)."""
        delimiter = [self._vocabulary["|"]] if "|" in self._vocabulary else []
        if any(c.isdigit() and c not in self._vocabulary for c in token) or not any(c.isalpha() for c in token):
            ways = readings(token)
            words = ways[0] if ways else ()
        else:
            words = (token,)
        indices: list[int] = []
        for word in words:
            known = [index for character in unicodedata.normalize("NFC", word) if (index := self._index(character)) is not None]
            indices += (delimiter if indices and known else []) + known
        return indices

    def _index(self, character: str) -> int | None:
        plain = "'" if character in "’‘" else character
        bare = unicodedata.normalize("NFD", plain)[0]
        for form in (plain, plain.upper(), plain.lower(), bare.upper(), bare.lower()):
            if form in self._vocabulary and form != "|":
                return self._vocabulary[form]
        return None

    def _emission(self, stretch: Stretch) -> Floats32:
        """(frames, characters) log probabilities of one stretch."""
        import torch

        if self._model is None:
            self._model = self._load()
        values = torch.from_numpy(stretch.values.astype(np.float32) / 32768)
        if self._normalise:
            # As most of these models were trained: zero mean, unit variance (transformers' Wav2Vec2FeatureExtractor).
            values = (values - values.mean()) / torch.sqrt(values.var(unbiased=False) + 1e-7)
        with torch.inference_mode():
            logits = self._model(values[None].to(self._device)).logits[0]
            emission: Floats32 = torch.log_softmax(logits.float(), dim=-1).cpu().numpy()
        return emission

    def _load(self) -> Any:
        from transformers import AutoModelForCTC
        from transformers.utils import logging

        bars = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # the library never prints
        try:
            model = AutoModelForCTC.from_pretrained(self._folder, local_files_only=True, use_safetensors=True)
        except OSError as error:
            raise WeightsError(f"{self._folder}: expected a CTC model: {str(error).splitlines()[0]}") from None
        finally:
            if bars:
                logging.enable_progress_bar()  # type: ignore[no-untyped-call]
        return model.eval().to(self._device)


def _best_path(emission: Floats32, characters: list[int], blank: int, tokens: Sequence[str]) -> tuple[list[tuple[int, int]], Floats32]:
    """First and last frame of each character on the best path, and each character's mean log probability."""
    import torch
    from torchaudio.functional import forced_align  # type: ignore[import-untyped]

    repeats = sum(a == b for a, b in pairwise(characters))
    if len(emission) < len(characters) + repeats:
        raise TranscriptError(
            f"alignment: {len(tokens)} words from {tokens[0]!r} on need {len(characters) + repeats} frames, the sound has {len(emission)}"
        )
    labels, scores = forced_align(torch.from_numpy(emission)[None], torch.tensor([characters], dtype=torch.int32), blank=blank)
    ranges: list[tuple[int, int]] = []
    means: list[float] = []
    previous = blank
    for frame, (label, score) in enumerate(zip(labels[0].tolist(), scores[0].tolist(), strict=True)):
        if label != blank:
            if label == previous and ranges:
                count = frame - ranges[-1][0]
                ranges[-1] = (ranges[-1][0], frame)
                means[-1] += (score - means[-1]) / (count + 1)
            else:
                ranges.append((frame, frame))
                means.append(score)
        previous = label
    return ranges, np.array(means, np.float32)
