"""What a grid may say, entry by entry; an error that begins with "found" is said as it is."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from musclelora import limits
from musclelora.attacks import family_names
from musclelora.benchmark.problems import choices
from musclelora.data import bbc_news
from musclelora.data.embedded import EMBEDDED_MODELS
from musclelora.data.messages import shown
from musclelora.data.places import exists, may_be_on_hub, nearest
from musclelora.data.readers import READERS
from musclelora.data.table import Table
from musclelora.defenses import DEFENSES

CORPORA: Final[dict[str, Callable[[], Table]]] = {"bbc-news": bbc_news}
"""The embedded corpora; a new one is a new entry."""
FILE_PARAMETERS: Final = ("file", "originals")
"""The parameters of attacks that name files."""
MODEL_PARAMETERS: Final = ("model", "language_model")
"""The parameters of attacks and defences that name models."""
_MOST = 1000
"""Entries of a list."""


def _shown_as_it_is(name: str) -> str:
    if not name.strip() or not name.isprintable():
        raise ValueError("a name that can be printed on one line")
    return name


def _one_of(names: Callable[[], Collection[str]]) -> AfterValidator:
    def check(name: str) -> str:
        if name not in names():
            raise ValueError(choices(name, names()))
        return name

    return AfterValidator(check)


def _at(value: str, info: ValidationInfo) -> Path:
    """The place of a path of the grid, which is relative to its folder, the context."""
    return (info.context or Path()) / Path(value).expanduser()


def _whole_table(value: str, info: ValidationInfo) -> str:
    """The whole path of a table, or its name on the hub."""
    at = _at(value, info)
    if exists(at):
        return str(at.resolve())
    # What looks like a path is none of the hub's names.
    if value.startswith((".", "/", "~")) or Path(value).suffix in READERS or not may_be_on_hub(value):
        near = nearest(at)
        hint = f"; did you mean {near}?" if near else ""
        raise ValueError(f"found no file or folder {shown(str(at))}, expected data there{hint}")
    return value


def _whole_file(value: Any, info: ValidationInfo) -> Any:
    """The whole path of a file; whether there is one, is not asked."""
    return str(_at(value, info).resolve()) if isinstance(value, str) else value


def _whole_model(value: Any, info: ValidationInfo) -> Any:
    """The whole path of a model's folder; what is none, is a name."""
    at = _at(value, info) if isinstance(value, str) else None
    return str(at.resolve()) if at is not None and exists(at) and at.is_dir() else value


def _whole_parameters(given: Any, info: ValidationInfo) -> Any:
    """The parameters that name files and models, by their whole paths."""
    if not isinstance(given, dict):
        return given
    whole = dict.fromkeys(FILE_PARAMETERS, _whole_file) | dict.fromkeys(MODEL_PARAMETERS, _whole_model)
    return {key: whole[key](value, info) if key in whole else value for key, value in given.items()}


Mode = Literal["clean", "dirty", "mix"]
Name = Annotated[str, AfterValidator(_shown_as_it_is)]
Rows = Annotated[int, Field(ge=1, le=limits.ROWS)]
TableName = Annotated[str, AfterValidator(_whole_table)]
ModelName = Annotated[Name, BeforeValidator(_whole_model)]


