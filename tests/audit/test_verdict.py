"""The verdict: a table of what was found and what is said of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from musclelora.audit.confirmation import _rates, together
from musclelora.audit.features import Feature
from musclelora.audit.triggers import Shortcut
from musclelora.audit.verdict import Confirmation, Style, Trigger, Verdict, decide
from musclelora.evaluation import Rate


def rates(flip: int, control: int, natural: int, n: int = 48) -> Confirmation:
    return Confirmation(*(Rate.of(count, n) for count in (flip, control, natural)))


def trigger(p: float = 1e-9, confirmation: Confirmation | None = None) -> Trigger:
    return Trigger(Shortcut(Feature("word", "cf"), 1, 60, 60, 30.0, 9.0, 4.0), "cf", p, 0.98, confirmation)


def style(p: float = 1e-9, confirmation: Confirmation | None = None) -> Style:
    return Style(1, 90, ("thou", "hath"), p, confirmation)


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


@pytest.mark.parametrize(
    ("styles", "triggers", "state", "rows"),
    [
        ([style(confirmation=rates(44, 3, 4))], [], "poisoned", 90),
        ([style(confirmation=rates(4, 3, 4))], [], "no_sign", 0),
        ([style(confirmation=rates(44, 3, 42))], [], "no_sign", 0),  # it means the label by nature
        ([style()], [], "cannot_tell", 90),
        ([style(p=0.2)], [], "no_sign", 0),
        ([style()], [trigger(confirmation=rates(48, 3, 9))], "poisoned", 60),
    ],
)
def test_a_verdict_on_styles(styles: list[Style], triggers: list[Trigger], state: str, rows: int) -> None:
    labels = np.ones(200, dtype=np.int64)
    verdict = decide(
        triggers,
        [np.arange(60)] * len(triggers),
        labels,
        ("bad", "good"),
        p_value=1.0,
        trusted=96,
        accuracy=0.8,
        chance=0.5,
        styles=styles,
        checked=[],
        unchecked=[],
    )
    assert (verdict.state, verdict.rows) == (state, rows)
    assert verdict.target == ("good" if rows else None)
    if rows == 90:
        assert "('thou', 'hath')" in verdict.why


def test_features_that_stand_in_the_same_rows_are_put_to_the_test_together() -> None:
    rng = np.random.default_rng(0)
    planted = rng.choice(2000, 200, replace=False)
    first, second, third = (rng.choice(planted, 140, replace=False) for _ in range(3))
    alone, other = rng.choice(2000, 140, replace=False), rng.choice(2000, 90, replace=False)
    holders = [first, alone, second, other, third]
    assert together([1] * 5, holders, 2000) == [[0, 2, 4], [1], [3]]
    assert together([1, 1, 0, 1, 1], holders, 2000) == [[0, 4], [1], [2], [3]]  # of one label only
    assert together([], [], 2000) == []


def test_features_that_stand_anywhere_are_joined_by_chance_alone() -> None:
    rng = np.random.default_rng(1)
    joined = 0
    for _ in range(200):
        holders = [rng.choice(500, 60, replace=False) for _ in range(4)]
        joined += len(together([0] * 4, holders, 500)) < 4
    assert joined <= 8  # 2 are to be expected


def test_the_rates_are_of_rows_that_turn() -> None:
    # Rows: turned; called so anyhow; turned by random words too; not turned; trusted models turn the last.
    said = np.array(
        [
            [1, 1, 1, 0],  # undefended, trigger
            [0, 1, 0, 0],  # undefended, first random words
            [0, 1, 1, 0],  # undefended, second random words
            [0, 1, 0, 1],  # trusted models, trigger
            [0, 1, 0, 0],  # trusted models, first random words
        ]
    )
    found = _rates(said, label=1)
    assert found is not None
    assert (found.flip.value, found.flip.n) == (2 / 3, 3)
    assert found.control.value == 1 / 3
    assert found.natural.value == 1 / 3
    assert _rates(np.ones((5, 4), dtype=int), label=1) is None  # no row is left that could turn
