"""What every check of an audit is: it looks at the evidence and says something of every row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from musclelora.audit.evidence import Evidence


@dataclass(frozen=True)
class Result:
    """What a check found in N training rows.

    Attributes:
        flagged: shape (N,), the rows that have the issue.
        scores: shape (N,), what the check says of each row, in 0 … 1, as its class states; NaN: nothing.
        reasons: why a flagged row is flagged, by row number; words in it come from the data.
        info: what else was found, as JSON values.
        objects: what later checks use of it; not saved.
        skipped: why the check could say nothing; None: it could.
    """

    flagged: NDArray[np.bool_]
    scores: NDArray[np.float64]
    reasons: Mapping[int, str] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)
    objects: Mapping[str, Any] = field(default_factory=dict, repr=False)
    skipped: str | None = None

    @classmethod
    def nothing(cls, rows: int, skipped: str | None = None) -> Result:
        """No row is flagged."""
        return cls(np.zeros(rows, dtype=np.bool_), np.full(rows, np.nan), skipped=skipped)


class Check(ABC):
    """A check. Its rows are numbered from 0, as the training rows are.

    Attributes:
        name: what reports call it, and the column ``is_<name>_issue``.
        score: the column of its scores; None: it has none.
        action: what is done with a flagged row: ``"drop"`` or ``"keep"``.
    """

    name: ClassVar[str]
    score: ClassVar[str | None] = None
    action: ClassVar[str] = "drop"

    @abstractmethod
    def find(self, evidence: Evidence) -> Result:
        """Look at the evidence, and at the results of the checks before this one.

        Raises:
            DataError, ModelError, TrainingError: each says what to do.
        """
