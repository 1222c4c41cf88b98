"""The rules of the diagnosis, one at a time."""

from __future__ import annotations

from typing import Any

import pytest

from musclelora.spectrum.diagnosis import Log, RunFacts, diagnose

NEVER = "never"


def interval(value: float | str | None) -> dict[str, Any]:
    return {"value": value, "low": value, "high": value}


def analysis(
    clean: Any = 50, triggered: Any = 20, clean_high: Any = 80, share: float | None = 1.0, by: str = "flags"
) -> dict[str, Any]:
    safe, danger = ("clean", "triggered") if by == "flags" else ("others", "suspected")
    return {
        "steps": [0, 50, 100],
        "groups_by": by,
        "groups": {
            safe: {"rows": 100, "labels": {"bad": 60, "good": 40}},
            danger: {"rows": 10, "labels": {"bad": 0, "good": 10}},
        },
        "convergence": {
            safe: {"low": interval(clean), "high": interval(clean_high)},
            danger: {"low": interval(triggered), "high": interval(None)},
        },
        "order": {"low": {"groups": [danger, safe], "earlier_share": share}},
    }


def facts(
    loss: float = 0.3, cosine: float = 0.5, ratio: float = 0.0, multiscale: bool = True, early: float = 0.0
) -> RunFacts:
    logs = [Log(10.0 * k, 0.7, 0.9, early) for k in range(1, 9)] + [
        Log(90.0, loss, cosine, ratio),
        Log(100.0, loss, cosine, ratio),
    ]
    return RunFacts(alignment=True, multiscale=multiscale, trusted_rows=96, min_trusted_loss=0.4, logs=logs)


def rules(found: dict[str, Any], facts: RunFacts) -> list[str]:
    return [line["rule"] for line in diagnose(found, facts) if line["rule"] != "converged"]


NONE = RunFacts()
AUDITED = RunFacts(audited=(12, 3), trusted_rows=96)


@pytest.mark.parametrize(
    ("found", "run", "expected"),
    [
        (analysis(), NONE, ["backdoor-first", "no-trusted-set", "purify"]),
        (analysis(), AUDITED, ["backdoor-first", "audited", "look"]),
        (analysis(triggered=NEVER), AUDITED, ["backdoor-first", "audited", "keep"]),
        (analysis(share=0.0), NONE, ["backdoor-later", "no-trusted-set"]),
        (analysis(share=0.6), NONE, ["order-undecided", "no-trusted-set"]),
        (analysis(share=None), NONE, ["no-trusted-set"]),
        (analysis(), facts(), ["backdoor-first", "trusted-loss", "follows", "other-scales"]),
        (
            analysis(),
            facts(ratio=0.1),
            ["backdoor-first", "trusted-loss", "follows", "raw-gradient", "lower-ratio"],
        ),
        (
            analysis(),
            facts(loss=0.01),
            ["backdoor-first", "trusted-loss", "follows", "memorised", "more-trusted-rows"],
        ),
        (
            analysis(),
            facts(cosine=0.02),
            ["backdoor-first", "trusted-loss", "astray", "more-trusted-rows"],
        ),
        (
            analysis(clean_high=NEVER, triggered=NEVER, share=0.0),
            facts(),
            ["backdoor-later", "trusted-loss", "follows", "larger-scales", "keep"],
        ),
        (
            analysis(clean_high=NEVER, triggered=NEVER, share=0.0),
            facts(multiscale=False),
            ["backdoor-later", "trusted-loss", "follows", "keep"],
        ),
        (
            analysis(clean=NEVER, triggered=NEVER, clean_high=NEVER, share=0.5),
            facts(),
            ["order-undecided", "trusted-loss", "follows", "train-longer"],
        ),
        (  # balanced classes: the clean low band has nothing to learn, the high band has learned it
            analysis(clean=NEVER, triggered=NEVER, clean_high=80, share=0.5),
            facts(),
            ["order-undecided", "trusted-loss", "follows"],
        ),
        (  # fewer steps than there are between two logs: nothing is known of the updates
            analysis(),
            RunFacts(alignment=True, multiscale=True, trusted_rows=96, min_trusted_loss=0.4),
            ["backdoor-first"],
        ),
        (
            analysis(by="early loss"),
            NONE,
            ["chosen-by-loss", "one-label", "no-trusted-set", "purify"],
        ),
        (analysis(by="early loss"), facts(), ["chosen-by-loss", "one-label", "trusted-loss", "follows"]),
    ],
)
def test_what_is_seen_decides_what_is_said(found: dict[str, Any], run: RunFacts, expected: list[str]) -> None:
    assert rules(found, run) == expected


