"""Training rows with the text of a trusted row."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from musclelora.audit.checks.base import Check, Result
from musclelora.audit.evidence import Evidence


class TrustedTexts(Check):
    """Rows whose text a trusted row has: their label is known better, and they would judge themselves."""

    name: ClassVar[str] = "trusted_text"

    def find(self, evidence: Evidence) -> Result:
        """Flag them; `evidence.rows` are the others."""
        count, known = len(evidence.train), evidence.known
        if not len(known):
            return Result.nothing(count)
        evidence.say(f"left out     {len(known):,} of {count:,} rows: they have the text of a trusted row")
        flagged = np.isin(np.arange(count), known)
        return Result(
            flagged, np.full(count, np.nan), dict.fromkeys(known.tolist(), "a trusted row has this text")
        )
