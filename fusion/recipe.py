"""A recipe: everything that settles a training, read from a TOML file. Unknown keys are refused by name.

    name = "mosi-mult"
    about = "one line"
    [data]            form = "mult", labels = "", hide = []              which reader (datasets/), streams that stay unseen
    [splits]          by = "data" | "speaker" | "random", valid, test, folds, fold, shares, seed, merge
    [streams.text]    source = "", columns = [], width = 300             [] = all columns; width 0 = any
    [tasks.sentiment] kind = "regress", column, labels, loss, weight, rename     see tasks.py
    [model]           name = "mult" and that model's config, without streams and outputs
    [training]        epochs, batch, rate, ...
    [augment.voice]   offset, noise, mask_columns, mask_rows             training rows made different each time, see augmentation.py
    [[stages]]        delta-attention alone: name, epochs, batch, rate, weight_decay
    [card]            training_data, licence, intended_use, limits

Recipes of the papers come with the package (`shipped()`); what a paper does not state says so in a comment there.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from emofuse.pipeline.errors import UsageError

FOLDER = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class DataPart:
    """form: a name in `datasets.FORMATS`; labels: the form's labels file or key; hide: streams that the model has but never sees."""

    form: str
    labels: str = ""
    hide: tuple[str, ...] = ()


@dataclass(frozen=True)
class SplitsPart:
    """by "data": as the data say. "speaker": the speakers named are valid and test; with `folds`, speakers in order of name are dealt
    out to that many folds, number `fold` is test, the next is valid. "random": utterances are drawn by `shares` and `seed`, speakers not
    kept apart (as Panchal 2020 does; scores come out higher than on new speakers). merge: valid is trained on too (needs `keep = "last"`).
    """

    by: str = "data"
    valid: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    folds: int = 0
    fold: int = 0
    shares: tuple[float, ...] = (0.8, 0.1, 0.1)
    seed: int = 1111
    merge: bool = False

    def __post_init__(self) -> None:
        if len(self.shares) != 3 or min(self.shares) <= 0 or abs(sum(self.shares) - 1) > 1e-6:
            raise ValueError(f"shares: expected three shares above 0 of train, valid and test that sum to 1, got {list(self.shares)}")


@dataclass(frozen=True)
class StreamPart:
    """source: the stream's name in the data; columns: which ones, empty = all; width: how many there must be, 0 = any."""

    source: str = ""
    columns: tuple[str, ...] = ()
    width: int = 0


@dataclass(frozen=True)
class TaskPart:
    """kind: a name in `tasks.KINDS`; column: the label's name in the data (the task's, where empty);
    labels: classes or emotions; loss: l1, l2, cross-entropy or bce (empty = the kind's own); rename: class in the data -> ours.
    smoothing: share of a class's probability that cross-entropy spreads over all classes while training."""

    kind: str
    column: str = ""
    labels: tuple[str, ...] = ()
    loss: str = ""
    weight: float = 1.0
    rename: Mapping[str, str] = field(default_factory=dict)
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing: expected 0 to less than 1, got {self.smoothing}")


@dataclass(frozen=True)
class TrainingPart:
    """epochs, batch (utterances), rate (Adam's), weight_decay; clip: largest gradient norm, 0 = none.

    schedule         "plateau", or "one-cycle": the rate rises from rate / 25 over the first 15 % of the steps and falls to 0 along a cosine
    plateau, factor  the rate is multiplied by factor after so many epochs without a lower validation loss; 0 = never
    stop             training ends after so many epochs without a lower validation loss; 0 = never
    scaling          "standard" (training mean and deviation, cut at 5) or "none"
    precision        "float32", "bfloat16" or "float16" (mixed; float16 on a GPU only)
    balanced         classes weigh alike in the loss
    keep             "best": the epoch with the lowest validation loss; "last": the last one, for a number of epochs that was settled
                     before (on other speakers). Then valid may stay empty, and nobody is kept from training to choose an epoch
    grouped          utterances of so many batches are sorted by length before they are cut into batches (less padding); 0 = not
    """

    epochs: int
    batch: int
    rate: float
    optimiser: str = "adam"
    schedule: str = "plateau"
    weight_decay: float = 0.0
    clip: float = 0.8
    plateau: int = 20
    factor: float = 0.1
    stop: int = 0
    seed: int = 1111
    scaling: str = "standard"
    precision: str = "float32"
    balanced: bool = False
    keep: str = "best"
    grouped: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1 or not self.rate > 0:
            raise ValueError(f"expected epochs, batch and rate above 0, got {self.epochs}, {self.batch}, {self.rate}")
        _choice("keep", self.keep, ("best", "last"))
        if self.keep == "last" and self.stop:
            raise ValueError(f"keep last trains all epochs, but stop is {self.stop}")
        if self.grouped < 0:
            raise ValueError(f"grouped: expected 0 or more batches, got {self.grouped}")
        _choice("optimiser", self.optimiser, ("adam", "adamw"))
        _choice("schedule", self.schedule, ("plateau", "one-cycle"))
        _choice("scaling", self.scaling, ("standard", "none"))
        _choice("precision", self.precision, ("float32", "bfloat16", "float16"))


