"""What a report is about: an audit's findings, whether it has just ended or was read back from its folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from musclelora.audit import Audit, SavedAudit, Verdict
from musclelora.audit.answers import AnswerAudit, SavedAnswerAudit
from musclelora.audit.features import features_of
from musclelora.report.tasks import CLASSIFY, GENERATE, Task

if TYPE_CHECKING:
    import pandas as pd

AnyAudit = Audit | SavedAudit | SavedAnswerAudit
"""An audit of either task: one of pairs is an :class:`Audit` too."""
_COUNTED: Final = ("label", "rows", "observed", "expected", "z", "weight", "p_value", "planted", "tested")
_FLAG: Final = re.compile(r"is_(.+)_issue")


@dataclass(frozen=True)
class Feature:
    """What labels or responses follow, once for each phrase and label.

    Attributes:
        row: as in :attr:`Audit.triggers`; rates that were not measured are None.
        holders: the numbers of the training rows that have it.
    """

    row: dict[str, Any]
    holders: NDArray[np.int64]


@dataclass(frozen=True)
class Source:
    """What an audit was given.

    Attributes:
        train: what the training rows were read from.
        trusted: what the trusted rows were; None: there are none.
        columns: those that were named, by what they hold; None in it: found by name.
    """

    train: str
    trusted: str | None
    columns: Mapping[str, str | None]


@dataclass(frozen=True)
class Subject:
    """The findings of an audit of N rows.

    Attributes:
        task: what the rows are.
        verdict: of the whole data set.
        issues: as :attr:`Audit.issues`, with a column of each text.
        triggers: as :attr:`Audit.triggers`.
        styles: as :attr:`Audit.styles`.
        checks: as :meth:`Audit.checks`.
        names: the class names, or the kinds of responses that rows have.
        trusted_rows: how many rows were trusted.
        facts: as :meth:`Audit.facts`.
        vectors: as :attr:`Audit.vectors`.
        source: what the audit was given; None where that is not known.
        looked_at: shape (N,), whether a row was looked at: it has not the text of a trusted row.
    """

    task: Task
    verdict: Verdict
    issues: pd.DataFrame
    triggers: pd.DataFrame
    styles: pd.DataFrame
    checks: list[dict[str, Any]]
    names: tuple[str, ...]
    trusted_rows: int
    facts: dict[str, Any]
    vectors: NDArray[np.float32] | None
    source: Source | None
    looked_at: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.issues)

    @cached_property
    def texts(self) -> list[str]:
        """The training texts, or the prompts; hostile."""
        return [str(text) for text in self.issues[self.task.text]]

    @cached_property
    def said(self) -> list[str] | None:
        """The responses, hostile; None: rows have labels."""
        column = self.task.said
        return None if column is None else [str(text) for text in self.issues[column]]

    @cached_property
    def phrases(self) -> list[tuple[str, ...]]:
        """What stands in each row for its most telling trigger; hostile, and empty where a row has none."""
        parts = {" … ".join(tested): tuple(tested) for tested in self.triggers["tested"]}
        return [
            parts.get(phrase, (phrase,)) if isinstance(phrase, str) else ()
            for phrase in self.issues["trigger"]
        ]

    @cached_property
    def flags(self) -> dict[str, NDArray[np.bool_]]:
        """The rows that each check flagged, by its name, shape (N,)."""
        return {
            found[1]: self.issues[name].to_numpy(dtype=np.bool_)
            for name in self.issues.columns
            if (found := _FLAG.fullmatch(str(name)))
        }

    @cached_property
    def suspects(self) -> NDArray[np.bool_]:
        """The rows that a check flagged or that are not kept as they are, shape (N,)."""
        found: NDArray[np.bool_] = (
            (self.issues["reasons"] != "") | (self.issues["action"] != "keep")
        ).to_numpy()
        return found

    @cached_property
    def features(self) -> list[Feature]:
        """The triggers, once for each phrase and label, the strongest first."""
        once = self.triggers.drop_duplicates(["text", "label"]).astype(object)
        rows = once.where(once.notna(), None).to_dict("records")
        wanted: dict[tuple[str, str], list[int]] = {(row["kind"], row["feature"]): [] for row in rows}
        for number, text in enumerate(self.texts):
            if self.looked_at[number]:
                for feature in wanted.keys() & set(features_of(text)):
                    wanted[feature].append(number)
        holders = [np.array(wanted[row["kind"], row["feature"]], dtype=np.int64) for row in rows]
        return [Feature(row, _together(number, rows, holders)) for number, row in enumerate(rows)]

    @property
    def decisions(self) -> dict[int, tuple[str, str | None]]:
        """What a person decided of rows before: an action and, for relabel, a label, by row number."""
        decided = np.flatnonzero(self.issues["decided"]).tolist()
        found = {}
        for row in decided:
            action = self.issues["action"].iloc[row]
            label = self.issues[self.task.suggested].iloc[row] if self.task.suggested else None
            found[row] = (action, label if action == "relabel" else None)
        return found


def _together(number: int, rows: list[dict[str, Any]], holders: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The rows that count for a feature: of two that work together, and were counted so, those with both."""
    row, found = rows[number], holders[number]
    for other, more in zip(rows, holders, strict=True):
        if len(found) > row["rows"] and all(other[name] == row[name] for name in _COUNTED):
            found = np.intersect1d(found, more)
    return found


def task_of(audit: AnyAudit) -> Task:
    """What the rows of an audit are."""
    return GENERATE if isinstance(audit, AnswerAudit | SavedAnswerAudit) else CLASSIFY


def subject_of(audit: AnyAudit) -> Subject:
    """What a report is about.

    Raises:
        UsageError: the audit has not looked for anything yet.
    """
    source = None
    if isinstance(audit, Audit):
        issues, checks = audit.listed(), audit.checks()
        train, trusted = audit.train, audit.trusted
        trusted_rows = 0 if trusted is None else len(trusted)
        source = Source(train.source, None if trusted is None else trusted.source, audit.columns)
    else:
        issues, checks, trusted_rows = audit.issues, audit.info["checks"], audit.info["trusted_rows"]
    looked_at = np.ones(len(issues), dtype=np.bool_)
    task = task_of(audit)
    if isinstance(audit, AnswerAudit | SavedAnswerAudit):
        vectors = None
        names = tuple(dict.fromkeys(issues[task.named].dropna()))
    else:
        vectors = audit.vectors
        names = tuple(audit.info["label_names"] if isinstance(audit, SavedAudit) else audit.train.label_names)
        looked_at[[row for row in audit.judgement.trusted_texts if row < len(issues)]] = False
    return Subject(
        task=task,
        verdict=audit.verdict,
        issues=issues,
        triggers=audit.triggers,
        styles=audit.styles,
        checks=checks,
        names=names,
        trusted_rows=trusted_rows,
        facts=audit.facts(),
        vectors=vectors,
        source=source,
        looked_at=looked_at,
    )
