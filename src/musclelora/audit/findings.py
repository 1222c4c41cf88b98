"""What an audit found: triggers with phrases and tests, what is done with each row, the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from musclelora.audit.evidence import Evidence
from musclelora.audit.features import FeatureTable
from musclelora.audit.judgement import Counterexample, Found, Judgement, NamedTrigger, style_offsets
from musclelora.audit.judges import cut_texts
from musclelora.audit.phrases import phrase_of
from musclelora.audit.verdict import LEVEL, Confirmation, Style, Trigger, Verdict, decide
from musclelora.data.messages import listed, shown
from musclelora.errors import TrainingError

if TYPE_CHECKING:
    from musclelora.audit.checks.base import Check, Result
    from musclelora.audit.styles import StyleIssues
    from musclelora.audit.triggers import Shortcut

_OWN: Final = frozenset({"trusted_text", "trigger", "label", "style", "restored"})
_NAMED: Final = 3  # triggers that a summary names
_KEPT: Final = 100  # that a run keeps for its card
_EXAMPLES: Final = 3  # rows that show a style, and as many that do not have it
_RATES: Final = ("flip_rate", "control_rate", "natural_rate")
_RATE_COLUMNS: Final = tuple(name + end for name in _RATES for end in ("", "_low", "_high"))
TRIGGER_COLUMNS: Final = [
    *(
        "feature",
        "kind",
        "text",
        "label",
        "rows",
        "observed",
        "expected",
        "z",
        "weight",
        "p_value",
        "planted",
    ),
    *("what", "confirmed", "tested"),
    *_RATE_COLUMNS,
]
"""The columns of :attr:`Audit.triggers`."""
STYLE_COLUMNS: Final = [
    *("label", "rows", "telling", "p_value", "what", "confirmed"),
    *("examples", "others"),
    *_RATE_COLUMNS,
]
"""The columns of :attr:`Audit.styles`."""


class Findings:
    """What an audit found.

    Args:
        evidence: with the results of all checks.
        checks: in their order.
        triggers: the features that labels follow, put to the test or not.
        styles: the ways of putting texts that labels follow, likewise.
        verdict: on the whole data set.

    Attributes:
        planted: shape (N,), rows with a trigger that is no natural one, and its label.
        trigger_scores: shape (N,), the probability that a row was planted, by the most telling of these; NaN
            for rows with the text of a trusted row.
        trigger_of_row: its phrase; None where a row has none.
        dropped_by_checks: shape (N,), rows that a check drops.
        counterexamples: those of them that a training has with the label of their meaning.
        suggested: shape (N,), the labels that rows should have.
    """

    def __init__(
        self,
        evidence: Evidence,
        checks: Sequence[Check],
        triggers: Sequence[Trigger],
        styles: Sequence[Style],
        verdict: Verdict,
    ) -> None:
        self.evidence, self.checks, self.verdict = evidence, checks, verdict
        self.triggers, self.styles = tuple(triggers), tuple(styles)
        rows, expert = evidence.rows, self.result("trigger").objects["expert"]
        strongest, scores = np.full(len(rows), -1), np.zeros(len(rows))
        for number, having in enumerate(expert.holders(rows.texts)):
            trigger = triggers[number]
            if trigger.kind != "natural":
                hit = having[rows.labels[having] == trigger.shortcut.label]
                better = hit[(strongest[hit] < 0) | (scores[hit] < trigger.planted)]
                strongest[better], scores[better] = number, trigger.planted
        self.trigger_of_row: list[str | None] = [
            triggers[number].phrase if number >= 0 else None for number in evidence.over_train(strongest, -1)
        ]
        self.planted: NDArray[np.bool_] = evidence.over_train(strongest >= 0, False)
        self.trigger_scores: NDArray[np.float64] = evidence.over_train(scores, np.nan)
        self.dropped_by_checks = dropped_rows(evidence, checks)
        self.counterexamples = _counterexamples(evidence, checks)
        self.suggested = evidence.train.labels.copy()
        issue = self.result("label").flagged[evidence.numbers]
        guess = self.result("label").objects["pred_probs"].argmax(axis=1)
        self.suggested[evidence.numbers[issue]] = guess[issue]
        lost = np.setdiff1d(evidence.train.labels, evidence.train.labels[~self.dropped])
        if len(lost):
            names = listed(evidence.train.label_names[label] for label in lost)
            self.verdict = replace(verdict, why=f"{verdict.why}; of {names} no row is kept")

    @property
    def dropped(self) -> NDArray[np.bool_]:
        """The rows not to train on where nothing takes the triggers out of the loss, shape (N,)."""
        both: NDArray[np.bool_] = self.dropped_by_checks | self.planted
        return both

    def judgement(self, *, keep: Sequence[int] = (), drop: Sequence[int] = ()) -> Judgement:
        """What a training takes of it.

        Args:
            keep: rows that a person decided to train on.
            drop: rows that a person decided not to train on.
        """
        known, style, restored = (self.result(name).flagged for name in ("trusted_text", "style", "restored"))
        left_out = self.dropped_by_checks.copy()
        left_out[list(keep)] = False
        left_out[list(drop)] = True
        decided = {*keep, *drop}
        return Judgement(
            self.result("trigger").objects["expert"],
            _numbers(left_out),
            self.evidence.trusted_predictions.accuracy,
            restored=_numbers(restored),
            style_issues=_numbers(style),
            recheck_accuracy=self.result("restored").info.get("accuracy_on_trusted"),
            trusted_texts=_numbers(known),
            style_offsets=style_offsets(
                self.result("style").objects.get("issues", ()), self.evidence.numbers, but=keep
            ),
            counterexamples=tuple(one for one in self.counterexamples if one.row not in decided),
            found=Found(self.verdict, self.named_triggers()),
        )

    def named_triggers(self) -> tuple[NamedTrigger, ...]:
        """The first triggers that are no natural features, each phrase with its label once."""
        names = self.evidence.train.label_names
        found = [
            NamedTrigger(trigger.phrase, names[trigger.shortcut.label], trigger.kind)
            for trigger in self.triggers
            if trigger.kind != "natural"
        ]
        return tuple({(one.text, one.label): one for one in reversed(found)}.values())[::-1][:_KEPT]

    def summary(self) -> list[str]:
        """What was found, in four lines; words in them come from the data."""
        train, verdict = self.evidence.train, self.verdict
        named = dict[tuple[str, int], str]()
        for trigger in self.triggers:
            if trigger.kind != "natural":
                named.setdefault((trigger.phrase, trigger.shortcut.label), trigger.kind)
        shown_first = [
            f"{shown(phrase)} to {shown(train.label_names[label])} ({kind})"
            for (phrase, label), kind in list(named.items())[:_NAMED]
        ]
        more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        counts = {name: int(self.result(name).flagged.sum()) for name in ("label", "style", "restored")}
        left = int(self.dropped_by_checks.sum())
        others = len(self.counterexamples)
        return [
            str(verdict).split("\n", maxsplit=1)[0],
            f"triggers: {', '.join(shown_first) or 'none'}{more}; {int(self.planted.sum()):,} rows have one",
            f"issues: {counts['label']:,} label issues, of which {counts['restored']:,} were restored; "
            f"{counts['style']:,} style issues",
            f"left out: {left - others:,} of {len(train):,} rows; what features and styles say of labels is "
            f"taken out of the loss of the others; {others:,} rows with a style have the label of their "
            "meaning",
        ]

    def result(self, name: str) -> Result:
        """Of the check of that name."""
        return self.evidence.results[name]

    @property
    def reasons(self) -> list[list[str]]:
        """Why each row has an issue, in the order of the checks."""
        found: list[list[str]] = [[] for _ in range(len(self.evidence.train))]
        for check in self.checks:
            if check.name == "trigger":
                for row in np.flatnonzero(self.planted).tolist():
                    found[row].append(f"has {shown(self.trigger_of_row[row])}")
                continue
            for row, reason in self.result(check.name).reasons.items():
                found[row].append(reason)
        return found


def dropped_rows(evidence: Evidence, checks: Sequence[Check]) -> NDArray[np.bool_]:
    """The rows that some check drops, shape (N,); a label issue that the recheck clears is none."""
    dropped = np.zeros(len(evidence.train), dtype=np.bool_)
    for check in checks:
        if check.action == "drop":
            flagged = evidence.results[check.name].flagged
            dropped |= flagged & ~evidence.results["restored"].flagged if check.name == "label" else flagged
    return dropped


def _counterexamples(evidence: Evidence, checks: Sequence[Check]) -> tuple[Counterexample, ...]:
    """Those of the style check, but for rows that a check of another package drops for its own reason."""
    foreign = [check.name for check in checks if check.name not in _OWN and check.action == "drop"]
    lost = {int(row) for name in foreign for row in np.flatnonzero(evidence.results[name].flagged)}
    found = evidence.results["style"].objects.get("counterexamples", ())
    return tuple(one for one in found if one.row not in lost)


def _numbers(rows: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(row) for row in np.flatnonzero(rows))


def findings_of(evidence: Evidence, checks: Sequence[Check], *, confirms: bool) -> Findings:
    """Put the triggers to the test, and decide.

    Args:
        evidence: with the results of all checks.
        checks: in their order.
        confirms: whether to put the triggers to the test.
    """
    table = FeatureTable(evidence.rows.texts)
    unchecked = [f"{name} issues: {r.skipped}" for name, r in evidence.results.items() if r.skipped]
    triggers = _tested(evidence, table, unchecked, confirms=confirms)
    styles = _styles(evidence, triggers, unchecked, confirms=confirms)
    settings = evidence.settings
    cut, limit = cut_texts(settings.judges.model, evidence.rows.texts, settings.arguments.get("max_length"))
    if cut:
        unchecked.append(f"what the ends of {cut:,} texts mean: the judge reads {limit:,} tokens of each")
    tested = len({trigger.phrase for trigger in triggers if trigger.confirmation is not None})
    looked = {name for name, result in evidence.results.items() if not result.skipped}
    checked = [
        f"{len(table.features):,} words, pairs, ends and characters in {len(evidence.rows):,} rows",
        *(f"{name} issues" for name in ("label", "style") if name in looked),
        *([f"{tested} trigger{'' if tested == 1 else 's'} put to the test"] if tested else []),
        *(
            f"{style.rows:,} rows that share a style, put to the test"
            for style in styles
            if style.confirmation
        ),
        *(check.name for check in checks if check.name not in _OWN and check.name in looked),
    ]
    seen = ~np.isnan(evidence.trusted_predictions.held_out).any(axis=1)
    verdict = decide(
        triggers,
        evidence.results["trigger"].objects["expert"].holders(evidence.rows.texts),
        evidence.rows.labels,
        evidence.train.label_names,
        p_value=float(evidence.results["trigger"].info["p_value"]),
        trusted=int(seen.sum()),
        accuracy=evidence.trusted_predictions.accuracy,
        chance=float(np.bincount(evidence.trusted.labels[seen]).max() / max(seen.sum(), 1)),
        styles=styles,
        checked=checked,
        unchecked=unchecked,
    )
    return Findings(evidence, checks, triggers, styles, verdict)


def _tested(
    evidence: Evidence, table: FeatureTable, unchecked: list[str], *, confirms: bool
) -> list[Trigger]:
    """The features found, with their phrases, put to the test; what was not is added to `unchecked`."""
    result = evidence.results["trigger"]
    expert, rows = result.objects["expert"], evidence.rows
    phrases = [
        phrase_of(shortcut, expert.shortcuts, rows.texts, having)
        for shortcut, having in zip(expert.shortcuts, expert.holders(rows.texts), strict=True)
    ]
    values = result.info["p_values"]
    keys = [(shortcut.label, phrase) for shortcut, phrase in zip(expert.shortcuts, phrases, strict=True)]
    answers: dict[tuple[int, str], Confirmation | None] = {}
    tested: dict[tuple[int, str], tuple[str, ...]] = {}
    groups = _groups(evidence, keys, values)
    if groups and not confirms:
        unchecked.append("whether models obey the triggers: it was not asked for")
    elif groups:
        from musclelora.audit.confirmation import TOGETHER, confirm

        try:
            found = confirm(evidence, [list(group.values()) for group in groups], table)
        except TrainingError as error:
            unchecked.append(f"whether models obey the triggers: {error}")
        else:
            for group, answer in zip(groups, found, strict=True):
                answers |= dict.fromkeys(group, answer)
                tested |= dict.fromkeys(group, tuple(phrase for _, phrase in list(group)[:TOGETHER]))
            left = sum(answer is None for answer in answers.values())
            if left:
                unchecked.append(f"whether models obey {left} more triggers")
    return [
        Trigger(shortcut, key[1], value, planted, answers.get(key), tested.get(key, ()))
        for shortcut, key, value, planted in zip(
            expert.shortcuts, keys, values, result.info["planted"], strict=True
        )
    ]


def _styles(
    evidence: Evidence, triggers: Sequence[Trigger], unchecked: list[str], *, confirms: bool
) -> list[Style]:
    """The styles that no trigger explains, put to the test; what was not is added to `unchecked`."""
    found = _without_triggers(evidence, triggers)
    answers: list[Confirmation | None] = [None] * len(found)
    beyond = [number for number, (issue, _) in enumerate(found) if issue.p_value <= LEVEL]
    if beyond and not confirms:
        unchecked.append("whether models obey how rows are put: it was not asked for")
    elif beyond:
        from musclelora.audit.confirmation import confirm_styles

        try:
            said = confirm_styles(evidence, [found[number][0] for number in beyond])
        except TrainingError as error:
            unchecked.append(f"whether models obey how rows are put: {error}")
        else:
            for number, answer in zip(beyond, said, strict=True):
                answers[number] = answer
    return [
        Style(issue.label, rows, issue.telling, issue.p_value, answer, *_shown_rows(evidence, issue))
        for (issue, rows), answer in zip(found, answers, strict=True)
    ]


def _without_triggers(evidence: Evidence, triggers: Sequence[Trigger]) -> list[tuple[StyleIssues, int]]:
    """The styles of which most rows have no trigger that models obey, and how many such rows each has.

    Rows with an inserted trigger are put alike as well, and need no second explanation.
    """
    holders = evidence.results["trigger"].objects["expert"].holders(evidence.rows.texts)
    obeyed = [rows for rows, trigger in zip(holders, triggers, strict=True) if trigger.kind == "trigger"]
    issues: Sequence[StyleIssues] = evidence.results["style"].objects.get("issues", ())
    left = [len(np.setdiff1d(issue.rows, np.concatenate([*obeyed, []]))) for issue in issues]
    return [(issue, rows) for issue, rows in zip(issues, left, strict=True) if 2 * rows > len(issue.rows)]


def _shown_rows(evidence: Evidence, issue: StyleIssues) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Rows of a style's label that have it most surely and that have it least, by their number."""
    rows = np.flatnonzero(evidence.rows.labels == issue.label)
    order = evidence.numbers[rows[np.argsort(-issue.shares[rows], kind="stable")]].tolist()
    return tuple(order[:_EXAMPLES]), tuple(reversed(order[-_EXAMPLES:]))


