"""What a grid may say."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from musclelora import limits
from musclelora.data.embedded import EMBEDDED_MODELS

Mode = Literal["clean", "dirty", "mix"]


def _shown_as_it_is(name: str) -> str:
    if not name.strip() or not name.isprintable():
        raise ValueError("a name that can be printed on one line")
    return name


Name = Annotated[str, AfterValidator(_shown_as_it_is)]
Rows = Annotated[int, Field(ge=1, le=limits.ROWS)]
_MOST = 1000
"""Entries of a list."""


class Entry(BaseModel):
    """What every part of a grid is: values of the right type, and no key that is not known."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Named(Entry):
    """An entry that is a name, or a mapping that names itself and gives parameters beside its own keys."""

    family_key: ClassVar[str]
    label_key: ClassVar[str]
    parameters: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _collect(cls, given: Any) -> Any:
        if isinstance(given, str):
            given = {cls.family_key: given}
        if not isinstance(given, dict):
            return given
        own = cls.model_fields.keys() - {"parameters"}
        entry = {key: value for key, value in given.items() if key in own}
        entry["parameters"] = {key: value for key, value in given.items() if key not in own}
        # Either of the two names stands for both.
        for one, other in ((cls.family_key, cls.label_key), (cls.label_key, cls.family_key)):
            if one in entry:
                entry.setdefault(other, entry[one])
        return entry


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
    corpus: str | None = None
    train: str | None = None
    test: str | None = None
    trusted: str | None = None
    train_split: str | None = None
    test_split: str | None = None
    trusted_split: str | None = None
    text_column: str | None = None
    label_column: str | None = None
    words: Rows | None = None
    train_rows: Rows | None = None
    test_rows: Rows | None = None
    target: str | int


class Attack(Named):
    """An attack.

    Attributes:
        family: of the trigger; its parameters stand beside it.
        name: what results call it.
        label_mode: None: the grid's.
        test: parameters that are others for the test rows, such as a file of paraphrases.
        triggered: a table of triggered test rows of other labels than the target, made elsewhere.
    """

    family_key: ClassVar[str] = "family"
    label_key: ClassVar[str] = "name"
    family: str
    name: Name = ""
    label_mode: Mode | None = None
    test: dict[str, Any] = Field(default_factory=dict)
    triggered: str | None = None


class Defense(Named):
    """A defence.

    Attributes:
        name: of the defence; its parameters stand beside it.
        label: what results call it.
    """

    family_key: ClassVar[str] = "name"
    label_key: ClassVar[str] = "label"
    name: str
    label: Name = ""


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
    models: Annotated[list[Name], Field(min_length=1, max_length=_MOST)] = [next(iter(EMBEDDED_MODELS))]
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
