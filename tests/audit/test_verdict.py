"""The verdict: a table of what was found and what is said of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from musclelora.audit.features import Feature
from musclelora.audit.triggers import Shortcut
from musclelora.audit.verdict import Confirmation, Trigger, Verdict, decide
from musclelora.evaluation import Rate


def rates(flip: int, control: int, natural: int, n: int = 48) -> Confirmation:
    return Confirmation(*(Rate.of(count, n) for count in (flip, control, natural)))


def trigger(p: float = 1e-9, confirmation: Confirmation | None = None) -> Trigger:
    return Trigger(Shortcut(Feature("word", "cf"), 1, 60, 60, 30.0, 9.0, 4.0), "cf", p, 0.98, confirmation)


@pytest.mark.parametrize(
    ("confirmation", "kind"),
    [
        (None, "suspected"),
        (rates(48, 5, 10), "trigger"),
        (rates(30, 3, 12), "trigger"),
        (rates(6, 3, 4), "natural"),  # it flips few
        (rates(40, 3, 38), "natural"),  # it flips models that cannot know a planted one as well
        (rates(30, 28, 4), "natural"),  # as any word does
        (rates(24, 3, 12), "suspected"),  # half of them: nobody knows
        (rates(6, 0, 1, n=8), "suspected"),  # too few rows to tell
    ],
)
def test_what_a_feature_is(confirmation: Confirmation | None, kind: str) -> None:
    assert trigger(confirmation=confirmation).kind == kind
    assert trigger(p=0.5, confirmation=confirmation).kind == "natural"


@pytest.mark.parametrize(
    ("found", "changes", "state"),
    [
        ([], {}, "no_sign"),
        ([trigger(confirmation=rates(48, 3, 9))], {}, "poisoned"),
        ([trigger(confirmation=rates(4, 3, 9))], {}, "no_sign"),
        ([trigger()], {}, "cannot_tell"),
        ([trigger(p=0.2)], {}, "no_sign"),
        ([], {"rows": 99}, "cannot_tell"),
        ([], {"trusted": 19}, "cannot_tell"),
        ([], {"accuracy": 0.52}, "cannot_tell"),
        ([], {"accuracy": 0.88, "chance": 0.9}, "cannot_tell"),
        # What was seen with few rows is still seen.
        ([trigger(confirmation=rates(48, 3, 9))], {"rows": 60}, "poisoned"),
    ],
)
def test_a_verdict(found: list[Trigger], changes: dict[str, Any], state: str) -> None:
    settings: dict[str, Any] = {"rows": 200, "trusted": 96, "accuracy": 0.7, "chance": 0.5} | changes
    labels = np.ones(settings.pop("rows"), dtype=np.int64)
    verdict = decide(
        found,
        [np.arange(60)] * len(found),
        labels,
        ("bad", "good"),
        p_value=1e-9,
        styles=0,
        checked=["words"],
        unchecked=["style issues: none"],
        **settings,
    )
    assert verdict.state == state
    assert Verdict.from_dict(verdict.to_dict()) == verdict
    if state == "poisoned":
        assert (verdict.target, verdict.rows) == ("good", 60)
    for line in ("  checked      words", "  not checked  style issues: none"):
        assert line in str(verdict).splitlines()
