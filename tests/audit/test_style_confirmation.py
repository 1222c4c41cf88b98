"""A model of half of the rows is asked about the other half's rows of a style."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from musclelora import Audit
from musclelora.audit.checks.base import Result
from musclelora.audit.confirmation import confirm_styles
from musclelora.audit.evidence import Evidence
from musclelora.audit.styles import StyleIssues
from musclelora.data.table import Table


def test_rows_of_the_style_are_compared_with_others_of_their_meaning(tiny_model: Path) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 160)
    styled = rng.random(160) < 0.4
    texts = [
        " ".join(rng.choice([f"word{n + 20 * label}" for n in range(20)], 5)) + " word58" * int(style)
        for label, style in zip(truth, styled, strict=True)
    ]
    train = Table(tuple(texts), np.where(styled, 1, truth), ("0", "1"), source="train")
    trusted = Table(tuple(f"word{n}" for n in range(40)), np.repeat([0, 1], 20), ("0", "1"), source="trusted")
    audit = Audit(train, trusted, model=str(tiny_model), arguments={"max_length": 16})
    evidence = Evidence(train, trusted, audit._settings())
    probs = np.where(np.eye(2)[truth] > 0, 0.9, 0.1)
    nobody = np.zeros(160, dtype=bool)
    evidence.results["label"] = Result(nobody, np.full(160, 0.5), objects={"pred_probs": probs})

    def of(shares: np.ndarray) -> StyleIssues:
        return StyleIssues(1, (), 50.0, 1e-9, (), shares, shares, shares)

    found, none = confirm_styles(evidence, [of(styled.astype(float)), of(np.zeros(160))])
    assert none is None
    assert found is not None
    order = np.random.default_rng([audit.seed, 1]).permutation(160)
    unseen = order[80:]
    asked = (truth[unseen] == 0) & styled[unseen]
    assert found.flip.n == found.natural.n == asked.sum()
    assert found.control.n == ((truth[unseen] == 0) & ~styled[unseen]).sum()
    assert found.flip.value >= found.control.value
