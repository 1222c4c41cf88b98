"""Choosing and checking the trusted set."""

from __future__ import annotations

import numpy as np
import pytest

from musclelora.data import Table, check_trainable, check_trusted, overlap, select_trusted
from musclelora.errors import DataError, UsageError


def table_of(labels, names=("a", "b", "c"), texts=None, source="pool.csv") -> Table:
    texts = tuple(f"text {i}" for i in range(len(labels))) if texts is None else tuple(texts)
    return Table(texts, np.array(labels, dtype=np.int64), names, source=source)


POOL = table_of([0] * 40 + [1] * 30 + [2] * 2)


def embed(texts):
    """Vectors on a line, at the number each text ends with."""
    return np.array([[float(text.split()[1])] for text in texts])


@pytest.mark.parametrize("selection", ["random", "kmeans"])
@pytest.mark.parametrize("size", [3, 20, 72])
def test_trusted_and_rest_are_the_pool(selection, size):
    trusted, rest = select_trusted(POOL, size, selection=selection, seed=3, embed=embed)
    assert len(trusted) == size
    assert sorted(trusted.texts + rest.texts) == sorted(POOL.texts)
    for part in (trusted, rest):
        numbers = [int(text.split()[1]) for text in part.texts]
        assert numbers == sorted(numbers)
    assert set(trusted.labels.tolist()) == {0, 1, 2}


def test_the_seed_decides():
    chosen = [select_trusted(POOL, 10, seed=seed)[0].texts for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_kmeans_takes_the_row_nearest_to_each_centroid():
    vectors = {"a": 0.0, "b": 1.0, "c": 1.1, "d": 50.0, "e": 51.0, "f": 51.1}
    pool = table_of([0, 0, 0, 1, 1, 1], texts=vectors)
    trusted, _ = select_trusted(
        pool, 2, selection="kmeans", embed=lambda texts: np.array([[vectors[t]] for t in texts])
    )
    assert trusted.texts == ("b", "e")  # centroids at 0.7 and 50.7


def test_kmeans_rows_are_distinct_where_vectors_are_not():
    trusted, _ = select_trusted(POOL, 20, selection="kmeans", embed=lambda texts: np.zeros((len(texts), 2)))
    assert len(set(trusted.texts)) == 20


@pytest.mark.parametrize("size", [2, 73])
def test_sizes_that_cannot_be(size):
    with pytest.raises(
        DataError, match=rf"^pool\.csv: {size} trusted rows .* 72 rows in 3 classes; expected 3 "
    ):
        select_trusted(POOL, size)


def test_wrong_selections():
    with pytest.raises(UsageError, match="'best' is unknown; expected one of random, kmeans"):
        select_trusted(POOL, 5, selection="best")
    with pytest.raises(UsageError, match="'kmeans' got no embed"):
        select_trusted(POOL, 5, selection="kmeans")


TRAIN = table_of([0, 1, 0, 1], names=("a", "b"), source="train.csv")


@pytest.mark.parametrize(
    ("labels", "names", "start"),
    [
        (
            [],
            ("a", "b"),
            "trusted.csv: no trusted rows; expected at least one row of each class of train.csv",
        ),
        ([0], ("a", "b"), "trusted.csv: 1 trusted rows for 2 classes; expected"),
        ([0, 1, 2], ("a", "b", "x"), "trusted.csv: trusted rows of classes 'x' that the training data lack"),
        ([1, 1, 1], ("a", "b"), "trusted.csv: no trusted row of classes 'a'; expected"),
    ],
)
def test_trusted_sets_that_do_not_fit(labels, names, start):
    with pytest.raises(DataError) as caught:
        check_trusted(TRAIN, table_of(labels, names=names, source="trusted.csv"))
    assert str(caught.value).startswith(start)
    assert "\n" not in str(caught.value)


def test_classes_are_compared_by_name_and_only_where_they_have_rows():
    check_trusted(TRAIN, table_of([2, 1, 2], names=("unused", "a", "b")))
    check_trusted(table_of([1, 2], names=("0", "1", "2")), table_of([2, 1], names=("0", "1", "2")))


def test_overlap_is_by_text_without_surrounding_blanks():
    train = table_of([0, 1], texts=["one", " two\n"])
    trusted = table_of([0, 0, 0], texts=["two", "One", "one "])
    assert overlap(train, trusted).tolist() == [0, 2]
    assert overlap(train, table_of([0], texts=["x"])).shape == (0,)


def test_tables_that_cannot_be_trained_on():
    check_trainable(TRAIN)
    with pytest.raises(DataError, match=r"^pool\.csv: a single class \('b'\); expected rows of at least two"):
        check_trainable(table_of([1, 1]))
    with pytest.raises(DataError, match=r"^pool\.csv: only empty texts; expected texts; name"):
        check_trainable(table_of([0, 1], texts=["", " \n"]))
    with pytest.raises(DataError, match=r"^pool\.csv: no rows"):
        check_trainable(table_of([]))
