"""The names that everything agrees on: emotions, streams, and the modalities that a model reads."""

from __future__ import annotations

EMOTIONS: tuple[str, ...] = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
STREAMS: tuple[str, ...] = ("words", "text", "face", "voice", "speakers")
MODALITIES: tuple[str, ...] = ("text", "face", "voice")