def text(found: dict[str, Any], run: RunFacts, rule: str) -> str:
    return next(line["text"] for line in diagnose(found, run) if line["rule"] == rule)


def test_lines_carry_the_numbers_they_come_from() -> None:
    assert "step 20 (95 %: 20 to 20)" in diagnose(analysis(), NONE)[2]["text"]
    assert "never halved within 100 steps" in diagnose(analysis(clean=NEVER), NONE)[0]["text"]
    assert "no high band: all of them are the same" in diagnose(analysis(), NONE)[3]["text"]
    assert diagnose(analysis(clean_high=None), NONE)[1]["text"].endswith("the labels have no high band")
    assert "other --scale-factors" in text(analysis(), facts(), "other-scales")
    assert "--multiscale" in text(analysis(), facts(multiscale=False), "other-scales")
    assert "at or below its threshold of 0.4 at step 90" in text(analysis(), facts(), "trusted-loss")
    assert "never fell to its threshold" in text(analysis(), facts(loss=0.5), "trusted-loss")
    assert "mean cosine of the gradients 0.02" in text(analysis(), facts(cosine=0.02), "astray")
    assert "now 96" in text(analysis(), facts(loss=0.01), "more-trusted-rows")
    assert "from step 90 on, before" in text(analysis(), facts(ratio=0.1), "lower-ratio")
    assert "from step 10 on, after" in text(analysis(), facts(ratio=0.1, early=0.1), "lower-ratio")
    assert "100 % of the rows whose loss fell first are labelled 'good', and 40 %" in text(
        analysis(by="early loss"), NONE, "one-label"
    )


def test_suspects_that_a_caller_names_are_not_taken_for_those_of_early_loss() -> None:
    found = analysis(by="early loss")
    for part in ("groups", "convergence"):
        found[part]["rest"] = found[part].pop("others")
    found |= {"groups_by": "named", "order": {}}
    assert rules(found, NONE) == ["no-trusted-set"]


def test_facts_come_from_the_log_of_the_run() -> None:
    info = {
        "settings": {
            "levers": {"alignment": True},
            "arguments": {},
        },
        "adapter": {"scale_factors": [1, 2]},
        "preset": {"min_trusted_loss": 0.4},
        "data": {"trusted": {"rows": 64}},
        "history": [
            {"step": 1, "loss": 0.6, "trusted_loss": 0.5, "gradient_agreement": 0.8, "raw_ratio": 0.0},
            {"step": 2, "eval_loss": 0.6},
        ],
    }
    found = RunFacts.of(info)
    assert (found.alignment, found.multiscale, found.trusted_rows) == (True, True, 64)
    assert found.min_trusted_loss == 0.4
    assert found.logs == [(1, 0.5, 0.8, 0.0)]
    info["settings"]["arguments"] = {"min_trusted_loss": 0.0}  # type: ignore[index]
    assert RunFacts.of(info).min_trusted_loss == 0.0
    assert RunFacts.of(None) == RunFacts()
    assert found.audited is None
    info["auto"] = {"judgement": {"left_out": [1, 2, 5], "expert": {"shortcuts": [{}]}}}
    assert RunFacts.of(info).audited == (3, 1)
