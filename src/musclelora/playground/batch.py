"""The rows of a file, and what the models say of them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from musclelora.data import load_prompts, load_texts
from musclelora.errors import MuScleLoraError, UsageError
from musclelora.playground.models import Playground

SUFFIXES: Final = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
"""Of the files that are read, by the readers of :mod:`musclelora.data`."""
BYTES: Final = 10_000_000
"""Of a file at most."""
ROWS: Final = 500
"""Of a file whose texts get labels; of a longer one the first."""
PROMPTS: Final = 50
"""Of a file whose prompts are answered."""


class Cell(NamedTuple):
    """What a model says of a row.

    Attributes:
        said: the label, or the answer.
        share: the probability of the label; None: it is an answer.
    """

    said: str
    share: float | None


@dataclass(frozen=True)
class Batch:
    """N rows.

    Attributes:
        texts: the texts, or the last messages of the prompts.
        cells: of each row what each of the models says.
        left_out: how many more rows the file has.
    """

    texts: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]
    left_out: int

    @property
    def differ(self) -> int | None:
        """In how many rows two models say different things; None: there is one model."""
        if not self.cells or len(self.cells[0]) < 2:
            return None
        return sum(one.said != other.said for one, other in self.cells)


def ask_file(playground: Playground, file: Path, column: str | None = None) -> Batch:
    """Ask the models for the rows of a file, the first :data:`ROWS` or :data:`PROMPTS` of them.

    Args:
        playground: the models.
        file: a table of any format that is read; its name is its own, its folder is not shown.
        column: the texts or prompts; None: the usual names.

    Raises:
        UsageError: it cannot be read, in a line that names the file and what to do.
    """
    try:
        if playground.generates:
            return _answered(playground, file, column)
        texts = load_texts(file, text_column=column)
        if not texts:
            raise UsageError(f"{file}: no rows; expected at least one after the header; name another file")
        tried = texts[:ROWS]
        said = playground.predict(tried)
        cells = (tuple(Cell(*one) for one in row) for row in zip(*said, strict=True))
        return Batch(tried, tuple(cells), len(texts) - len(tried))
    except MuScleLoraError as error:
        raise UsageError(
            str(error).replace(f"{file.parent}/", "").replace("--text-column", "the column")
        ) from error


def _answered(playground: Playground, file: Path, column: str | None) -> Batch:
    prompts = load_prompts(file, prompt_column=column)
    tried = prompts[:PROMPTS]
    said = playground.answer(tried, source=str(file))
    cells = (tuple(Cell(one, None) for one in row) for row in zip(*said, strict=True))
    return Batch(tuple(chat[-1].content for chat in tried), tuple(cells), len(prompts) - len(tried))


def write_batch(playground: Playground, batch: Batch, file: Path) -> None:
    """Write what the models say as CSV, as ``musclelora predict`` does: the texts are not in it.

    The columns of the second model begin with ``other_``.
    """
    own = ("answer",) if playground.generates else ("label", "probability")
    columns = [f"{prefix}{name}" for prefix in ("", "other_")[: len(playground.sides)] for name in own]
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(("row", *columns))
        for number, cells in enumerate(batch.cells, start=1):
            values = [part for cell in cells for part in (cell.said, cell.share) if part is not None]
            writer.writerow((number, *(f"{v:.6f}" if isinstance(v, float) else v for v in values)))
