"""What an audit found, as a training takes it: what to take out of the loss, and which rows to leave out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from musclelora.audit.features import Feature
from musclelora.audit.triggers import Shortcut, ShortcutExpert
from musclelora.audit.verdict import Verdict
from musclelora.data.table import Table

if TYPE_CHECKING:
    from musclelora.audit.styles import StyleIssues

_LEAST: Final = 0.01  # log-odds below which a style says nothing of a row


@dataclass(frozen=True)
class StyleOffsets:
    """What a style says of the rows that are likely to have it, before anybody looks at their label.

    Attributes:
        label: the label id that the style brings.
        rows: the numbers of R rows, ascending.
        log_odds: of each, what to add to a model's log-probability of the label while it is trained.
    """

    label: int
    rows: tuple[int, ...]
    log_odds: tuple[float, ...]


@dataclass(frozen=True)
class Counterexample:
    """A row with a style, and the label that it has by its meaning: it teaches that the style brings none.

    Attributes:
        row: its number.
        label: the label id that models of trusted rows alone give it.
    """

    row: int
    label: int


@dataclass(frozen=True)
class NamedTrigger:
    """A trigger as a reader is told of it.

    Attributes:
        text: what stands in the texts; hostile.
        label: the name of the label that it brings.
        what: ``"trigger"``, or ``"suspected"`` where it is not known whether models obey it.
    """

    text: str
    label: str
    what: str


@dataclass(frozen=True)
class Found:
    """What an audit says to a reader; a training does not need it, and keeps it with its model.

    Attributes:
        verdict: on the whole data set.
        triggers: the first ones, each text and label once.
    """

    verdict: Verdict
    triggers: tuple[NamedTrigger, ...]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Found:
        """What :func:`dataclasses.asdict` gave."""
        triggers = tuple(NamedTrigger(**trigger) for trigger in values["triggers"])
        return cls(Verdict.from_dict(values["verdict"]), triggers)


@dataclass(frozen=True)
class Judgement:
    """What the trusted rows say of N training rows.

    Attributes:
        expert: the shortcuts of the training rows.
        left_out: the numbers of the rows not to train on with their given label, from 0, ascending: those
            whose label is contradicted, `style_issues` and `trusted_texts`.
        trusted_accuracy: of the models of folds, on the trusted rows that each was not trained on.
        restored: the numbers of the rows that the recheck restored, ascending.
        style_issues: of those left out the ones that are put alike, with a label beyond their meaning.
        recheck_accuracy: of the recheck's model, on the trusted rows; None: there was none.
        trusted_texts: of those left out the ones whose text is that of a trusted row, whatever their label,
            ascending.
        style_offsets: of each style that was found, what it says of rows.
        counterexamples: rows of those left out to train on after all, with another label than their given one
            or the same, ascending.
        found: what a reader is told; None: nobody asked.
    """

    expert: ShortcutExpert
    left_out: tuple[int, ...]
    trusted_accuracy: float
    restored: tuple[int, ...] = ()
    style_issues: tuple[int, ...] = ()
    recheck_accuracy: float | None = None
    trusted_texts: tuple[int, ...] = ()
    style_offsets: tuple[StyleOffsets, ...] = ()
    counterexamples: tuple[Counterexample, ...] = ()
    found: Found | None = None

    def apply(self, train: Table) -> tuple[Table, NDArray[np.float32]]:
        """The rows to train on, and the log-odds to add in their loss, shape (rows, C).

        Of a row with shortcuts and a style the larger counts. A counterexample has none: its label was not
        given by whoever may have planted it.
        """
        others = {one.row: one.label for one in self.counterexamples}
        kept = np.setdiff1d(np.arange(len(train)), np.setdiff1d(self.left_out, list(others)))
        if others:
            labels = train.labels.copy()
            labels[list(others)] = list(others.values())
            train = replace(train, labels=labels)
        rows = train.select(kept) if len(kept) < len(train) else train
        offsets = self.expert.log_weights(rows.texts)
        for style in self.style_offsets:
            said = np.zeros(len(train), dtype=np.float32)
            said[list(style.rows)] = style.log_odds
            offsets[:, style.label] = np.maximum(offsets[:, style.label], said[kept])
        offsets[np.isin(kept, list(others))] = 0.0
        return rows, offsets

    def misfit(self, train: Table) -> str | None:
        """Why this cannot be a judgement of the rows of `train`, as found and expected; None: it can."""
        last = max((row for rows in self._row_numbers() for row in rows), default=-1)
        if last >= len(train):
            return f"found the row {last:,}, expected numbers below {len(train):,}"
        if self.expert.num_labels != train.num_classes:
            return f"found {self.expert.num_labels} labels, expected {train.num_classes}"
        named: tuple[StyleOffsets | Counterexample, ...] = (*self.style_offsets, *self.counterexamples)
        unknown = [one.label for one in named if one.label >= train.num_classes]
        if unknown:
            return f"found the label {unknown[0]}, expected labels below {train.num_classes}"
        if len(set(self.left_out) - {one.row for one in self.counterexamples}) == len(train):
            return "found every row left out, expected some to train on"
        return None

    def _row_numbers(self) -> tuple[tuple[int, ...], ...]:
        styles = tuple(style.rows for style in self.style_offsets)
        others = tuple(one.row for one in self.counterexamples)
        return self.left_out, self.restored, self.style_issues, self.trusted_texts, others, *styles

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
        styles = (
            StyleOffsets(int(style["label"]), tuple(style["rows"]), tuple(style["log_odds"]))
            for style in values.get("style_offsets", ())
        )
        others = tuple(Counterexample(**one) for one in values.get("counterexamples", ()))
        right = values.get("recheck_accuracy")
        return cls(
            ShortcutExpert(**expert),
            left_out,
            float(values["trusted_accuracy"]),
            restored,
            style_issues,
            None if right is None else float(right),
            trusted_texts,
            tuple(styles),
            others,
            None if values.get("found") is None else Found.from_dict(values["found"]),
        )


def style_offsets(
    issues: Iterable[StyleIssues], numbers: NDArray[np.int64], *, but: Sequence[int] = ()
) -> tuple[StyleOffsets, ...]:
    """What styles say of rows.

    Args:
        issues: the styles, of R rows.
        numbers: of these rows, in the table that a judgement is of, shape (R,).
        but: numbers of rows of which nothing is said, as a person knows their label.
    """
    found = []
    for issue in issues:
        rows = np.flatnonzero((issue.log_odds >= _LEAST) & ~np.isin(numbers, list(but)))
        log_odds = tuple(round(float(b), 3) for b in issue.log_odds[rows])
        found.append(StyleOffsets(issue.label, tuple(int(row) for row in numbers[rows]), log_odds))
    return tuple(found)
