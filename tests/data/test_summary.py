"""summarize."""

from __future__ import annotations

import json

import numpy as np

from musclelora.data import Table, summarize

TABLE = Table(
    texts=("a", "bb", "a", "a", " \n", "", "bb", "c"),
    labels=np.array([0, 1, 0, 1, 0, 1, 1, 0]),
    label_names=("neg", "pos", "none\x1b"),
    poisoned=np.ones(8, dtype=bool),
    source="t.csv",
)


def test_counts():
    summary = summarize(TABLE)
    assert (summary.source, summary.rows) == ("t.csv", 8)
    assert summary.classes == {"neg": 4, "pos": 4, "none\x1b": 0}
    assert summary.duplicates == 3
    assert summary.conflicting_duplicates == 1
    assert summary.empty_texts == 2
    assert (summary.longest, summary.longest_row) == (2, 2)


def test_printing():
    lines = summarize(TABLE).lines()
    assert "classes      3: 'neg' 4, 'pos' 4, 'none\\x1b' 0" in lines
    assert "duplicates   3, of which 1 with another label" in lines
    assert "poison" not in "".join(lines)


def test_many_classes_are_cut():
    table = Table(("x",), np.array([0]), tuple(str(i) for i in range(30)))
    assert any(line.endswith(" and 10 more") for line in summarize(table).lines())


def test_dictionary_is_json():
    assert json.loads(json.dumps(summarize(TABLE).to_dict()))["classes"]["pos"] == 4


def test_no_rows():
    summary = summarize(Table((), np.array([], dtype=np.int64), ("a",)))
    assert (summary.rows, summary.longest, summary.longest_row) == (0, 0, 0)
