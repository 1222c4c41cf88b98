"""The checks of an audit: one file and one registry entry each."""

from __future__ import annotations

from importlib import metadata
from typing import Any, Final

from musclelora.audit.checks.base import Check, Result
from musclelora.audit.checks.labels import Labels
from musclelora.audit.checks.recheck import Recheck
from musclelora.audit.checks.styles import Styles
from musclelora.audit.checks.triggers import Triggers
from musclelora.audit.checks.trusted_texts import TrustedTexts
from musclelora.data.messages import one_line
from musclelora.errors import UsageError

CHECKS: Final[dict[str, type[Check]]] = {
    check.name: check for check in (TrustedTexts, Triggers, Labels, Styles, Recheck)
}
"""The package's own checks, in the order in which they run; a new one is one new file and one entry."""

ENTRY_POINTS: Final = "musclelora.checks"
"""The entry point group of other packages' checks: NAME = "module:Class"."""

__all__ = ["CHECKS", "ENTRY_POINTS", "Check", "Result", "all_checks"]


def all_checks() -> list[Check]:
    """One of each check: the package's own, then those of other installed packages, by name.

    Raises:
        UsageError: another package's check cannot be loaded, or has the name of another.
    """
    found = [check() for check in CHECKS.values()]
    for entry in sorted(metadata.entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        try:
            check: Any = entry.load()()
        except Exception as error:  # another package's code
            raise UsageError(
                f"check {entry.name}: {entry.value} cannot be loaded ({one_line(error)}); "
                "mend or remove that package"
            ) from error
        if not isinstance(check, Check):
            raise UsageError(
                f"check {entry.name}: {entry.value} is no musclelora.audit.checks.Check; "
                "mend or remove that package"
            )
        if check.name in {other.name for other in found}:
            raise UsageError(f"check {check.name}: {entry.value} has the name of another check; rename it")
        found.append(check)
    return found
