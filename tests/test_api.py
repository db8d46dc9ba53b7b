"""The public calls: what an editor sees, what is accepted, and what is refused in one line."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import emofuse
from emofuse.options import Options, options_with, prior_of


def test_every_option_is_a_keyword_that_an_editor_shows_and_the_docstring_explains() -> None:
    parameters = inspect.signature(emofuse.analyze).parameters
    assert {field.name for field in fields(Options)} <= set(parameters)
    assert all(parameter.kind is not inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    documented = inspect.getdoc(Options) or ""
    assert not [field.name for field in fields(Options) if field.name not in documented]


def test_dir_lists_what_is_public_before_it_is_used() -> None:
    assert {"analyze", "analyze_folder", "load", "convert", "words_table", "Options", "Analysis"} <= set(dir(emofuse))
    assert set(dir(emofuse)) == set(emofuse.__all__)
    for name in emofuse.__all__:
        assert getattr(emofuse, name) is not None


def test_paths_and_dicts_are_kept_in_one_form() -> None:
    given = Options(words=Path("talk.eaf"), model=Path("runs/one"), acoustic_model=Path("ctc"), prior={"neutral": 0.5, "anger": 0.1})
    assert given == Options(words="talk.eaf", model="runs/one", acoustic_model="ctc", prior="neutral=0.5,anger=0.1")
    assert (prior_of(given.prior) or {})["neutral"] == 0.5


def test_keywords_override_options_and_none_keeps_them() -> None:
    options = Options(words="none", face="none")
    assert options_with(options, {"words": "whisper", "face": None}) == Options(words="whisper", face="none")
    assert options_with(None, {}) == Options()


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"words": ["a"]}, "words: expected auto, none, a provider or a path, got \\['a'\\]"),
        ({"face": 3}, "face: expected auto"),
        ({"voice": b"x"}, "voice: expected auto"),
        ({"model": 1.5}, "model: expected a checkpoint's name or a path, got 1.5"),
        ({"offline": "yes"}, "offline: expected True or False, got 'yes'"),
        ({"device": 0}, "device: expected auto, cpu"),
        ({"language": 7}, "language: expected a code"),
        ({"limits": {"seconds": 3}}, "limits: expected emofuse.Limits"),
        ({"face_id": "first"}, "face_id: expected a whole number"),
        ({"face_id": True}, "face_id: expected a whole number"),
        ({"prior": {"calm": 0.5}}, "prior calm=0.5: expected EMOTION=SHARE"),
        ({"prior": {"anger": "much"}}, "prior anger=much: expected EMOTION=SHARE"),
        ({"prior": "anger=0.5,anger=0.2"}, "once each"),
        ({"prior": 3}, "prior: expected text or a dict"),
        ({"maps": "big"}, "maps: expected none, small, all, got 'big'"),
        ({"options": {"words": "none"}}, "options: expected emofuse.Options or None, got dict"),
    ],
)
def test_wrong_values_are_refused_with_what_was_expected(wrong: dict[str, Any], expected: str, samples: Path) -> None:
    with pytest.raises(emofuse.UsageError, match=expected):
        emofuse.analyze(samples / "voice_only.flac", **wrong)
