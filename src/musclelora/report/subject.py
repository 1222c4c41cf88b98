"""What a report is about: an audit's findings, whether it has just ended or was read back from its folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from musclelora.audit import Audit, SavedAudit, Verdict
from musclelora.audit.features import features_of

if TYPE_CHECKING:
    import pandas as pd

DECIDED: Final = re.compile(r"(?:^|; )a person decided: (keep|drop|relabel)\Z")
"""How the reasons of a row end about which a person decided; a phrase of the data is in quotes."""
_FLAG: Final = re.compile(r"is_(.+)_issue")


@dataclass(frozen=True)
class Feature:
    """What labels follow, once for each phrase and label.

    Attributes:
        row: as in :attr:`Audit.triggers`; rates that were not measured are None.
        holders: the numbers of the training rows that have it.
    """

    row: dict[str, Any]
    holders: NDArray[np.int64]


@dataclass(frozen=True)
class Subject:
    """The findings of an audit of N rows.

    Attributes:
        verdict: of the whole data set.
        issues: as :attr:`Audit.issues`, with a column text.
        triggers: as :attr:`Audit.triggers`.
        styles: as :attr:`Audit.styles`.
        checks: as :meth:`Audit.checks`.
        label_names: the class names.
        trusted_rows: how many rows were trusted.
        facts: as :meth:`Audit.facts`.
        vectors: as :attr:`Audit.vectors`.
        sources: what the training and the trusted rows were read from; None where that is not known.
        looked_at: shape (N,), whether a row was looked at: it has not the text of a trusted row.
    """

    verdict: Verdict
    issues: pd.DataFrame
    triggers: pd.DataFrame
    styles: pd.DataFrame
    checks: list[dict[str, Any]]
    label_names: tuple[str, ...]
    trusted_rows: int
    facts: dict[str, Any]
    vectors: NDArray[np.float32] | None
    sources: tuple[str, str] | None
    looked_at: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.issues)

    @cached_property
    def texts(self) -> list[str]:
        """The training texts; hostile."""
        return [str(text) for text in self.issues["text"]]

    @cached_property
    def phrases(self) -> list[str | None]:
        """The trigger that each row has, the most telling one; hostile."""
        return [phrase if isinstance(phrase, str) else None for phrase in self.issues["trigger"]]

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
        return [Feature(row, np.array(wanted[row["kind"], row["feature"]], dtype=np.int64)) for row in rows]

    @property
    def decisions(self) -> dict[int, tuple[str, str | None]]:
        """What a person decided of rows before: an action and, for relabel, a label, by row number."""
        found = {}
        columns = (self.issues[name] for name in ("reasons", "action", "suggested_label"))
        for row, (reasons, action, label) in enumerate(zip(*columns, strict=True)):
            said = DECIDED.search(reasons)  # a phrase of the data is in quotes, and cannot end so
            if said and said[1] == action:
                found[row] = (action, label if action == "relabel" else None)
        return found


def subject_of(audit: Audit | SavedAudit) -> Subject:
    """What a report is about.

    Raises:
        UsageError: the audit has not looked for anything yet.
    """
    issues = audit.issues
    if isinstance(audit, SavedAudit):
        checks, names, trusted = audit.info["checks"], audit.info["label_names"], audit.info["trusted_rows"]
        sources = None
    else:
        issues.insert(0, "text", list(audit.train.texts))
        checks, names, trusted = audit.checks(), audit.train.label_names, len(audit.trusted)
        sources = (audit.train.source, audit.trusted.source)
    looked_at = np.ones(len(issues), dtype=np.bool_)
    looked_at[[row for row in audit.judgement.trusted_texts if row < len(issues)]] = False
    return Subject(
        verdict=audit.verdict,
        issues=issues,
        triggers=audit.triggers,
        styles=audit.styles,
        checks=checks,
        label_names=tuple(names),
        trusted_rows=trusted,
        facts=audit.facts(),
        vectors=audit.vectors,
        sources=sources,
        looked_at=looked_at,
    )
