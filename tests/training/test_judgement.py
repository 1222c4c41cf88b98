"""What is let back of the rows that a second opinion contradicts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import make_rows, make_table

from musclelora.adapter.presets import PRESETS
from musclelora.data.table import Table
from musclelora.shortcuts import Feature, Shortcut, ShortcutExpert
from musclelora.training.judgement import Judgement, second_look

LEFT_OUT = tuple(range(0, 60, 3))
CHANGED = LEFT_OUT[:10]  # of these the label is wrong


@pytest.fixture(scope="module")
def rows() -> Table:
    """160 rows of which ten have another label than they mean."""
    table = make_table(make_rows(160, 2))
    labels = table.labels.copy()
    labels[list(CHANGED)] = 1 - labels[list(CHANGED)]
    return replace(table, labels=labels)


def looked(
    rows: Table, model: Path, *, accuracy: float = 0.6, shortcuts: tuple[Shortcut, ...] = (), said: list[str]
) -> Judgement:
    expert = ShortcutExpert(shortcuts, num_labels=2, natural=0.5, threshold=3.1, tested=100)
    return second_look(
        rows,
        make_table(make_rows(40, 1)),
        Judgement(expert, LEFT_OUT, accuracy),
        model=str(model),
        preset=replace(PRESETS["small-encoder"], epochs=40, learning_rate=3e-3),
        adapter={"r": 1},
        arguments={"per_device_train_batch_size": 8, "seed": 0},
        say=said.append,
    )


def test_rows_come_back_whose_label_a_model_of_the_others_gives(rows: Table, tiny_model: Path) -> None:
    said: list[str] = []
    found = looked(rows, tiny_model, said=said)
    assert set(found.let_back) == set(LEFT_OUT) - set(CHANGED)
    assert found.left_out == CHANGED
    assert said[-1].startswith("let back     10 of them")
    assert Judgement.from_dict(found.to_dict()) == found
    assert len(found.apply(rows)[0]) == len(rows) - len(CHANGED)


def test_a_model_that_is_no_better_than_the_trusted_rows_lets_none_back(
    rows: Table, tiny_model: Path
) -> None:
    said: list[str] = []
    found = looked(rows, tiny_model, accuracy=1.0, said=said)
    assert (found.left_out, found.let_back) == (LEFT_OUT, ())
    assert said[-1].startswith("let back     none of them")


def test_rows_with_a_shortcut_stay_out(rows: Table, tiny_model: Path) -> None:
    word = rows.texts[LEFT_OUT[-1]].split()[0]
    feature = Feature("word", word)
    count = sum(word in text.split() for text in rows.texts)
    found = looked(rows, tiny_model, shortcuts=(Shortcut(feature, 1, count, count, 1.0, 4.0, 4.0),), said=[])
    with_it = {row for row in LEFT_OUT if word in rows.texts[row].split()}
    assert with_it
    assert with_it <= set(found.left_out)
    assert found.let_back
    assert not np.isin(found.let_back, list(with_it)).any()
