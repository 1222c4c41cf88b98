"""Data frames and data sets as tables, and back."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest

from musclelora.data import load_table
from musclelora.data.frames import rows_of
from musclelora.data.table import Table
from musclelora.errors import DataError, UsageError

TEXTS = ["one", "two", "three", "four"]


def frame(labels: Any = ("good", "bad", "good", "bad"), **changes: Any) -> pd.DataFrame:
    return pd.DataFrame({"text": TEXTS, "label": labels, "more": range(4)} | changes)


def data_set() -> datasets.Dataset:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    return datasets.Dataset.from_dict({"text": TEXTS, "label": [1, 0, 1, 0]}, features=features)


@pytest.mark.parametrize(
    "data",
    [
        frame(),
        frame(pd.Categorical(["good", "bad", "good", "bad"])),
        frame().set_index(pd.Index([5, 5, 5, 5])),
        frame(np.array([1, 0, 1, 0])),
        frame(pd.array([1, 0, 1, 0], dtype="Int64")),
        data_set(),
    ],
    ids=["texts", "categorical", "an index that repeats", "numbers", "nullable numbers", "a data set"],
)
def test_labelled_texts_in_memory_are_a_table(data: Any) -> None:
    table = load_table(data)
    assert table.texts == tuple(TEXTS)
    assert table.labels.tolist() == [1, 0, 1, 0]
    assert load_table(table) is table


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (frame(["good", None, "good", "bad"]), "train, row 2, column 'label': empty or NaN label"),
        (frame().iloc[:0], "train: no rows"),
        (frame().rename(columns={"text": "words"}), "train: none of the columns text"),
        (pd.DataFrame([["a", "b", 1]], columns=["text", "text", "label"]), "occur more than once"),
    ],
)
def test_what_is_wrong_with_them_is_said_with_its_place(data: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        load_table(data, name="train")


@pytest.mark.parametrize("data", [[1, 2], {"text": []}, None, datasets.DatasetDict()])
def test_other_things_are_refused(data: Any) -> None:
    with pytest.raises(UsageError, match="expected a DataFrame"):
        load_table(data)


def test_rows_come_back_as_the_type_that_came_in() -> None:
    rows = np.array([0, 3])
    given = frame().set_index(pd.Index([5, 5, 5, 5]))
    table = load_table(given)
    pd.testing.assert_frame_equal(rows_of(given, table, rows, table.labels), given.iloc[[0, 3]])
    changed = table.labels.copy()
    changed[3] = 1
    back = rows_of(given, table, rows, changed)
    assert back["label"].tolist() == ["good", "good"]
    assert given["label"].tolist() == ["good", "bad", "good", "bad"]
    categories = frame(pd.Categorical(["good", "bad", "good", "bad"]))
    assert (
        rows_of(categories, load_table(categories), rows, changed)["label"].dtype == categories["label"].dtype
    )
    numbers = frame(np.array([1, 0, 1, 0]))
    assert rows_of(numbers, load_table(numbers), rows, changed)["label"].tolist() == [1, 1]
    chosen = rows_of(data_set(), table, rows, changed)
    assert isinstance(chosen, datasets.Dataset)
    assert (chosen["label"], chosen.features) == ([1, 1], data_set().features)
    whole = rows_of(table, table, rows, changed)
    assert isinstance(whole, Table)
    assert (whole.texts, whole.labels.tolist()) == (("one", "four"), [1, 1])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([True, False, True, False], [True, True]),
        ([1.0, 0.0, 1.0, 0.0], [1.0, 1.0]),
        (pd.Categorical([3, 2, 3, 2]), [3, 3]),
        (pd.array(["good", "bad", "good", "bad"], dtype="string"), ["good", "good"]),
        (np.array([np.int64(1), np.int64(0), np.int64(1), np.int64(0)], dtype=object), [1, 1]),
    ],
    ids=["booleans", "floats", "categories of numbers", "strings", "objects"],
)
def test_a_changed_label_is_written_as_others_write_it(labels: Any, expected: list[Any]) -> None:
    given = frame(labels)
    table = load_table(given)
    changed = table.labels.copy()
    changed[3] = table.labels[0]
    back = rows_of(given, table, np.array([0, 3]), changed)
    assert back["label"].tolist() == expected
    assert back["label"].dtype == given["label"].dtype


def test_columns_may_have_numbers_for_names() -> None:
    given = pd.DataFrame([["one", "good"], ["two", "bad"]])
    table = load_table(given, text_column=0, label_column=1)  # type: ignore[arg-type]
    changed = np.array([1, 1])
    back = rows_of(given, table, np.array([1]), changed, label=1)  # type: ignore[arg-type]
    assert back[1].tolist() == ["good"]


def test_a_label_that_no_row_has_cannot_be_written() -> None:
    table = Table(tuple(TEXTS), np.array([1, 0, 1, 0]), ("bad", "good", "ugly"))
    with pytest.raises(DataError, match="no row of the label 'ugly'"):
        rows_of(frame(), table, np.array([0]), np.array([2, 0, 1, 0]))
