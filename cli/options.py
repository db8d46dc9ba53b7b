"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from emofuse.extractors import EXTRACTORS
from emofuse.options import ALIGNMENTS, Options
from emofuse.pipeline.turns import SPEAKERS

Function = TypeVar("Function", bound=Callable[..., Any])


def _help(stream: str) -> str:
    """ "auto, none, or ..." with every provider of a stream, as each describes itself."""
    if stream == SPEAKERS:
        described = [f"{provider.name}{provider.argument}" for provider in EXTRACTORS[stream]]
        return (
            "Who speaks: one person (1), as many as are told apart (auto), N people, or an RTTM file or a folder of them"
            f" (docs/speakers.md; also: {', '.join(described)})."
        )
    described = [f"{provider.name}{provider.argument} ({provider.help})" for provider in EXTRACTORS[stream]]
    return f"auto, none, or one of: {'; '.join(described)}."


def provider_options(function: Function) -> Function:
    """--words --text --face --voice --speakers --offline --device --language --acoustic-model --audio-track --tier --align."""
    function = click.option("--acoustic-model", metavar="FOLDER", help="CTC model to align words with (default: pocketsphinx, English).")(
        function
    )
    function = click.option("--language", metavar="CODE", help="Language of the speech, en or de (default: detected).")(function)
    function = click.option("--tier", metavar="NAMES", help="Tiers of a TextGrid or ELAN file that hold the words (default: detected).")(
        function
    )
    function = click.option(
        "--audio-track", type=click.IntRange(1), metavar="N", help="The clip's N-th audio track (default: the one marked as default)."
    )(function)
    function = click.option("--device", default="auto", show_default=True, metavar="DEVICE", help="auto, cpu, cuda, cuda:1, mps.")(function)
    function = click.option(
        "--align", type=click.Choice(ALIGNMENTS), default="none", show_default=True, help="words: average face and voice over each word."
    )(function)
    function = click.option("--offline", is_flag=True, help="Never open a network connection.")(function)
    for stream in reversed(tuple(EXTRACTORS)):
        default, metavar = ("1", "auto|N|FILE") if stream == SPEAKERS else ("auto", "PROVIDER")
        function = click.option(f"--{stream}", default=default, show_default=True, metavar=metavar, help=_help(stream))(function)
    return function


def options_from(values: dict[str, Any]) -> Options:
    return Options(
        **{
            name: values[name] for name in ("words", "text", "face", "voice", "speakers", "offline", "device", "language", "acoustic_model")
        },
        model=values.get("model"),
        face_id=values.get("face_id"),
        prior=values.get("prior"),
        baseline=values.get("baseline") or "auto",
        influence=values.get("influence", True),
        audio_track=values.get("audio_track"),
        tier=values.get("tier"),
        align=values.get("align", "none"),
    )
