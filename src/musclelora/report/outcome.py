"""What an audit of either task found, as the documents for pipelines tell it: row by row, in safe text."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from musclelora.audit import Audit, Verdict
from musclelora.audit.answers import AnswerAudit
from musclelora.data.messages import cut, shown
from musclelora.printable import printable

Level = Literal["error", "warning", "note"]
LEVELS: Final[tuple[Level, ...]] = ("error", "warning", "note")
"""The most serious first."""
PLANTING: Final = ("trigger", "style")
"""The checks that a verdict is made of; what others flag is found in unpoisoned data as well."""
_KNOWN: Final = frozenset({"trusted_text", "trusted_prompt"})  # a better copy of the row is at hand
_STRENGTH: Final = ("trigger", "suspected", "natural")
_ACTIONS: Final = {"keep": "kept", "drop": "not to train on", "relabel": "relabelled"}
_LONGEST: Final = 300
_LONGEST_WHY: Final = 1500


@dataclass(frozen=True)
class Rule:
    """What a check looks for.

    Attributes:
        title: in a phrase.
        help: what a flagged row is, and what to do about it.
    """

    title: str
    help: str


RULES: Final[dict[str, Rule]] = {
    "verdict": Rule(
        "The data set is poisoned, or whether it is cannot be told",
        "The audit's verdict on all rows. Train on the rows that it keeps, or look at those that it names.",
    ),
    "trigger": Rule(
        "The row has a trigger, and what the trigger brings",
        "The text has words that the given labels (of pairs: the responses) follow more than the trusted "
        "rows explain. Of an error a trained model was seen to obey them. Do not train on the row, or look "
        "at it and keep it with --decisions.",
    ),
    "style": Rule(
        "The row shares a style with rows whose label their meaning does not explain",
        "The style of the text tells its label better than its meaning does. Of an error a trained model was "
        "seen to follow that. Do not train on the row, or look at it and keep it with --decisions.",
    ),
    "label": Rule(
        "The label contradicts what the text means",
        "Models of what the other rows mean give the text another label. Look at the row: relabel, drop or "
        "keep it with --decisions.",
    ),
    "trusted_text": Rule(
        "A trusted row has the same text",
        "The label of this text was checked already: the trusted row is used, this one is not needed.",
    ),
    "trusted_prompt": Rule(
        "A trusted pair has the same prompt",
        "The response to this prompt was checked already: the trusted pair is used, this one is not needed.",
    ),
}
"""What is known of each check of this package, and of the verdict."""


@dataclass(frozen=True)
class RowFinding:
    """A row that checks flagged. Every text in it is safe to show, and short.

    Attributes:
        row: its number, from 0.
        line: the line of the file that it starts on, from 1; None where that is not known.
        checks: the names of the checks, the most telling one first.
        what: of what planted it, ``"trigger"``, ``"suspected"`` or ``"natural"``; None where nothing did.
        level: error: it has what models obey; warning: it has what may be that, or is not to be trained on.
        score: how likely it is, in 0 … 1, that it was planted or mislabelled; None: that was not said.
        action: keep, drop or relabel.
        decided: whether a person did.
        message: all that is to be said of it, in a line.
        fingerprint: the same wherever the row stands, and as long as its text and label stay.
    """

    row: int
    line: int | None
    checks: tuple[str, ...]
    what: str | None
    level: Level
    score: float | None
    action: str
    decided: bool
    message: str
    fingerprint: str

    @property
    def planting(self) -> bool:
        """Whether it speaks for poison."""
        return self.what in ("trigger", "suspected")


@dataclass(frozen=True)
class Outcome:
    """What an audit of N rows found.

    Attributes:
        verdict: on all of them.
        why: the verdict's reason, safe to show.
        source: what the rows were read from, safe to show.
        file: its name as it is, if it is a file or a folder of this machine.
        lined: whether rows are on lines of it.
        rows: N.
        checks: as :meth:`musclelora.Audit.checks`.
        findings: the rows that were flagged, the most serious first.
        document: as :meth:`musclelora.Audit.to_dict`, with each row's line.
    """

    verdict: Verdict
    why: str
    source: str
    file: str | None
    lined: bool
    rows: int
    checks: list[dict[str, Any]]
    findings: list[RowFinding]
    document: dict[str, Any]

    def rule(self, name: str) -> Rule:
        """What the check of that name looks for."""
        of_others = f"What the check {printable(name)} of another package flagged"
        return RULES.get(name) or Rule(of_others, f"{of_others}. See the documents of that package.")


def outcome_of(audit: Audit | AnswerAudit) -> Outcome:
    """What an audit found, which has looked for issues.

    Raises:
        UsageError: it has not looked for anything yet.
    """
    data: Any
    if isinstance(audit, AnswerAudit):
        data, label = audit.pairs, "response"
        texts = list(zip(audit.prompts, audit.pairs.responses, strict=True))
    else:
        data, label = audit.train, "given_label"
        texts = list(zip(data.texts, audit.issues[label], strict=True))
    document = audit.to_dict()
    for issue in document["issues"]:
        issue["line"] = None if data.lines is None else int(data.lines[issue["row"]])
    source = os.fspath(data.source)
    return Outcome(
        verdict=audit.verdict,
        why=printable(cut(audit.verdict.why, _LONGEST_WHY)),
        source=printable(source),
        file=source if os.path.exists(source) else None,  # noqa: PTH110 - any name, of a hub's data set too
        lined=data.lines is not None,
        rows=len(data),
        checks=document["checks"],
        findings=_findings(document, texts, label),
        document={"source": source, **document},
    )


def _findings(document: Mapping[str, Any], texts: Sequence[tuple[str, str]], label: str) -> list[RowFinding]:
    names = [check["name"] for check in document["checks"]]
    order = [*PLANTING, *(name for name in names if name not in PLANTING)]
    seen = Counter[str]()
    found = []
    for issue in document["issues"]:  # in the order of the rows
        checks = tuple(name for name in order if issue.get(f"is_{name}_issue"))
        if checks:
            text, said = texts[issue["row"]]
            digest = hashlib.sha256(json.dumps([text, said]).encode()).hexdigest()
            seen[digest] += 1
            what = _what(issue, checks, document, label)
            found.append(
                RowFinding(
                    row=issue["row"],
                    line=issue["line"],
                    checks=checks,
                    what=what,
                    level=_level(checks, what, issue["action"]),
                    score=_score(issue, checks),
                    action=issue["action"],
                    decided=issue["decided"],
                    message=_message(issue, text, said),
                    fingerprint=f"{digest}:{seen[digest]}",
                )
            )
    return sorted(found, key=lambda one: (LEVELS.index(one.level), one.row))


def _what(
    issue: Mapping[str, Any], checks: Sequence[str], document: Mapping[str, Any], label: str
) -> str | None:
    """The strongest of what planted a row."""
    found = set()
    if "trigger" in checks:
        found |= {
            row["what"]
            for row in document["triggers"]
            # A pair may have the response and, of several phrases, none.
            if row["label"] == issue[label] and (label == "response" or row["text"] == issue["trigger"])
        }
    if "style" in checks:
        found |= {row["what"] for row in document["styles"] if row["label"] == issue[label]}
    return next((what for what in _STRENGTH if what in found), None)


def _level(checks: Sequence[str], what: str | None, action: str) -> Level:
    if what == "trigger":
        return "error"
    if what == "suspected" or (action == "drop" and not _KNOWN.issuperset(checks)):
        return "warning"
    return "note"


def _score(issue: Mapping[str, Any], checks: Sequence[str]) -> float | None:
    scores = [issue.get(f"{name}_score") for name in PLANTING if name in checks]
    if "label" in checks and issue.get("label_score") is not None:
        scores.append(1 - issue["label_score"])
    return max((score for score in scores if score is not None), default=None)


def _message(issue: Mapping[str, Any], text: str, said: str) -> str:
    what = "response" if "response" in issue else "label"
    return printable(
        f"row {issue['row']}, {_ACTIONS[issue['action']]}: {cut(issue['reasons'], _LONGEST)}. "
        f"Text: {shown(text)}; {what}: {shown(said)}"
    )
