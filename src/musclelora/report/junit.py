"""The findings of an audit as JUnit XML, which every build server shows."""

from __future__ import annotations

from typing import Any, Final
from xml.etree import ElementTree as Xml

from musclelora import __version__
from musclelora.printable import printable
from musclelora.report.outcome import Outcome, RowFinding

_LISTED: Final = 50
"""Rows that a test case names."""
_CLASS: Final = "musclelora.audit"


def junit(outcome: Outcome, *, fail_on: str) -> bytes:
    """An audit's findings as one test suite: a case for the verdict and one for each check.

    Cases fail only where a gate closes that fails on `fail_on`, so that a build server and the exit code say
    the same. Then the verdict's case does, and that of each check that flagged rows with a trigger or a style
    that is no natural one. Where the audit could not tell and the gate stays open, the verdict's case is
    skipped. Whatever else checks flag is in their output: unpoisoned data have label issues as well.

    Args:
        outcome: what was found.
        fail_on: ``"poisoned"`` or ``"suspected"``.
    """
    suite = Xml.Element("testsuite", name=f"musclelora audit of {outcome.source}")
    properties = Xml.SubElement(suite, "properties")
    facts = {"musclelora": __version__, "verdict": outcome.verdict.state, "rows": str(outcome.rows)}
    for name, value in facts.items():
        Xml.SubElement(properties, "property", name=name, value=value)
    _verdict(suite, outcome, fail_on)
    closed = outcome.verdict.fails(fail_on)
    for check in outcome.checks:
        flagged = [one for one in outcome.findings if check["name"] in one.checks]
        _check(suite, check, flagged, closed=closed)
    for name in ("failure", "skipped"):
        counted = "failures" if name == "failure" else name
        suite.set(counted, str(len(suite.findall(f"testcase/{name}"))))
    suite.set("tests", str(len(suite.findall("testcase"))))
    suite.set("errors", "0")
    suites = Xml.Element("testsuites")
    suites.append(suite)
    Xml.indent(suites)
    document: bytes = Xml.tostring(suites, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _verdict(suite: Xml.Element, outcome: Outcome, fail_on: str) -> None:
    case = Xml.SubElement(suite, "testcase", classname=_CLASS, name="verdict")
    if outcome.verdict.fails(fail_on):
        failure = Xml.SubElement(case, "failure", type=outcome.verdict.state, message=outcome.why)
        failure.text = "\n".join(map(printable, str(outcome.verdict).split("\n")))
    elif outcome.verdict.state != "no_sign":
        Xml.SubElement(case, "skipped", message=outcome.why)


def _check(suite: Xml.Element, check: dict[str, Any], findings: list[RowFinding], *, closed: bool) -> None:
    case = Xml.SubElement(suite, "testcase", classname=_CLASS, name=printable(check["name"]))
    planted = [one for one in findings if one.planting and one.checks[0] == check["name"]]
    if check["skipped"] is not None:
        Xml.SubElement(case, "skipped", message=printable(check["skipped"]))
    elif planted and closed:
        message = f"{len(planted):,} rows speak for poison"
        failure = Xml.SubElement(case, "failure", type=planted[0].level, message=message)
        failure.text = _lines(planted)
    elif findings:
        Xml.SubElement(case, "system-out").text = _lines(findings)


def _lines(findings: list[RowFinding]) -> str:
    lines = [one.message for one in findings[:_LISTED]]
    rest = len(findings) - len(lines)
    return "\n".join([*lines, *([f"and {rest:,} more"] if rest else [])])
