"""A diagnosis in words: :func:`_rules` says when a rule applies, :data:`TEXTS` what it then says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

DECIDED = 0.975
AGREES = 0.1
MEMORISED = 0.05
ONE_LABEL, USUAL = 0.9, 0.75

Finding = dict[str, str]
TEXTS = {
    "chosen-by-loss": "the suspected rows are the tenth whose loss fell first: that their band halves first "
    "follows from that, and is no evidence of a backdoor",
    "backdoor-first": "the low band of the {danger} rows was learned before that of the {safe} ones {sure}",
    "backdoor-later": "the low band of the {danger} rows was learned after that of the {safe} ones {sure}",
    "order-undecided": "which group's low band was learned first is not decided {sure}",
    "one-label": "{share} of the rows whose loss fell first are labelled {label!r}, and {usual} of the "
    "others: so a backdoor with that target would look",
    "audited": "the rows were audited by the trusted ones: {audited[0]:,} were left out, and what "
    "{audited[1]:,} features say was taken out of the loss",
    "trusted-only": "the trusted rows are all that was trained on",
    "no-trusted-set": "no trusted row guided the updates, and none judged the rows",
    "trusted-loss": "the trusted loss {fell}",
    "astray": "at the end the training batches ask for something else than the trusted set (mean cosine of "
    "the gradients {cosine:.2f}, below {agrees:g})",
    "follows": "at the end every step still follows the trusted rows (mean cosine {cosine:.2f})",
    "memorised": "the trusted rows are known by heart (trusted loss {loss:.3f} at the end)",
    "raw-gradient": "{ratio:.1f} % of the unaligned gradient was let in at the end",
    "purify": "change: --method purify (the default), with about 100 rows that you checked",
    "look": "change: look at what was found (musclelora audit, explain), decide on rows by hand "
    "(--decisions), or trust more rows{now}: what the audit took out was not all",
    "lower-ratio": "change: lower --max-raw-ratio, to 0 if need be: the unaligned gradient was let in from "
    "step {mixed:.0f} on, {when} the triggered rows' low band had halved",
    "more-trusted-rows": "change: more trusted rows{now}: these no longer hold the update back",
    "other-scales": "change: {scales} (larger ones favour what is higher in frequency) or a lower "
    "--learning-rate: the low band was learned although every update was aligned",
    "larger-scales": "change: larger --scale-factors: the high band of the {safe} rows never halved",
    "train-longer": "change: more --epochs or a higher --learning-rate: nothing has been learned yet",
    "keep": "nothing to change on this account: the clean rows were learned, the triggered ones were not",
}
"""What each rule says, in the order in which it is said."""


class Log(NamedTuple):
    """What was logged of a step."""

    step: float
    trusted_loss: float
    gradient_agreement: float
    """The cosine of the two gradients."""
    raw_ratio: float
    """ρ, the share of the unaligned gradient."""


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What a run's own log says.

    Attributes:
        alignment: whether updates were aligned to a trusted set.
        audited: what an audit by the trusted rows found: rows left out, triggers; None: there was none.
        trusted_only: whether nothing but the trusted rows was trained on.
        multiscale: whether there was a multi-scale layer.
        trusted_rows: how many, or None.
        min_trusted_loss: the threshold below which ρ may rise.
        logs: what was logged.
    """

    alignment: bool = False
    audited: tuple[int, int] | None = None
    trusted_only: bool = False
    multiscale: bool = False
    trusted_rows: int | None = None
    min_trusted_loss: float = 0.0
    logs: list[Log] = field(default_factory=list)

    @classmethod
    def of(cls, info: dict[str, Any] | None) -> RunFacts:
        """From what ``run.json`` holds."""
        if info is None:
            return cls()
        settings = info["settings"]
        threshold = settings.get("arguments", {}).get("min_trusted_loss")
        if threshold is None:
            threshold = info["preset"].get("min_trusted_loss", 0.0)
        judgement = (info.get("auto") or {}).get("judgement")
        return cls(
            alignment=bool(settings["levers"].get("alignment")),
            audited=judgement
            and (
                len(judgement["left_out"]) - len(judgement.get("counterexamples", ())),
                len(judgement["expert"]["shortcuts"]),
            ),
            trusted_only=bool(settings["levers"].get("trusted_only")),
            multiscale=bool(info["adapter"]["scale_factors"]),
            trusted_rows=info["data"].get("trusted", {}).get("rows"),
            min_trusted_loss=float(threshold),
            logs=[
                Log(*(log[key] for key in Log._fields))
                for log in info.get("history", [])
                if all(key in log for key in Log._fields)
            ],
        )


def diagnose(analysis: dict[str, Any], facts: RunFacts) -> list[Finding]:
    """What an analysis and a run's log say, and what to change.

    Args:
        analysis: as :func:`~musclelora.spectrum.analysis.analyse` gives it.
        facts: of the run.

    Returns:
        lines, each with its ``rule`` and ``text``: when each band of each group first halved its error
        ("converged"), and the rules that apply.
    """
    groups, last = analysis["groups"], analysis["steps"][-1]
    found = []
    for name, bands in analysis["convergence"].items():
        for band in ("low", "high"):
            text = _halved(band, bands[band], groups[name], last)
            found.append({"rule": "converged", "text": f"{name} rows ({groups[name]['rows']:,}): {text}"})
    applies, said = _rules(analysis, facts)
    return found + [{"rule": rule, "text": TEXTS[rule].format(**said)} for rule in TEXTS if applies[rule]]


