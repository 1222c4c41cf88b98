"""The options that say which rows to train on and which to trust, and the reading of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import click

from musclelora.cli.options import ROWS, Name, at_most_one, show_table, table_options
from musclelora.data import check_trainable, load_table, overlap, select_trusted
from musclelora.data.table import Table
from musclelora.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ROW_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--train",
        "train_file",
        required=True,
        metavar="DATA",
        type=Name(),
        help="Training data that may be poisoned.",
    ),
    table_options,
    click.option("--max-train-rows", type=ROWS, help="Read only the first training rows, this many."),
    click.option("--trusted", metavar="DATA", type=Name(), help="Rows you checked yourself, about 100."),
    click.option(
        "--trusted-from", metavar="DATA", type=Name(), help="Draw the trusted rows from this clean data."
    ),
    click.option("--trusted-size", type=ROWS, help="How many to draw.  [default: 96; generate: 32]"),
    click.option(
        "--trusted-selection", default="random", show_default=True, help="How to draw them: random or kmeans."
    ),
)
"""What :class:`Rows` holds."""


@dataclass(frozen=True)
class Rows:
    """The values of :data:`ROW_OPTIONS`."""

    train_file: str
    text_column: str | None
    label_column: str | None
    split: str | None
    max_train_rows: int | None
    trusted: str | None
    trusted_from: str | None
    trusted_size: int | None
    trusted_selection: str

    def __post_init__(self) -> None:
        check_trusted_options(self.trusted, self.trusted_from, self.trusted_size)

    @classmethod
    def taken_from(cls, options: dict[str, Any]) -> Rows:
        """Those of a command's options, which are removed from them."""
        return cls(**{field.name: options.pop(field.name) for field in fields(cls)})

    @property
    def sources(self) -> tuple[str | None, ...]:
        """Every name of data in it."""
        return self.train_file, self.trusted, self.trusted_from

    def read_train(self) -> Table:
        """The training rows, which are shown."""
        train = self._read(self.train_file, split=self.split, max_rows=self.max_train_rows)
        show_table("training data", train)
        check_trainable(train)
        return train

    def read(self, source: str, train: Table) -> Table:
        """Other rows, with the labels of `train`."""
        return self._read(source, label_names=train.label_names)

    def take_trusted(
        self, train: Table, model: str, seed: int, **loading: Any
    ) -> tuple[Table | None, Table | None]:
        """What ``--trusted-from`` asks for, and the other rows of the same data; None without it.

        `loading` says how the model is loaded for its sentence vectors.
        """
        if not self.trusted_from:
            return None, None
        from musclelora.adapter.embed import sentence_embedder
        from musclelora.training.processes import meet

        meet()  # so that each embeds on its own device
        return select_trusted(
            self.read(self.trusted_from, train),
            self.trusted_size or 96,
            selection=self.trusted_selection,
            seed=seed,
            embed=lambda texts: sentence_embedder(model, **loading)(texts),
        )

    def _read(self, source: str, **options: Any) -> Table:
        return load_table(source, text_column=self.text_column, label_column=self.label_column, **options)


def show_trusted(train: Table, trusted: Table) -> None:
    """Show the trusted rows, and say which of them are among the training rows."""
    show_table("trusted rows", trusted)
    warn_of_shared(overlap(train, trusted), "text")


def warn_of_shared(rows: NDArray[np.int64], what: str) -> None:
    """Say which trusted rows have a text (or other `what`) that is also in the training data."""
    if len(rows):
        listed = ", ".join(str(int(i) + 1) for i in rows[:5]) + (", …" if len(rows) > 5 else "")
        click.echo(
            f"warning: {len(rows)} trusted rows have a {what} that is also in the training data "
            f"(trusted rows {listed})"
        )


def check_trusted_options(trusted: str | None, trusted_from: str | None, size: int | None) -> None:
    """Raise unless the options of the trusted rows go together."""
    at_most_one(trusted=trusted, trusted_from=trusted_from)
    if size is not None and not trusted_from:
        raise UsageError("--trusted-size: found without --trusted-from; name the data to take the rows from")
