"""The findings of an audit in SARIF 2.1.0, the format in which code scanners tell theirs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from musclelora import __version__
from musclelora.printable import printable
from musclelora.report.outcome import Outcome, RowFinding

SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
FINGERPRINT: Final = "musclelora/row/v1"
"""The key of a row's fingerprint; what it is made of changes with its version."""
_LEVELS: Final = {"poisoned": "error", "cannot_tell": "warning"}
_TAGS: Final = ["data-poisoning"]
_LINE_ENDS: Final = ["\r\n", "\n", "\r"]
"""What ends a line as the reader of these files counts; by default a bare carriage return does not."""
_DELIMITED: Final = (".csv", ".tsv")


def sarif(outcome: Outcome) -> dict[str, Any]:
    """An audit's findings as a SARIF log with one run; https://docs.oasis-open.org/sarif/sarif/v2.1.0.

    There is a rule for the verdict and for each check that flags rows, and a result for each flagged row,
    under the most telling of its checks; the most serious rows come first, as some readers stop early. Unless
    no sign was found, the verdict is the first result. A row that a person decided to keep or to relabel is
    suppressed.
    """
    flagging = [check["name"] for check in outcome.checks if check["name"] != "restored"]
    rules = ["verdict", *flagging]
    results = [_row(outcome, finding, rules) for finding in outcome.findings]
    if outcome.verdict.state in _LEVELS:
        results.insert(0, _verdict(outcome))
    run: dict[str, Any] = {
        "tool": {
            "driver": {
                "name": "musclelora",
                "version": __version__,
                "rules": [_rule(outcome, name) for name in rules],
            }
        },
        "invocations": [_invocation(outcome)],
        "results": results,
        "columnKind": "unicodeCodePoints",
        "properties": {
            "verdict": outcome.verdict.state,
            "p_value": outcome.verdict.p_value,
            "rows": outcome.rows,
        },
    }
    if outcome.file is not None:
        run["artifacts"] = [{"location": {"uri": _uri(outcome.file)}, "roles": ["analysisTarget"]}]
        if outcome.file.lower().endswith(_DELIMITED):
            run["newlineSequences"] = _LINE_ENDS
    return {"version": "2.1.0", "$schema": SCHEMA, "runs": [run]}


def _rule(outcome: Outcome, name: str) -> dict[str, Any]:
    rule = outcome.rule(name)
    return {
        "id": printable(name),
        "shortDescription": _message(rule.title),
        "fullDescription": _message(rule.help),
        "help": _message(rule.help),
        "defaultConfiguration": {"level": "warning"},
        "properties": {"tags": _TAGS},
    }


def _verdict(outcome: Outcome) -> dict[str, Any]:
    words = str(outcome.verdict).split(":", maxsplit=1)[0]
    return {
        "ruleId": "verdict",
        "ruleIndex": 0,
        "level": _LEVELS[outcome.verdict.state],
        "message": _message(f"{words}: {outcome.why}"),
        "locations": [_location(outcome, None)],
        "partialFingerprints": {FINGERPRINT: "verdict"},
    }


def _row(outcome: Outcome, finding: RowFinding, rules: list[str]) -> dict[str, Any]:
    result = {
        "ruleId": printable(finding.checks[0]),
        "ruleIndex": rules.index(finding.checks[0]),
        "level": finding.level,
        "message": _message(finding.message),
        "locations": [_location(outcome, finding)],
        "partialFingerprints": {FINGERPRINT: finding.fingerprint},
        "properties": {
            "row": finding.row,
            "checks": [printable(name) for name in finding.checks],
            "action": finding.action,
        },
    }
    if finding.score is not None:
        result["rank"] = round(100 * finding.score, 3)
    if finding.decided and finding.action != "drop":
        justification = f"a person decided: {finding.action}"
        result["suppressions"] = [{"kind": "external", "justification": justification}]
    return result


def _location(outcome: Outcome, finding: RowFinding | None) -> dict[str, Any]:
    """Where a row is: in a text file by its line, else by its number alone; None: all rows."""
    location: dict[str, Any] = {}
    if outcome.file is not None:
        location["physicalLocation"] = {"artifactLocation": {"uri": _uri(outcome.file), "index": 0}}
        line = finding.line if finding is not None else 1 if outcome.lined else None
        if line is not None:
            location["physicalLocation"]["region"] = {"startLine": line}
    if finding is not None:
        name = {"name": f"row {finding.row}", "fullyQualifiedName": f"{outcome.source}#{finding.row}"}
        location["logicalLocations"] = [{**name, "kind": "row"}]
    elif not location:
        location["logicalLocations"] = [{"name": outcome.source, "kind": "table"}]
    return location


def _invocation(outcome: Outcome) -> dict[str, Any]:
    """That the audit ended, and what it did not look for."""
    missed = [
        {"level": "warning", "message": _message(f"not checked: {printable(line)}")}
        for line in outcome.verdict.unchecked
    ]
    return {"executionSuccessful": True, "toolExecutionNotifications": missed}


def _message(text: str) -> dict[str, str]:
    """A plain message that holds no placeholder (3.11.5 of the standard) and no link (3.11.6).

    A backslash would not do for the second: one that the text has before it would escape that.
    """
    return {"text": text.replace("{", "{{").replace("}", "}}").replace("](", "] (")}


def _uri(file: str) -> str:
    """A file as a URI reference: a relative path stays one."""
    path = Path(file)
    return path.as_uri() if path.is_absolute() else quote(os.fsencode(path.as_posix()))
