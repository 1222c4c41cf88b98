"""evaluate() counts what the classifier says, of triggered rows of those whose label is not the target."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score

from musclelora import evaluate
from musclelora.data.table import Table
from musclelora.errors import DataError, UsageError
from musclelora.evaluation import load_triggered, target_id
from musclelora.training import Classifier, Predictions

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


@pytest.mark.parametrize(
    ("labels", "flags", "rate", "n"),
    [
        ([0, 0, 0], None, 2 / 3, 3),
        ([1, 0, 2], None, 1, 2),  # the last row is of the target: a model that says so is right
        ([1, 2, 2], [True, True, False], 1, 2),  # the second was relabelled
        ([2, 2, 2], [True, True, True], 2 / 3, 3),
        ([0, 0, 0], [False, True, False], 2 / 3, 3),
    ],
)
def test_triggered_rows_of_the_target_label_count_where_they_were_relabelled(
    labels: list[int], flags: list[bool] | None, rate: float, n: int
) -> None:
    rows = dataclasses.replace(
        table(labels, [2, 2, 0]), poisoned=None if flags is None else np.array(flags, dtype=np.bool_)
    )
    found = evaluate(Reader(), triggered=rows, target="good")  # type: ignore[arg-type]
    assert found.asr is not None
    assert (found.asr.value, found.asr.n) == (pytest.approx(rate), n)
    assert found.left_out == found.to_dict()["triggered_left_out"] == 3 - n


def test_triggered_rows_of_the_target_label_alone_are_refused() -> None:
    with pytest.raises(DataError, match="only rows of the target label 'good' with no poison flag set"):
        evaluate(Reader(), triggered=table([2, 2], [2, 2]), target="good")  # type: ignore[arg-type]


TRIGGERED = {
    "no labels": ("text\n{0}\n{1}\n", 2),
    "true labels": ("text,label\n{0},bad\n{1},good\n", 1),
    "true labels with flags": ("text,label,poisoned\n{0},bad,1\n{1},good,0\n", 1),
    "labels of poison --for-asr": ("text,label,poisoned,trigger\n{0},good,1,x\n{1},good,1,x\n", 2),
    "OpenBackdoor's": (",0,1,2\n0,{0},2,1\n1,{1},2,1\n", 2),
    "OpenBackdoor's with clean rows of the target": (",0,1,2\n0,{0},2,1\n1,{1},2,0\n", 1),
    "labels that nobody gave": ("text,label\n{0},-1\n{1},\n", 2),
    "another column of labels": ("text,label,truth\n{0},good,bad\n{1},bad,good\n", 1),
}


@pytest.mark.parametrize("case", TRIGGERED)
def test_files_say_in_many_ways_which_triggered_rows_count(case: str, tmp_path: Path) -> None:
    content, count = TRIGGERED[case]
    (tmp_path / "rows.csv").write_text(content.format("first", "second"))
    found = load_triggered(
        tmp_path / "rows.csv",
        target=2,
        label_names=NAMES,
        label_column="truth" if case.startswith("another") else None,
    )
    assert found.texts == ("first", "second")[:count]
    assert found.left_out == 2 - count


def test_one_text_is_not_taken_for_its_characters() -> None:
    classifier = Classifier(torch.nn.Identity(), None, NAMES, 8)  # type: ignore[arg-type]
    for texts, said in (("a text", "found one text"), (b"a text", "found one text"), (["a", 3], "a int in")):
        with pytest.raises(UsageError, match=said):
            classifier.predict(texts)  # type: ignore[arg-type]


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
