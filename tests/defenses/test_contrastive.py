"""Contrastive tuning on trusted rows: the pairs, and what the tuning brings."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import make_rows, make_table
from tiny_settings import ARGUMENTS

from musclelora.data.table import Table
from musclelora.defenses import Setting, get_defense
from musclelora.defenses.contrastive import drawn_pairs
from musclelora.errors import UsageError


def test_each_row_has_as_many_pairs_of_its_label_as_of_others() -> None:
    rows = Table(("a", "b", "c", "d", "e"), np.array([0, 0, 1, 1, 2]), ("x", "y", "z"), source="rows")
    label_of = dict(zip(rows.texts, rows.labels.tolist(), strict=True))
    pairs = drawn_pairs(rows, 4, seed=0)
    drawn = list(zip(pairs["sentence1"], pairs["sentence2"], pairs["label"], strict=True))
    assert len(drawn) == 2 * 4 * 5
    for one, other, label in drawn:
        assert (label_of[one] == label_of[other]) == (label == 1.0)
        assert one != other or one == "e"  # which is alone in its label
    assert Counter((one, label) for one, _, label in drawn) == {
        (t, v): 4 for t in "abcde" for v in (0.0, 1.0)
    }
    assert pairs == drawn_pairs(rows, 4, seed=0)
    assert pairs != drawn_pairs(rows, 4, seed=1)


def test_tuning_draws_the_labels_apart(tiny_model: Path) -> None:
    rows, trusted = make_table(make_rows(40, seed=0)), make_table(make_rows(40, seed=1))
    setting = Setting(rows, trusted, model=str(tiny_model), arguments=ARGUMENTS)

    def apart(**parameters: float) -> float:
        defense = get_defense("trusted-only-contrastive", **parameters).fit(setting)
        vectors = defense._encoder.encode(list(trusted.texts), normalize_embeddings=True)  # type: ignore[attr-defined]
        cosines, same = vectors @ vectors.T, trusted.labels[:, None] == trusted.labels
        return float(cosines[same].mean() - cosines[~same].mean())

    little = apart(pairs=1, num_train_epochs=0.1, learning_rate=1e-9)
    assert apart(pairs=8, learning_rate=3e-3) > little + 0.2


def test_long_texts_are_cut_and_bf16_needs_no_accelerator(tiny_model: Path) -> None:
    rows, trusted = make_table(make_rows(40, seed=0)), make_table(make_rows(12, seed=1))
    arguments = {"bf16": True, "max_length": 4096}
    setting = Setting(rows, trusted, model=str(tiny_model), arguments=arguments)
    defense = get_defense("trusted-only-contrastive", pairs=1).fit(setting)
    assert len(defense.predict(["word1 " * 5000, ""]).labels) == 2
    assert len(defense.predict([]).labels) == 0
    assert defense.rows_seen(12) == 4 * 12


@pytest.mark.parametrize("parameters", [{"pairs": 0}, {"learning_rate": 0}, {"num_train_epochs": -1}])
def test_values_out_of_range_are_refused(parameters: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"trusted-only-contrastive {next(iter(parameters))}"):
        get_defense("trusted-only-contrastive", **parameters)
