"""What was read, told before anything is trained on it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from musclelora.data.messages import shown
from musclelora.data.table import Table

_MOST_CLASSES = 20


@dataclass(frozen=True)
class Summary:
    """Counts of a table. They do not look at poison flags.

    Attributes:
        source: what the rows were read from.
        rows: N.
        classes: rows of each class of the label map, by name.
        duplicates: rows whose exact text occurred before.
        conflicting_duplicates: those among them whose text occurred before with another label.
        empty_texts: rows whose text is empty or only blanks.
        longest: length of the longest text, in characters.
        longest_row: the first row that is so long, counted from 1; 0 in a table without rows.
    """

    source: str
    rows: int
    classes: dict[str, int]
    duplicates: int
    conflicting_duplicates: int
    empty_texts: int
    longest: int
    longest_row: int

    def lines(self) -> list[str]:
        """The summary as plain text; what comes from the data is escaped."""
        counts = [f"{shown(name)} {count:,}" for name, count in self.classes.items()]
        more = len(counts) - _MOST_CLASSES
        classes = ", ".join(counts[:_MOST_CLASSES]) + (f" and {more} more" if more > 0 else "")
        return [
            f"source       {self.source}",
            f"rows         {self.rows:,}",
            f"classes      {len(self.classes)}: {classes}",
            f"duplicates   {self.duplicates:,}, of which {self.conflicting_duplicates:,} with another label",
            f"empty texts  {self.empty_texts:,}",
            f"longest      {self.longest:,} characters (row {self.longest_row})",
        ]

    def to_dict(self) -> dict[str, Any]:
        """The attributes as values that JSON can hold."""
        return asdict(self)


def summarize(table: Table) -> Summary:
    """Count the rows, classes, duplicates and empty texts of `table`, and find its longest text."""
    labels_of: dict[str, set[int]] = {}
    duplicates = conflicting = 0
    for row in table:
        earlier = labels_of.setdefault(row.text, set())
        duplicates += bool(earlier)
        conflicting += bool(earlier - {row.label})
        earlier.add(row.label)
    lengths = [len(text) for text in table.texts]
    longest = max(lengths, default=0)
    counts = np.bincount(table.labels, minlength=table.num_classes)
    return Summary(
        source=table.source,
        rows=len(table),
        classes={name: int(count) for name, count in zip(table.label_names, counts, strict=True)},
        duplicates=duplicates,
        conflicting_duplicates=conflicting,
        empty_texts=sum(not text.strip() for text in table.texts),
        longest=longest,
        longest_row=lengths.index(longest) + 1 if lengths else 0,
    )