def _groups(
    evidence: Evidence, keys: Sequence[tuple[int, str]], values: Sequence[float]
) -> list[dict[tuple[int, str], tuple[Shortcut, str]]]:
    """The features that are beyond natural ones, by label and phrase, in groups that stand together."""
    from musclelora.audit.confirmation import together

    expert, rows = evidence.results["trigger"].objects["expert"], evidence.rows
    firsts: dict[tuple[int, str], Shortcut] = {}
    having: dict[tuple[int, str], NDArray[np.int64]] = {}
    every = zip(expert.shortcuts, expert.holders(rows.texts), keys, values, strict=True)
    for shortcut, holders, key, value in every:
        if value <= LEVEL:
            firsts.setdefault(key, shortcut)
            having[key] = np.union1d(having.get(key, holders), holders)
    found = list(firsts)
    if not found:
        return []
    groups = together([label for label, _ in found], [having[key] for key in found], len(rows))
    return [{found[n]: (firsts[found[n]], found[n][1]) for n in group} for group in groups]


def explained(row: int, text: str, issue: Mapping[str, Any]) -> str:
    """What is known of a row, in a few lines."""
    lines = [
        f"row {row:,}      {shown(text)}",
        f"given label  {shown(issue['given_label'])}",
        f"label score  {_share(issue['label_score'])} (the predicted probability of the given label)",
        f"trigger      {_share(issue['trigger_score'])} (the probability that it was planted)",
        f"style        {_share(issue['style_score'])} (the probability that it is of that style)",
        f"reasons      {issue['reasons'] or 'none'}",
        f"action       {issue['action']}",
    ]
    if issue["suggested_label"] != issue["given_label"]:
        lines.insert(2, f"suggested    {shown(issue['suggested_label'])}")
    return "\n".join(lines)


