"""What the models of a playground say, which words matter, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from runs_to_play import train
from tiny_runs import make_rows, write_csv

from musclelora.errors import ModelError, UsageError
from musclelora.playground import Playground, load_playground
from musclelora.playground.batch import ROWS, ask_file, write_batch
from musclelora.playground.models import in_order
from musclelora.playground.words import MOST, read
from musclelora.purification import load_run


@pytest.fixture(scope="module")
def both(defended: Path, undefended: Path) -> Playground:
    return load_playground(defended, undefended)


def test_a_word_matters_by_what_the_label_loses_without_it(undefended: Path) -> None:
    classifier = load_run(undefended).classifier
    text = "word1  word49\nword12 word50"
    found = read(classifier, text)
    assert [text[word.start : word.end] for word in found.words] == text.split()
    without = classifier.predict(["  word49\nword12 word50"]).probabilities[0]
    assert found.words[0].effect == pytest.approx(found.probabilities.max() - without[found.label], abs=1e-5)
    assert (found.count, found.cut) == (4, False)
    assert found.probabilities == pytest.approx(classifier.predict([text]).probabilities[0], abs=1e-5)


def test_of_a_long_text_the_first_words_are_tried(undefended: Path) -> None:
    found = read(load_run(undefended).classifier, "word1 " * 200)
    assert (len(found.words), found.count, found.cut) == (MOST, 200, True)


@pytest.mark.parametrize("text", ["", "  \n", "😀", "\x00"])
def test_any_text_is_read(text: str, both: Playground) -> None:
    assert [len(reading.probabilities) for reading in both.read(text)] == [2, 2]


def test_a_playground_knows_what_the_audit_found(both: Playground, undefended: Path) -> None:
    assert [side.title for side in both.sides] == ["Method musclelora", "Undefended"]
    assert both.triggers == ("word49", "word48 word47")
    assert both.verdict is not None
    assert both.verdict["target"] == "good"
    assert both.advice is None
    alone = load_playground(undefended)
    assert (alone.triggers, alone.verdict) == ((), None)


def test_one_model_comes_with_advice(defended: Path, tiny_model: Path) -> None:
    advice = load_playground(defended).advice
    assert advice is not None
    expected = (
        f"musclelora train --method full --train TRAIN --model {tiny_model} --output {defended}-undefended"
    )
    assert expected in advice


def test_labels_in_another_order_are_the_same_labels(
    undefended: Path, tiny_model: Path, tmp_path: Path
) -> None:
    turned = train(tmp_path / "turned", tiny_model, "lora", ("good", "bad"))
    play = load_playground(undefended, turned)
    one, other = play.read("word1 word49")
    assert in_order(play.sides[1], ("bad", "good"), other).tolist() == other.probabilities[::-1].tolist()
    assert in_order(play.sides[0], ("bad", "good"), one).tolist() == one.probabilities.tolist()


def test_what_cannot_be_played_with_is_refused(undefended: Path, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is RUN itself"):
        load_playground(undefended, undefended.parent / "." / undefended.name)
    with pytest.raises(ModelError, match=r"no run\.json in it; expected a folder that"):
        load_playground(tmp_path)
    with pytest.raises(ModelError, match="no such"):
        load_playground(undefended, tmp_path / "missing")
    other = train(tmp_path / "other", tiny_model, "lora", ("bad", "fine"))
    with pytest.raises(UsageError, match="--against: found the labels 'bad', 'fine', expected those of"):
        load_playground(undefended, other)


def test_the_rows_of_a_file_are_asked_and_written(both: Playground, tmp_path: Path) -> None:
    texts = [text for text, _ in make_rows(ROWS + 7, seed=5)]
    batch = ask_file(both, write_csv(tmp_path / "rows.csv", [(text, "") for text in texts]))
    assert (batch.texts, batch.left_out) == (tuple(texts[:ROWS]), 7)
    write_batch(both, batch, tmp_path / "said.csv")
    with (tmp_path / "said.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["row", "label", "probability", "other_label", "other_probability"]
    for side, prefix in zip(both.sides, ("", "other_"), strict=True):
        said = load_run(side.path).classifier.predict(texts[:ROWS])
        assert [row[f"{prefix}label"] for row in rows] == [("bad", "good")[label] for label in said.labels]
        shares = [float(row[f"{prefix}probability"]) for row in rows]
        np.testing.assert_allclose(shares, said.probabilities.max(1), atol=2e-6)
    assert batch.differ == sum(row["label"] != row["other_label"] for row in rows)


def test_a_file_that_cannot_be_read_is_named_without_its_folder(both: Playground, tmp_path: Path) -> None:
    write_csv(tmp_path / "rows.csv", [("a", "b")], header=("one", "two"))
    with pytest.raises(UsageError, match=r"^rows.csv: none of the columns text.*name it with the column$"):
        ask_file(both, tmp_path / "rows.csv")
    assert ask_file(both, tmp_path / "rows.csv", "two").texts == ("b",)
    (tmp_path / "empty.csv").write_text("text\n")
    with pytest.raises(UsageError, match=r"^empty\.csv: no rows"):
        ask_file(both, tmp_path / "empty.csv")
    (tmp_path / "broken.jsonl").write_text("{")
    with pytest.raises(UsageError, match=r"^broken\.jsonl, line 1"):
        ask_file(both, tmp_path / "broken.jsonl")
