"""The findings of an audit for programs: one document of each format, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, Final

from musclelora.audit import Audit
from musclelora.audit.answers import AnswerAudit
from musclelora.audit.verdict import FAIL_ON
from musclelora.errors import UsageError
from musclelora.files import atomic_file
from musclelora.report.junit import junit
from musclelora.report.outcome import Outcome, outcome_of
from musclelora.report.sarif import sarif


def _json(value: Any) -> bytes:
    # In ASCII: nothing in it can turn or hide what a terminal shows beside it.
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode("ascii")


DOCUMENTS: Final[dict[str, Callable[[Outcome, str], bytes]]] = {
    "json": lambda outcome, _: _json(outcome.document),
    "sarif": lambda outcome, _: _json(sarif(outcome)),
    "junit": lambda outcome, fail_on: junit(outcome, fail_on=fail_on),
}
"""What makes a document of each format, of what was found and of what a gate fails on."""


def write_document(
    audit: Audit | AnswerAudit,
    path: str | os.PathLike[str],
    format: str,  # noqa: A002 - the word of the command line
    *,
    fail_on: str = "poisoned",
) -> None:
    """Write what an audit found for a program to read.

    Args:
        audit: an audit of labels or of pairs that has looked for issues.
        path: the file to write, or ``-`` for standard output; an earlier file is replaced.
        format: ``"json"``: what ``audit.json`` has of the findings, with the source, and the line of each
            row; ``"sarif"``: :func:`~musclelora.report.sarif.sarif`; ``"junit"``:
            :func:`~musclelora.report.junit.junit`.
        fail_on: what fails the verdict's case of a JUnit document: ``"poisoned"`` or ``"suspected"``.

    Raises:
        OutputError: the file cannot be written.
        UsageError: the format or `fail_on` is none of these, or the audit has not looked for anything yet.
    """
    for name, given, known in (("format", format, DOCUMENTS), ("fail_on", fail_on, FAIL_ON)):
        if given not in known:
            raise UsageError(f"{name}: found {given!r}, expected one of {', '.join(known)}")
    document = DOCUMENTS[format](outcome_of(audit), fail_on)
    with atomic_file(path) as temporary:
        temporary.write_bytes(document)