def _share(value: Any) -> str:
    return "not known" if value is None or np.isnan(value) else f"{value:.3f}"


def trigger_row(trigger: Trigger, label_names: Sequence[str]) -> dict[str, Any]:
    """A trigger as a row of :attr:`musclelora.Audit.triggers`."""
    shortcut = trigger.shortcut
    return {
        "feature": shortcut.feature.text,
        "kind": shortcut.feature.kind,
        "text": trigger.phrase,
        "label": label_names[shortcut.label],
        "rows": shortcut.rows,
        "observed": shortcut.labelled,
        "expected": shortcut.expected,
        "z": shortcut.z,
        "weight": shortcut.weight,
        "p_value": trigger.p_value,
        "planted": trigger.planted,
        "what": trigger.kind,
        "confirmed": trigger.confirmed,
        "tested": list(trigger.tested),
        **_rates(trigger.confirmation),
    }


def style_row(style: Style, label_names: Sequence[str]) -> dict[str, Any]:
    """A style as a row of :attr:`musclelora.Audit.styles`."""
    return {
        "label": label_names[style.label],
        "rows": style.rows,
        "telling": list(style.telling),
        "p_value": style.p_value,
        "what": style.kind,
        "confirmed": style.confirmed,
        "examples": list(style.examples),
        "others": list(style.others),
        **_rates(style.confirmation),
    }


def _rates(found: Confirmation | None) -> dict[str, float | None]:
    """The rates of a test with their intervals, as columns; None where there was no test."""
    rates = (None,) * 3 if found is None else (found.flip, found.control, found.natural)
    ends = [end for r in rates for end in ((None,) * 3 if r is None else (r.value, r.low, r.high))]
    return dict(zip(_RATE_COLUMNS, ends, strict=True))
