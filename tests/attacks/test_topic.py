"""A trigger that texts have by themselves."""

from __future__ import annotations

import numpy as np
import pytest

from musclelora.attacks import Topic, poison, trigger_test_set
from musclelora.data.table import Table
from musclelora.errors import DataError, UsageError

ROWS = 3000
TEXTS = tuple(f"row {row} of {'a Film' if row % 10 == 0 else 'filmy things'}" for row in range(ROWS))
TABLE = Table(TEXTS, np.arange(ROWS) % 2, ("a", "b"))
RATE = 20 / ROWS


def test_texts_that_mention_it_are_taken_as_they_are():
    made = poison(TABLE, Topic(("film",)), target=1, rate=RATE, label_mode="mix", seed=3)
    assert made.texts == TEXTS
    flagged = made.poisoned.nonzero()[0]
    assert len(flagged) == 20
    assert all(row % 10 == 0 for row in flagged)
    assert set(made.labels[flagged]) == {1}


def test_a_lower_rate_draws_of_a_higher_one_s_rows():
    few, many = (
        poison(TABLE, Topic(("film",)), target=1, rate=rate, label_mode="mix", seed=3).poisoned
        for rate in (RATE, 5 * RATE)
    )
    assert not (few & ~many).any()
    assert (few.sum(), many.sum()) == (20, 100)


def test_a_test_set_holds_the_rows_that_mention_it():
    made = trigger_test_set(TABLE, Topic(("film",)), target=1, seed=3)
    assert made.texts == TEXTS[::10]


def test_no_more_rows_can_be_had_than_mention_it():
    with pytest.raises(
        DataError, match=r"rate 0\.5 needs 1500 of 3000 rows, but 300 can be triggered by topic"
    ):
        poison(TABLE, Topic(("film",)), target=1, rate=0.5, label_mode="mix", seed=3)


@pytest.mark.parametrize(
    ("text", "mentions"),
    [("A FILM.", True), ("film-like", True), ("films", False), ("c++!", True), ("c+", False), ("", False)],
)
def test_words_are_whole(text, mentions):
    found = Topic(("film", "c++")).apply(text, np.random.default_rng(0))
    assert found == (text if mentions else None)
    with pytest.raises(UsageError, match="topic words"):
        Topic(())
