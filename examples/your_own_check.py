"""Add a check of your own to an audit: here one that leaves out texts of a few words.

python examples/your_own_check.py
"""

from typing import ClassVar

import numpy as np
import pandas as pd

from musclelora import Audit
from musclelora.audit.checks import CHECKS, Check, Result
from musclelora.data import bbc_news, stratified_split


class FewWords(Check):
    """Texts that are too short to mean anything. Its name makes a column of the issues."""

    name: ClassVar[str] = "few_words"
    score: ClassVar[str] = "few_words_score"

    def find(self, evidence):
        """Look at the training rows; evidence has what models say of them, too."""
        words = np.array([len(text.split()) for text in evidence.train.texts])
        flagged = words < 4
        reasons = {int(row): f"too short ({words[row]})" for row in np.flatnonzero(flagged)}
        return Result(flagged, scores=1 / np.maximum(words, 1), reasons=reasons)


# In a package of yours an entry point of the group musclelora.checks does this.
CHECKS[FewWords.name] = FewWords

collected, trusted = stratified_split(bbc_news(words=16), [200, 50], seed=7)
texts = ["Goal!" if row == 3 else text for row, text in enumerate(collected.texts)]
rows = {"text": texts, "label": [collected.label_names[label] for label in collected.labels]}

audit = Audit(pd.DataFrame(rows), trusted, judge="backbone", confirm=False).find_issues()
issues = audit.issues
found = issues.loc[issues["is_few_words_issue"], ["few_words_score", "reasons", "action"]]
print(found.to_string())
