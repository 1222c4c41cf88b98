"""What an audit found, as a training takes it: shortcuts to take out of the loss, rows to leave out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musclelora.audit.features import Feature
from musclelora.audit.triggers import Shortcut, ShortcutExpert
from musclelora.data.table import Table


@dataclass(frozen=True)
class Judgement:
    """What the trusted rows say of N training rows.

    Attributes:
        expert: the shortcuts of the training rows.
        left_out: the numbers of the rows not to train on, from 0, ascending: those whose label is
            contradicted, `style_issues` and `trusted_texts`.
        trusted_accuracy: of the models of folds, on the trusted rows that each was not trained on.
        restored: the numbers of the rows that the recheck restored, ascending.
        style_issues: of those left out the ones that are put alike, with a label beyond their meaning.
        recheck_accuracy: of the recheck's model, on the trusted rows; None: there was none.
        trusted_texts: of those left out the ones whose text is that of a trusted row, whatever their label,
            ascending.
    """

    expert: ShortcutExpert
    left_out: tuple[int, ...]
    trusted_accuracy: float
    restored: tuple[int, ...] = ()
    style_issues: tuple[int, ...] = ()
    recheck_accuracy: float | None = None
    trusted_texts: tuple[int, ...] = ()

    def apply(self, train: Table) -> tuple[Table, NDArray[np.float32]]:
        """The rows to train on, and the log-odds to add in their loss, shape (rows, C)."""
        rows = train.select(np.delete(np.arange(len(train)), self.left_out)) if self.left_out else train
        return rows, self.expert.log_weights(rows.texts)

    def misfit(self, train: Table) -> str | None:
        """Why this cannot be a judgement of the rows of `train`, as found and expected; None: it can."""
        last = max((row for rows in self._row_numbers() for row in rows), default=-1)
        if last >= len(train):
            return f"found the row {last:,}, expected numbers below {len(train):,}"
        if self.expert.num_labels != train.num_classes:
            return f"found {self.expert.num_labels} labels, expected {train.num_classes}"
        if len(self.left_out) == len(train):
            return "found every row left out, expected some to train on"
        return None

    def _row_numbers(self) -> tuple[tuple[int, ...], ...]:
        return self.left_out, self.restored, self.style_issues, self.trusted_texts

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; :meth:`from_dict` makes it again."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Judgement:
        """What :meth:`to_dict` gave."""
        expert = dict(values["expert"])
        expert["shortcuts"] = tuple(
            Shortcut(**{**shortcut, "feature": Feature(*shortcut["feature"])})
            for shortcut in expert["shortcuts"]
        )
        left_out, restored, style_issues, trusted_texts = (
            tuple(int(row) for row in values.get(name, ()))
            for name in ("left_out", "restored", "style_issues", "trusted_texts")
        )
        right = values.get("recheck_accuracy")
        return cls(
            ShortcutExpert(**expert),
            left_out,
            float(values["trusted_accuracy"]),
            restored,
            style_issues,
            None if right is None else float(right),
            trusted_texts,
        )
