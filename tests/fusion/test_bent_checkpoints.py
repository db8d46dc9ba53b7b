"""A checkpoint from somebody else that does not hold what it says is refused in one line, before its model is built."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from emofuse.fusion.checkpoints import load
from emofuse.fusion.shipped import description, locate
from emofuse.pipeline.errors import CheckpointError


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    shipped = locate(None)
    for file in (shipped, shipped.with_suffix(".json")):
        shutil.copy(file, tmp_path / file.name)
    return tmp_path / shipped.name


def rewritten(path: Path, change: Any) -> None:
    document = json.loads(path.with_suffix(".json").read_text())
    change(document)
    path.with_suffix(".json").write_text(json.dumps(document))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(copied: Path, value: float) -> None:
    tensors = load_file(copied)
    name = sorted(tensors)[0]
    tensors[name].view(-1)[0] = value
    save_file(tensors, copied)
    digest = hashlib.sha256(copied.read_bytes()).hexdigest()
    rewritten(copied, lambda document: document.update(safetensors_sha256=digest))
    with pytest.raises(CheckpointError, match=f"expected finite weights, but {name} holds 1"):
        load(copied)


@pytest.mark.parametrize("times", [3, 4000])
def test_a_config_that_claims_another_model_is_refused_before_it_is_built(copied: Path, times: int) -> None:
    numbers = [k for k, v in json.loads(copied.with_suffix(".json").read_text())["config"].items() if type(v) is int and v > 1]
    assert numbers
    for key in numbers:
        whole = copied.with_suffix(".json").read_text()
        rewritten(copied, lambda document, key=key: document["config"].update({key: document["config"][key] * times}))
        made = torch.nn.Parameter.__new__
        with pytest.raises(CheckpointError) as error:
            load(copied)
        assert "\n" not in str(error.value) and made is torch.nn.Parameter.__new__
        copied.with_suffix(".json").write_text(whole)


@pytest.mark.parametrize("text", ["[" * 200_000, "{}", "[]", '{"streams": 3}', '{"streams": {"text": 1}}', "null", "\x00"])
def test_a_description_that_is_none_is_one_line(copied: Path, text: str) -> None:
    copied.with_suffix(".json").write_text(text)
    for read in (load, description):
        with pytest.raises(CheckpointError) as error:
            read(copied)
        assert "\n" not in str(error.value)
