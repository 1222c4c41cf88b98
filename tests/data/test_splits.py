"""stratified_split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musclelora.data import Table, stratified_split
from musclelora.data.splits import some_rows
from musclelora.errors import DataError


def table_of(counts) -> Table:
    labels = np.repeat(np.arange(len(counts)), counts)
    texts = tuple(str(i) for i in range(len(labels)))
    return Table(texts, labels, tuple("abcdefgh"[: len(counts)]))


def test_parts_have_the_proportions_of_the_whole():
    first, second = stratified_split(table_of([60, 30, 10]), [50, 20], seed=0)
    assert np.bincount(first.labels).tolist() == [30, 15, 5]
    assert np.bincount(second.labels).tolist() == [12, 6, 2]


def test_largest_remainders_get_the_odd_rows():
    (part,) = stratified_split(table_of([5, 3, 2]), [4], seed=0)  # 2.0, 1.2, 0.8
    assert np.bincount(part.labels).tolist() == [2, 1, 1]


def test_the_seed_decides():
    table = table_of([50, 50])
    a, b, c = (stratified_split(table, [20], seed=seed)[0].texts for seed in (1, 1, 2))
    assert a == b
    assert a != c


@given(
    counts=st.lists(st.integers(0, 12), min_size=1, max_size=5),
    sizes=st.lists(st.integers(1, 9), max_size=4),
    seed=st.integers(0, 99),
)
def test_parts_are_disjoint_ordered_and_exact(counts, sizes, seed):
    table = table_of(counts)
    if sum(sizes) > len(table):
        with pytest.raises(DataError, match=rf"rows were asked of {len(table)} rows"):
            stratified_split(table, sizes, seed=seed)
        return
    parts = stratified_split(table, sizes, seed=seed)
    assert [len(part) for part in parts] == sizes
    texts = [int(text) for part in parts for text in part.texts]
    assert len(set(texts)) == len(texts)
    assert all(list(part.texts) == sorted(part.texts, key=int) for part in parts)


def test_sizes_below_one():
    with pytest.raises(DataError, match="expected sizes of at least 1"):
        stratified_split(table_of([5]), [2, 0], seed=0)


@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    count=st.integers(0, 50),
    seed=st.integers(0, 2**32 - 1),
)
def test_some_rows_have_every_label(labels, count, seed):
    found = some_rows(np.array(labels), count, seed=seed)
    assert set(np.array(labels)[found]) == set(labels)
    assert len(found) == min(max(count, len(set(labels))), len(labels))
    assert (np.diff(found) > 0).all()
    np.testing.assert_array_equal(found, some_rows(np.array(labels), count, seed=seed))