class Entry(BaseModel):
    """What every part of a grid is: values of the right type, and no key that is not known."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Named(Entry):
    """An entry that is a name, or a mapping that names itself and gives parameters beside its own keys.

    It has two names, one of what it is and one for results; either stands for both.
    """

    model_config = ConfigDict(extra="allow")
    main_key: ClassVar[str]

    @model_validator(mode="before")
    @classmethod
    def _written_out(cls, given: Any, info: ValidationInfo) -> Any:
        return _whole_parameters({cls.main_key: given} if isinstance(given, str) else given, info)

    @property
    def parameters(self) -> dict[str, Any]:
        """What is given beside its own keys."""
        return self.model_extra or {}


class Data(Entry):
    """A data set: a corpus that comes with the package, or tables.

    Attributes:
        name: what results call it.
        corpus: an embedded corpus, instead of `train`.
        train: clean rows, which the attacks poison: what `musclelora train --train` takes.
        test: clean test rows; None: `test_rows` of the training rows are set aside.
        trusted: clean rows that the trusted ones are drawn from; None: the training rows that are not
            trained on.
        train_split, test_split, trusted_split: of a folder or hub data set.
        text_column, label_column: as `musclelora train` has them.
        words: texts are cut to so many words; None: they are left whole.
        train_rows: rows to train on, drawn by each cell's seed; None: all.
        test_rows: test rows, the same for every seed; None: all.
        target: the attacker's target label, by name or id.
    """

    name: Name
    corpus: Annotated[str, _one_of(lambda: CORPORA)] | None = None
    train: TableName | None = None
    test: TableName | None = None
    trusted: TableName | None = None
    train_split: str | None = None
    test_split: str | None = None
    trusted_split: str | None = None
    text_column: str | None = None
    label_column: str | None = None
    words: Rows | None = None
    train_rows: Rows | None = None
    test_rows: Rows | None = None
    target: str | int

    @field_validator("test", "trusted", "text_column", "label_column")
    @classmethod
    def _of_a_table(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("corpus") is not None:
            raise ValueError(f"found {info.field_name} beside corpus, expected it with train only")
        return value

    @model_validator(mode="after")
    def _has_all_rows(self) -> Data:
        if self.corpus is not None and self.train is not None:
            raise ValueError("found both corpus and train, expected one of them")
        if self.corpus is None and self.train is None:
            raise ValueError("found neither corpus nor train, expected one of them")
        if self.test is None and self.test_rows is None:
            raise ValueError("found neither test nor test_rows, expected one, to measure on")
        if self.trusted is None and self.train_rows is None:
            raise ValueError(
                "found neither trusted nor train_rows, expected one, so that there are rows to trust"
            )
        return self


class Attack(Named):
    """An attack.

    Attributes:
        family: of the trigger; its parameters stand beside it.
        name: what results call it.
        label_mode: None: the grid's.
        test: parameters that are others for the test rows, such as a file of paraphrases.
        triggered: a table of triggered test rows of other labels than the target, made elsewhere.
    """

    main_key: ClassVar[str] = "family"
    family: Annotated[str, _one_of(family_names)] = Field(validation_alias=AliasChoices("family", "name"))
    name: Name = Field("", validation_alias=AliasChoices("name", "family"))
    label_mode: Mode | None = None
    test: Annotated[dict[str, Any], AfterValidator(_whole_parameters)] = Field(default_factory=dict)
    triggered: Annotated[str, AfterValidator(_whole_file)] | None = None


class Defense(Named):
    """A defence.

    Attributes:
        name: of the defence; its parameters stand beside it.
        label: what results call it.
    """

    main_key: ClassVar[str] = "name"
    name: Annotated[str, _one_of(lambda: DEFENSES)] = Field(validation_alias=AliasChoices("name", "label"))
    label: Name = Field("", validation_alias=AliasChoices("label", "name"))


class Grid(Entry):
    """What is compared: every data set × attack × rate × model × trusted size × defence × seed.

    Attributes:
        name: of the grid.
        data, attacks, defenses: at least one each.
        rates: triggered rows / training rows.
        label_mode: of attacks that do not say.
        models: embedded models, hub names or folders.
        trusted_sizes: numbers of trusted rows.
        training: those of the fields of `MuScleTrainingArguments` that
            :data:`musclelora.defenses.trained.TRAINING_FIELDS` names, for every training; ``bf16: auto``
            tries what pays.
        full: further ones for training of the whole backbone.
        seeds: of the drawn rows, the poisoning and the training; a number N is 0 to N - 1.
    """

    name: Name
    data: Annotated[list[Data], Field(min_length=1, max_length=_MOST)]
    attacks: Annotated[list[Attack], Field(min_length=1, max_length=_MOST)]
    rates: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1, max_length=_MOST)] = [0.1]
    label_mode: Mode = "mix"
    models: Annotated[list[ModelName], Field(min_length=1, max_length=_MOST)] = [next(iter(EMBEDDED_MODELS))]
    trusted_sizes: Annotated[list[Rows], Field(min_length=1, max_length=_MOST)] = [96]
    defenses: Annotated[list[Defense], Field(min_length=1, max_length=_MOST)]
    training: dict[str, Any] = Field(default_factory=dict)
    full: dict[str, Any] = Field(default_factory=dict)
    seeds: Annotated[
        list[Annotated[int, Field(ge=0, le=limits.SEED)]], Field(min_length=1, max_length=limits.SEEDS)
    ] = [0]

    @field_validator("seeds", mode="before")
    @classmethod
    def _count_seeds(cls, seeds: Any) -> Any:
        if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1:
            return seeds
        if seeds > limits.SEEDS:  # before a list of them is made
            raise ValueError(f"a number of seeds up to {limits.SEEDS:,}, or a list")
        return list(range(seeds))

    @property
    def cells(self) -> int:
        """How many cells it has, oracles among them; some may turn out to be the same."""
        each = 1 + len(self.rates) * len(self.trusted_sizes) * len(self.defenses)
        return len(self.data) * len(self.attacks) * len(self.models) * len(self.seeds) * each
