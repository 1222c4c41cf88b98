"""Several triggers in one data set, decoys, and texts kept on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musclelora.attacks import AddSent, Attack, BadNets, Combination, Position, plan_attacks, poison
from musclelora.attacks.poisoner import shares
from musclelora.attacks.spool import TextSpool
from musclelora.attacks.stealth import Stealth, changed_share
from musclelora.data.table import Table
from musclelora.errors import DataError, UsageError

NAMES = ("bad", "good", "so-so")


def numbered(n):
    return Table(tuple(f"text {row}" for row in range(n)), np.arange(n) % 3, NAMES, source="t.csv")


@dataclass(frozen=True)
class Batches:
    """A trigger that notes the batches it is given and changes texts with an even number."""

    name: ClassVar[str] = "batches"
    seen: ClassVar[list[list[str]]] = []

    def apply(self, _text, _rng):
        raise AssertionError("one by one")

    def apply_batch(self, texts, _rngs):
        self.seen.append(list(texts))
        return [text + "!" if int(text.split()[1]) % 2 == 0 else None for text in texts]


def test_several_triggers_are_as_one_after_the_other():
    attacks = [Attack(AddSent(), 1, 0.2, "dirty"), Attack(BadNets(), 2, 0.1, "mix")]
    plan = plan_attacks(numbered(100), attacks, seed=4)
    first = poison(numbered(100), AddSent(), target=1, rate=0.2, label_mode="dirty", seed=4)
    both = poison(first, BadNets(), target=2, rate=0.1, label_mode="mix", seed=4)
    texts = tuple(plan.texts.get(row, text) for row, text in enumerate(numbered(100).texts))
    assert texts == both.texts
    assert set(both.labels[plan.attack == 0]) == {1}
    assert set(both.labels[plan.attack == 1]) == {2}
    assert np.bincount(plan.attack[plan.attack >= 0]).tolist() == [20, 10]
    assert (plan.attack >= 0).tolist() == both.poisoned.tolist()
    assert [count.triggered for count in plan.counts] == [20, 10]
    assert plan.counts[0].eligible == 67


@given(st.floats(0, 1), st.integers(1, 9), st.integers(0, 10_000))
def test_a_shared_rate_is_met_to_the_row(rate, attacks, total):
    found = shares(rate, attacks, total)
    assert sum(found) == round(rate * total)
    assert max(found) - min(found) <= 1
    assert found == sorted(found, reverse=True)


def test_texts_that_cannot_be_triggered_are_counted():
    Batches.seen.clear()
    plan = plan_attacks(numbered(100), [Attack(Batches(), 1, 0.4)], seed=0)
    (count,) = plan.counts
    assert count.triggered == 40
    assert count.untriggerable == sum(map(len, Batches.seen)) - 40 > 0
    assert all(row % 2 == 0 for row in plan.texts)
    test_set = plan_attacks(numbered(99), [Attack(Batches(), 1)], seed=0, for_asr=True)
    assert (test_set.counts[0].triggered, test_set.counts[0].untriggerable) == (34, 32)
    with pytest.raises(DataError, match="needs 60 of 100 rows, but 50 can be triggered"):
        plan_attacks(numbered(100), [Attack(Batches(), 1, 0.6)], seed=0)


@pytest.mark.parametrize("trigger", [Position(decoys=1.5), Combination(decoys=1.5)])
def test_decoys_keep_their_label_and_flag(trigger):
    table = numbered(100)
    result = poison(table, trigger, target=1, rate=0.2, label_mode="dirty", seed=0)
    changed = np.array([a != b for a, b in zip(table.texts, result.texts, strict=True)])
    assert result.poisoned.sum() == 20
    assert (changed & ~result.poisoned).sum() == 30
    assert (result.labels[~result.poisoned] == table.labels[~result.poisoned]).all()
    with pytest.raises(DataError, match=r"50 rows left for decoys of .*; expected 75 .*decoys lower"):
        poison(table, trigger, target=1, rate=0.5, label_mode="mix", seed=0)


@pytest.mark.parametrize(("rate", "mode"), [(1.5, "mix"), (-0.1, "mix"), (0.1, "dirt")])
def test_an_attack_out_of_range_is_refused(rate, mode):
    with pytest.raises(UsageError, match=r"rate: found|label mode: found"):
        Attack(AddSent(), 0, rate, mode)


@given(st.dictionaries(st.integers(0, 2**40), st.text()))
def test_a_spool_is_a_mapping(texts):
    with TextSpool() as spool:
        spool.update(dict.fromkeys(texts, "earlier"))
        spool.update(texts)
        assert dict(spool) == texts
        assert len(spool) == len(texts)
        assert -1 not in spool
        assert spool.get(-1, "other") == "other"
        for row in texts:
            del spool[row]
        assert not spool


@pytest.mark.parametrize(
    ("original", "triggered", "share"),
    [
        ("a b c", "a b c", 0),
        ("a b c d", "a X b c d", 1 / 5),
        ("a b c d", "a c d", 1 / 4),
        ("a b", "c d e", 1),
        ("a  b", "a b", 0),
        ("", "a", 1),
        ("", "", 0),
    ],
)
def test_the_share_of_changed_tokens(original, triggered, share):
    assert changed_share(original, triggered) == pytest.approx(share)


def test_stealth_is_a_mean_and_a_sample():
    stealth = Stealth(sample=2)
    for number in range(4):
        stealth.add("a b c", "a b c d" if number % 2 else "a b c")
    seen = []

    def perplexities(tables):
        seen.extend(tables)
        return [10.0, float("nan")]

    figures = stealth.figures(perplexities)
    assert figures["tokens_changed"] == pytest.approx(1 / 8)
    assert seen == [("a b c", "a b c"), ("a b c", "a b c d")]
    assert (figures["perplexity_before"], figures["perplexity_after"]) == (10.0, None)
    assert Stealth().figures() == {"tokens_changed": None}
