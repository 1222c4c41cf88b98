"""evaluate() counts what the classifier says, and reads no label of a triggered row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score

from musclelora import evaluate
from musclelora.data.table import Table
from musclelora.errors import DataError, UsageError
from musclelora.evaluation import target_id
from musclelora.training import Predictions

NAMES = ("bad", "0", "good")


class Reader:
    """A classifier that says the label that a text ends with."""

    label_names = NAMES

    def predict(self, texts: Sequence[str], **_options: object) -> Predictions:
        labels = [int(text[-1]) for text in texts]
        return Predictions(
            np.eye(3, dtype=np.float32)[labels], truncated=sum(len(text) > 3 for text in texts)
        )


def table(labels: Sequence[int], said: Sequence[int], names: tuple[str, ...] = NAMES) -> Table:
    return Table(tuple(f"t{label}" for label in said), np.array(labels, dtype=np.int64), names)


def test_the_numbers_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels, said = rng.integers(0, 3, 200), rng.integers(0, 3, 200)
    found = evaluate(Reader(), clean=table(labels.tolist(), said.tolist()))  # type: ignore[arg-type]
    assert found.cacc is not None
    assert found.cacc.value == pytest.approx(accuracy_score(labels, said))
    assert found.cacc.n == 200
    assert found.confusion == confusion_matrix(labels, said).tolist()
    recalls = recall_score(labels, said, average=None)
    assert [rate.value for rate in found.per_class.values()] == pytest.approx(recalls)
    assert found.asr is None


@pytest.mark.parametrize("target", ["good", 2, "2"])
def test_the_target_is_a_name_or_an_id(target: int | str) -> None:
    found = evaluate(Reader(), triggered=["a2", "b2", "c1", "long2"], target=target)  # type: ignore[arg-type]
    assert found.asr is not None
    assert (found.asr.value, found.asr.n) == (0.75, 4)
    assert found.target == "good"
    assert found.truncated == 1
    assert found.cacc is None


def test_a_name_wins_over_an_id_of_the_same_digits() -> None:
    assert target_id("0", NAMES) == target_id(0, NAMES) == 1
    assert target_id("1", NAMES) == 1


@pytest.mark.parametrize("target", [None, 3, -1, "-1", "great", "", "1.0", "²"])
def test_an_unknown_target_is_refused(target: int | str | None) -> None:
    with pytest.raises(
        UsageError, match=r"^--target: found .*expected one of the labels 'bad', '0', 'good'$"
    ):
        evaluate(Reader(), triggered=["a2"], target=target)  # type: ignore[arg-type]


def test_a_hostile_label_is_escaped_where_it_is_named() -> None:
    with pytest.raises(UsageError) as error:
        target_id("x", ("\x1b[31m", "y"))
    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize("labels", [[0, 0, 0], [2, 2, 2], [1, 0, 2]])
def test_labels_of_triggered_rows_are_not_read(labels: list[int]) -> None:
    found = evaluate(Reader(), triggered=table(labels, [2, 2, 0]), target="good")  # type: ignore[arg-type]
    assert found.asr is not None
    assert found.asr.value == pytest.approx(2 / 3)


def test_the_labels_of_triggered_rows_may_have_other_names() -> None:
    rows = table([0, 0], [2, 2], names=("whatever",))
    assert evaluate(Reader(), triggered=rows, target="good").asr.value == 1  # type: ignore[arg-type,union-attr]


def test_json_has_the_documented_keys() -> None:
    found = evaluate(
        Reader(),
        clean=table([0, 1], [0, 2]),
        triggered=["a2"],
        target="good",  # type: ignore[arg-type]
    ).to_dict()
    for name in ("cacc", "asr"):
        assert set(found[name]) == {"value", "low", "high", "n"}
        assert 0 <= found[name]["low"] <= found[name]["value"] <= found[name]["high"] <= 1


def test_nothing_to_evaluate_is_refused() -> None:
    with pytest.raises(UsageError, match="no rows were given"):
        evaluate(Reader())  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no rows"):
        evaluate(Reader(), triggered=[], target="good")  # type: ignore[arg-type]


def test_clean_rows_of_other_labels_are_refused() -> None:
    with pytest.raises(DataError, match=r"label_names=classifier\.label_names"):
        evaluate(Reader(), clean=table([0], [0], names=("good", "0", "bad")))  # type: ignore[arg-type]
