"""A diagnosis in words, from stated rules.

Every line names the rule that it follows from. "Danger" is the group triggered or suspected, "safe" the
other one.

===================  =====================================================================================
rule                 when, and what it says
===================  =====================================================================================
converged            always: the step at which each band of each group first halved its error
backdoor-first       danger's e_low halved first in at least 97.5 % of the resamples
backdoor-later       it did so in at most 2.5 %
order-undecided      neither, where flags name the groups
chosen-by-loss       groups come from early loss, which decides their order: it is no evidence
one-label            at least 90 % of the suspected rows have one label, and at most 75 % of the others
no-trusted-set       the run was neither aligned to a trusted set nor audited by one
trusted-only         the run was trained on the trusted rows alone
audited              the run's rows were audited: how many were left out, and how many triggers were found
trusted-loss         the step at which the logged trusted loss was first at or below min_trusted_loss
follows              the mean cosine of the two gradients in the last fifth of the logs is at least 0.1
astray               it is below 0.1: the training data ask for something else than the trusted set
memorised            the trusted loss ended below 0.05: its gradient has little left to say
raw-gradient         the share ρ of the unaligned gradient was above 0 in the last fifth of the logs
purify               advice: backdoor-first or one-label, with neither alignment nor an audit
look                 advice: the triggered rows' e_low halved, or one-label, and the rows were audited
lower-ratio          advice: the triggered rows' e_low halved, aligned, and ρ was above 0 at some step
more-trusted-rows    advice: the triggered rows' e_low halved, aligned, and memorised or astray
other-scales         advice: the triggered rows' e_low halved, aligned, logged, and none of the two above
larger-scales        advice: safe's e_low halved and its e_high did not, with the multi-scale layer
train-longer         advice: no band of any group halved its error
keep                 advice: the clean rows' e_low halved, the triggered rows' did not
===================  =====================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

DECIDED = 0.975
AGREES = 0.1
MEMORISED = 0.05
ONE_LABEL, USUAL = 0.9, 0.75

Finding = dict[str, str]


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
        logs: (step, trusted loss, cosine of the two gradients, ρ), where logged.
    """

    alignment: bool = False
    audited: tuple[int, int] | None = None
    trusted_only: bool = False
    multiscale: bool = False
    trusted_rows: int | None = None
    min_trusted_loss: float = 0.0
    logs: list[tuple[float, float, float, float]] = field(default_factory=list)

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
        keys = ("step", "trusted_loss", "gradient_agreement", "raw_ratio")
        logs = [log for log in info.get("history", []) if all(key in log for key in keys)]
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
            logs=[(log[keys[0]], log[keys[1]], log[keys[2]], log[keys[3]]) for log in logs],
        )

    @property
    def late(self) -> list[tuple[float, float, float, float]]:
        """The last fifth of the logs, at least one."""
        return self.logs[-max(len(self.logs) // 5, 1) :]


def diagnose(analysis: dict[str, Any], facts: RunFacts) -> list[Finding]:
    """What an analysis and a run's log say, and what to change.

    Args:
        analysis: as :func:`~musclelora.spectrum.analysis.analyse` gives it.
        facts: of the run.

    Returns:
        lines, each with its ``rule`` and ``text``.
    """
    found: list[Finding] = []

    def say(rule: str, text: str) -> None:
        found.append({"rule": rule, "text": text})

    convergence, groups = analysis["convergence"], analysis["groups"]
    last = analysis["steps"][-1]
    for name, bands in convergence.items():
        for band in ("low", "high"):
            say(
                "converged",
                f"{name} rows ({groups[name]['rows']:,}): {_halved(band, bands[band], groups[name], last)}",
            )
    danger = next((name for name in ("triggered", "suspected") if name in groups), None)
    safe = next((name for name in ("clean", "others") if name in groups), None)
    first = _order(analysis, danger, safe, say)
    suspicious = analysis["groups_by"] == "early loss" and _one_label(groups, say)
    memorised, astray, mixed = _trusted(facts, say)

    halved = {name: _happened(bands["low"]) for name, bands in convergence.items()}
    learned = danger is not None and halved[danger] and danger == "triggered"
    if (first or suspicious) and not facts.alignment and facts.audited is None:
        say("purify", "change: --method purify (the default), with about 100 rows that you checked")
    rows = f" (now {facts.trusted_rows})" if facts.trusted_rows else ""
    if (learned or suspicious) and facts.audited is not None:
        say(
            "look",
            "change: look at what was found (musclelora audit, explain), decide on rows by hand "
            f"(--decisions), or trust more rows{rows}: what the audit took out was not all",
        )
    if learned and facts.alignment:
        step = convergence[danger]["low"]["value"]
        if mixed is not None and mixed <= last:
            when = "before" if step < mixed else "after"
            say(
                "lower-ratio",
                f"change: lower --max-raw-ratio, to 0 if need be: the unaligned gradient was let in from "
                f"step {mixed:.0f} on, {when} the triggered rows' low band had halved",
            )
        if memorised or astray:
            say("more-trusted-rows", f"change: more trusted rows{rows}: these no longer hold the update back")
        if facts.logs and mixed is None and not memorised and not astray:
            scales = (
                "other --scale-factors" if facts.multiscale else "--multiscale with large --scale-factors"
            )
            say(
                "other-scales",
                f"change: {scales} (larger ones favour what is higher in frequency) or a lower "
                "--learning-rate: the low band was learned although every update was aligned",
            )
    if safe is not None and facts.multiscale and halved[safe] and _never(convergence[safe]["high"]):
        say("larger-scales", f"change: larger --scale-factors: the high band of the {safe} rows never halved")
    if not any(_happened(band) for bands in convergence.values() for band in bands.values()):
        say("train-longer", "change: more --epochs or a higher --learning-rate: nothing has been learned yet")
    elif danger == "triggered" and safe is not None and halved[safe] and not halved[danger]:
        say(
            "keep",
            "nothing to change on this account: the clean rows were learned, the triggered ones were not",
        )
    return found


def _order(analysis: dict[str, Any], danger: str | None, safe: str | None, say: Any) -> bool:
    order = analysis["order"].get("low")
    if danger is None or safe is None or order is None:
        return False
    if analysis["groups_by"] == "early loss":
        say(
            "chosen-by-loss",
            "the suspected rows are the tenth whose loss fell first: that their band halves first follows "
            "from that, and is no evidence of a backdoor",
        )
        return False
    share = order["earlier_share"]
    if share is None:
        return False
    share = share if order["groups"][0] == danger else 1 - share
    said = f"(earlier in {100 * share:.1f} % of the resamples)"
    if share >= DECIDED:
        say(
            "backdoor-first",
            f"the low band of the {danger} rows was learned before that of the {safe} ones {said}",
        )
        return True
    if share <= 1 - DECIDED:
        say(
            "backdoor-later",
            f"the low band of the {danger} rows was learned after that of the {safe} ones {said}",
        )
    else:
        say("order-undecided", f"which group's low band was learned first is not decided {said}")
    return False


def _one_label(groups: dict[str, Any], say: Any) -> bool:
    suspected, others = groups["suspected"], groups["others"]
    label, count = max(suspected["labels"].items(), key=lambda item: item[1])
    share, usual = count / suspected["rows"], others["labels"][label] / others["rows"]
    if share < ONE_LABEL or usual > USUAL:
        return False
    say(
        "one-label",
        f"{100 * share:.0f} % of the rows whose loss fell first are labelled {label!r}, "
        f"and {100 * usual:.0f} % of the others: so a backdoor with that target would look",
    )
    return True


def _trusted(facts: RunFacts, say: Any) -> tuple[bool, bool, float | None]:
    """Whether the trusted rows are memorised, whether training went astray, and since when ρ was above 0."""
    if facts.audited is not None:
        rows, triggers = facts.audited
        say(
            "audited",
            f"the rows were audited by the trusted ones: {rows:,} were left out, and what {triggers:,} "
            "features say was taken out of the loss",
        )
    if not facts.alignment:
        if facts.trusted_only:
            say("trusted-only", "the trusted rows are all that was trained on")
        elif facts.audited is None:
            say("no-trusted-set", "no trusted row guided the updates, and none judged the rows")
        return False, False, None
    if not facts.logs:
        return False, False, None
    below = [step for step, loss, _, _ in facts.logs if loss <= facts.min_trusted_loss]
    threshold = f"its threshold of {facts.min_trusted_loss:g}"
    if below:
        say("trusted-loss", f"the trusted loss was first at or below {threshold} at step {below[0]:.0f}")
    else:
        say("trusted-loss", f"the trusted loss never fell to {threshold}")
    cosine = float(np.mean([log[2] for log in facts.late]))
    astray = cosine < AGREES
    if astray:
        say(
            "astray",
            f"at the end the training batches ask for something else than the trusted set (mean cosine of "
            f"the gradients {cosine:.2f}, below {AGREES:g})",
        )
    else:
        say("follows", f"at the end every step still follows the trusted rows (mean cosine {cosine:.2f})")
    loss = float(np.mean([log[1] for log in facts.late]))
    memorised = loss < MEMORISED
    if memorised:
        say("memorised", f"the trusted rows are known by heart (trusted loss {loss:.3f} at the end)")
    ratio = float(np.mean([log[3] for log in facts.late]))
    mixed = next((log[0] for log in facts.logs if log[3] > 0), None)
    if ratio > 0:
        say("raw-gradient", f"{100 * ratio:.1f} % of the unaligned gradient was let in at the end")
    return memorised, astray, mixed


def _halved(band: str, interval: dict[str, Any], group: dict[str, Any], last: float) -> str:
    value, low, high = (interval[name] for name in ("value", "low", "high"))
    if value is None:
        same = max(group["labels"].values()) == group["rows"]
        return f"the labels have no {band} band" + (": all of them are the same" if same else "")
    within = f"(95 %: {_step(low)} to {_step(high)})"
    if value == "never":
        return f"e_{band} never halved within {last:.0f} steps {within}"
    return f"e_{band} halved at step {_step(value)} {within}"


def _step(value: Any) -> str:
    return "never" if value == "never" else f"{value:.0f}"


def _happened(interval: dict[str, Any]) -> bool:
    return isinstance(interval["value"], int | float)


def _never(interval: dict[str, Any]) -> bool:
    return bool(interval["value"] == "never")