def _rules(analysis: dict[str, Any], facts: RunFacts) -> tuple[dict[str, bool], dict[str, Any]]:
    """Which rules apply, and what their texts say of the run.

    "Danger" is the group triggered or suspected, "safe" the other one.
    """
    groups, last, aligned, audited = analysis["groups"], analysis["steps"][-1], facts.alignment, facts.audited
    danger = next((name for name in ("triggered", "suspected") if name in groups), "")
    safe = next((name for name in ("clean", "others") if name in groups), "")
    halved = {
        (name, band): interval["value"]
        for name, bands in analysis["convergence"].items()
        for band, interval in bands.items()
    }
    learned = {place for place, step in halved.items() if isinstance(step, int | float)}
    triggers_learned, safe_learned = ("triggered", "low") in learned, (safe, "low") in learned
    by_loss = analysis["groups_by"] == "early loss"  # which decides the order of the groups
    earlier = None if by_loss or not (danger and safe) else _earlier(analysis["order"], danger)
    first = earlier is not None and earlier >= DECIDED
    later = earlier is not None and earlier <= 1 - DECIDED
    label, share, usual = _commonest(groups["suspected"], groups["others"]) if by_loss else ("", 0.0, 0.0)
    one_label = share >= ONE_LABEL and usual <= USUAL
    # The last fifth of the log, and the first step at which ρ was above 0.
    logged = aligned and bool(facts.logs)
    late = facts.logs[-max(len(facts.logs) // 5, 1) :] if logged else [Log(0, 1, 1, 0)]
    _, loss, cosine, ratio = np.mean(late, axis=0).tolist()
    astray, memorised = cosine < AGREES, loss < MEMORISED
    mixed = next((log.step for log in facts.logs if log.raw_ratio > 0), np.inf)
    failed = triggers_learned and aligned
    applies = {
        "chosen-by-loss": by_loss,
        "backdoor-first": first,
        "backdoor-later": later,
        "order-undecided": earlier is not None and not first and not later,
        "one-label": one_label,
        "audited": audited is not None,
        "trusted-only": facts.trusted_only and not aligned,
        "no-trusted-set": not facts.trusted_only and not aligned and audited is None,
        "trusted-loss": logged,
        "astray": logged and astray,
        "follows": logged and not astray,
        "memorised": memorised,
        "raw-gradient": ratio > 0,
        "purify": (first or one_label) and not aligned and audited is None,
        "look": (triggers_learned or one_label) and audited is not None,
        "lower-ratio": failed and mixed <= last,
        "more-trusted-rows": failed and (memorised or astray),
        "other-scales": failed and logged and mixed == np.inf and not memorised and not astray,
        "larger-scales": facts.multiscale and safe_learned and halved[safe, "high"] == "never",
        "train-longer": not learned,
        "keep": danger == "triggered" and safe_learned and not triggers_learned,
    }
    return applies, {
        "danger": danger,
        "safe": safe,
        "sure": f"(earlier in {100 * (earlier or 0):.1f} % of the resamples)",
        "label": label,
        "share": f"{100 * share:.0f} %",
        "usual": f"{100 * usual:.0f} %",
        "audited": audited,
        "fell": _fell(facts),
        "cosine": cosine,
        "agrees": AGREES,
        "loss": loss,
        "ratio": 100 * ratio,
        "now": f" (now {facts.trusted_rows})" if facts.trusted_rows else "",
        "mixed": mixed,
        "when": "before" if failed and halved["triggered", "low"] < mixed else "after",
        "scales": "other --scale-factors" if facts.multiscale else "--multiscale with large --scale-factors",
    }


def _earlier(order: dict[str, Any], danger: str) -> float | None:
    """The share of the resamples in which the low band of `danger` halved first; None where undefined."""
    share: float | None = order["low"]["earlier_share"] if order else None
    return share if share is None or order["low"]["groups"][0] == danger else 1 - share


def _commonest(suspected: dict[str, Any], others: dict[str, Any]) -> tuple[str, float, float]:
    """The commonest label of the suspected rows, and its share of them and of the others."""
    label, count = max(suspected["labels"].items(), key=lambda item: item[1])
    return label, count / suspected["rows"], others["labels"][label] / others["rows"]


def _fell(facts: RunFacts) -> str:
    threshold = f"its threshold of {facts.min_trusted_loss:g}"
    step = next((log.step for log in facts.logs if log.trusted_loss <= facts.min_trusted_loss), None)
    return (
        f"never fell to {threshold}"
        if step is None
        else f"was first at or below {threshold} at step {step:.0f}"
    )


def _halved(band: str, interval: dict[str, Any], group: dict[str, Any], last: float) -> str:
    if interval["value"] is None:
        same = max(group["labels"].values()) == group["rows"]
        return f"the labels have no {band} band" + (": all of them are the same" if same else "")
    steps = (interval[name] for name in ("value", "low", "high"))
    value, low, high = (step if step == "never" else f"{step:.0f}" for step in steps)
    when = f"never halved within {last:.0f} steps" if value == "never" else f"halved at step {value}"
    return f"e_{band} {when} (95 %: {low} to {high})"