@dataclass(frozen=True)
class AugmentPart:
    """How training rows of a stream are made different each time (augmentation.py).

    offset        deviation of a shift that all rows of an utterance share, column by column (a voice, a microphone)
    noise         deviation of a shift of every value
    mask_columns  share of an utterance's columns that are masked
    mask_rows     the longest share of an utterance's rows that is masked in one run; its length and place are drawn

    All 0: nothing happens. Deviations are in those of the training rows.
    """

    offset: float = 0.0
    noise: float = 0.0
    mask_columns: float = 0.0
    mask_rows: float = 0.0

    def __post_init__(self) -> None:
        if self.offset < 0 or self.noise < 0 or not (0 <= self.mask_columns < 1 and 0 <= self.mask_rows < 1):
            raise ValueError(f"expected offset and noise of 0 or more and masks of 0 to less than 1, got {self}")


@dataclass(frozen=True)
class StagePart:
    """One stage of delta-attention's training: streams, encoders (DCCA), fused, or joint (all at once, with the correlation's
    share `correlation`). pairing: "utterances" or "rows", of the rows that DCCA correlates. stream: the only one that a stage "streams"
    trains, so that each can have numbers of its own; "" = all together."""

    name: str
    epochs: int
    batch: int
    rate: float
    weight_decay: float = 0.0
    correlation: float = 0.1
    pairing: Literal["utterances", "rows"] = "utterances"
    stream: str = ""

    def __post_init__(self) -> None:
        _choice("stage", self.name, ("streams", "encoders", "fused", "joint", "all"))
        if self.stream and self.name != "streams":
            raise ValueError(f"stream: belongs to a stage named streams, not to {self.name}")
        _choice("pairing", self.pairing, ("utterances", "rows"))


@dataclass(frozen=True)
class CardPart:
    """What a checkpoint must say to people; the numbers are filled in by training."""

    training_data: str = "not stated in the recipe"
    licence: str = "not stated in the recipe"
    intended_use: str = "research"
    limits: tuple[str, ...] = ("not stated in the recipe",)


