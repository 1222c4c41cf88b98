"""What the package reads of ``audit.json``; ``docs/audit.schema.json`` is made of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from musclelora.state import Closed, Count, Names, RowNumbers, Sha256, State, Text

Share = Annotated[float, Field(ge=0, le=1)]
Action = Literal["keep", "drop", "relabel"]


class FactsState(State):
    """What decided the findings."""

    train: Sha256
    trusted: Sha256
    model: Text
    judge: Text
    seed: Count
    arguments: dict[str, Any]
    musclelora: Text


class VerdictState(Closed):
    """The verdict on the whole data set."""

    state: Literal["poisoned", "no_sign", "cannot_tell"]
    why: Text
    target: Text | None
    rows: Count
    p_value: Share
    checked: list[str]
    unchecked: list[str]


class TestedState(Closed):
    """What labels follow, and what models answer with it."""

    label: Text
    rows: Count
    p_value: Share
    what: Literal["trigger", "natural", "suspected"]
    confirmed: bool | None
    flip_rate: Share | None
    flip_rate_low: Share | None
    flip_rate_high: Share | None
    control_rate: Share | None
    control_rate_low: Share | None
    control_rate_high: Share | None
    natural_rate: Share | None
    natural_rate_low: Share | None
    natural_rate_high: Share | None


class TriggerState(TestedState):
    """A feature that labels follow."""

    feature: Text
    kind: Literal["word", "pair", "first", "last", "character"]
    text: Text
    observed: Count
    expected: float
    z: float
    weight: float
    planted: Share
    tested: list[Text]


class StyleState(TestedState):
    """A way of putting texts that labels follow."""

    telling: list[Text]
    examples: list[Count]
    others: list[Count]


class CheckState(Closed):
    """A check, and how many rows it flagged."""

    name: Text
    flagged: Count
    skipped: str | None


class IssueState(State):
    """A row that has an issue."""

    row: Count
    given_label: Text
    suggested_label: Text
    label_score: Share | None
    trigger: str | None
    trigger_score: Share | None
    style_score: Share | None
    reasons: str
    action: Action
    decided: bool = False


class ActionsState(Closed):
    """How many rows are kept, dropped and relabelled."""

    keep: Count
    drop: Count
    relabel: Count


class ShortcutState(Closed):
    """A shortcut of the training rows."""

    feature: Annotated[list[Text], Field(min_length=2, max_length=2)]
    label: Count
    rows: Count
    labelled: Count
    expected: float
    z: float
    weight: float
    sign: bool = False


class ExpertState(Closed):
    """The shortcuts, and what they were measured against."""

    shortcuts: list[ShortcutState]
    num_labels: Annotated[int, Field(ge=2)]
    natural: float
    threshold: float
    tested: Count

    @model_validator(mode="after")
    def _known_labels(self) -> ExpertState:
        if any(shortcut.label >= self.num_labels for shortcut in self.shortcuts):
            raise ValueError(f"shortcuts to labels below {self.num_labels}")
        return self


class StyleOffsetsState(Closed):
    """What a style says of rows."""

    label: Count
    rows: RowNumbers
    log_odds: list[Annotated[float, Field(ge=0)]]

    @model_validator(mode="after")
    def _one_for_each(self) -> StyleOffsetsState:
        if len(self.rows) != len(self.log_odds):
            raise ValueError(f"log_odds of {len(self.rows)} rows")
        return self


class NamedTriggerState(Closed):
    """A trigger as a reader is told of it."""

    text: Text
    label: Text
    what: Literal["trigger", "suspected"]


class FoundState(Closed):
    """What an audit says to a reader."""

    verdict: VerdictState
    triggers: list[NamedTriggerState]


class CounterexampleState(Closed):
    """A row that is trained on with the label that it has by its meaning."""

    row: Count
    label: Count


class JudgementState(Closed):
    """What the trusted rows say of the training rows."""

    expert: ExpertState
    left_out: RowNumbers
    trusted_accuracy: Share
    restored: RowNumbers = Field(default_factory=list)
    style_issues: RowNumbers = Field(default_factory=list)
    recheck_accuracy: Share | None = None
    trusted_texts: RowNumbers = Field(default_factory=list)
    style_offsets: list[StyleOffsetsState] = Field(default_factory=list)
    counterexamples: list[CounterexampleState] = Field(default_factory=list)
    found: FoundState | None = None


class AuditState(Closed):
    """``audit.json``."""

    format: Literal[4]
    musclelora: Text
    facts: FactsState
    label_names: Names
    rows: Count
    trusted_rows: Count
    verdict: VerdictState
    triggers: list[TriggerState]
    styles: list[StyleState]
    checks: list[CheckState]
    actions: ActionsState
    issues: list[IssueState]
    issues_sha256: Sha256
    judgement: JudgementState
