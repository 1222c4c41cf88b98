"""What the package reads of the ``audit.json`` of pairs; ``docs/answers-audit.schema.json`` is made of it."""

from __future__ import annotations

from typing import Any, Literal

from musclelora.audit.schema import ActionsState, CheckState, Share, TriggerState, VerdictState
from musclelora.state import Closed, Count, Sha256, State, Text


class PairFactsState(State):
    """What decided the findings."""

    train: Sha256
    trusted: Sha256 | None
    model: Text
    seed: Count
    arguments: dict[str, Any]
    musclelora: Text


class PairIssueState(State):
    """A pair that has an issue."""

    row: Count
    trigger: str | None
    response: str | None
    trigger_score: Share | None
    response_loss: float | None
    reasons: str
    action: Literal["keep", "drop"]
    decided: bool = False


class AnswerAuditState(Closed):
    """``audit.json`` of pairs."""

    format: Literal[4]
    task: Literal["generate"]
    musclelora: Text
    facts: PairFactsState
    rows: Count
    trusted_rows: Count
    verdict: VerdictState
    triggers: list[TriggerState]
    checks: list[CheckState]
    actions: ActionsState
    issues: list[PairIssueState]
    issues_sha256: Sha256