@dataclass(frozen=True)
class Recipe:
    """See the module's docstring. `model` and `options` are the model's name and its config's numbers."""

    name: str
    data: DataPart
    streams: Mapping[str, StreamPart]
    tasks: Mapping[str, TaskPart]
    model: str
    training: TrainingPart
    options: Mapping[str, Any] = field(default_factory=dict)
    about: str = ""
    splits: SplitsPart = field(default_factory=SplitsPart)
    stages: tuple[StagePart, ...] = ()
    augment: Mapping[str, AugmentPart] = field(default_factory=dict)
    card: CardPart = field(default_factory=CardPart)

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """From a TOML file; raises `UsageError` naming the file and the key."""
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: cannot be read as a TOML recipe: {error}") from None
        return cls.of(table, str(path))

    @classmethod
    def of(cls, table: Mapping[str, Any], where: str) -> Recipe:
        """From nested tables, as TOML and JSON have them; raises `UsageError` naming the key."""
        known = ("name", "about", "data", "splits", "streams", "tasks", "model", "training", "stages", "augment", "card")
        _keys(table, known, ("name", "data", "streams", "tasks", "model", "training"), where)
        model = dict(_table(table["model"], f"{where}: model"))
        if "name" not in model:
            raise UsageError(f"{where}: missing key: model.name")
        stages = table.get("stages", ())
        if not isinstance(stages, list | tuple):
            raise UsageError(f"{where}: stages: expected [[stages]] tables")
        recipe = cls(
            name=str(table["name"]),
            about=str(table.get("about", "")),
            data=_part(DataPart, table["data"], f"{where}: data"),
            splits=_part(SplitsPart, table.get("splits", {}), f"{where}: splits"),
            streams=_parts(StreamPart, table["streams"], f"{where}: streams"),
            tasks=_parts(TaskPart, table["tasks"], f"{where}: tasks"),
            model=str(model.pop("name")),
            options=model,
            training=_part(TrainingPart, table["training"], f"{where}: training"),
            stages=tuple(_part(StagePart, stage, f"{where}: stages") for stage in stages),
            augment=_parts(AugmentPart, table.get("augment", {}), f"{where}: augment"),
            card=_part(CardPart, table.get("card", {}), f"{where}: card"),
        )
        if not recipe.streams or not recipe.tasks:
            raise UsageError(f"{where}: expected a stream and a task or more, got {len(recipe.streams)} and {len(recipe.tasks)}")
        if unknown := set(recipe.data.hide) - set(recipe.streams):
            raise UsageError(f"{where}: data.hide: no stream {', '.join(sorted(unknown))}; there are {', '.join(recipe.streams)}")
        if unknown := set(recipe.augment) - set(recipe.streams):
            raise UsageError(f"{where}: augment: no stream {', '.join(sorted(unknown))}; there are {', '.join(recipe.streams)}")
        if recipe.splits.merge and recipe.training.keep != "last":
            raise UsageError(f'{where}: splits.merge leaves nothing to choose an epoch by; it needs training.keep = "last"')
        if unknown := {stage.stream for stage in recipe.stages} - {"", *recipe.streams}:
            raise UsageError(f"{where}: stages: no stream {', '.join(sorted(unknown))}; there are {', '.join(recipe.streams)}")
        if recipe.stages and recipe.model != "delta":
            raise UsageError(f"{where}: stages: only the model delta trains in stages, this is {recipe.model}")
        return recipe

    def to_json(self) -> dict[str, Any]:
        """What `of` reads back."""
        table = dataclasses.asdict(self)
        options = table.pop("options")
        return table | {"model": {"name": self.model, **options}}


def shipped() -> dict[str, Path]:
    """The recipes that come with the package: name -> file."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}


def find(recipe: str) -> Recipe:
    """A file, or the name of a shipped recipe; raises `UsageError` naming what there is."""
    if recipe in shipped():
        return Recipe.read(shipped()[recipe])
    if not Path(recipe).is_file():
        raise UsageError(f"recipe {recipe}: no such file, and no recipe of that name; there are {', '.join(shipped())}")
    return Recipe.read(Path(recipe))


def _part(kind: type[Any], table: object, where: str) -> Any:
    """One frozen dataclass from one table."""
    given_table: Mapping[str, Any] = _table(table, where)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    needed = [n for n, f in fields.items() if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING]
    _keys(given_table, tuple(fields), tuple(needed), where)
    values: dict[str, Any] = {}
    for key, given in given_table.items():
        wanted, value = str(fields[key].type), cast(object, given)
        fits = {
            "str": isinstance(value, str),
            "int": isinstance(value, int) and not isinstance(value, bool),
            "float": isinstance(value, int | float) and not isinstance(value, bool),
            "bool": isinstance(value, bool),
            "tuple[float, ...]": isinstance(value, list | tuple) and all(isinstance(v, int | float) for v in value),
            "tuple[str, ...]": isinstance(value, list | tuple) and all(isinstance(v, str) for v in value),
            "Literal['utterances', 'rows']": isinstance(value, str),
            "Mapping[str, str]": isinstance(value, Mapping) and all(isinstance(v, str) for v in value.values()),
        }
        if not fits[wanted]:
            raise UsageError(f"{where}.{key}: expected {wanted}, got {value!r}")
        values[key] = tuple(value) if isinstance(value, list) else float(given) if wanted == "float" else value
    try:
        return kind(**values)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None


def _parts(kind: type[Any], table: object, where: str) -> dict[str, Any]:
    return {name: _part(kind, entry, f"{where}.{name}") for name, entry in _table(table, where).items()}


def _table(table: object, where: str) -> Mapping[str, Any]:
    if not isinstance(table, Mapping):
        raise UsageError(f"{where}: expected a table, got {table!r}")
    return table


def _keys(table: Mapping[str, Any], known: tuple[str, ...], needed: tuple[str, ...], where: str) -> None:
    if unknown := [key for key in table if key not in known]:
        raise UsageError(f"{where}: unknown key: {', '.join(unknown)}; known: {', '.join(known)}")
    if missing := [key for key in needed if key not in table]:
        raise UsageError(f"{where}: missing key: {', '.join(missing)}")


def _choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name}: expected {', '.join(choices)}, got {value!r}")
