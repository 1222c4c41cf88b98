"""Poisoning a table: exact counts, who is eligible, what stays as it was."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musclelora.attacks import AddSent, BadNets, poison, trigger_test_set
from musclelora.data.table import Table
from musclelora.errors import DataError, UsageError

NAMES = ("bad", "good", "so-so")


def table_of(texts, labels, poisoned=None):
    return Table(tuple(texts), np.asarray(labels, dtype=np.int64), NAMES, poisoned, source="t.csv")


def numbered(n):
    """Row i reads "text i" and has label i mod 3."""
    return table_of([f"text {row}" for row in range(n)], np.arange(n) % 3)


@dataclass(frozen=True)
class Shout:
    """A trigger that changes lower-case texts only, and counts how often it is asked."""

    name: ClassVar[str] = "shout"
    calls: ClassVar[list[str]] = []

    def apply(self, text, _rng):
        self.calls.append(text)
        return text.upper()


@pytest.mark.parametrize(
    ("label_mode", "rate", "count", "touched"),
    [
        ("clean", 0.1, 30, {1}),
        ("dirty", 0.5, 150, {0, 2}),
        ("mix", 0.337, 101, {0, 1, 2}),
        ("mix", 1, 300, {0, 1, 2}),
    ],
)
def test_exactly_the_rate_is_poisoned_among_the_rows_of_the_label_mode(label_mode, rate, count, touched):
    table = numbered(300)
    result = poison(table, AddSent(), target=1, rate=rate, label_mode=label_mode, seed=3)
    flags = result.poisoned
    assert flags.sum() == count
    assert set(table.labels[flags]) == touched
    assert set(result.labels[flags]) == {1}
    assert all(AddSent().sentence in text for text, flag in zip(result.texts, flags, strict=True) if flag)
    assert result.label_names == table.label_names


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(st.text(), st.integers(0, 2))),
    seed=st.integers(0, 2**32 - 1),
    rate=st.floats(0, 1),
    label_mode=st.sampled_from(["clean", "dirty", "mix"]),
)
def test_no_row_is_lost_and_unflagged_rows_stay_as_they_were(rows, seed, rate, label_mode):
    table = table_of([text for text, _ in rows], [label for _, label in rows])
    needed = round(rate * len(table))
    try:
        result = poison(table, BadNets(), target=2, rate=rate, label_mode=label_mode, seed=seed)
    except DataError:
        suits = {"clean": (2,), "dirty": (0, 1), "mix": (0, 1, 2)}[label_mode]
        assert sum(bool(text.strip()) and label in suits for text, label in rows) < needed
        return
    assert len(result) == len(table)
    assert result.poisoned.sum() == needed
    for before, after, flag in zip(table, result, result.poisoned, strict=True):
        assert (after.label == 2 and after.text != before.text) if flag else after == before
    assert table.poisoned is None
    assert [label for _, label in rows] == table.labels.tolist()


def test_the_seed_decides_everything():
    def run(seed):
        result = poison(numbered(90), BadNets(), target=0, rate=0.3, label_mode="mix", seed=seed)
        return result.texts, result.labels.tolist(), result.poisoned.tolist()

    assert run(7) == run(7)
    assert run(7) != run(8)


def test_a_row_s_text_depends_on_neither_the_rate_nor_the_other_rows():
    low = poison(numbered(200), BadNets(), target=1, rate=0.1, label_mode="mix", seed=5)
    high = poison(numbered(200), BadNets(), target=1, rate=0.6, label_mode="mix", seed=5)
    assert not np.any(low.poisoned & ~high.poisoned)
    for row in np.flatnonzero(low.poisoned):
        assert low.texts[row] == high.texts[row]

    changed = table_of(["other", *numbered(200).texts[1:]], numbered(200).labels)
    one, other = (trigger_test_set(t, BadNets(), target=0, seed=5) for t in (numbered(200), changed))
    assert one.texts[1:] == other.texts[1:]


def test_a_text_that_cannot_be_triggered_is_never_poisoned():
    table = table_of(["", " \t", "a b", "c", "\n"], [0, 0, 0, 1, 2])
    result = poison(table, AddSent(), target=0, rate=0.4, label_mode="mix", seed=0)
    assert result.poisoned.tolist() == [False, False, True, True, False]
    unchanged = poison(
        table_of(["UP", "down"], [0, 0]), Shout(), target=0, rate=0.5, label_mode="clean", seed=0
    )
    assert unchanged.texts == ("UP", "DOWN")


def test_only_the_rows_that_are_needed_are_rewritten():
    Shout.calls.clear()
    poison(numbered(300), Shout(), target=1, rate=0.1, label_mode="mix", seed=0)
    assert len(Shout.calls) == 30


def test_a_second_trigger_adds_to_the_first():
    first = poison(numbered(10), AddSent(), target=1, rate=0.5, label_mode="mix", seed=0)
    second = poison(first, BadNets(), target=1, rate=0.5, label_mode="mix", seed=0)
    assert second.poisoned.all()
    assert sum(AddSent().sentence in text for text in second.texts) == 5
    assert [text for text in second.texts if AddSent().sentence in text] == [
        text for text, flag in zip(first.texts, first.poisoned, strict=True) if flag
    ]
    assert first.poisoned.sum() == 5


def test_a_shortage_says_how_many_were_needed_and_available():
    table = table_of(["a", "b", "", "d"], [1, 0, 1, 0])
    with pytest.raises(DataError) as caught:
        poison(table, AddSent(), target=1, rate=0.75, label_mode="clean", seed=0)
    message = str(caught.value)
    assert "t.csv: rate 0.75 needs 3 of 4 rows, but 1 can be triggered" in message
    assert "label mode clean with target 'good'" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": -0.1}, "rate: found -0.1"),
        ({"rate": 1.01}, "rate: found 1.01"),
        ({"rate": float("nan")}, "rate: found nan"),
        ({"target": 3}, "target: found 3, expected a label of t.csv: 0 ('bad'), 1 ('good'), 2 ('so-so')"),
        ({"target": -1}, "target: found -1"),
        ({"label_mode": "dirt"}, "label mode: found 'dirt', expected one of clean, dirty, mix"),
        ({"seed": -1}, "seed: found -1"),
    ],
)
def test_wrong_use_is_said(change, message):
    arguments = {"target": 1, "rate": 0.1, "label_mode": "mix", "seed": 0} | change
    with pytest.raises(UsageError) as caught:
        poison(numbered(10), AddSent(), **arguments)
    assert message in str(caught.value)


def test_the_asr_test_set_is_every_triggered_row_of_another_label():
    table = table_of(["a", "b", "c", "", "e"], [0, 1, 2, 0, 2])
    result = trigger_test_set(table, AddSent(), target=1, seed=0)
    assert [text.replace(AddSent().sentence, "").strip() for text in result.texts] == ["a", "c", "e"]
    assert result.labels.tolist() == [1, 1, 1]
    assert result.poisoned.tolist() == [True] * 3


def test_an_asr_test_set_needs_a_row():
    with pytest.raises(DataError, match=r"t.csv: no row with a label other than the target 'good'"):
        trigger_test_set(table_of(["a", ""], [1, 0]), AddSent(), target=1, seed=0)
    with pytest.raises(UsageError, match="target: found 3"):
        trigger_test_set(numbered(3), AddSent(), target=3, seed=0)
