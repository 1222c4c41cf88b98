"""What the trusted rows say of the training rows: every check, the triggers put to the test, the verdict."""

from __future__ import annotations

from collections.abc import Callable

from musclelora.audit.checks import all_checks
from musclelora.audit.evidence import Evidence, Settings
from musclelora.audit.findings import Findings, findings_of
from musclelora.audit.kept import Kept
from musclelora.data.table import Table


def judge(
    train: Table,
    trusted: Table,
    settings: Settings,
    *,
    confirm: bool = False,
    kept: Kept | None = None,
    say: Callable[[str], object] = lambda _: None,
) -> Findings:
    """Find the training rows' triggers, and the rows whose label is in doubt.

    Models of what the other rows mean (:mod:`musclelora.audit.labels`) find label issues first, and rows
    that are put alike and have a label beyond that (:mod:`musclelora.audit.styles`) are left out as well.
    A model that is trained as the final one is right in more rows than these are, once it has seen the
    rows that are left. It has not seen those with a label issue, and the ones that it gives their label
    come back (:mod:`musclelora.audit.recheck`).

    Training rows with the text of a trusted row are left out before all that: a model that was trained on
    them cannot be judged by the trusted rows, and their label is known better.

    Args:
        train: N rows that may be poisoned.
        trusted: rows that were checked.
        settings: with what to look at them.
        confirm: put the triggers to the test.
        kept: where arrays are kept; None: nowhere.
        say: called with lines of text; words in them come from the data.

    Raises:
        DataError: no class has two trusted rows, or the training rows that have no trusted text are too few.
        ModelError, TrainingError: each says what to do.
    """
    evidence = Evidence(train, trusted, settings, say, kept or Kept())
    checks = all_checks()
    for check in checks:
        evidence.results[check.name] = check.find(evidence)
    return findings_of(evidence, checks, confirms=confirm)
